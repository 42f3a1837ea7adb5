//! Files of the far host that belong to its network.

use super::{connection::Client, netns::NetnsHandle};
use crate::{
    Error, ErrorKind, Protocol,
    wire::{FILE, MAX_OPTION, OWN_LEVEL},
};

/// Bytes of a file, at most.
const MOST: usize = 64 << 20;

impl Client {
    /// Reads a file below `/proc/net` or `/proc/sys/net` of the far host, as it is in a namespace there; `None` is
    /// that of the stub. `path` is `net/route` or `sys/net/ipv4/ip_forward`.
    ///
    /// The stub opens what everybody there may read, and nothing else.
    ///
    /// # Errors
    /// [`ErrorKind::Open`] with the far errno: ENOENT, EACCES for a file that is not everybody's and for other
    /// paths, and where the stub serves no files, ENOPROTOOPT where the stub is older than this call.
    /// [`ErrorKind::Request`] with that of reading, and EFBIG for more than 64 MiB. [`ErrorKind::Timeout`],
    /// [`ErrorKind::Disconnected`].
    pub(crate) async fn file(
        &self,
        netns: Option<&NetnsHandle>,
        path: &str,
    ) -> Result<Vec<u8>, Error> {
        let mut builder = self.socket(Protocol::ROUTE).option(OWN_LEVEL, FILE, path.as_bytes());
        if let Some(netns) = netns {
            builder = builder.netns_handle(netns);
        }
        let socket = builder.receive_buffer(0).open().await?;
        let mut content = Vec::new();
        loop {
            let piece = socket.option(OWN_LEVEL, FILE, MAX_OPTION as u32).await?;
            if content.len() + piece.len() > MOST {
                let text = format!("/proc/{path} has more than {MOST} bytes");
                return Err(Error::new(ErrorKind::Request, text).with_errno(libc::EFBIG));
            }
            content.extend_from_slice(&piece);
            if piece.len() < MAX_OPTION {
                return Ok(content);
            }
        }
    }
}
