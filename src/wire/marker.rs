//! The marker that begins the protocol, behind text of any kind.

use super::limits::MAX_NOISE;
use crate::text::lines;

/// The first bytes that each side sends.
///
/// It holds NUL, bytes that are no UTF-8 and both line ends, so that neither a shell's echo of a
/// command line nor a terminal's translation of line ends can produce it. Its first byte does not
/// come again in it, so that a scan never has to go back.
pub const MARKER: [u8; 16] = *b"\xfenlr-hello\0\r\n\x1a\xff\0";

/// Bytes that are kept of that text, its last ones, to show if the marker never comes.
const KEPT_NOISE: usize = 4096;

/// The state of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The marker is complete.
    Found {
        /// Bytes of the last piece up to the marker's end.
        consumed: usize,
    },
    /// The whole piece was consumed and the marker is not complete.
    NeedMore,
    /// More than [`MAX_NOISE`] bytes came without a marker.
    TooMuchNoise,
}

/// Finds [`MARKER`] in a stream given piece by piece.
#[derive(Debug, Default)]
pub struct MarkerScanner {
    matched: usize,
    seen: usize,
    noise: Vec<u8>,
}

impl MarkerScanner {
    /// A scanner at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scans the next piece of the stream.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        for (i, &byte) in bytes.iter().enumerate() {
            if MARKER.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == MARKER.len() {
                    return Scan::Found { consumed: i + 1 };
                }
                continue;
            }
            // The marker's first byte does not come again in it: the bytes matched are noise.
            let matched = std::mem::take(&mut self.matched);
            self.keep(MARKER.get(..matched).unwrap_or_default());
            if byte == MARKER[0] {
                self.matched = 1;
            } else {
                self.keep(&[byte]);
            }
            if self.seen > MAX_NOISE {
                return Scan::TooMuchNoise;
            }
        }
        Scan::NeedMore
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.seen += bytes.len();
        if self.noise.len() + bytes.len() > 2 * KEPT_NOISE {
            self.noise.drain(..KEPT_NOISE);
        }
        self.noise.extend_from_slice(bytes);
    }

    /// Bytes of text seen before the marker so far.
    pub fn noise_len(&self) -> usize {
        self.seen
    }

    /// The end of that text, up to 4 KiB, on several lines; [`lines`] says which characters are
    /// replaced.
    pub fn noise(&self) -> String {
        let from = self.noise.len().saturating_sub(KEPT_NOISE);
        let kept = self.noise.get(from..).unwrap_or_default();
        lines(&String::from_utf8_lossy(kept).replace('\r', "")).into_owned()
    }
}
