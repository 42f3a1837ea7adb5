//! Every limit that one side sets the other, with its default and its reason.
//!
//! | limit | said to the peer |
//! |---|---|
//! | [`wire`] | by the specification, and in part by the hello |
//! | [`stub`] | by an error or a fault whose text has the number, or by a pause |
//! | [`server`] | by a refusal in words |
//! | [`client`] | by a fault whose text has the number |
//!
//! A program that serves changes those of `stub` and `server` by [`Config`](crate::stub::Config) and
//! [`ListenConfig`](crate::stub::ListenConfig).

#![forbid(unsafe_code)]

/// Limits of the format: both sides keep them, whatever they are configured for.
pub mod wire {
    /// Bytes of a hello behind its length field, at most. A stub's has a few hundred; the rest is for
    /// options of later versions.
    pub const MAX_HELLO: usize = 64 << 10;

    /// Bytes of text that may come before the marker: a shell's greetings and messages of the day.
    pub const MAX_NOISE: usize = 256 << 10;

    /// The limit on a frame that a side announces by default: 16 MiB. A large nft transaction is one
    /// datagram.
    pub const DEFAULT_MAX_FRAME: u32 = 16 << 20;

    /// The smallest limit on a frame that a side may announce: 64 KiB. A dump's datagrams have up to
    /// 32 KiB, and the stub's replies must always fit.
    pub const MIN_MAX_FRAME: u32 = 64 << 10;

    /// The longest datagram that [`Flags::GATHER`](crate::wire::Flags::GATHER) counts on: 16 KiB, so
    /// that a few gathered sends stay below a socket's send buffer.
    pub const MAX_GATHERED: usize = 16 << 10;

    /// Bytes of an error's text, at most, in every frame that has one: a few lines of a terminal. A
    /// longer text is cut by the side that sends it, and again by the side that gets it.
    pub const MAX_TEXT: usize = 1 << 10;

    /// Bytes of a socket option's value, at most, in both directions: the longest filter that Linux
    /// accepts has 4,096 instructions of 8 bytes (`BPF_MAXINSNS`). Other options have up to a few
    /// hundred bytes.
    pub const MAX_OPTION: usize = 32 << 10;

    /// Bytes of the payload of an open, option or netns frame, at most: a filter, the longest path of
    /// Linux (4,096 bytes) and hundreds of options fit.
    pub const MAX_REQUEST: usize = 64 << 10;
}

/// Limits of one connection at a stub.
pub mod stub {
    use std::time::Duration;

    /// Sockets of a client that are open at a time.
    pub const MAX_SOCKETS: u32 = 4096;

    /// Numbered requests of a client (options, groups, namespaces) in flight at a time.
    pub const MAX_REQUESTS: u32 = 256;

    /// Credit for the sends of a socket, in bytes: some 40,000 requests for a route each.
    pub const SEND_WINDOW_BYTES: u64 = 4 << 20;

    /// Credit for the sends of a socket, in datagrams.
    pub const SEND_WINDOW_DATAGRAMS: u64 = 4096;

    /// Bytes of memory for what waits for the kernel: sends, opens and requests. 32 MiB are the full
    /// send windows of eight sockets: a stream that is faster than its kernel fills fewer. A stub with
    /// more in whole sends, opens and requests reads no frame until the kernel has taken some, which
    /// costs such a client no time; more in incomplete sends ends the connection. It is at least the
    /// limit on frames, which bounds the incomplete sends of a client.
    pub const MAX_QUEUED: u64 = 32 << 20;

    /// Bytes of memory that each send, open or request that waits is counted for, besides its
    /// payload: the size of its entry in queues that grow by doubling.
    pub const QUEUED_EACH: u64 = 256;

    /// Bytes of output above which no kernel socket is read: eight parts of a dump, so that the client
    /// always has something to read.
    pub const OUTPUT_HIGH_WATER: usize = 256 << 10;

    /// Bytes of output above which the connection of a client that asks without reading ends. One
    /// answer, of the default limit on frames, fits.
    pub const OUTPUT_LIMIT: usize = 16 << 20;

    /// Time from the start until the client's hello is complete: a user at the other end may be
    /// answering sudo's question.
    pub const HELLO_TIMEOUT: Duration = Duration::from_secs(60);

    /// Bytes of the input buffer while no longer frame has come.
    pub const INPUT: usize = 64 << 10;
}

/// Limits of a server of many clients.
pub mod server {
    /// Clients that are connected at a time.
    pub const MAX_CLIENTS: usize = 1024;
}

/// Limits of a client.
pub mod client {
    /// Bytes of room that a frame gets at once. A longer frame gets more as its bytes come.
    pub const INPUT: usize = 64 << 10;

    /// Failures of sends and receives that wait in a socket's queue, beyond which the stub breaks the
    /// protocol: they take no credit. More than a stub has sends under way ([`SEND_WINDOW_DATAGRAMS`])
    /// once pipelined sends fail at once, which they do from 1,024 such failures on.
    ///
    /// [`SEND_WINDOW_DATAGRAMS`]: super::stub::SEND_WINDOW_DATAGRAMS
    pub const UNREAD_FAILURES: usize = 16 << 10;

    /// Bytes of answers to the stub (pongs, credit, closes) that wait to be written, above which it
    /// breaks the protocol: it goes on sending and does not read. Of a stub that reads before it goes on
    /// a few frames of each socket wait.
    pub const UNREAD_ANSWERS: usize = 4 << 20;

    /// Datagrams of the longest kind that the incomplete ones of all sockets may fill together. A stub
    /// sends one datagram in several frames after the other, or a few at a time.
    pub const INCOMPLETE_DATAGRAMS: usize = 4;
}
