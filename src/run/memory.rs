//! The memory of a program: what its calls point at.

use std::io::{IoSlice, IoSliceMut};

use nix::{
    errno::Errno,
    sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev},
    unistd::Pid,
};

use crate::nlmsg::{read_u16, read_u32};

/// Bytes of one datagram from a program, at most: above any send buffer that a kernel gives.
const MOST: usize = 64 << 20;

/// Pieces of one `struct msghdr`, as the kernel allows them (`UIO_MAXIOV`).
const MOST_PIECES: u64 = 1024;

/// The smallest page: a text is read in pieces that stay within one.
const PAGE: u64 = 4096;

/// The memory of one thread's process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory(Pid);

/// A part of it: `struct iovec`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) at: u64,
    pub(super) length: usize,
}

/// `struct msghdr`, of 56 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageHeader {
    pub(super) at: u64,
    pub(super) name: u64,
    pub(super) name_length: u32,
    pub(super) pieces: u64,
    pub(super) piece_count: u64,
    pub(super) control: u64,
    pub(super) control_length: u64,
}

/// Bytes of `struct msghdr`, and of `struct mmsghdr`, which has a length behind it.
const MESSAGE_HEADER: usize = 56;
pub(super) const MULTIPLE: u64 = 64;

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_ne_bytes)
}

impl Memory {
    pub(super) fn of(tid: i32) -> Self {
        Self(Pid::from_raw(tid))
    }

    /// As many bytes as can be read.
    fn read_some(&self, at: u64, out: &mut [u8]) -> Result<usize, Errno> {
        let remote = RemoteIoVec { base: at as usize, len: out.len() };
        match process_vm_readv(self.0, &mut [IoSliceMut::new(out)], &[remote]) {
            // What the call points at is the caller's matter; that the caller is gone is not.
            Err(Errno::EFAULT) => Err(Errno::EFAULT),
            other => other,
        }
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), Errno> {
        if !out.is_empty() && self.read_some(at, out)? != out.len() {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }

    pub(super) fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut out = vec![0; length];
        self.read(at, &mut out)?;
        Ok(out)
    }

    pub(super) fn u32(&self, at: u64) -> Result<u32, Errno> {
        let mut out = [0; 4];
        self.read(at, &mut out)?;
        Ok(u32::from_ne_bytes(out))
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        let remote = RemoteIoVec { base: at as usize, len: bytes.len() };
        match process_vm_writev(self.0, &[IoSlice::new(bytes)], &[remote])? {
            written if written == bytes.len() => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Writes to several places, in one call: each of them takes microseconds.
    pub(super) fn write_all(&self, parts: &[(u64, &[u8])]) -> Result<(), Errno> {
        let parts = parts.iter().filter(|(_, bytes)| !bytes.is_empty());
        let here: Vec<_> = parts.clone().map(|(_, bytes)| IoSlice::new(bytes)).collect();
        let there =
            parts.clone().map(|(at, bytes)| RemoteIoVec { base: *at as usize, len: bytes.len() });
        let there: Vec<_> = there.collect();
        let total: usize = parts.map(|(_, bytes)| bytes.len()).sum();
        // The kernel takes so many parts at once.
        if there.len() as u64 > MOST_PIECES {
            for (at, bytes) in there.iter().map(|part| part.base as u64).zip(&here) {
                self.write(at, bytes)?;
            }
            return Ok(());
        }
        if total > 0 && process_vm_writev(self.0, &here, &there)? != total {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }

    /// Reads from two places, in one call.
    pub(super) fn read_two(
        &self,
        (first, first_length): (u64, usize),
        (second, second_length): (u64, usize),
    ) -> Result<(Vec<u8>, Vec<u8>), Errno> {
        let (mut one, mut two) = (vec![0; first_length], vec![0; second_length]);
        let parts = [(first, first_length), (second, second_length)];
        let there = parts.iter().filter(|(_, length)| *length > 0);
        let there = there.map(|(at, length)| RemoteIoVec { base: *at as usize, len: *length });
        let there: Vec<_> = there.collect();
        if !there.is_empty() {
            let here = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
            if process_vm_readv(self.0, here, &there)? != first_length + second_length {
                return Err(Errno::EFAULT);
            }
        }
        Ok((one, two))
    }

    /// A text up to its zero, of a path's length at most.
    pub(super) fn text(&self, at: u64) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        while text.len() < libc::PATH_MAX as usize {
            let here = at.checked_add(text.len() as u64).ok_or(Errno::EFAULT)?;
            // Most paths are short.
            let room = (PAGE - here % PAGE).min(256);
            let mut piece = vec![0; room as usize];
            let read = self.read_some(here, &mut piece)?;
            piece.truncate(read);
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                piece.truncate(end);
                text.extend(piece);
                return Ok(text);
            }
            if read == 0 {
                return Err(Errno::EFAULT);
            }
            text.extend(piece);
        }
        Err(Errno::ENAMETOOLONG)
    }

    pub(super) fn message_header(&self, at: u64) -> Result<MessageHeader, Errno> {
        let bytes = self.bytes(at, MESSAGE_HEADER)?;
        let long = |place| read_u64(&bytes, place).ok_or(Errno::EFAULT);
        Ok(MessageHeader {
            at,
            name: long(0)?,
            name_length: read_u32(&bytes, 8).ok_or(Errno::EFAULT)?,
            pieces: long(16)?,
            piece_count: long(24)?,
            control: long(32)?,
            control_length: long(40)?,
        })
    }

    /// The parts that an array of `struct iovec` names.
    pub(super) fn pieces(&self, at: u64, count: u64, too_many: Errno) -> Result<Vec<Piece>, Errno> {
        if count > MOST_PIECES {
            return Err(too_many);
        }
        parse_pieces(&self.bytes(at, 16 * count as usize)?)
    }

    /// The parts of a message, and the address in it.
    pub(super) fn message_parts(
        &self,
        header: &MessageHeader,
    ) -> Result<(Vec<Piece>, Vec<u8>), Errno> {
        if header.piece_count > MOST_PIECES {
            return Err(Errno::EMSGSIZE);
        }
        let name_length = if header.name == 0 { 0 } else { header.name_length.min(128) };
        let (pieces, name) = self.read_two(
            (header.pieces, 16 * header.piece_count as usize),
            (header.name, name_length as usize),
        )?;
        Ok((parse_pieces(&pieces)?, name))
    }

    /// The bytes of the parts, one behind the other.
    pub(super) fn gather(&self, pieces: &[Piece]) -> Result<Vec<u8>, Errno> {
        let total = pieces.iter().try_fold(0_usize, |sum, piece| sum.checked_add(piece.length));
        let total = total.filter(|total| *total <= MOST).ok_or(Errno::EMSGSIZE)?;
        let mut out = vec![0; total];
        let mut rest = out.as_mut_slice();
        for piece in pieces {
            let (here, behind) = rest.split_at_mut_checked(piece.length).ok_or(Errno::EFAULT)?;
            self.read(piece.at, here)?;
            rest = behind;
        }
        Ok(out)
    }
}

/// An array of `struct iovec`.
fn parse_pieces(bytes: &[u8]) -> Result<Vec<Piece>, Errno> {
    let piece = |piece: &[u8]| {
        let at = read_u64(piece, 0)?;
        let length = usize::try_from(read_u64(piece, 8)?).ok()?;
        (length <= isize::MAX as usize).then_some(Piece { at, length })
    };
    let pieces: Option<_> = bytes.chunks_exact(16).map(piece).collect();
    pieces.ok_or(Errno::EINVAL)
}

/// The places that bytes go to, over the parts of a receive, as many as they have room for.
pub(super) fn scattered<'a>(pieces: &[Piece], mut bytes: &'a [u8]) -> Vec<(u64, &'a [u8])> {
    let mut parts = Vec::new();
    for piece in pieces {
        let (here, behind) = bytes.split_at(piece.length.min(bytes.len()));
        if !here.is_empty() {
            parts.push((piece.at, here));
        }
        bytes = behind;
    }
    parts
}

/// `struct sockaddr_nl`: family, padding, port id, groups.
pub(super) const ADDRESS: usize = 12;

pub(super) fn address(portid: u32, groups: u32) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    let family = libc::AF_NETLINK as u16;
    let parts = family.to_ne_bytes().into_iter().chain([0, 0]);
    let parts = parts.chain(portid.to_ne_bytes()).chain(groups.to_ne_bytes());
    bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    bytes
}

/// Family, port id and groups of an address.
pub(super) fn parse_address(bytes: &[u8]) -> Option<(i32, u32, u32)> {
    Some((read_u16(bytes, 0)?.into(), read_u32(bytes, 4)?, read_u32(bytes, 8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Memory {
        Memory::of(std::process::id() as i32)
    }

    #[test]
    fn memory_is_read_and_written() {
        let text = *b"/run/netns/blue\0rest";
        let place = text.as_ptr() as u64;
        assert_eq!(own().bytes(place, 4).unwrap(), b"/run");
        assert_eq!(own().text(place).unwrap(), b"/run/netns/blue");
        let mut room = vec![b'.'; 8];
        let at = room.as_mut_ptr() as u64;
        let pieces = [Piece { at, length: 3 }, Piece { at: at + 5, length: 3 }];
        own().write_all(&scattered(&pieces, b"abcde")).unwrap();
        assert_eq!(own().gather(&pieces).unwrap(), b"abcde.");
        assert_eq!(own().bytes(at, 8).unwrap(), b"abc..de.");
        let two = own().read_two((at, 3), (at + 5, 2)).unwrap();
        assert_eq!(two, (b"abc".to_vec(), b"de".to_vec()));
        assert_eq!(own().read_two((at, 0), (at + 5, 2)).unwrap().1, b"de");
        assert_eq!(own().read_two((at, 3), (8, 2)), Err(Errno::EFAULT));
        assert_eq!(own().write_all(&[(at, b"x"), (8, b"y")]), Err(Errno::EFAULT));
        assert_eq!(own().bytes(8, 4), Err(Errno::EFAULT));
        assert_eq!(own().text(8), Err(Errno::EFAULT));
        assert_eq!(own().pieces(at, 1025, Errno::EMSGSIZE).unwrap_err(), Errno::EMSGSIZE);
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_address(&address(7, 9)), Some((libc::AF_NETLINK, 7, 9)));
        assert_eq!(parse_address(&[16, 0]), None);
    }
}
