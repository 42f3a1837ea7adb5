//! A unix socket in front of a server, whose connections can be cut, held, and refused.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use testing::temporary;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// A relay; its socket goes with it.
pub(crate) struct Relay {
    path: PathBuf,
    cuts: watch::Sender<u64>,
    refuses: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) fn start(server: PathBuf) -> Self {
        let path = temporary("relay");
        let listener = UnixListener::bind(&path).unwrap();
        let (cuts, _) = watch::channel(0);
        let refuses = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(relay(listener, server, cuts.clone(), Arc::clone(&refuses)));
        Self { path, cuts, refuses, task }
    }

    pub(crate) fn target(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|number| *number += 1);
    }

    /// Has the relay hang up on new connections, or not.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn relay(
    listener: UnixListener,
    server: PathBuf,
    cuts: watch::Sender<u64>,
    refuses: Arc<AtomicBool>,
) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut cut = cuts.subscribe();
        if refuses.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(mut far) = UnixStream::connect(&server).await else { continue };
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = cut.changed() => {}
            }
        });
    }
}
