//! The streams of a command in which something is looked for before they are a stub's.

#![forbid(unsafe_code)]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    text::one_line_of,
    transport::ExitReport,
    transport::{
        End, Running, Stdio,
        running::{Ending, Tail},
    },
};

/// What is left of one stream's text, and how far it has been searched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    held: Vec<u8>,
    searched: usize,
    /// Bytes there were in all.
    pub(super) seen: usize,
}

impl Watch {
    /// Bytes that are kept to be shown.
    const KEPT: usize = 4096;

    fn push(&mut self, bytes: &[u8]) {
        self.seen += bytes.len();
        self.held.extend_from_slice(bytes);
    }

    /// The first of the patterns to come in what has not been searched: which, and where it is.
    pub(super) fn find<'p>(
        &mut self,
        patterns: impl Iterator<Item = &'p [u8]>,
    ) -> Option<(usize, usize)> {
        let fresh = self.held.get(self.searched..).unwrap_or_default();
        let mut longest = 1;
        let mut first = None;
        for (index, pattern) in patterns.enumerate().filter(|(_, pattern)| !pattern.is_empty()) {
            longest = longest.max(pattern.len());
            if let Some(at) = fresh.windows(pattern.len()).position(|window| window == pattern)
                && first.is_none_or(|(_, earlier)| at < earlier)
            {
                first = Some((index, at));
            }
        }
        let Some((index, at)) = first else {
            // The beginning of one may be there already.
            self.searched = self.searched.max((self.held.len() + 1).saturating_sub(longest));
            let excess = self.searched.saturating_sub(Self::KEPT);
            if excess > Self::KEPT {
                self.held.drain(..excess);
                self.searched -= excess;
            }
            return None;
        };
        Some((index, self.searched + at))
    }

    /// Goes on behind what is `length` bytes from `at`.
    pub(super) fn pass(&mut self, at: usize, length: usize) {
        self.searched = (at + length).min(self.held.len());
    }

    /// Takes out the line that begins at `at`, once all of it is there.
    pub(super) fn take_line(&mut self, at: usize) -> Option<String> {
        let rest = self.held.get(at..)?;
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            // No line of ours is that long.
            self.searched = if rest.len() > Self::KEPT { self.held.len() } else { at };
            return None;
        };
        let line: Vec<u8> = self.held.drain(at..=at + end).collect();
        self.searched = at;
        Some(one_line_of(&line).trim().to_owned())
    }

    /// All from `at` on.
    fn rest(mut self, at: usize) -> Bytes {
        self.held.drain(..at.min(self.held.len()));
        self.held.into()
    }

    /// What came last, fit to be shown.
    pub(super) fn text(&self) -> String {
        let from = self.held.len().saturating_sub(Self::KEPT);
        one_line_of(self.held.get(from..).unwrap_or_default()).trim().to_owned()
    }
}

/// What happened to the streams.
pub(super) enum Event {
    /// Something was read.
    Read,
    /// So much of the payload was written.
    Written(usize),
    /// The end of stdout.
    Ended,
}

/// A command on the way to becoming a stub.
pub(super) struct Near {
    reader: ReadHalf<Box<dyn Stdio>>,
    writer: WriteHalf<Box<dyn Stdio>>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    end: Ending,
    /// What is to be written before any payload. May be a secret.
    pending: Zeroizing<Vec<u8>>,
    unwritable: bool,
    /// Why nothing can be read any more, if it is not the end.
    pub(super) fault: Option<io::Error>,
    pub(super) out: Watch,
    pub(super) err: Watch,
    pub(super) tail: Tail,
    /// What was said on stderr since a question was answered.
    pub(super) since: Option<Tail>,
}

impl Near {
    pub(super) fn new(running: Running) -> Self {
        let Running { stdio, stderr, end } = running;
        let (reader, writer) = tokio::io::split(stdio);
        Self {
            reader,
            writer,
            stderr: Some(stderr),
            end,
            pending: Zeroizing::default(),
            unwritable: false,
            fault: None,
            out: Watch::default(),
            err: Watch::default(),
            tail: Tail::default(),
            since: None,
        }
    }

    /// Writes it, which may be a secret, with a line end, before any payload.
    pub(super) fn type_line(&mut self, line: &str) {
        // Growing would leave copies behind.
        let mut all = Zeroizing::new(Vec::with_capacity(self.pending.len() + line.len() + 1));
        all.extend_from_slice(&self.pending);
        all.extend_from_slice(line.as_bytes());
        all.push(b'\n');
        self.pending = all;
    }

    /// Reads and writes until something happens. Cancel-safe, if the next call has the same
    /// payload.
    pub(super) async fn next(&mut self, payload: &[u8]) -> Event {
        let mut out = [0; 8192];
        let mut err = [0; 1024];
        loop {
            let typing = !self.pending.is_empty();
            let writing = if typing { self.pending.as_slice() } else { payload };
            let may_write = !writing.is_empty() && !self.unwritable;
            let has_stderr = self.stderr.is_some();
            tokio::select! {
                read = self.reader.read(&mut out) => {
                    let Ok(length @ 1..) = read else {
                        self.fault = read.err();
                        return Event::Ended;
                    };
                    self.out.push(out.get(..length).unwrap_or_default());
                    return Event::Read;
                }
                read = read_some(&mut self.stderr, &mut err), if has_stderr => {
                    let Ok(length @ 1..) = read else {
                        self.stderr = None;
                        continue;
                    };
                    let said = err.get(..length).unwrap_or_default();
                    self.err.push(said);
                    self.tail.push(said);
                    self.since.iter().for_each(|since| since.push(said));
                    return Event::Read;
                }
                written = self.writer.write(writing), if may_write => match written {
                    Ok(length @ 1..) if typing => {
                        let rest = self.pending.get(length..).unwrap_or_default().to_vec();
                        self.pending = Zeroizing::new(rest);
                    }
                    Ok(length @ 1..) => return Event::Written(length),
                    // Why nobody reads it, the far end may say yet.
                    _ => self.unwritable = true,
                },
            }
        }
    }

    /// Waits for the end, once stdout has come to its own.
    pub(super) async fn ending(&mut self) -> End {
        const LIMIT: Duration = Duration::from_secs(3);
        let _ = self.writer.shutdown().await;
        let end = timeout(LIMIT, &mut self.end).await.unwrap_or(End::Overdue);
        if let Some(mut stderr) = self.stderr.take() {
            let (mut piece, tails) = ([0; 1024], [Some(self.tail.clone()), self.since.clone()]);
            let rest = async {
                while let Ok(length @ 1..) = stderr.read(&mut piece).await {
                    let said = piece.get(..length).unwrap_or_default();
                    tails.iter().flatten().for_each(|tail| tail.push(said));
                }
            };
            let _ = timeout(Duration::from_millis(200), rest).await;
        }
        end
    }

    /// The streams as a stub's, from that place in stdout on.
    pub(super) fn into_stub(self, at: usize) -> (Reached, ExitReport) {
        let Self { reader, writer, stderr, end, out, .. } = self;
        let stderr = stderr.unwrap_or_else(|| Box::new(tokio::io::empty()));
        let reached = Reached { before: out.rest(at), stdio: reader.unsplit(writer) };
        // What came before, such as a lecture of sudo's, says nothing about the stub.
        (reached, Tail::default().into_exit_report("the far end".to_owned(), stderr, end))
    }
}

async fn read_some(
    stderr: &mut Option<Box<dyn AsyncRead + Send + Unpin>>,
    piece: &mut [u8],
) -> io::Result<usize> {
    match stderr {
        Some(stderr) => stderr.read(piece).await,
        None => std::future::pending().await,
    }
}

/// The stream to a stub that has been started.
pub(crate) struct Reached {
    /// What was read already, from the stub's marker on.
    before: Bytes,
    stdio: Box<dyn Stdio>,
}

impl AsyncRead for Reached {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.stdio).poll_read(cx, buf);
        }
        let length = self.before.len().min(buf.remaining());
        buf.put_slice(self.before.get(..length).unwrap_or_default());
        self.before.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Reached {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdio).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdio).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdio).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_across_pieces_and_each_only_once() {
        let patterns = || [b"word:".as_slice(), b"marker", b""].into_iter();
        let mut watch = Watch::default();
        let mut found = Vec::new();
        for byte in b"noise wword: marword:kermarker" {
            watch.push(&[*byte]);
            while let Some((index, at)) = watch.find(patterns()) {
                found.push((index, at));
                watch.pass(at, [5, 6][index]);
            }
        }
        assert_eq!(found, [(0, 7), (0, 16), (1, 24)]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_is_exact() {
        let mut watch = Watch::default();
        for _ in 0..100 {
            watch.push(&[b'x'; 1000]);
            assert_eq!(watch.find([b"marker".as_slice()].into_iter()), None);
            assert!(watch.held.len() < 10_000);
        }
        assert_eq!((watch.seen, watch.text().len()), (100_000, 4096));
        watch.push(b"yymarker and more");
        let (_, at) = watch.find([b"marker".as_slice()].into_iter()).unwrap();
        assert_eq!(&watch.rest(at)[..], b"marker and more");
    }

    #[test]
    fn lines_are_taken_whole() {
        let mut watch = Watch::default();
        let prefix = || [b"nlr ".as_slice()].into_iter();
        watch.push(b"$ nlr a b");
        let (_, at) = watch.find(prefix()).unwrap();
        assert_eq!(watch.take_line(at), None);
        watch.push(b"\x1b c\r\nrest");
        let (_, at) = watch.find(prefix()).unwrap();
        assert_eq!(watch.take_line(at).unwrap(), "nlr a b  c");
        assert_eq!(watch.find(prefix()), None);
        assert_eq!(watch.text(), "$ rest");
    }
}
