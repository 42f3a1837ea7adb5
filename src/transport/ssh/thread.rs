//! libssh2 operations on threads of their own.
//!
//! An operation before the end of authentication may compute for long, block on an agent, or never
//! return while the server keeps sending: libssh2 stops reading only when nothing is there.

use async_ssh2_lite::ssh2;
use tokio::sync::oneshot;

use super::{
    fault::{loss, would_block},
    socket::SshSocket,
};

/// Repeats an operation until it no longer would block: each try on a thread, each wait for the
/// network without one. Dropping the future shuts the connection down, so that the thread ends.
///
/// The threads are not the runtime's, whose shutdown waits for its own: one that an agent holds up
/// is left to itself. A panic, such as ssh2's at text that is no UTF-8, ends the thread alone and
/// counts as a lost connection.
pub(super) async fn on_thread<T: Send + 'static>(
    socket: &SshSocket,
    mut op: impl FnMut(&ssh2::Session) -> Result<T, ssh2::Error> + Send + 'static,
) -> Result<T, ssh2::Error> {
    let session = socket.session().ok_or_else(loss)?;
    let mut guard = HangUpOnDrop { socket: socket.clone(), armed: true };
    loop {
        let (done, tried) = oneshot::channel();
        // Held by the thread: the descriptor stays the session's for as long as the thread uses it.
        let held = (session.clone(), socket.clone());
        let started = std::thread::Builder::new().name("ssh".to_owned()).spawn(move || {
            let result = op(&held.0);
            drop(held);
            let _ = done.send((op, result));
        });
        started.map_err(|_| loss())?;
        let (same_op, result) = tried.await.map_err(|_| loss())?;
        op = same_op;
        match result {
            Err(error) if would_block(&error) => {
                socket.wait_for(&session).await.map_err(|_| loss())?;
            }
            done => {
                guard.armed = false;
                return done;
            }
        }
    }
}

/// Shuts the connection of an abandoned thread down.
struct HangUpOnDrop {
    socket: SshSocket,
    armed: bool,
}

impl Drop for HangUpOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.socket.hang_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use async_ssh2_lite::{AsyncSession, ssh2::MethodType};
    use tokio::net::UnixStream;

    use super::{
        super::{fault::code, socket::StreamSocket},
        *,
    };

    /// As ssh2's, at a list of methods that is no UTF-8.
    #[tokio::test]
    async fn a_panic_is_a_lost_connection() {
        let (near, _far) = UnixStream::pair().unwrap();
        let socket = SshSocket::new(StreamSocket::Unix(near));
        let session = AsyncSession::new(socket.clone(), None).unwrap();
        session.supported_algs(MethodType::HostKey).await.unwrap();
        let result = on_thread::<()>(&socket, |_| panic!("as expected")).await;
        assert_eq!(result.unwrap_err().code(), ssh2::ErrorCode::Session(code::SOCKET_RECV));
        assert!(socket.is_closed() && socket.as_raw_fd() >= 0);
    }
}
