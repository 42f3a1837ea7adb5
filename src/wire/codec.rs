//! Frames for tokio-util: datagrams are split out of the read buffer without a copy.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

use super::{
    error::WireError,
    header::{Decoded, Header},
    limits::{HEADER_LEN, padded},
    message::Message,
};
use crate::limits::client::INPUT;

/// A whole frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its payload: a view into the read buffer, which stays allocated as long as this does.
    pub payload: Bytes,
}

impl Frame {
    /// Decodes the payload.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn message(&self) -> Result<Message<'_>, WireError> {
        Message::decode(self.header.frame_type, &self.payload)
    }

    /// A part of the payload that [`message`](Self::message) borrowed, as shared bytes.
    pub fn share(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.payload.slice_ref(part) }
    }
}

/// Why a [`Codec`] cannot go on with a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes are wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The stream failed. (The traits of tokio-util have the codec's error carry this.)
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Cuts a stream behind the hello into frames.
#[derive(Debug)]
pub struct Codec {
    max_frame: u32,
    skip: usize,
}

impl Codec {
    /// A codec that refuses frames longer than `max_frame` bytes.
    pub fn new(max_frame: u32) -> Self {
        Self { max_frame, skip: 0 }
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        loop {
            // Skipped frames pass through in pieces, so that they need no memory.
            if self.skip > 0 {
                let now = self.skip.min(src.len());
                src.advance(now);
                self.skip -= now;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            match Header::decode(src, self.max_frame)? {
                Decoded::NeedMore => return Ok(None),
                Decoded::Skip(length) => self.skip = length,
                Decoded::Known(header) => {
                    let whole = header.stream_len();
                    if src.len() < whole {
                        // A header alone takes no memory: the buffer doubles as bytes come.
                        src.reserve((whole - src.len()).min(INPUT));
                        return Ok(None);
                    }
                    let mut frame = src.split_to(whole);
                    if whole > INPUT {
                        // The large buffer goes with the frame: the next ones get a small one.
                        *src = BytesMut::from(src.as_ref());
                    }
                    frame.advance(HEADER_LEN);
                    frame.truncate(header.payload_len());
                    return Ok(Some(Frame { header, payload: frame.freeze() }));
                }
            }
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        // By default a rest in the buffer is an I/O error; the driver reports it in words.
        self.decode(src)
    }
}

const _: () = assert!(padded(HEADER_LEN) == HEADER_LEN, "payloads begin aligned");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_a_long_frame_grows_with_it_and_is_given_back() {
        let length: u32 = 16 << 20;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        frame.resize(length as usize, 7);
        let mut codec = Codec::new(length);
        let mut read = BytesMut::new();
        // The header alone, and then as much at a time as a driver reads.
        let (header, payload) = frame.split_at(HEADER_LEN);
        read.extend_from_slice(header);
        assert!(codec.decode(&mut read).unwrap().is_none());
        assert!(read.capacity() <= 2 * INPUT, "a header takes {} bytes", read.capacity());
        let mut pieces = payload.chunks(100_000);
        let last = pieces.next_back().unwrap();
        for piece in pieces {
            read.extend_from_slice(piece);
            assert!(codec.decode(&mut read).unwrap().is_none());
            let (came, room) = (read.len(), read.capacity());
            assert!(room <= 2 * (came + INPUT), "{came} bytes take {room}");
        }
        read.extend_from_slice(last);
        read.extend_from_slice(&[9; 5]);
        let whole = codec.decode(&mut read).unwrap().unwrap();
        assert_eq!(whole.payload, payload);
        assert_eq!(read.as_ref(), [9; 5]);
        drop(whole);
        read.reserve(INPUT);
        assert!(read.capacity() <= 2 * INPUT, "{} bytes were kept", read.capacity());
    }
}
