//! Classic BPF filters in messages.

use bytes::BufMut;

use super::{cursor::Cursor, error::WireError};

/// The level of the options that are this protocol's own, and no host's: their numbers and values are
/// the same on all architectures.
pub const OWN_LEVEL: i32 = -1;

/// The option of [`OWN_LEVEL`] that attaches a filter; it can be set, and not be read. The value is
/// the filter's instructions, 8 bytes each: u16 code, u8 jt, u8 jf, u32 k.
pub const FILTER: i32 = 1;

/// The option of [`OWN_LEVEL`] that has the stub tell when it received datagrams, by
/// [`FrameType::Time`](super::FrameType::Time); it can be set, and not be read. The value is
/// the byte 1.
pub const TIMES: i32 = 2;

/// The option of [`OWN_LEVEL`] that is read to learn that every datagram which the kernel had queued at
/// the reading has come: the answer, without bytes, is in the stream behind them.
pub const DRAINED: i32 = 3;

/// The option of [`OWN_LEVEL`] that has the stub open a file of its host's network; it can be set in an open
/// message, and read. The value is the file's path below `/proc`: `net/..` or `sys/net/..`, as they are in the
/// socket's namespace. Each reading gives the next piece of the file, and no bytes at its end.
pub const FILE: i32 = 4;

/// An instruction of a classic BPF filter, as `struct sock_filter` of `<linux/filter.h>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FilterInstruction {
    /// The operation: `BPF_LD | BPF_H | BPF_ABS` and the like.
    pub code: u16,
    /// How many instructions a jump skips if its condition is true.
    pub jt: u8,
    /// How many it skips if not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl FilterInstruction {
    /// `BPF_JUMP` of `<linux/filter.h>`.
    pub const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Self {
        Self { code, jt, jf, k }
    }

    /// `BPF_STMT` of `<linux/filter.h>`.
    pub const fn stmt(code: u16, k: u32) -> Self {
        Self::jump(code, k, 0, 0)
    }

    /// The value of the option [`FILTER`].
    pub fn encode_all(instructions: &[Self]) -> Vec<u8> {
        let mut value = Vec::with_capacity(8 * instructions.len());
        for &Self { code, jt, jf, k } in instructions {
            value.put_u16_le(code);
            value.put_u8(jt);
            value.put_u8(jf);
            value.put_u32_le(k);
        }
        value
    }

    /// Decodes the value of the option [`FILTER`].
    ///
    /// # Errors
    /// [`WireError::ShortPayload`] for a part of an instruction.
    pub fn decode_all(value: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut cursor = Cursor::new(value);
        let mut instructions = Vec::with_capacity(value.len() / 8);
        while !cursor.is_empty() {
            let (code, jt, jf, k) = (cursor.u16()?, cursor.u8()?, cursor.u8()?, cursor.u32()?);
            instructions.push(Self { code, jt, jf, k });
        }
        Ok(instructions)
    }
}
