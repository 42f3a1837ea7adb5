//! Sending a stub's bytes to the script that asks for them.

use tracing::debug;

use super::{diagnosis, dialog::Dialog};
use crate::{Error, ErrorKind, Step};

/// Bytes written at once.
const PIECE: usize = 32 * 1024;

/// Sends the stub that `line` asks for: `need DIGEST FOLDER`.
///
/// # Errors
/// At [`Step::Bootstrap`]. [`ErrorKind::Timeout`] where no byte is taken for as long as the context
/// allows a step, however long all of them take; [`ErrorKind::Connect`] for any other line, and for
/// an end.
pub(super) async fn upload(dialog: &mut Dialog<'_>, line: &str) -> Result<(), Error> {
    let wanted = line.strip_prefix("need ").map(|rest| rest.split_once(' ').unwrap_or((rest, "")));
    let offer = wanted
        .zip(dialog.script())
        .and_then(|((digest, folder), script)| Some((script.offer(digest)?, folder)));
    let Some((offer, folder)) = offer else { return Err(dialog.refused(line).await) };
    let bytes = &offer.image.bytes;
    debug!(sha256 = offer.image.sha256, bytes = bytes.len(), folder, "sending the stub");
    dialog.sent = Some(&offer.stub);
    let (context, total) = (dialog.context(), bytes.len());
    let mut sent = 0;
    report(dialog, sent, total);
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        let piece = rest.get(..PIECE).unwrap_or(rest);
        let written = context.step(Step::Bootstrap, dialog.write(piece)).await;
        sent += written.map_err(|error| match error.kind() {
            ErrorKind::Timeout => {
                diagnosis::stalled_upload(sent, total, context.limit(), &dialog.output())
            }
            _ => error,
        })?;
        report(dialog, sent, total);
    }
    debug!(bytes = total, "stub sent");
    Ok(())
}

fn report(dialog: &Dialog<'_>, sent: usize, total: usize) {
    dialog.context().progress(Step::Bootstrap, sent as u64, total as u64);
}
