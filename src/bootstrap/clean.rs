//! Removing what was brought.

#![forbid(unsafe_code)]

use super::bootstrap::{Approach, Heard, Way};
use crate::{Error, ErrorKind, Step, connect_context::ConnectContext, transport::Running};

/// What was done about the files there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    /// Stubs, what was left of the sending of some, and folders.
    pub(crate) removed: Vec<String>,
    /// Files that could not be removed.
    pub(crate) kept: Vec<String>,
}

/// Waits for [`clean_argv`](super::script::clean_argv), started by whatever leads there, to be done.
///
/// # Errors
/// As for [`approach`](super::bootstrap::approach).
pub(crate) async fn clean(
    running: Running,
    approach: Approach<'_>,
    context: &ConnectContext,
) -> Result<Cleaned, Error> {
    let mut way = Way::new(running, approach, Some("nlr-clean ".to_owned()), context);
    let mut cleaned = Cleaned::default();
    loop {
        let Heard::Line(line) = way.heard().await? else {
            let text = "a stub was started where files were to be removed";
            let error = Error::new(ErrorKind::Handshake, text);
            return Err(error.prefix_step(Step::Bootstrap));
        };
        match line.split_once(' ') {
            Some(("removed", path)) => cleaned.removed.push(path.to_owned()),
            Some(("kept", path)) => cleaned.kept.push(path.to_owned()),
            _ if line == "done" => return Ok(cleaned),
            _ => return Err(way.refused(&line).await),
        }
    }
}
