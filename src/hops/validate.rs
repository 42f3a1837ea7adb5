//! The rules for chains of hops, checked before anything is started.

use super::hop::Hop;
use crate::{Error, text};

/// Hops of a target. Each costs round trips and processes.
const MAX_HOPS: usize = 16;

/// Checks that hops fit together.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) names the first misplaced hop, and the reason.
pub(super) fn check(hops: &[Hop]) -> Result<(), Error> {
    if hops.is_empty() {
        return Err(Error::invalid("a target needs a hop, such as `local:` or `ssh://host`"));
    }
    if hops.len() > MAX_HOPS {
        return Err(Error::invalid(format!("a target has {MAX_HOPS} hops at most")));
    }
    for (index, hop) in hops.iter().enumerate() {
        hop.check()?;
        let before = hops.get(..index).unwrap_or_default();
        let is_last = index + 1 == hops.len();
        if let Some(reason) = misplaced(hop, before, is_last) {
            let place = index + 1;
            let hop = hop.to_string();
            let hop = text::escaped(&hop);
            return Err(Error::invalid(format!("target: hop {place}, `{hop}`, {reason}")));
        }
    }
    Ok(())
}

fn misplaced(hop: &Hop, before: &[Hop], is_last: bool) -> Option<&'static str> {
    match hop {
        Hop::Local if !before.is_empty() => Some(
            "can only come first: after other hops the stub runs on the last one's host anyway",
        ),
        Hop::Unix(_) if !before.is_empty() || !is_last => {
            Some("has to be alone: its stub listens already, and nothing is started")
        }
        Hop::Stub(_) if !is_last => Some("has to come last: it is the program to start"),
        Hop::Ssh(_) if !before.iter().all(|hop| matches!(hop, Hop::Local | Hop::Ssh(_))) => Some(
            "is made by this process and can only follow other ssh:// hops; write `openssh://` to \
             have that host's own ssh connect from there",
        ),
        Hop::Exec(_) if before.iter().any(|hop| matches!(hop, Hop::Exec(_))) => {
            Some("is a second exec: hop; put both into one command")
        }
        _ => None,
    }
}
