//! A child process's pipes.

use std::{
    io,
    path::Path,
    pin::Pin,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use crate::{Error, ErrorKind, Origin, client::Epitaph};

/// Bytes of the child's stderr that are kept, the last ones.
const KEPT: usize = 4096;

/// How long a child may go on once its stdin is closed. Less than an epitaph has, so that what
/// one said that never ends, such as an ssh that waits for a password, is told all the same.
const GRACE: Duration = Duration::from_millis(1500);

/// The stdin and stdout of a child process as one stream.
///
/// Shutting it down, or dropping it, closes the child's stdin, at which a stub ends.
#[derive(Debug)]
pub struct ProcessStream {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

/// Starts a process that becomes a stub, or leads to one.
///
/// The second part of the result tells what became of it, and has to be polled for the child to
/// be reaped at once: give it to
/// [`ConnectOptions::epitaph`](crate::client::ConnectOptions::epitaph). A child that goes on for
/// more than a second and a half from when it is first polled is killed; so is one whose part is
/// dropped. What the child writes to stderr is kept to be told, and not shown.
///
/// # Errors
/// [`ErrorKind::Connect`] with the errno: ENOENT for a program that does not exist, EACCES for
/// one that may not be executed.
pub fn spawn(mut command: Command) -> Result<(ProcessStream, Epitaph), Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = command.as_std().get_program().to_owned();
    let mut child = command.spawn().map_err(|error| spawn_error(Path::new(&program), &error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        let text = "the child process has no pipes";
        return Err(Error::new(ErrorKind::Connect, Origin::Library, None, text));
    };
    let program = Path::new(&program).display().to_string();
    let tail = Arc::new(Mutex::new(Vec::new()));
    let reader = tokio::spawn(keep_tail(stderr, Arc::clone(&tail)));
    let epitaph = async move { epitaph(child, &program, reader, &tail).await };
    Ok((ProcessStream { stdin: Some(stdin), stdout }, Box::pin(epitaph)))
}

fn spawn_error(program: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; install it, or say where it is",
        io::ErrorKind::PermissionDenied => "; make it executable with chmod +x",
        _ => "",
    };
    let text = crate::client::describe(error.raw_os_error().unwrap_or_default());
    let text = format!("starting {}: {text}{remedy}", program.display());
    Error::new(ErrorKind::Connect, Origin::Library, error.raw_os_error(), text)
}

async fn keep_tail(mut stderr: ChildStderr, tail: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(piece.get(..length).unwrap_or_default());
        let excess = tail.len().saturating_sub(KEPT);
        tail.drain(..excess);
    }
}

async fn epitaph(
    mut child: Child,
    program: &str,
    reader: tokio::task::JoinHandle<()>,
    tail: &Mutex<Vec<u8>>,
) -> Option<String> {
    let ended = tokio::time::timeout(GRACE, child.wait()).await;
    let end = match ended {
        Ok(status) => describe(status.ok()?),
        Err(_) => {
            child.kill().await.ok()?;
            Some("did not end by itself".to_owned())
        }
    };
    // Grandchildren may hold stderr open for longer; what has come by now is enough.
    let _ = tokio::time::timeout(Duration::from_millis(200), reader).await;
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    let said = crate::wire::printable(&tail);
    let said = said.trim();
    match (end, said) {
        (None, "") => None,
        (None, said) => Some(format!("{program} said: {said}")),
        (Some(end), "") => Some(format!("{program} {end}")),
        (Some(end), said) => Some(format!("{program} {end} and said: {said}")),
    }
}

/// How a process ended, unless it ended well.
fn describe(status: ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("ended with exit code {code}")),
        (None, Some(signal)) => Some(format!("was killed by signal {signal}")),
        (None, None) => Some("ended".to_owned()),
    }
}

impl AsyncRead for ProcessStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for ProcessStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Only closing it is the end of a pipe.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
