//! Removing the stubs that were sent.

use super::dialog::{Dialog, Preamble, Reply};
use crate::{Error, ErrorKind, Step, connect_context::ConnectContext, transport::Running};

/// The outcome of [`clean`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    /// Paths removed: stubs, unfinished uploads and folders.
    pub(crate) removed: Vec<String>,
    /// Paths that could not be removed.
    pub(crate) kept: Vec<String>,
}

/// Waits for the end of the script of [`clean_argv`](super::script::clean_argv), which `running`
/// leads to.
///
/// # Errors
/// As for [`start_stub`](super::start_stub).
pub(crate) async fn clean(
    running: Running,
    preamble: Preamble<'_>,
    context: &ConnectContext,
) -> Result<Cleaned, Error> {
    let mut dialog = Dialog::new(running, preamble, Some("nlr-clean ".to_owned()), context);
    let mut cleaned = Cleaned::default();
    loop {
        let Reply::Line(line) = dialog.reply().await? else {
            let text = "a stub started in place of the script that removes stubs";
            let error = Error::new(ErrorKind::Handshake, text);
            return Err(error.prefix_step(Step::Bootstrap));
        };
        match line.split_once(' ') {
            Some(("removed", path)) => cleaned.removed.push(path.to_owned()),
            Some(("kept", path)) => cleaned.kept.push(path.to_owned()),
            _ if line == "done" => return Ok(cleaned),
            _ => return Err(dialog.refused(&line).await),
        }
    }
}
