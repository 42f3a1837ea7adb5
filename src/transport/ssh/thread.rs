//! What libssh2 does on a thread of its own.
//!
//! It may compute for long, block on an agent, or be kept busy by a server that sends and sends:
//! libssh2 stops reading only when nothing is there.

#![forbid(unsafe_code)]

use async_ssh2_lite::ssh2;
use tokio::sync::oneshot;

use super::{
    fault::{code, would_block},
    wire::Wire,
};

/// Does something on threads; the network is waited for without one. Dropping it closes the
/// connection, so that the thread ends.
///
/// The threads are not the runtime's, which waits for its own in the end: one that an agent holds
/// up is left to itself. A panic, such as ssh2's at text that is no UTF-8, ends the thread alone.
pub(super) async fn on_thread<T: Send + 'static>(
    wire: &Wire,
    mut op: impl FnMut(&ssh2::Session) -> Result<T, ssh2::Error> + Send + 'static,
) -> Result<T, ssh2::Error> {
    let lost = || ssh2::Error::from_errno(ssh2::ErrorCode::Session(code::SOCKET_RECV));
    let session = wire.session().ok_or_else(lost)?;
    let mut leash = Leash { wire: wire.clone(), tight: true };
    loop {
        let (done, tried) = oneshot::channel();
        // The wire's descriptor stays the session's for as long as the thread uses it.
        let on_thread = (session.clone(), wire.clone());
        let started = std::thread::Builder::new().name("ssh".to_owned()).spawn(move || {
            let result = op(&on_thread.0);
            drop(on_thread);
            let _ = done.send((op, result));
        });
        started.map_err(|_| lost())?;
        let (same, result) = tried.await.map_err(|_| lost())?;
        op = same;
        match result {
            Err(error) if would_block(&error) => wire.wait(&session).await.map_err(|_| lost())?,
            done => {
                leash.tight = false;
                return done;
            }
        }
    }
}

/// Closes the connection of a thread that is left alone.
struct Leash {
    wire: Wire,
    tight: bool,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if self.tight {
            self.wire.hang_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use async_ssh2_lite::{AsyncSession, ssh2::MethodType};
    use tokio::net::UnixStream;

    use super::{super::wire::Socket, *};

    /// As ssh2's, at a list of methods that is no UTF-8.
    #[tokio::test]
    async fn a_panic_is_a_lost_connection() {
        let (near, _far) = UnixStream::pair().unwrap();
        let wire = Wire::new(Socket::Unix(near));
        let session = AsyncSession::new(wire.clone(), None).unwrap();
        session.supported_algs(MethodType::HostKey).await.unwrap();
        let result = on_thread::<()>(&wire, |_| panic!("as expected")).await;
        assert_eq!(result.unwrap_err().code(), ssh2::ErrorCode::Session(code::SOCKET_RECV));
        assert!(wire.is_closed() && wire.as_raw_fd() >= 0);
    }
}
