//! Detects a server that no longer answers: `ServerAliveInterval`.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{opening::ChannelKind, shared_session::SharedSession};
use crate::{Error, ErrorKind};

/// Probes the server at each interval, and ends the session after `count` intervals without answer.
///
/// The probe is the opening of a channel, closed at once; a refusal is an answer too. libssh2's own
/// keepalive is not used: it never takes the answers out of its queue, which every read walks.
///
/// A probe may have to wait for the opening of a tunnel before it, for minutes where that leads to a
/// host that is down. So any other data from the server counts as an answer, as it does for ssh.
pub(super) fn start(session: &Arc<SharedSession>, interval: Duration, count: u32) {
    let task = tokio::spawn(watch(Arc::downgrade(session), interval, count.max(1)));
    session.set_keepalive(task.abort_handle());
}

async fn watch(session: Weak<SharedSession>, interval: Duration, count: u32) {
    let patience = interval.saturating_mul(count);
    loop {
        tokio::time::sleep(interval).await;
        let Some(before) = session.upgrade().map(|session| session.receptions()) else { return };
        let probe = SharedSession::open(session.clone(), ChannelKind::Probe, None);
        let answered = tokio::time::timeout(patience, probe).await;
        let Some(session) = session.upgrade() else { return };
        tracing::trace!(hop = session.hop(), answered = answered.is_ok(), "keepalive");
        if answered.is_err() && session.receptions() == before {
            let text = format!(
                "the ssh server has not answered for {patience:?} (ServerAliveInterval {} s, \
                 {count} times)",
                interval.as_secs_f32(),
            );
            session.fail(Error::new(ErrorKind::Disconnected, text));
            return;
        }
        if session.has_failed() {
            return;
        }
    }
}
