//! The exchange of hellos.

use std::{io::ErrorKind as IoErrorKind, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tracing::debug;

use crate::{
    Error, ErrorKind,
    errno::EPROTO,
    wire::{
        Failure, Flags, Hello, MARKER, MIN_MAX_FRAME, MarkerScanner, Message, Scan, SocketId,
        WireError, refusal,
    },
};

/// A stub's hello, and the terms of the connection.
pub(crate) struct Greeted {
    pub(crate) hello: Hello,
    pub(crate) version: u16,
    pub(crate) max_frame: u32,
    /// Bytes that were read beyond the hello.
    pub(crate) rest: BytesMut,
}

/// How long a refused far end may take to read why, and to say why it refuses this side.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there is no hello of a stub.
enum Broken {
    /// It has to be refused, or what came in its place.
    Refused(WireError),
    /// The stream ended or failed.
    Ended(Error),
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Broken::Refused(error)
    }
}

/// Sends the hello `mine` and reads the stub's. Text before it is left in `scanner`.
pub(crate) async fn run<S>(
    io: &mut S,
    mine: &Hello,
    scanner: &mut MarkerScanner,
) -> Result<Greeted, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A hello has a few hundred bytes; the buffer grows for a longer one.
    let mut buffer = BytesMut::with_capacity(1024);
    match exchange(io, mine, scanner, &mut buffer).await {
        Ok((hello, version, max_frame)) => {
            trace(&hello, version);
            Ok(Greeted { hello, version, max_frame, rest: buffer })
        }
        Err(Broken::Ended(error)) => Err(error),
        Err(Broken::Refused(error)) => {
            // Only a far end that finds no common version refuses this side likewise.
            let is_mutual = matches!(error, WireError::Version { .. });
            let said = timeout(FAREWELL, turn_away(io, &error, is_mutual, &mut buffer)).await;
            let text = "the far end does not speak netlink-remote's protocol";
            let error = failed(ErrorKind::Handshake, text, scanner).with_source(error);
            Err(match said {
                Ok(Some(failure)) => error.with_note(&format!("; the far end says: {failure}")),
                _ => error,
            })
        }
    }
}

/// Gives the stub's hello, the version and the limit on frames. `buffer` begins behind the hello
/// then; where the hello is refused, with it.
async fn exchange<S>(
    io: &mut S,
    mine: &Hello,
    scanner: &mut MarkerScanner,
    buffer: &mut BytesMut,
) -> Result<(Hello, u16, u32), Broken>
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
    loop {
        if !found && !buffer.is_empty() {
            match scanner.scan(buffer) {
                Scan::Found { consumed } => {
                    let _ = buffer.split_to(consumed);
                    found = true;
                }
                Scan::NeedMore => buffer.clear(),
                Scan::TooMuchNoise => return Err(WireError::NoMarker(scanner.noise_len()).into()),
            }
        }
        if found && let Some((hello, taken)) = Hello::decode(buffer)? {
            let (version, max_frame) = mine.agree(&hello)?;
            let _ = buffer.split_to(taken);
            return Ok((hello, version, max_frame));
        }
        let end = match io.read_buf(buffer).await {
            // A far end that has ended takes no hello either: that says nothing more.
            Ok(0) => written.err().filter(|error| error.kind() != IoErrorKind::BrokenPipe),
            Ok(_) => continue,
            Err(error) => Some(error),
        };
        // Text of the far end explains more than the stream's own error.
        return Err(Broken::Ended(match end {
            Some(error) if scanner.noise().trim().is_empty() => broken(error),
            _ => {
                let text = "the far end ended before it spoke the protocol";
                failed(ErrorKind::Handshake, text, scanner)
            }
        }));
    }
}

/// Tells the far end why its hello is refused. Gives its own refusal, if that `is_mutual`.
async fn turn_away<S>(
    io: &mut S,
    why: &WireError,
    is_mutual: bool,
    buffer: &mut BytesMut,
) -> Option<Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failure = Failure { errno: EPROTO, text: format!("handshake: {why}") };
    let mut out = Vec::new();
    Message::Fault(failure).encode(SocketId::CONNECTION, Flags::NONE, &mut out);
    // A far end that does not listen may have spoken all the same.
    let _ = io.write_all(&out).await;
    let _ = io.shutdown().await;
    while is_mutual && buffer.len() < MIN_MAX_FRAME as usize {
        if let Some(failure) = refusal(buffer) {
            return Some(failure);
        }
        if !matches!(io.read_buf(buffer).await, Ok(1..)) {
            break;
        }
    }
    None
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

/// An error that shows the text of the far end in place of a hello.
pub(super) fn failed(kind: ErrorKind, text: &str, scanner: &MarkerScanner) -> Error {
    let error = Error::new(kind, text);
    match scanner.noise().trim() {
        "" => error,
        noise => error.with_note(&format!("; instead it said: {noise}")),
    }
}
