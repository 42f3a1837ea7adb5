//! One direction of a byte stream that holds few bytes, and may be cut.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Stream {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Bytes that still pass before the cut.
    until_cut: Option<u64>,
    /// Bytes that were read.
    pub(super) passed: u64,
}

impl Stream {
    pub(super) fn new(capacity: usize, until_cut: Option<u64>) -> Self {
        Self { bytes: VecDeque::new(), capacity, until_cut, passed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < self.capacity
    }

    /// Takes the first bytes of `out`: at most `most`, and no more than there is room for. Bytes
    /// past the cut are taken, as a network does, and lost.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, most: usize) {
        let taken = out.len().min(most).min(self.capacity.saturating_sub(self.bytes.len()));
        let mut passes = taken;
        if let Some(left) = &mut self.until_cut {
            passes = taken.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= passes as u64;
        }
        self.bytes.extend(out.drain(..taken).take(passes));
    }

    /// The oldest bytes, at most so many.
    pub(super) fn read(&mut self, most: usize) -> Vec<u8> {
        let read: Vec<u8> = self.bytes.drain(..most.min(self.bytes.len())).collect();
        self.passed += read.len() as u64;
        read
    }

    /// Whether it is cut, and all that came before was read.
    pub(super) fn is_over(&self) -> bool {
        self.until_cut == Some(0) && self.bytes.is_empty()
    }
}
