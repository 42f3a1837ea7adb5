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

/// Bytes on each side of a `struct msghdr` that are read with it: most programs have the array of parts, and the
/// address, beside it.
const BESIDE: u64 = 192;

/// A `struct msghdr` and what lies around it.
pub(super) struct Around {
    at: u64,
    bytes: Vec<u8>,
}

impl Around {
    fn get(&self, at: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

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

    pub(super) fn message_header(&self, at: u64) -> Result<(MessageHeader, Around), Errno> {
        let around = self.around(at, MESSAGE_HEADER)?;
        let bytes = around.get(at, MESSAGE_HEADER).ok_or(Errno::EFAULT)?;
        let long = |place| read_u64(bytes, place).ok_or(Errno::EFAULT);
        let header = MessageHeader {
            at,
            name: long(0)?,
            name_length: read_u32(bytes, 8).ok_or(Errno::EFAULT)?,
            pieces: long(16)?,
            piece_count: long(24)?,
            control: long(32)?,
            control_length: long(40)?,
        };
        Ok((header, around))
    }

    /// Bytes, with some of those around them on the same page, which can be read as well as they.
    fn around(&self, at: u64, length: usize) -> Result<Around, Errno> {
        let page = at - at % PAGE;
        let page_end = page.checked_add(PAGE).ok_or(Errno::EFAULT)?;
        let end = at.checked_add(length as u64).ok_or(Errno::EFAULT)?;
        if end > page_end {
            return Ok(Around { at, bytes: self.bytes(at, length)? });
        }
        let from = at.saturating_sub(BESIDE).max(page);
        let to = (end + BESIDE).min(page_end);
        Ok(Around { at: from, bytes: self.bytes(from, (to - from) as usize)? })
    }

    /// The parts that an array of `struct iovec` names.
    pub(super) fn pieces(&self, at: u64, count: u64, too_many: Errno) -> Result<Vec<Piece>, Errno> {
        if count > MOST_PIECES {
            return Err(too_many);
        }
        parse_pieces(&self.bytes(at, 16 * count as usize)?)
    }

    /// The parts of a message.
    pub(super) fn message_pieces(
        &self,
        header: &MessageHeader,
        around: &Around,
    ) -> Result<Vec<Piece>, Errno> {
        if header.piece_count > MOST_PIECES {
            return Err(Errno::EMSGSIZE);
        }
        match around.get(header.pieces, 16 * header.piece_count as usize) {
            Some(pieces) => parse_pieces(pieces),
            None => self.pieces(header.pieces, header.piece_count, Errno::EMSGSIZE),
        }
    }

    /// The address in a message.
    pub(super) fn message_name(
        &self,
        header: &MessageHeader,
        around: &Around,
    ) -> Result<Vec<u8>, Errno> {
        let length = if header.name == 0 { 0 } else { header.name_length.min(128) as usize };
        match around.get(header.name, length) {
            Some(name) => Ok(name.to_vec()),
            None => self.bytes(header.name, length),
        }
    }

    /// The bytes of the parts, one behind the other.
    pub(super) fn gather(&self, pieces: &[Piece]) -> Result<Vec<u8>, Errno> {
        let total = pieces.iter().try_fold(0_usize, |sum, piece| sum.checked_add(piece.length));
        let total = total.filter(|total| *total <= MOST).ok_or(Errno::EMSGSIZE)?;
        let mut out = vec![0; total];
        if let [piece] = pieces {
            self.read(piece.at, &mut out)?;
        } else if total > 0 {
            let there = pieces.iter().filter(|piece| piece.length > 0);
            let there =
                there.map(|piece| RemoteIoVec { base: piece.at as usize, len: piece.length });
            let there: Vec<_> = there.collect();
            if process_vm_readv(self.0, &mut [IoSliceMut::new(&mut out)], &there)? != total {
                return Err(Errno::EFAULT);
            }
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
        assert_eq!(own().write_all(&[(at, b"x"), (8, b"y")]), Err(Errno::EFAULT));
        assert_eq!(own().bytes(8, 4), Err(Errno::EFAULT));
        assert_eq!(own().text(8), Err(Errno::EFAULT));
        assert_eq!(own().pieces(at, 1025, Errno::EMSGSIZE).unwrap_err(), Errno::EMSGSIZE);
    }

    #[test]
    fn parts_beside_a_message_header_and_elsewhere() {
        // Two pages; at some places of them a header, behind it the array of parts and the address.
        const PAGES: usize = PAGE as usize;
        let mut memory = vec![0_u8; 3 * PAGES];
        let elsewhere = [7_u8; 40];
        let begins = PAGES - memory.as_ptr() as usize % PAGES;
        let memory = &mut memory[begins..begins + 2 * PAGES];
        let start = memory.as_ptr() as u64;
        for (header_at, beside) in
            [(0, true), (100, true), (PAGES - 56, false), (PAGES - 30, false), (PAGES, true)]
        {
            let at = start + header_at as u64;
            let (pieces, name) = match beside {
                true => (at + 56, at + 100),
                false => (elsewhere.as_ptr() as u64, elsewhere.as_ptr() as u64 + 16),
            };
            let words = [name, 12, pieces, 1, 0, 0, 0].map(u64::to_ne_bytes).concat();
            memory[header_at..header_at + 56].copy_from_slice(&words);
            if beside {
                memory[header_at + 56..header_at + 72].fill(7);
                memory[header_at + 100..header_at + 112].fill(7);
            }
            let (header, around) = own().message_header(at).unwrap();
            assert_eq!((header.name, header.name_length, header.pieces), (name, 12, pieces));
            assert_eq!(around.get(pieces, 16).is_some(), beside, "{header_at}");
            let piece = own().message_pieces(&header, &around).unwrap();
            assert_eq!(piece.first().unwrap().at, u64::from_ne_bytes([7; 8]));
            assert_eq!(own().message_name(&header, &around).unwrap(), [7; 12]);
            memory[header_at..header_at + 200].fill(0);
        }
        assert!(own().message_header(8).is_err());
        assert!(own().message_header(u64::MAX - 8).is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_address(&address(7, 9)), Some((libc::AF_NETLINK, 7, 9)));
        assert_eq!(parse_address(&[16, 0]), None);
    }
}
