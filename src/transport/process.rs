//! A child process, with its stdin and stdout as the byte stream.

use std::{
    future::Future,
    io,
    path::Path,
    pin::Pin,
    process::{ExitStatus, Stdio},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    descendants::kill_with_descendants,
    running::{End, Running},
};
use crate::{Error, ErrorKind, Origin};

/// The grace period of a child from the first poll of its end. Shorter than the two seconds an
/// [`ExitReport`](super::ExitReport) has, so that the stderr of a child that never ends, such as an
/// ssh that waits for a password, is reported all the same.
const GRACE: Duration = Duration::from_millis(1500);

/// The wait for more output after a child's end: a process that it has started may hold the pipe open,
/// and write the last of it.
const AFTERMATH: Duration = Duration::from_millis(500);

/// A child's stdin and stdout as one stream. Shutting it down, or dropping it, closes the stdin.
struct ProcessStream {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// Ready [`AFTERMATH`] after the child's end; `None` from then on.
    aftermath: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A child, killed with what it has started when dropped before its end.
struct Family(Child);

impl Drop for Family {
    fn drop(&mut self) {
        // `None` once it is reaped.
        if let Some(pid) = self.0.id() {
            kill_with_descendants(pid);
        }
    }
}

/// Starts a process whose stdin and stdout a stub serves: a stub, or a program that starts one.
///
/// All three standard streams are pipes, in place of those set in `command`. The first
/// poll of [`Running::end`] gives the child 1.5 seconds to exit, then kills it: poll it only once the
/// connection is over. Dropping it kills the child, which tokio's runtime then reaps. With the child are
/// killed the processes that it has started, as far as they have not begun a session of their own
/// (setsid(2)) and may be signalled.
///
/// The output ends half a second after the child has, though a process that it has started may hold
/// the pipe open.
///
/// Spawns a task on the current tokio runtime, in which I/O and time have to be enabled.
///
/// # Errors
/// [`ErrorKind::Connect`] with the errno: ENOENT for a program that does not exist, EACCES for
/// one that may not be executed.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(mut command: Command) -> Result<Running, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = Path::new(command.as_std().get_program()).display().to_string();
    let child = command.spawn().map_err(|error| spawn_error(&program, error))?;
    let mut family = Family(child);
    let child = &mut family.0;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        let text = "the child process has no pipes";
        return Err(Error::new(ErrorKind::Connect, text).with_origin(Origin::Library));
    };
    tracing::debug!(program, pid = child.id(), "process started");
    let pid = child.id();
    let (keep, abandoned) = oneshot::channel();
    let (ended, mut end) = watch::channel(None);
    tokio::spawn(reap(family, abandoned, ended));
    let mut seen = end.clone();
    let aftermath = async move {
        // An error: the runtime has dropped the task, and the child with it.
        let _ = seen.wait_for(Option::is_some).await;
        sleep(AFTERMATH).await;
    };
    let stream = ProcessStream { stdin: Some(stdin), stdout, aftermath: Some(Box::pin(aftermath)) };
    let end = async move {
        let is_overdue = timeout(GRACE, end.wait_for(Option::is_some)).await.is_err();
        if is_overdue {
            drop(keep);
            let _ = end.wait_for(Option::is_some).await;
        }
        let end = match is_overdue {
            true => End::Overdue,
            false => end.borrow().clone().unwrap_or(End::Unknown),
        };
        tracing::debug!(program, pid, "process {end}");
        end
    };
    Ok(Running::new(stream).with_stderr(stderr).with_end(end))
}

/// Waits for a child's end, and kills it with what it has started once nobody waits for it.
async fn reap(
    mut family: Family,
    abandoned: oneshot::Receiver<()>,
    ended: watch::Sender<Option<End>>,
) {
    let status = tokio::select! {
        status = family.0.wait() => Some(status),
        _ = abandoned => None,
    };
    let status = match status {
        Some(status) => status,
        None => {
            if let Some(pid) = family.0.id() {
                kill_with_descendants(pid);
            }
            family.0.wait().await
        }
    };
    ended.send_replace(Some(status.map_or(End::Unknown, end_by)));
}

fn spawn_error(program: &str, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; install it, or give its path",
        io::ErrorKind::PermissionDenied => "; make it executable with chmod +x",
        _ => "",
    };
    let error = Error::new(ErrorKind::Connect, format!("starting {program}")).with_source(error);
    error.with_note(remedy).with_origin(Origin::Library)
}

fn end_by(status: ExitStatus) -> End {
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
        if let Poll::Ready(read) = Pin::new(&mut self.stdout).poll_read(cx, buf) {
            return Poll::Ready(read);
        }
        if let Some(aftermath) = &mut self.aftermath {
            ready!(aftermath.as_mut().poll(cx));
            self.aftermath = None;
        }
        // As at the end of a pipe.
        Poll::Ready(Ok(()))
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
        // A pipe has no half-close: its end is the closing of the descriptor.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
