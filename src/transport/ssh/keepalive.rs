//! Whether the server still answers: `ServerAliveInterval`.

#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{opening::Way, shared::Shared};
use crate::{Error, ErrorKind};

/// Asks the server something every now and then, and gives the session up when no answer comes.
///
/// What is asked is the opening of a channel, closed at once; a refusal is an answer too. The
/// answers to libssh2's own keepalive are never taken out of its queue, which every read walks.
///
/// The question may have to wait behind the opening of a tunnel, for minutes where that leads to a
/// host that is down. So whatever else comes from the server is an answer as well, as with ssh.
pub(super) fn start(shared: &Arc<Shared>, interval: Duration, count: u32) {
    let task = tokio::spawn(watch(Arc::downgrade(shared), interval, count.max(1)));
    shared.keep_alive_by(task.abort_handle());
}

async fn watch(shared: Weak<Shared>, interval: Duration, count: u32) {
    let patience = interval.saturating_mul(count);
    loop {
        tokio::time::sleep(interval).await;
        let Some(heard) = shared.upgrade().map(|shared| shared.heard()) else { return };
        let asked = Shared::open(shared.clone(), Way::Probe, None);
        let answered = tokio::time::timeout(patience, asked).await;
        let Some(shared) = shared.upgrade() else { return };
        if answered.is_err() && shared.heard() == heard {
            let text = format!(
                "the ssh server has not answered for {patience:?} (ServerAliveInterval {} s, \
                 {count} times)",
                interval.as_secs_f32(),
            );
            shared.give_up(Error::new(ErrorKind::Disconnected, text));
            return;
        }
        if shared.is_dead() {
            return;
        }
    }
}
