//! Opening a socket: the open and opened messages.

use bytes::BufMut;

use super::{
    credit::Credit,
    cursor::Cursor,
    error::WireError,
    netns::{Netns, NetnsMode},
    tlv::{self, CRITICAL},
};

const TLV_NETNS: u16 = 1;
const TLV_OPTION: u16 = 2;
const TLV_GROUP: u16 = 3;
const TLV_RECEIVE_BUFFER: u16 = 4;
const TLV_SEND_BUFFER: u16 = 5;

/// The kernel socket that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Open {
    /// Netlink protocol number, as in `<linux/netlink.h>`.
    pub protocol: u32,
    /// Port id to bind to; 0 lets the kernel choose.
    pub portid: u32,
    /// Credit granted to the stub for datagrams.
    pub credit: Credit,
    /// The namespace to create the socket in.
    pub netns: Netns,
    /// Whether a namespace given by name has to exist, or is created.
    pub mode: NetnsMode,
    /// Bytes of receive buffer to ask for; 0 leaves the kernel's default. The stub tries
    /// `SO_RCVBUFFORCE` and falls back to `SO_RCVBUF`; it grants less where the sockets of the client
    /// have much together.
    pub receive_buffer: u32,
    /// Bytes of send buffer to ask for, likewise.
    pub send_buffer: u32,
    /// Options to set before binding, in order; the first that fails fails the open.
    pub options: Vec<SocketOption>,
    /// Multicast groups to join after binding, in order.
    pub groups: Vec<u32>,
}

/// A socket option for setsockopt(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOption {
    /// `SOL_SOCKET`, `SOL_NETLINK`, ...
    pub level: i32,
    /// The option's number.
    pub name: i32,
    /// The value in the byte order of the stub's host.
    pub value: Vec<u8>,
}

/// The kernel socket that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    /// The port id it is bound to.
    pub portid: u32,
    /// `SO_RCVBUF` as the kernel reports it, in bytes of its own accounting.
    pub receive_buffer: u32,
    /// `SO_SNDBUF` likewise.
    pub send_buffer: u32,
    /// Credit granted to the client for sends.
    pub credit: Credit,
}

impl Open {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.protocol);
        out.put_u32_le(self.portid);
        self.credit.encode(out);
        if (&self.netns, self.mode) != (&Netns::Current, NetnsMode::Existing) {
            let mut value = vec![self.mode.number(), 0, 0, 0];
            self.netns.encode(&mut value);
            tlv::put(out, TLV_NETNS | CRITICAL, &value);
        }
        for option in &self.options {
            let mut value = Vec::with_capacity(8 + option.value.len());
            value.put_i32_le(option.level);
            value.put_i32_le(option.name);
            value.put_slice(&option.value);
            tlv::put(out, TLV_OPTION | CRITICAL, &value);
        }
        for group in &self.groups {
            tlv::put(out, TLV_GROUP | CRITICAL, &group.to_le_bytes());
        }
        for (kind, size) in
            [(TLV_RECEIVE_BUFFER, self.receive_buffer), (TLV_SEND_BUFFER, self.send_buffer)]
        {
            if size != 0 {
                tlv::put(out, kind, &size.to_le_bytes());
            }
        }
    }

    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let mut open = Open {
            protocol: c.u32()?,
            portid: c.u32()?,
            credit: Credit::decode(c)?,
            ..Open::default()
        };
        for option in tlv::iter(c.remainder()) {
            let option = option?;
            let mut value = Cursor::new(option.value);
            match option.kind {
                TLV_NETNS => {
                    open.mode = NetnsMode::from_number(value.u8()?)?;
                    value.take(3)?;
                    open.netns = Netns::decode(&mut value)?;
                }
                TLV_OPTION => open.options.push(SocketOption {
                    level: value.i32()?,
                    name: value.i32()?,
                    value: value.remainder().to_vec(),
                }),
                TLV_GROUP => open.groups.push(value.u32()?),
                TLV_RECEIVE_BUFFER => open.receive_buffer = value.u32()?,
                TLV_SEND_BUFFER => open.send_buffer = value.u32()?,
                _ => option.unknown()?,
            }
        }
        Ok(open)
    }
}
