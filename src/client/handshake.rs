//! The exchange of hellos.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::debug;

use crate::{
    Error, ErrorKind,
    wire::{Hello, MARKER, MarkerScanner, Scan, WireError},
};

/// A stub's hello, and the terms of the connection.
pub(super) struct Greeted {
    pub(super) hello: Hello,
    pub(super) version: u16,
    pub(super) max_frame: u32,
    /// Bytes that were read beyond the hello.
    pub(super) rest: BytesMut,
}

/// Sends the hello `mine` and reads the stub's. Text before it is left in `scanner`.
pub(super) async fn run<S>(
    io: &mut S,
    mine: &Hello,
    scanner: &mut MarkerScanner,
) -> Result<Greeted, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = MARKER.to_vec();
    mine.encode(&mut out);
    let broken = |error: std::io::Error| {
        Error::new(ErrorKind::Handshake, "exchanging hellos").with_source(error)
    };
    // The reason of a far end that has ended may still be readable, and is the better error.
    let written = match io.write_all(&out).await {
        Ok(()) => io.flush().await,
        failed => failed,
    };
    let mut found = false;
    // A hello has a few hundred bytes; the buffer grows for a longer one.
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if !found && !buffer.is_empty() {
            match scanner.scan(&buffer) {
                Scan::Found { consumed } => {
                    let _ = buffer.split_to(consumed);
                    found = true;
                }
                Scan::NeedMore => buffer.clear(),
                Scan::TooMuchNoise => {
                    return Err(refuse(WireError::NoMarker(scanner.noise_len()), scanner));
                }
            }
        }
        if found {
            let decoded = Hello::decode(&buffer).map_err(|error| refuse(error, scanner))?;
            if let Some((hello, taken)) = decoded {
                let _ = buffer.split_to(taken);
                let agreed = mine.agree(&hello).map_err(|error| refuse(error, scanner))?;
                let (version, max_frame) = agreed;
                trace(&hello, version);
                return Ok(Greeted { hello, version, max_frame, rest: buffer });
            }
        }
        let end = match io.read_buf(&mut buffer).await {
            Ok(0) => written.err(),
            Ok(_) => continue,
            Err(error) => Some(error),
        };
        // Text of the far end explains more than the stream's own error.
        return Err(match end {
            Some(error) if scanner.noise().trim().is_empty() => broken(error),
            _ => {
                let text = "the far end ended before it spoke the protocol";
                failed(ErrorKind::Handshake, text, scanner)
            }
        });
    }
}

fn trace(hello: &Hello, version: u16) {
    let host = hello.host.as_ref();
    debug!(
        target: "netlink_remote::client",
        software = hello.software,
        version,
        host = host.map_or("", |host| &host.host_name),
        architecture = host.map_or("", |host| &host.architecture),
        kernel = host.map_or("", |host| &host.kernel_release),
        "connected",
    );
}

fn refuse(error: WireError, scanner: &MarkerScanner) -> Error {
    let text = "the far end does not speak netlink-remote's protocol";
    failed(ErrorKind::Handshake, text, scanner).with_source(error)
}

/// An error that shows the text of the far end in place of a hello.
pub(super) fn failed(kind: ErrorKind, text: &str, scanner: &MarkerScanner) -> Error {
    let error = Error::new(kind, text);
    match scanner.noise().trim() {
        "" => error,
        noise => error.with_note(&format!("; instead it said: {noise}")),
    }
}
