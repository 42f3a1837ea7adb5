//! The driver: moves frames between the stream and the state that the handles share.

#![forbid(unsafe_code)]

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::{codec::Decoder, io::poll_read_buf};

use super::{
    handshake::Greeted,
    shared::{FrameError, Shared, Wake},
};
use crate::{
    Error, ErrorKind, Origin,
    errno::{EPROTO, ETIMEDOUT},
    proto::Violation,
    transport::ExitReport,
    wire::{Codec, CodecError, Failure, Flags, Message, SocketId},
};

/// Bytes of room for a read, at first and while little comes at a time.
const LEAST_ROOM: usize = 8 << 10;

/// Bytes of room for a read where much comes at a time.
const MOST_ROOM: usize = 128 << 10;

/// How long the last frames, and the far end's end, may take.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Driver<S> {
    io: S,
    codec: Codec,
    reading: BytesMut,
    /// Room for the next read: mostly twice what the last one brought.
    room: usize,
    writing: BytesMut,
    /// For those whom frames wake; empty, and kept for the memory it has.
    wakes: Vec<Wake>,
    unflushed: bool,
    shared: Arc<Shared>,
    exit_report: Option<ExitReport>,
    watch: Option<Watch>,
    /// Behind the stream, so that it is dropped after it.
    last_words: LastWords,
}

/// Finds out whether a far end that says nothing is still there.
struct Watch {
    interval: Duration,
    tick: Pin<Box<Sleep>>,
    /// Whether anything was read, and written, since the last tick.
    heard: bool,
    said: bool,
    /// Whether a ping was sent at the last tick.
    asked: bool,
}

impl Watch {
    fn new(interval: Duration) -> Self {
        let tick = Box::pin(sleep(interval));
        Self { interval, tick, heard: false, said: false, asked: false }
    }

    /// Ready once the far end counts as gone; to be polled behind reading. `ask` sends a ping.
    fn poll(&mut self, cx: &mut Context<'_>, mut ask: impl FnMut()) -> Poll<()> {
        while self.tick.as_mut().poll(cx).is_ready() {
            if self.asked && !self.heard {
                return Poll::Ready(());
            }
            // The far end counts on hearing from this side too.
            self.asked = !(self.heard && self.said);
            if self.asked {
                ask();
            }
            (self.heard, self.said) = (false, false);
            self.tick.as_mut().reset(Instant::now() + self.interval);
        }
        Poll::Pending
    }
}

/// Tells those who wait that the driver is gone, however it went: a runtime that shuts down, and a
/// panic in the stream, drop its task without running it to its end.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        let text = match std::thread::panicking() {
            true => "a panic ended the task that served the connection",
            false => "the runtime that served the connection was shut down",
        };
        let error = Error::new(ErrorKind::Disconnected, text).with_origin(Origin::Caller);
        self.0.run(|inner, wakes| {
            // Of no effect where the driver has told of the end itself.
            inner.end(error, wakes);
            inner.set_driver_gone(wakes);
        });
    }
}

/// How the exchange of frames ended.
enum Ending {
    /// This side has nothing left to do with it.
    Finished,
    /// The stream ended or failed.
    Stream(Option<io::Error>),
    /// The stub broke the protocol.
    Violation(Violation),
    /// The stub said why it ends.
    Fault(Failure),
    /// Nothing came for so long, though it was asked.
    Silence(Duration),
}

impl From<CodecError> for Ending {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Wire(error) => Ending::Violation(error.into()),
            CodecError::Io(error) => Ending::Stream(Some(error)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Driver<S> {
    pub(super) fn new(
        io: S,
        greeted: Greeted,
        shared: Arc<Shared>,
        exit_report: Option<ExitReport>,
        keepalive: Option<Duration>,
    ) -> Self {
        let watch = keepalive.map(Watch::new);
        let codec = Codec::new(greeted.max_frame);
        let (reading, writing) = (greeted.rest, BytesMut::new());
        let last_words = LastWords(Arc::clone(&shared));
        let unflushed = false;
        let (room, wakes) = (LEAST_ROOM, Vec::new());
        Self {
            io,
            codec,
            reading,
            room,
            writing,
            wakes,
            unflushed,
            shared,
            exit_report,
            watch,
            last_words,
        }
    }

    pub(super) async fn run(mut self) {
        let ending = poll_fn(|cx| self.poll(cx)).await;
        if matches!(ending, Ending::Finished | Ending::Violation(_)) {
            if let Ending::Violation(violation) = &ending {
                self.shared.run(|inner, _| self.writing.unsplit(inner.outbox.split()));
                let text = violation.to_string();
                let fault = Message::Fault(Failure { errno: EPROTO, text });
                fault.encode(SocketId::CONNECTION, Flags::NONE, &mut self.writing);
            }
            // Nothing comes behind a fault; behind anything else, what else there is.
            let is_last = matches!(ending, Ending::Violation(_));
            let farewell = poll_fn(|cx| {
                match is_last {
                    true => ready!(self.poll_write_out(cx))?,
                    false => ready!(self.poll_write(cx))?,
                }
                Pin::new(&mut self.io).poll_shutdown(cx)
            });
            // Whether the far end took it makes no difference any more.
            let _ = timeout(FAREWELL, farewell).await;
        }
        let Self { io, shared, exit_report, last_words, .. } = self;
        // The stream is closed first: that is what ends a far end that has not ended yet.
        drop(io);
        let said = ask(exit_report).await;
        let error = explain(ending, said);
        shared.run(|inner, wakes| inner.end(error, wakes));
        drop(last_words);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.shared.run(|inner, _| inner.set_driver(cx));
        let mut read = self.poll_read(cx);
        if read.is_pending()
            && let Some(watch) = &mut self.watch
        {
            let shared = &self.shared;
            let silent = watch.poll(cx, || shared.run(|inner, _| inner.ask_whether_alive()));
            read = silent.map(|()| Ending::Silence(watch.interval));
        }
        // Writing goes on whatever reading came to: what was just read may have been answered.
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            // A far end that has ended has often said why just before.
            return match read {
                Poll::Ready(ending) => Poll::Ready(ending),
                Poll::Pending => Poll::Ready(Ending::Stream(Some(error))),
            };
        }
        if read.is_pending() && self.shared.run(|inner, _| inner.finishing) {
            return Poll::Ready(Ending::Finished);
        }
        read
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            if let Err(ending) = self.take_frames() {
                return Poll::Ready(ending);
            }
            // New memory is taken for a read once what is left of the old would split most reads.
            if self.reading.capacity() - self.reading.len() < self.room / 4 {
                self.reading.reserve(self.room);
            }
            let io = Pin::new(&mut self.io);
            let mut room = (&mut self.reading).limit(self.room);
            match ready!(poll_read_buf(io, cx, &mut room)) {
                Ok(0) => return Poll::Ready(Ending::Stream(None)),
                Ok(length) => self.set_room(length),
                Err(error) => return Poll::Ready(Ending::Stream(Some(error))),
            }
            if let Some(watch) = &mut self.watch {
                watch.heard = true;
            }
        }
    }

    /// After a read that brought `length` bytes: grows at once and shrinks slowly, or each burst
    /// would have to grow it anew.
    fn set_room(&mut self, length: usize) {
        let room = (2 * length).max(self.room - self.room / 8).clamp(LEAST_ROOM, MOST_ROOM);
        if room == LEAST_ROOM && self.room > LEAST_ROOM {
            // What much needed is not kept while little comes.
            self.reading = BytesMut::from(self.reading.as_ref());
        }
        self.room = room;
    }

    /// Takes in every whole frame that has been read, under one lock.
    fn take_frames(&mut self) -> Result<(), Ending> {
        let Self { codec, reading, shared, wakes, .. } = self;
        shared.run_with(wakes, |inner, wakes| {
            while let Some(frame) = codec.decode(reading).map_err(Ending::from)? {
                inner.on_frame(&frame, wakes).map_err(|error| match error {
                    FrameError::Violation(violation) => Ending::Violation(violation),
                    FrameError::Fault(failure) => Ending::Fault(failure),
                })?;
            }
            Ok(())
        })
    }

    /// Writes what there is; ready once nothing is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_write_out(cx))?;
            self.shared.run(|inner, wakes| {
                inner.take_turns(wakes);
                std::mem::swap(&mut self.writing, &mut inner.outbox);
                inner.outbox_taken(self.writing.len(), wakes);
            });
            if self.writing.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes what has been taken out of the outbox.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writing.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.writing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writing.advance(written);
            self.unflushed = true;
            if let Some(watch) = &mut self.watch {
                watch.said = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What an exit_report has to say, within [`FAREWELL`].
pub(super) async fn ask(exit_report: Option<ExitReport>) -> Option<String> {
    timeout(FAREWELL, exit_report?).await.ok().flatten()
}

fn explain(ending: Ending, said: Option<String>) -> Error {
    let disconnected = |text: &str| Error::new(ErrorKind::Disconnected, text);
    let error = match ending {
        Ending::Finished => {
            let error = disconnected("the connection was closed by this side");
            return error.with_origin(Origin::Caller);
        }
        Ending::Violation(violation) => return violation.into(),
        Ending::Stream(None) => disconnected("the connection to the stub ended"),
        Ending::Stream(Some(error)) => {
            disconnected("the connection to the stub failed").with_source(error)
        }
        Ending::Silence(interval) => {
            let text = format!(
                "the far end has not answered for {interval:?}: the network between, or its host, \
                 is gone"
            );
            disconnected(&text).with_errno(ETIMEDOUT)
        }
        Ending::Fault(failure) => {
            disconnected(&format!("the stub ended the connection: {}", failure.text))
        }
    };
    match said {
        Some(said) => error.with_note(&format!(": {said}")),
        None => error,
    }
}
