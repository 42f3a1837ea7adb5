//! Starting a stub over any byte stream that leads to a POSIX shell, sending the stub if it is not
//! there.
//!
//! | module | contents |
//! |---|---|
//! | `arch` | architectures, by name and by ELF header |
//! | `digest` | the checksums of a stub |
//! | `source` | the bytes of a stub, from a file or from memory |
//! | `stubs` | the stubs on this side, one for each architecture |
//! | `script` | the script that becomes the stub at the far end, or asks for it |
//! | `expect` | the streams of the command that runs the script |
//! | `prompts` | the passwords that sudo and su ask for before it |
//! | `dialog`, `upload` | answering these prompts and the script |
//! | `diagnosis`, `hints` | errors for a stub that did not start |
//! | `clean` | removing the stubs that were sent |

#![forbid(unsafe_code)]

mod arch;
mod clean;
mod diagnosis;
mod dialog;
mod digest;
mod expect;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hints;
mod prompts;
mod script;
mod source;
mod stubs;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use clean::clean;
pub(crate) use dialog::Preamble;
pub(crate) use expect::StubStream;
pub(crate) use prompts::{Bounds, Form, Prompt};
pub(crate) use script::{BootScript, clean_argv, nonce};
pub use source::StubSource;
pub(crate) use stubs::{OwnStub, Search, StubSet};

use dialog::{Dialog, Reply};
use tracing::debug;

use crate::{
    Error,
    connect_context::ConnectContext,
    transport::{ExitReport, Running},
};

/// Waits until a command is a stub: types the passwords that are asked for, and sends the stub that
/// the script asks for. Nothing else is written before the stub speaks, since any program on the
/// way may read more than is meant for it.
///
/// # Errors
/// At [`Step::Privilege`](crate::Step::Privilege) where a password is wrong or missing, or sudo,
/// doas or su refuse for another reason; otherwise at
/// [`Step::Bootstrap`](crate::Step::Bootstrap). [`ErrorKind::Timeout`](crate::ErrorKind::Timeout)
/// where nothing happens for as long as the context allows. The text quotes the far end.
pub(crate) async fn start_stub(
    running: Running,
    preamble: Preamble<'_>,
    context: &ConnectContext,
) -> Result<(StubStream, ExitReport), Error> {
    let context = &context.at(&preamble.target);
    let prefix = preamble.script.map(BootScript::prefix);
    let mut dialog = Dialog::new(running, preamble, prefix, context);
    let mut reply = dialog.reply().await?;
    if let Reply::Line(line) = reply {
        reply = upload::upload(&mut dialog, line).await?;
    }
    match reply {
        Reply::Stub(at) => {
            // Not sent: the far end had it under its digest, or it was started without the script.
            debug!(is_sent = dialog.sent.is_some(), "stub started");
            Ok(dialog.into_stub(at))
        }
        Reply::Line(line) => Err(dialog.refused(&line).await),
    }
}
