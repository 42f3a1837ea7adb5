//! The driver: the task that moves frames between the stream and the connection's state.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
    time::{Sleep, sleep, timeout},
};
use tokio_util::{codec::Decoder, io::poll_read_buf};
use tracing::{Instrument, debug, debug_span};

use super::{
    connection_ref::Connection,
    connection_state::FrameError,
    deferred::Deferred,
    handshake::Greeted,
    keepalive::Keepalive,
    trace::{self, Note},
};
use crate::{
    Error, ErrorKind, Origin,
    errno::ETIMEDOUT,
    proto::Violation,
    transport::ExitReport,
    wire::{Codec, CodecError, Failure},
};

/// Bytes of room for a read, at first and while little comes at a time.
const LEAST_ROOM: usize = 8 << 10;

/// Bytes of room for a read where much comes at a time.
const MOST_ROOM: usize = 128 << 10;

/// Bytes of frames that are taken in before the runtime has its turn: its other tasks, signals and timers.
/// A runtime gives them none while a task is woken again at once, as a stream that always has more does.
const TURN: usize = 1 << 20;

/// Time for the last frames to be written, for the exit report, and, once a write has failed, for the
/// far end's reason to be read.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Driver<S> {
    io: S,
    codec: Codec,
    reading: BytesMut,
    /// Room for the next read: mostly twice the bytes of the last one.
    room: usize,
    writing: BytesMut,
    /// Empty between polls; kept for its memory.
    deferred: Deferred,
    unflushed: bool,
    connection: Arc<Connection>,
    exit_report: Option<ExitReport>,
    keepalive: Option<Keepalive>,
    /// The error that ended writing, and the time that is left for the far end's reason.
    write_failure: Option<(io::Error, Pin<Box<Sleep>>)>,
    /// The last field, so that it is dropped after the stream.
    end_guard: EndGuard,
}

/// Records the driver's end when dropped, since a runtime that shuts down, and a panic in the
/// stream, drop the driver's task without running it to its end.
struct EndGuard(Arc<Connection>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let text = match std::thread::panicking() {
            true => "a panic ended the task that served the connection",
            false => "the runtime that served the connection was shut down",
        };
        let error = Error::new(ErrorKind::Disconnected, text).with_origin(Origin::Caller);
        self.0.run(|state, deferred| {
            // Without effect where the driver has recorded the end itself.
            state.end(error, deferred);
            state.set_driver_gone(deferred);
        });
    }
}

/// The end of the exchange of frames.
enum Ending {
    /// This side finished.
    Finished,
    /// The stream ended or failed.
    Stream(Option<io::Error>),
    /// The stub broke the protocol.
    Violation(Violation),
    /// The stub ended the connection, with its reason.
    Fault(Failure),
    /// The stub did not answer a ping within this time.
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

impl From<FrameError> for Ending {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Violation(violation) => Ending::Violation(violation),
            FrameError::Fault(failure) => Ending::Fault(failure),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Driver<S> {
    pub(super) fn new(
        io: S,
        greeted: Greeted,
        connection: Arc<Connection>,
        exit_report: Option<ExitReport>,
        keepalive: Option<Duration>,
    ) -> Self {
        Self {
            io,
            codec: Codec::new(greeted.max_frame),
            reading: greeted.rest,
            room: LEAST_ROOM,
            writing: BytesMut::new(),
            deferred: Deferred::default(),
            unflushed: false,
            end_guard: EndGuard(Arc::clone(&connection)),
            connection,
            exit_report,
            keepalive: keepalive.map(Keepalive::new),
            write_failure: None,
        }
    }

    /// Serves the connection to its end.
    pub(super) fn run(self) -> impl Future<Output = ()> {
        let span = debug_span!("connection", host = %self.connection.host().host_name);
        self.serve().instrument(span)
    }

    async fn serve(mut self) {
        let ending = poll_fn(|cx| self.poll(cx)).await;
        self.say_farewell(&ending).await;
        let Self { io, connection, exit_report, end_guard, .. } = self;
        // The stream is closed first: that ends a far end that has not ended yet.
        drop(io);
        let report = ask(exit_report).await;
        let error = explain(ending, report);
        debug!(target: "netlink_remote::client", reason = format_args!("{error:#}"), "connection ended");
        connection.run(|state, deferred| state.end(error, deferred));
        drop(end_guard);
    }

    /// Writes the last frames and shuts the stream down, where this side ends the connection.
    async fn say_farewell(&mut self, ending: &Ending) {
        let is_accused = match ending {
            Ending::Finished => false,
            Ending::Violation(violation) => {
                self.connection.run(|state, _| state.accuse(violation, &mut self.writing));
                true
            }
            Ending::Stream(_) | Ending::Fault(_) | Ending::Silence(_) => return,
        };
        let farewell = poll_fn(|cx| {
            match is_accused {
                // No frame comes after a fault.
                true => ready!(self.poll_write_out(cx))?,
                false => ready!(self.poll_write(cx))?,
            }
            Pin::new(&mut self.io).poll_shutdown(cx)
        });
        // The connection is over, whether the far end took the frames or not.
        let _ = timeout(FAREWELL, farewell).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.connection.run(|state, _| state.keep_driver(cx));
        let mut read = self.poll_read(cx);
        if read.is_pending()
            && let Some(keepalive) = &mut self.keepalive
        {
            let connection = &self.connection;
            let silent = keepalive.poll(cx, || connection.run(|state, _| state.probe()));
            read = silent.map(|()| Ending::Silence(keepalive.interval()));
        }
        // Frames are written even where reading ended: a frame just read may have an answer.
        if self.write_failure.is_none()
            && let Poll::Ready(Err(error)) = self.poll_write(cx)
        {
            self.write_failure = Some((error, Box::pin(sleep(FAREWELL))));
        }
        if let Some((_, patience)) = &mut self.write_failure
            && read.is_pending()
            && patience.as_mut().poll(cx).is_ready()
        {
            let error = self.write_failure.take().map(|(error, _)| error);
            return Poll::Ready(Ending::Stream(error));
        }
        if read.is_pending() && self.connection.run(|state, _| state.is_finishing()) {
            return Poll::Ready(Ending::Finished);
        }
        read
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let mut left = TURN;
        loop {
            if let Err(ending) = self.take_frames() {
                return Poll::Ready(ending);
            }
            if left == 0 {
                // The first poll of this future has the task woken behind the runtime's events.
                return pin!(yield_now()).poll(cx).map(|()| Ending::Finished);
            }
            // A read gets new memory once the rest of the old would split most reads.
            if self.reading.capacity() - self.reading.len() < self.room / 4 {
                self.reading.reserve(self.room);
            }
            let io = Pin::new(&mut self.io);
            let mut room = (&mut self.reading).limit(self.room);
            match ready!(poll_read_buf(io, cx, &mut room)) {
                Ok(0) => return Poll::Ready(Ending::Stream(None)),
                Ok(length) => {
                    self.set_room(length);
                    left = left.saturating_sub(length);
                }
                Err(error) => return Poll::Ready(Ending::Stream(Some(error))),
            }
            if let Some(keepalive) = &mut self.keepalive {
                keepalive.on_read();
            }
        }
    }

    /// Sets the room after a read of `length` bytes. It grows at once and shrinks slowly, or each
    /// burst would have to grow it anew.
    fn set_room(&mut self, length: usize) {
        let room = (2 * length).max(self.room - self.room / 8).clamp(LEAST_ROOM, MOST_ROOM);
        if room == LEAST_ROOM && self.room > LEAST_ROOM {
            // A large buffer is not kept while little comes.
            self.reading = BytesMut::from(self.reading.as_ref());
        }
        self.room = room;
    }

    /// Takes in every whole frame that has been read, under one lock.
    fn take_frames(&mut self) -> Result<(), Ending> {
        let Self { codec, reading, connection, deferred, .. } = self;
        let traced = trace::wants_frames();
        connection.run_with(deferred, |state, deferred| {
            while let Some(frame) = codec.decode(reading)? {
                if traced {
                    deferred.trace(Note::Received(frame.header));
                }
                state.on_frame(&frame, deferred)?;
            }
            Ok(())
        })
    }

    /// Writes every frame there is; ready once none is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_write_out(cx))?;
            let writing = &mut self.writing;
            self.connection.run(|state, deferred| state.take_outbox(writing, deferred));
            if self.writing.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Ready(Ok(()));
            }
            trace::sent(&self.writing);
        }
    }

    /// Writes the bytes that were taken out of the outbox.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writing.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.writing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writing.advance(written);
            self.unflushed = true;
            if let Some(keepalive) = &mut self.keepalive {
                keepalive.on_written();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The exit report, if it comes within [`FAREWELL`].
pub(super) async fn ask(exit_report: Option<ExitReport>) -> Option<String> {
    timeout(FAREWELL, exit_report?).await.ok().flatten()
}

/// The error of a connection's end, with the exit report.
fn explain(ending: Ending, report: Option<String>) -> Error {
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
    match report {
        Some(report) => error.with_note(&format!(": {report}")),
        None => error,
    }
}
