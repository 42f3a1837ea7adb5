//! Saying hello.

#![forbid(unsafe_code)]

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    Error, ErrorKind,
    wire::{Hello, MARKER, MarkerScanner, Scan, WireError},
};

/// What came out of it.
pub(super) struct Greeted {
    pub(super) hello: Hello,
    pub(super) version: u16,
    pub(super) max_frame: u32,
    /// What was read beyond the hello.
    pub(super) rest: BytesMut,
}

/// What comes before the far end's hello is left in `scanner`.
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
    // A far end that is gone already may have said why: then what it said is the error.
    let written = match io.write_all(&out).await {
        Ok(()) => io.flush().await,
        failed => failed,
    };
    let mut found = false;
    // The hello has a few hundred bytes; what is longer makes its own room.
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
                return Ok(Greeted { hello, version, max_frame, rest: buffer });
            }
        }
        let end = match io.read_buf(&mut buffer).await {
            Ok(0) => written.err(),
            Ok(_) => continue,
            Err(error) => Some(error),
        };
        // What it said explains more than how the stream broke.
        return Err(match end {
            Some(error) if scanner.noise().trim().is_empty() => broken(error),
            _ => {
                let text = "the far end ended before it spoke the protocol";
                failed(ErrorKind::Handshake, text, scanner)
            }
        });
    }
}

fn refuse(error: WireError, scanner: &MarkerScanner) -> Error {
    let text = "the far end does not speak netlink-remote's protocol";
    failed(ErrorKind::Handshake, text, scanner).with_source(error)
}

/// An error that shows what the far end said instead of a hello.
pub(super) fn failed(kind: ErrorKind, text: &str, scanner: &MarkerScanner) -> Error {
    let error = Error::new(kind, text);
    match scanner.noise().trim() {
        "" => error,
        noise => error.with_note(&format!("; instead it said: {noise}")),
    }
}
