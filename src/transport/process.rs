//! A child process's pipes.

#![forbid(unsafe_code)]

use std::{
    io,
    path::Path,
    pin::Pin,
    process::{ExitStatus, Stdio},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use super::running::{End, Ending, Running, Tail};
use crate::{Error, ErrorKind, Origin, transport::ExitReport};

/// How long a child may go on once its stdin is closed. Less than an exit_report has, so that what
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
/// [`ClientOptions::exit_report`](crate::client::ClientOptions::exit_report). A child that goes on for
/// more than a second and a half from when it is first polled is killed; so is one whose part is
/// dropped. What the child writes to stderr is kept to be told, and not shown.
///
/// # Errors
/// [`ErrorKind::Connect`] with the errno: ENOENT for a program that does not exist, EACCES for
/// one that may not be executed.
pub fn spawn(command: Command) -> Result<(ProcessStream, ExitReport), Error> {
    let program = Path::new(command.as_std().get_program()).display().to_string();
    let (stream, stderr, end) = start(command)?;
    Ok((stream, Tail::default().into_exit_report(program, stderr, end)))
}

/// Starts a process of whose stderr and end the caller takes care.
///
/// # Errors
/// As for [`spawn`].
pub fn run(command: Command) -> Result<Running, Error> {
    let (stream, stderr, end) = start(command)?;
    Ok(Running { stdio: Box::new(stream), stderr: Box::new(stderr), end })
}

fn start(mut command: Command) -> Result<(ProcessStream, ChildStderr, Ending), Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = command.as_std().get_program().to_owned();
    let mut child = command.spawn().map_err(|error| spawn_error(Path::new(&program), error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        let text = "the child process has no pipes";
        return Err(Error::new(ErrorKind::Connect, text).with_origin(Origin::Library));
    };
    Ok((ProcessStream { stdin: Some(stdin), stdout }, stderr, Box::pin(ending(child))))
}

fn spawn_error(program: &Path, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; install it, or say where it is",
        io::ErrorKind::PermissionDenied => "; make it executable with chmod +x",
        _ => "",
    };
    let text = format!("starting {}", program.display());
    let error = Error::new(ErrorKind::Connect, text).with_source(error).with_note(remedy);
    error.with_origin(Origin::Library)
}

async fn ending(mut child: Child) -> End {
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(Ok(status)) => describe(status),
        Ok(Err(_)) => End::Unknown,
        Err(_) => {
            // Reaps it as well.
            let _ = child.kill().await;
            End::Overdue
        }
    }
}

fn describe(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(signal)) => End::Signal(signal.to_string()),
        (None, None) => End::Unknown,
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
