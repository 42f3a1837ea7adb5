//! Standard output.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    thread,
};

use tokio::{
    io::Interest,
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

use super::failure::Failure;

/// Pieces that may wait for the writer.
const WAITING: usize = 4;

/// Standard output, written on a thread of its own: where its reader is slow the write blocks, and
/// neither Ctrl-C nor the connection may have to wait for that.
#[derive(Debug)]
pub(super) struct Output {
    pieces: mpsc::Sender<Vec<u8>>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(super) fn new() -> Result<Self, Failure> {
        let (pieces, waiting) = mpsc::channel(WAITING);
        let (tell, ended) = oneshot::channel();
        let begin = || -> io::Result<()> {
            let file = File::from(duplicate()?);
            let writer = move || {
                // Nobody is there to be told where the tool ends meanwhile.
                let _ = tell.send(write_all(file, waiting));
            };
            thread::Builder::new().name("output".to_owned()).spawn(writer).map(drop)
        };
        begin().map_err(|error| Failure::output(&error))?;
        Ok(Self { pieces, ended })
    }

    /// Has bytes written, after those of before. Returns before they are; once it waits, the
    /// writer is behind.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        if bytes.is_empty() || self.pieces.send(bytes).await.is_ok() {
            return Ok(());
        }
        // The writer ends early with an error only.
        Err(ended((&mut self.ended).await).err().unwrap_or_else(Failure::interrupted))
    }

    /// Waits until everything is written.
    pub(super) async fn finish(self) -> Result<(), Failure> {
        let Self { pieces, ended: end } = self;
        drop(pieces);
        ended(end.await)
    }
}

fn write_all(mut file: File, mut waiting: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(piece) = waiting.blocking_recv() {
        file.write_all(&piece)?;
    }
    Ok(())
}

fn ended(told: Result<io::Result<()>, oneshot::error::RecvError>) -> Result<(), Failure> {
    let result = told.unwrap_or_else(|_| Err(io::Error::other("the writer has gone")));
    result.map_err(|error| Failure::output(&error))
}

/// Writes at once, for what needs no connection.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let result = duplicate().and_then(|fd| File::from(fd).write_all(bytes));
    result.map_err(|error| Failure::output(&error))
}

/// Standard output without the buffer of std's, which would keep what could not be written.
fn duplicate() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// Waits until the reader of standard output has gone, as `head` does; for ever where standard
/// output is no pipe.
pub(super) async fn reader_gone() {
    let watch = || -> io::Result<Option<pipe::Sender>> {
        let file = File::from(duplicate()?);
        if !file.metadata()?.file_type().is_fifo() {
            return Ok(None);
        }
        // Not made non-blocking, which whoever else writes to this pipe would notice.
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
