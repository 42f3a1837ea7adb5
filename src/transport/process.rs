//! A child process, with its stdin and stdout as the byte stream.

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
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::running::{End, Running};
use crate::{Error, ErrorKind, Origin};

/// The grace period of a child from the first poll of its end. Shorter than the two seconds an
/// [`ExitReport`](super::ExitReport) has, so that the stderr of a child that never ends, such as an
/// ssh that waits for a password, is reported all the same.
const GRACE: Duration = Duration::from_millis(1500);

/// A child's stdin and stdout as one stream. Shutting it down, or dropping it, closes the stdin.
struct ProcessStream {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

/// Starts a process whose stdin and stdout a stub serves: a stub, or a program that starts one.
///
/// All three standard streams are pipes, in place of those set in `command`. The first
/// poll of [`Running::end`] gives the child 1.5 seconds to exit, then kills it: poll it only once the
/// connection is over. Dropping it kills the child, which tokio's runtime then reaps. Must be called within a tokio runtime with I/O enabled.
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
    let mut child = command.spawn().map_err(|error| spawn_error(&program, error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        let text = "the child process has no pipes";
        return Err(Error::new(ErrorKind::Connect, text).with_origin(Origin::Library));
    };
    tracing::debug!(program, pid = child.id(), "process started");
    let stream = ProcessStream { stdin: Some(stdin), stdout };
    Ok(Running::new(stream).with_stderr(stderr).with_end(end_of(child, program)))
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

async fn end_of(mut child: Child, program: String) -> End {
    let pid = child.id();
    let end = match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(Ok(status)) => end_by(status),
        Ok(Err(_)) => End::Unknown,
        Err(_) => {
            // Reaps the child as well.
            let _ = child.kill().await;
            End::Overdue
        }
    };
    tracing::debug!(program, pid, "process {end}");
    end
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
        // A pipe has no half-close: its end is the closing of the descriptor.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
