//! The streams of a spawned command, in which patterns are awaited until it is a stub; as expect(1).

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
    text,
    transport::{End, EndFuture, ExitReport, Running, StderrTail, Stdio},
};

/// The unmatched output of one stream.
#[derive(Debug, Default)]
pub(super) struct MatchBuffer {
    held: Vec<u8>,
    /// Bytes of `held` that no pattern can begin in any more.
    searched: usize,
    /// The end of the last pattern found.
    matched: usize,
    /// Bytes received in all.
    pub(super) received: usize,
}

impl MatchBuffer {
    /// Bytes kept for error messages.
    const KEPT: usize = 4096;

    fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len();
        self.held.extend_from_slice(bytes);
    }

    /// Searches the unmatched bytes for the pattern that begins first: its index and its offset.
    pub(super) fn find<'p>(
        &mut self,
        patterns: impl Iterator<Item = &'p [u8]>,
    ) -> Option<(usize, usize)> {
        let fresh = self.held.get(self.searched..).unwrap_or_default();
        let mut longest = 1;
        let mut first = None;
        for (index, pattern) in patterns.enumerate().filter(|(_, pattern)| !pattern.is_empty()) {
            longest = longest.max(pattern.len());
            // Most windows differ in their first byte already: a call of memcmp(3) for each would cost more.
            let is_match = |window: &[u8]| window.first() == pattern.first() && window == pattern;
            if let Some(at) = fresh.windows(pattern.len()).position(is_match)
                && first.is_none_or(|(_, earlier)| at < earlier)
            {
                first = Some((index, at));
            }
        }
        let Some((index, at)) = first else {
            // The last bytes may begin a pattern whose end is still to come.
            self.searched = self.searched.max((self.held.len() + 1).saturating_sub(longest));
            let excess = self.searched.saturating_sub(Self::KEPT);
            if excess > Self::KEPT {
                self.held.drain(..excess);
                self.searched -= excess;
                self.matched = self.matched.saturating_sub(excess);
            }
            return None;
        };
        Some((index, self.searched + at))
    }

    /// Continues the search after a pattern of `length` bytes at `at`.
    pub(super) fn skip(&mut self, at: usize, length: usize) {
        self.searched = (at + length).min(self.held.len());
        self.matched = self.searched;
    }

    /// A question that waits for its answer: the last line, if it has no end yet, and ends in `:`, `?`
    /// or `>`. Its offset, its length and its text.
    pub(super) fn question(&self) -> Option<(usize, usize, String)> {
        let fresh = self.held.get(self.matched..)?;
        let line = fresh.rsplit(|byte| matches!(byte, b'\n' | b'\r')).next()?;
        let is_question = matches!(line.trim_ascii_end().last(), Some(b':' | b'?' | b'>'));
        is_question.then(|| (self.held.len() - line.len(), line.len(), text::one_line_of(line)))
    }

    /// Removes the line that begins at `at`; `None` until its newline has come.
    pub(super) fn take_line(&mut self, at: usize) -> Option<String> {
        let rest = self.held.get(at..)?;
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            // The script's lines are shorter.
            self.searched = if rest.len() > Self::KEPT { self.held.len() } else { at };
            return None;
        };
        let line: Vec<u8> = self.held.drain(at..=at + end).collect();
        self.searched = at;
        self.matched = at;
        Some(text::one_line_of(&line).trim().to_owned())
    }

    /// The bytes from `at` on.
    fn into_rest(mut self, at: usize) -> Bytes {
        self.held.drain(..at.min(self.held.len()));
        self.held.into()
    }

    /// The last bytes, as harmless text on one line.
    pub(super) fn text(&self) -> String {
        let from = self.held.len().saturating_sub(Self::KEPT);
        text::one_line_of(self.held.get(from..).unwrap_or_default()).trim().to_owned()
    }
}

/// An event on the streams.
pub(super) enum IoEvent {
    /// Bytes were read.
    Read,
    /// So many bytes of the payload were written.
    Written(usize),
    /// Stdout came to its end.
    Ended,
}

/// A spawned command until it is a stub.
pub(super) struct Expect {
    reader: ReadHalf<Box<dyn Stdio>>,
    writer: WriteHalf<Box<dyn Stdio>>,
    stderr_reader: Option<Box<dyn AsyncRead + Send + Unpin>>,
    end: EndFuture,
    /// Lines to write before any payload; they may hold a secret.
    typed: Zeroizing<Vec<u8>>,
    is_unwritable: bool,
    /// The error that ended stdout, if it was no end of file.
    pub(super) fault: Option<io::Error>,
    pub(super) stdout: MatchBuffer,
    pub(super) stderr: MatchBuffer,
    /// The last text on stderr.
    pub(super) stderr_tail: StderrTail,
    /// The last text on stderr since a question was answered.
    pub(super) since_answer: Option<StderrTail>,
}

impl Expect {
    pub(super) fn new(running: Running) -> Self {
        let Running { stdio, stderr, end } = running;
        let (reader, writer) = tokio::io::split(stdio);
        Self {
            reader,
            writer,
            stderr_reader: Some(stderr),
            end,
            typed: Zeroizing::default(),
            is_unwritable: false,
            fault: None,
            stdout: MatchBuffer::default(),
            stderr: MatchBuffer::default(),
            stderr_tail: StderrTail::default(),
            since_answer: None,
        }
    }

    /// Queues a line, which may be a secret, before any payload.
    pub(super) fn type_line(&mut self, line: &str) {
        // A vector that grows leaves copies of a secret in freed memory.
        let mut all = Zeroizing::new(Vec::with_capacity(self.typed.len() + line.len() + 1));
        all.extend_from_slice(&self.typed);
        all.extend_from_slice(line.as_bytes());
        all.push(b'\n');
        self.typed = all;
    }

    /// Reads, and writes the typed lines and then `payload`, until the first event. Cancel-safe if
    /// the next call has the same payload.
    pub(super) async fn next(&mut self, payload: &[u8]) -> IoEvent {
        let mut stdout = [0; 8192];
        let mut stderr = [0; 1024];
        loop {
            let is_typing = !self.typed.is_empty();
            let writing = if is_typing { self.typed.as_slice() } else { payload };
            let may_write = !writing.is_empty() && !self.is_unwritable;
            let has_stderr = self.stderr_reader.is_some();
            tokio::select! {
                read = self.reader.read(&mut stdout) => {
                    let Ok(length @ 1..) = read else {
                        self.fault = read.err();
                        return IoEvent::Ended;
                    };
                    self.stdout.push(stdout.get(..length).unwrap_or_default());
                    return IoEvent::Read;
                }
                read = read_some(&mut self.stderr_reader, &mut stderr), if has_stderr => {
                    let Ok(length @ 1..) = read else {
                        self.stderr_reader = None;
                        continue;
                    };
                    let bytes = stderr.get(..length).unwrap_or_default();
                    self.stderr.push(bytes);
                    self.stderr_tail.push(bytes);
                    self.since_answer.iter().for_each(|tail| tail.push(bytes));
                    return IoEvent::Read;
                }
                written = self.writer.write(writing), if may_write => match written {
                    Ok(length @ 1..) if is_typing => {
                        let rest = self.typed.get(length..).unwrap_or_default().to_vec();
                        self.typed = Zeroizing::new(rest);
                    }
                    Ok(length @ 1..) => return IoEvent::Written(length),
                    // The far end may still say why it reads no more.
                    _ => self.is_unwritable = true,
                },
            }
        }
    }

    /// Waits for the command's end, once stdout has come to its own.
    pub(super) async fn wait(&mut self) -> End {
        const LIMIT: Duration = Duration::from_secs(3);
        const STDERR_LIMIT: Duration = Duration::from_millis(200);
        let _ = self.writer.shutdown().await;
        let end = timeout(LIMIT, &mut self.end).await.unwrap_or(End::Overdue);
        if let Some(mut stderr) = self.stderr_reader.take() {
            let tails = [Some(self.stderr_tail.clone()), self.since_answer.clone()];
            let mut piece = [0; 1024];
            let rest = async {
                while let Ok(length @ 1..) = stderr.read(&mut piece).await {
                    let bytes = piece.get(..length).unwrap_or_default();
                    tails.iter().flatten().for_each(|tail| tail.push(bytes));
                }
            };
            let _ = timeout(STDERR_LIMIT, rest).await;
        }
        end
    }

    /// The streams as those of a stub whose marker begins at `at` in stdout.
    pub(super) fn into_stub(self, at: usize) -> (StubStream, ExitReport) {
        let Self { reader, writer, stderr_reader, end, stdout, .. } = self;
        let stderr = stderr_reader.unwrap_or_else(|| Box::new(tokio::io::empty()));
        let stream = StubStream { read_ahead: stdout.into_rest(at), stdio: reader.unsplit(writer) };
        // Earlier text, such as sudo's lecture, says nothing about the stub.
        (stream, ExitReport::of_command("the far end", stderr, end))
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

/// The byte stream of a stub, from its marker on.
pub(crate) struct StubStream {
    /// Bytes that were read in search of the marker, which they begin with.
    read_ahead: Bytes,
    stdio: Box<dyn Stdio>,
}

impl AsyncRead for StubStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            return Pin::new(&mut self.stdio).poll_read(cx, buf);
        }
        let length = self.read_ahead.len().min(buf.remaining());
        buf.put_slice(self.read_ahead.get(..length).unwrap_or_default());
        self.read_ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StubStream {
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
    fn a_pattern_is_found_across_reads_and_only_once() {
        let patterns = || [b"word:".as_slice(), b"marker", b""].into_iter();
        let mut buffer = MatchBuffer::default();
        let mut found = Vec::new();
        for byte in b"noise wword: marword:kermarker" {
            buffer.push(&[*byte]);
            while let Some((index, at)) = buffer.find(patterns()) {
                found.push((index, at));
                buffer.skip(at, [5, 6][index]);
            }
        }
        assert_eq!(found, [(0, 7), (0, 16), (1, 24)]);
    }

    #[test]
    fn memory_is_bounded_and_the_rest_is_exact() {
        let mut buffer = MatchBuffer::default();
        for _ in 0..100 {
            buffer.push(&[b'x'; 1000]);
            assert_eq!(buffer.find([b"marker".as_slice()].into_iter()), None);
            assert!(buffer.held.len() < 10_000);
        }
        assert_eq!((buffer.received, buffer.text().len()), (100_000, 4096));
        buffer.push(b"yymarker and more");
        let (_, at) = buffer.find([b"marker".as_slice()].into_iter()).unwrap();
        assert_eq!(&buffer.into_rest(at)[..], b"marker and more");
    }

    #[test]
    fn a_line_is_taken_whole() {
        let mut buffer = MatchBuffer::default();
        let prefix = || [b"nlr ".as_slice()].into_iter();
        buffer.push(b"$ nlr a b");
        let (_, at) = buffer.find(prefix()).unwrap();
        assert_eq!(buffer.take_line(at), None);
        buffer.push(b"\x1b c\r\nrest");
        let (_, at) = buffer.find(prefix()).unwrap();
        assert_eq!(buffer.take_line(at).unwrap(), "nlr a b\u{fffd} c");
        assert_eq!(buffer.find(prefix()), None);
        assert_eq!(buffer.text(), "$ rest");
    }
}
