//! Sending a stub's bytes to the script that asks for them.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tracing::debug;

use super::{
    diagnosis,
    dialog::{Dialog, Reply, Transfer},
};
use crate::{Error, ErrorKind, Step, connect_context::LONGEST_STEP};

/// Bytes written at once.
const PIECE: usize = 32 * 1024;

/// Sends the stub that `line` asks for, and returns what the far end says then.
///
/// # Errors
/// At [`Step::Bootstrap`]. [`ErrorKind::Timeout`] where the far end takes no byte for as long as the
/// context allows a step, or all of them take too long; [`ErrorKind::Connect`] for any other line, and
/// for an end.
pub(super) async fn upload(dialog: &mut Dialog<'_>, line: String) -> Result<Reply, Error> {
    match send_one(dialog, &line).await? {
        // It could not unpack the bytes.
        Reply::Line(next) if line.starts_with("pack ") && next.starts_with("need ") => {
            send_one(dialog, &next).await
        }
        reply => Ok(reply),
    }
}

async fn send_one(dialog: &mut Dialog<'_>, line: &str) -> Result<Reply, Error> {
    let payload = payload(dialog, line).await?;
    let taken = send(dialog, &payload).await?;
    debug!(bytes = payload.bytes.len(), "stub sent");
    await_reply(dialog, &payload, taken).await
}

/// Bytes from which on the script tells how many of them it has.
const TOLD: usize = 8192;

/// The length of the line before compressed bytes.
const HEAD: usize = 10;

/// What one line asks for.
struct Payload {
    bytes: Bytes,
    /// The bytes of them that the far end does not count.
    head: usize,
}

/// The bytes that a line asks for: `pack DIGEST FOLDER`, `need DIGEST FOLDER`.
async fn payload(dialog: &mut Dialog<'_>, line: &str) -> Result<Payload, Error> {
    let words = line.split_once(' ').filter(|(word, _)| ["need", "pack"].contains(word));
    let wanted = words.map(|(word, rest)| (word, rest.split_once(' ').unwrap_or((rest, ""))));
    let offer = wanted
        .zip(dialog.script())
        .and_then(|((word, (digest, folder)), script)| Some((word, script.offer(digest)?, folder)));
    let Some((word, offer, folder)) = offer else { return Err(dialog.refused(line).await) };
    let image = &offer.image;
    debug!(
        sha256 = image.sha256,
        bytes = image.bytes.len(),
        folder,
        form = word,
        "sending the stub"
    );
    dialog.sent = Some(&offer.stub);
    if word == "need" {
        return Ok(Payload { bytes: image.bytes.clone(), head: 0 });
    }
    let packed = image.packed().await?;
    let mut payload = BytesMut::with_capacity(packed.len() + HEAD);
    payload.extend_from_slice(format!("{:<9}\n", packed.len()).as_bytes());
    payload.extend_from_slice(&packed);
    Ok(Payload { bytes: payload.freeze(), head: HEAD })
}

/// Writes all bytes, and returns how many of them the far end has told to have. What is written may wait in buffers on the way; the progress is what the far end has.
async fn send(dialog: &mut Dialog<'_>, payload: &Payload) -> Result<usize, Error> {
    let (context, total) = (dialog.context(), payload.bytes.len());
    let deadline = Instant::now() + context.limit() * LONGEST_STEP;
    let (mut sent, mut taken) = (0, 0);
    context.progress(Step::Bootstrap, 0, total as u64);
    while sent < total {
        let end = total.min(sent + PIECE);
        let piece = payload.bytes.get(sent..end).unwrap_or_default();
        let transferred = context.wait(Step::Bootstrap, dialog.transfer(piece)).await;
        let stalled = || diagnosis::stalled_upload(taken, total, context.limit(), &dialog.output());
        match transferred {
            Ok(_) if Instant::now() > deadline => return Err(stalled()),
            Ok(Transfer::Written(length)) => sent += length,
            Ok(Transfer::Taken(bytes)) => {
                taken = bytes.saturating_add(payload.head).clamp(taken, sent)
            }
            Err(error) if error.kind() == ErrorKind::Timeout => return Err(stalled()),
            Err(error) => return Err(error),
        }
        context.progress(Step::Bootstrap, taken as u64, total as u64);
    }
    Ok(taken)
}

/// Waits for what follows the bytes, of which the far end has `taken`.
async fn await_reply(
    dialog: &mut Dialog<'_>,
    payload: &Payload,
    mut taken: usize,
) -> Result<Reply, Error> {
    let (context, total) = (dialog.context(), payload.bytes.len());
    let deadline = Instant::now() + context.limit() * LONGEST_STEP;
    loop {
        let line = match dialog.reply().await {
            Ok(Reply::Line(line)) => line,
            Ok(reply) => return Ok(reply),
            // Fewer bytes are not told about.
            Err(error) if error.kind() == ErrorKind::Timeout && total > TOLD && taken < total => {
                let (limit, output) = (context.limit(), dialog.output());
                return Err(diagnosis::stalled_upload(taken, total, limit, &output));
            }
            Err(error) => return Err(error),
        };
        match line.strip_prefix("got ").and_then(|bytes| bytes.parse::<usize>().ok()) {
            Some(bytes) if Instant::now() < deadline => {
                taken = bytes.saturating_add(payload.head).clamp(taken, total);
                context.progress(Step::Bootstrap, taken as u64, total as u64);
            }
            _ => return Ok(Reply::Line(line)),
        }
    }
}
