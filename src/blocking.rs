//! Work that blocks, on a thread of its own.

#![forbid(unsafe_code)]

use std::{io, thread};

use tokio::sync::oneshot;

/// Runs work that blocks. A dropped future leaves its thread to end by itself; the end of the runtime
/// does not wait for it.
///
/// tokio's `spawn_blocking` panics where no thread can be had.
///
/// # Errors
/// Of starting the thread, such as EAGAIN at a limit on processes; work that panics is one too.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name("blocking".to_owned());
    // The receiver is gone where the future was dropped.
    thread.spawn(move || drop(sender.send(work())))?;
    receiver.await.map_err(|_| io::Error::other("its thread has panicked"))
}
