//! Standard output.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::{
    io::Interest,
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

use super::{failure::Failure, inherited::was_closed};

/// Pieces that the writer's queue holds.
const QUEUE: usize = 4;

/// The number of standard output.
const STDOUT: u32 = 1;

/// Standard output, written by a thread of its own: a slow reader blocks the write, but neither
/// Ctrl-C nor the connection. Or memory, from which others write it.
#[derive(Debug)]
pub(crate) enum Output {
    Thread { pieces: mpsc::Sender<Vec<u8>>, result: oneshot::Receiver<io::Result<()>> },
    Memory(Collected),
}

/// Bytes that are collected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Output {
    pub(crate) fn new() -> Result<Self, Failure> {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let (sender, result) = oneshot::channel();
        let start = || -> io::Result<()> {
            let file = File::from(duplicate()?);
            let writer = move || {
                // The receiver is gone where the tool ends before the write does.
                let _ = sender.send(write_all(file, queue));
            };
            thread::Builder::new().name("output".to_owned()).spawn(writer).map(drop)
        };
        start().map_err(|error| Failure::output(&error))?;
        Ok(Self::Thread { pieces, result })
    }

    /// Queues bytes for the writer. Waits while the queue is full.
    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        let (pieces, result) = match self {
            Self::Thread { pieces, result } => (pieces, result),
            Self::Memory(Collected(collected)) => {
                collected.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
                return Ok(());
            }
        };
        if bytes.is_empty() || pieces.send(bytes).await.is_ok() {
            return Ok(());
        }
        // The writer ends early after an error only.
        let gone = || Failure::output(&io::Error::other("the writer has gone"));
        Err(failure(result.await).err().unwrap_or_else(gone))
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Thread { pieces, result } => {
                drop(pieces);
                failure(result.await)
            }
            Self::Memory(_) => Ok(()),
        }
    }
}

fn write_all(mut file: File, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(piece) = queue.blocking_recv() {
        file.write_all(&piece)?;
    }
    Ok(())
}

fn failure(result: Result<io::Result<()>, oneshot::error::RecvError>) -> Result<(), Failure> {
    let result = result.unwrap_or_else(|_| Err(io::Error::other("the writer has gone")));
    result.map_err(|error| Failure::output(&error))
}

/// Writes at once, for subcommands without a connection.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    let result = duplicate().and_then(|fd| File::from(fd).write_all(bytes));
    result.map_err(|error| Failure::output(&error))
}

/// Standard output without std's buffer, which would keep bytes after a failed write.
fn duplicate() -> io::Result<OwnedFd> {
    if was_closed(STDOUT) {
        return Err(io::Error::other("it is closed"));
    }
    io::stdout().as_fd().try_clone_to_owned()
}

/// Waits until the reader of standard output has closed it, as `head` does; for ever where
/// standard output is no pipe.
pub(crate) async fn reader_gone() {
    let watch = || -> io::Result<Option<pipe::Sender>> {
        let file = File::from(duplicate()?);
        if !file.metadata()?.file_type().is_fifo() {
            return Ok(None);
        }
        // O_NONBLOCK stays off: it would hold for every process that writes to this pipe.
        pipe::Sender::from_file_unchecked(file).map(Some)
    };
    if let Ok(Some(pipe)) = watch() {
        while let Ok(ready) = pipe.ready(Interest::ERROR).await {
            if ready.is_error() {
                return;
            }
        }
    }
    std::future::pending().await
}
