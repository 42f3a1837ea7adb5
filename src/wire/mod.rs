//! The wire format of the byte stream between a client and a stub. This page is its specification.
//!
//! The format is stable: versions and options let both ends be of different age. The Rust types are
//! not. This module is public with the feature `unstable` only, for other implementations of either
//! end, for fuzzing, and for the test vectors; types that a user of the library needs (namespaces,
//! counters, limits) are re-exported where they are used.
//!
//! A *client* and a *stub* talk over one reliable, ordered byte stream. Every number is
//! little-endian; only the netlink datagrams inside keep the byte order of the stub's host,
//! because no stub looks into them.
//!
//! # Preamble
//!
//! Each side begins by sending the [`MARKER`], 16 bytes that no shell prints by accident, and
//! directly behind it its hello. Neither side waits for the other. Text that arrives *before* the
//! marker is normal (a message of the day, an `echo` in a `.bashrc`, a lecture by sudo): a
//! receiver skips it, within [`MAX_NOISE`] bytes, and keeps its end to show it if the marker
//! never comes. A server that does not serve a client says why by such a text, and ends.
//!
//! # Hello
//!
//! The encoding of the hello never changes; all that follows it is negotiated by it.
//!
//! ```text
//!  0        4      6      8
//! +--------+------+------+----------------------
//! | length | vers | old  | options ...
//! +--------+------+------+----------------------
//! ```
//!
//! `length` (u32) counts the bytes behind itself, at most [`MAX_HELLO`] and at least 4. `vers`
//! (u16) is the highest protocol version the sender speaks, `old` (u16) the lowest. Both sides
//! use the smaller of the two `vers`; if that is below either `old`, each side refuses the other's
//! hello.
//!
//! An *option* is a kind (u16), a length (u16), that many bytes, and zeros up to a multiple of
//! four. Bit 15 of the kind, [`CRITICAL`](tlv::CRITICAL), says that a receiver which does not
//! know the option must refuse; without it the option is skipped. [`hello`] lists the kinds.
//! A value longer than its kind asks for is accepted and its tail ignored, so that options grow.
//!
//! # Refusal
//!
//! A side that cannot accept the other's hello (its version, its role, a critical option, a limit,
//! its form), gets no marker, or has no place for the connection, says why: directly behind its own
//! hello it sends one [`Fault`](FrameType::Fault) frame, and ends. The encoding of this frame never
//! changes either: u32 length (16 and the bytes of the text), u8 type 0x01, three bytes of zeros, u32
//! 0, u32 errno as the sender's architecture numbers it (EPROTO where the hello is at fault), then
//! UTF-8 text of at most [`MAX_TEXT`] bytes, padded with zeros to a multiple of four bytes. A side
//! that has accepted the other's hello finds it as the first frame; a side that has refused it knows
//! by the hello's length where it begins ([`refusal`]).
//!
//! # Frames
//!
//! After the hello the stream is a sequence of frames, each padded with zeros to a multiple of
//! four bytes, so that header and payload of every frame are 4-byte aligned in the stream.
//!
//! ```text
//!  0        4      5      6          8         12
//! +--------+------+------+----------+---------+-----------------+---------+
//! | length | type | flags| reserved | socket  | payload ...     | padding |
//! +--------+------+------+----------+---------+-----------------+---------+
//! ```
//!
//! `length` (u32) counts header and payload without the padding: at least 12, and at most the
//! smaller of the two sides' announced limits (16 MiB by default). `type` is one of
//! [`FrameType`]. `socket` is the id that the client chose in its open frame, or 0 for the
//! connection. A frame of an unknown type is skipped when its [`Flags::SKIPPABLE`] bit is set,
//! and ends the connection otherwise; `reserved` is sent as zero and not looked at.
//!
//! A datagram larger than a side cares to put into one frame is cut into several frames of the
//! same type and socket, all but the last with [`Flags::MORE`]; frames of other sockets may come
//! in between. Only [`Send`](FrameType::Send) and [`Datagram`](FrameType::Datagram) are ever cut,
//! and the whole never exceeds the frame limit.
//!
//! [`Message`] describes each payload; bytes behind its last fixed field are ignored, so that
//! payloads grow like options. [`proto`](crate::proto) says which frame may come when.
//!
//! # Sends
//!
//! A stub makes the sends of a socket in their order, each by a system call of its own, behind
//! which it receives the kernel's answer. [`Flags::GATHER`] (0x08) on a send permits it to make this
//! send in one system call with the send before it on the socket, and to receive the answers behind
//! both. Only the client can know such sends, because a stub looks into none: it sets the flag on a
//! send that, like the one before it, goes to the kernel without [`Flags::CONFIRM`], is one netlink
//! message of at most [`MAX_GATHERED`] bytes, and starts no dump (which keeps a socket busy until all
//! of it is received). Both sends have one message type, because the stub gathers as many sends as
//! take about 1 ms at the pace of the socket's last ones.
//!
//! The flag is a permission: a stub may ignore it, and makes each send by itself then. The flag does
//! not count on a send with [`Flags::CONFIRM`], in several frames, to another destination than the
//! kernel, or of more bytes. A client that sets it on other datagrams harms its own socket alone:
//! answers come later, a second dump is refused (EBUSY), or answers are lost to the socket's full
//! receive buffer, and reported as lost.
//!
//! A send may also follow an open before the answer to the open, to save its round trip, where the stub's
//! hello says how many bytes it may have: one send, in one frame. The stub makes it once the socket is
//! open, as the first. The answer to an open that has failed answers that send, too.
//!
//! # Credit
//!
//! Each socket has two windows: datagrams towards the client, and sends towards the stub. A
//! receiver grants credit as two **absolute** totals since the socket was opened, bytes and
//! datagrams; repeating a grant is harmless and a later one replaces it. A sender may begin a
//! datagram while both of its own totals are *below* the grant: the last one may thus overdraw
//! the bytes, which makes a datagram larger than a whole window legal and never a deadlock.
//! What counts as bytes is the netlink datagram alone. Every other frame travels without credit,
//! and is bounded by number instead. A client ends the connection (fault) of a stub that leaves more
//! than 16,384 failures of sends and receives unread on a socket, more than 4 MiB of answers to itself
//! unread, or more than four frame limits of incomplete datagrams; and of one that answers what was not
//! asked, such as a second failure of one send.
//!
//! While a send with [`Flags::CONFIRM`] is unanswered, the stub may go beyond the grant by as
//! much as the open frame granted: what the kernel had queued when the send returned comes
//! before the answer, and a client that waits for the answer before it reads must get it.
//!
//! # Bounds
//!
//! A stub bounds the memory of what waits for its kernel: whole sends, opens and numbered requests
//! (32 MiB by default). While they exceed the bound, the stub reads no more frames until the kernel has
//! taken some, which needs no frame of the client. Incomplete sends of all sockets together may have
//! as many bytes as the limit on frames; more are a violation (fault). So a client begins another
//! send in pieces only while the whole datagrams of those that have begun, its own included, keep to
//! that limit.
//!
//! An open, option-set or netns frame has at most [`MAX_REQUEST`] bytes, and an option's value, in
//! either direction, at most [`MAX_OPTION`]. A stub answers a longer one by open-failed or by a
//! reply, with EMSGSIZE. An error's text has at most [`MAX_TEXT`] bytes: its sender cuts a longer one
//! between two letters, and ends it with U+2026.
//!
//! # Options
//!
//! Level and name of an option are numbers of the stub's host, and its value has that host's byte
//! order and sizes; a stub passes those on that it knows to hold no pointer, and answers ENOPROTOOPT
//! to the others. Level -1 ([`OWN_LEVEL`]) is this protocol's own, equal on all hosts. Its options can
//! be set, also in an open message, or read, or both. Option 4 ([`FILE`]) stands in
//! an open message, names a file of the host's network by its path, and is then read piece by piece: a piece
//! shorter than asked for is the last. Option 3 ([`DRAINED`]) is read, to get
//! an answer of no bytes behind the datagrams that the kernel had queued on the socket: the answer waits
//! for credit, and for as long as the client leaves datagrams unread. Option 2 ([`TIMES`]), whose value is the byte
//! 1, has the stub send a [time](FrameType::Time) before the datagrams of each turn of receiving. Option 1 ([`FILTER`]) is a classic BPF filter, which SO_ATTACH_FILTER names by a pointer. Its value
//! is the instructions, up to 4,096 of 8 bytes, little-endian: u16 code, u8 jt, u8 jf, u32 k. It can
//! stand in an open message, where it is attached before the socket is bound. The
//! host's options SO_DETACH_FILTER and SO_LOCK_FILTER count for it.
//!
//! # Version ledger
//!
//! | version | change |
//! |---|---|
//! | 1 | first |
//! | 1 | [`Flags::GATHER`] (0x08) on sends; to be ignored where it is not known |
//! | 1 | the bounds [`MAX_REQUEST`], [`MAX_OPTION`] and [`MAX_TEXT`]; a longer text is cut by its receiver |
//! | 1 | options of level -1: the filter; ENOPROTOOPT where it is not known |
//! | 1 | options 2 and 3 of level -1, and time frames, skippable; ENOPROTOOPT where they are not known |
//! | 1 | a send before the answer to an open, where the stub's hello permits it |
//! | every | a refused hello is answered by a fault frame; before, the stream just ended |

#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod codec;
mod credit;
mod cursor;
mod datagram;
mod error;
mod failure;
mod filter;
mod header;
pub mod hello;
mod limits;
mod marker;
mod message;
mod netns;
mod open;
mod refusal;
pub mod tlv;

#[cfg(feature = "client")]
pub use codec::{Codec, CodecError, Frame};
pub use credit::Credit;
pub(crate) use datagram::DATAGRAM_PREFIX;
pub use datagram::{DatagramInfo, Destination};
pub use error::WireError;
pub use failure::Failure;
pub use filter::{DRAINED, FILE, FILTER, FilterInstruction, OWN_LEVEL, TIMES};
pub use header::{Decoded, Flags, FrameType, Header, SocketId};
pub use hello::Hello;
pub use limits::{
    DEFAULT_MAX_FRAME, HEADER_LEN, MAX_GATHERED, MAX_HELLO, MAX_NOISE, MAX_OPTION, MAX_REQUEST,
    MAX_TEXT, MIN_MAX_FRAME, OLDEST_VERSION, VERSION, padded,
};
pub use marker::{MARKER, MarkerScanner, Scan};
pub use message::{Counters, Message};
pub use netns::{ContainerEngine, Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest};
pub use open::{Open, Opened, SocketOption};
pub use refusal::refusal;
