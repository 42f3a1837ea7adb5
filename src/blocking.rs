//! Work that blocks, on a thread of its own.

#![forbid(unsafe_code)]

use std::io;
#[cfg(not(fuzzing))]
use std::thread;

#[cfg(not(fuzzing))]
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
    // A fuzzer's work blocks nobody, and a thread that outlives its input looks like a leak.
    #[cfg(fuzzing)]
    return Ok(work());
    #[cfg(not(fuzzing))]
    on_a_thread(work).await
}

#[cfg(not(fuzzing))]
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name("blocking".to_owned());
    // The receiver is gone where the future was dropped.
    thread.spawn(move || drop(sender.send(work())))?;
    receiver.await.map_err(|_| io::Error::other("its thread has panicked"))
}
