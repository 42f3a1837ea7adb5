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

    /// Bytes of an open, option-set or netns frame, at most: as many as every connection carries. A
    /// filter, the longest path of Linux (4,096 bytes) and hundreds of options fit.
    pub const MAX_REQUEST: u32 = MIN_MAX_FRAME;
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

    /// Bytes of the input buffer before the hello has come, unless that is longer. A connection that
    /// says nothing has little more.
    pub const GREETING: usize = 2 << 10;

    /// Bytes of a datagram from the kernel beyond its first 64 KiB. A longer one is reported as lost.
    pub const SPILL: usize = 4 << 20;

    /// How long a container engine may take to answer.
    pub const ENGINE_PATIENCE: Duration = Duration::from_secs(10);

    /// How long a client may take to read why it is cut off.
    pub const LINGER: Duration = Duration::from_secs(2);

    /// Files in `/run/netns` that a list may have; a stub looks at each.
    pub const MAX_NAMES: usize = 65_536;

    /// Tasks of a client (entering, creating, listing and deleting namespaces) that run at a time;
    /// more of them wait.
    pub const TASKS_AT_A_TIME: usize = 8;

    /// Of these, tasks that ask a container engine. One that does not answer takes seconds, and other
    /// tasks go on meanwhile.
    pub const ASKING_AT_A_TIME: usize = 4;
}

/// Limits of a server of many clients.
pub mod server {
    use std::time::Duration;

    /// Clients that are connected at a time.
    pub const MAX_CLIENTS: usize = 1024;

    /// The part of each total of a server that one client may have: a quarter. A stub with one client
    /// alone has as much.
    pub const CLIENT_SHARE: u64 = 4;

    /// Connections that wait for their client's hello. Where more come, the user who has most of them
    /// loses the oldest. A connection that waits has two descriptors and no thread.
    pub const MAX_STRANGERS: usize = 256;

    /// Threads of connections beyond the two that each has: one for each system call that is slow.
    /// Where there is none, a connection waits for its slow call.
    pub const MAX_THREADS: usize = 1024;

    /// Bytes that wait, for all clients: what waits for the kernel, and what waits to be read.
    pub const MAX_MEMORY: u64 = 256 << 20;

    /// How long a connection waits for memory that others have. It reads no frame meanwhile; then it
    /// ends.
    pub const MEMORY_PATIENCE: Duration = Duration::from_secs(10);

    /// Bytes of the buffers of all kernel sockets, as `SO_RCVBUF` and `SO_SNDBUF` report them, beyond
    /// the host's defaults, which any user may have of as many sockets. The kernel takes them only as
    /// datagrams wait. A client's quarter of them are the buffers of four sockets as large as clients
    /// wish for; more sockets get smaller ones.
    pub const MAX_KERNEL_MEMORY: u64 = 1 << 30;

    /// Streams whose buffer in the kernel has 1 MiB, so that a dump waits for its reader less often.
    /// Those of further clients keep the host's default (`net.core.wmem_default`, mostly 208 KiB).
    pub const MAX_WIDE_STREAMS: u64 = 256;

    /// Tasks of all clients that run at a time; more of them wait.
    pub const MAX_TASKS: u64 = 32;

    /// Of these, tasks that ask a container engine: each is a process of its program.
    pub const MAX_ASKING: u64 = 16;

    /// How long a task may wait for others to end.
    pub const TASK_PATIENCE: Duration = Duration::from_secs(30);

    /// How long the lock on a folder may be waited for that another process has: on that of a socket
    /// to bind, and on `/run/netns`.
    pub const LOCK_PATIENCE: Duration = Duration::from_secs(5);

    /// Descriptors of the process that clients leave alone: those that it had from its start, those
    /// of namespaces and programs while a task is carried out, and one for whoever is refused.
    pub const RESERVED_DESCRIPTORS: u64 = 200;

    /// How long all clients may take to end when the server ends.
    pub const ENDING: Duration = Duration::from_secs(5);

    /// Events that wait for the log; more of them are lost, and counted.
    pub const LOG_QUEUE: usize = 1024;

    /// Events of sockets and namespaces that wait for the log, which a client can cause at any rate.
    pub const LOG_QUEUE_OF_CLIENTS: usize = 512;

    /// Bytes of a text in the log.
    pub const LOG_TEXT: usize = 512;
}

/// Limits of a client.
pub mod client {
    use std::time::Duration;

    /// Time for the hello of a stub.
    pub const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

    /// Time for a socket to be opened: a container engine may have to be asked first.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

    /// Time for an operation on namespaces: creating one takes long on a busy host.
    pub const NETNS_TIMEOUT: Duration = Duration::from_secs(60);

    /// Bytes of receive buffer that a socket asks for: a burst of a hundred thousand events waits in the
    /// kernel while the stream is busy. The kernel takes memory for queued datagrams only.
    pub const RECEIVE_BUFFER: u32 = 32 << 20;

    /// Credit for the datagrams of a socket, in bytes: a hundred parts of a dump. It bounds what a
    /// program leaves unread.
    pub const WINDOW_BYTES: u64 = 4 << 20;

    /// Credit for the datagrams of a socket, in datagrams.
    pub const WINDOW_DATAGRAMS: u64 = 16 << 10;

    /// Bytes that wait to be written, above which no small datagram is accepted for sending; and bytes
    /// of one socket's large datagrams, above which the socket gets no other accepted.
    pub const OUTBOX: usize = 1 << 20;

    /// Bytes of all sockets' large datagrams, above which none is accepted for sending.
    pub const LARGE_OUTBOX: usize = 64 << 20;

    /// Failures that wait to be received, from which on pipelined sends of a socket fail at once.
    pub const SEND_FAILURES: usize = 1024;

    /// Sends that the rust-netlink adapter remembers in case they fail: more than any window lets be in
    /// flight.
    pub const REMEMBERED_SENDS: usize = 8192;

    /// Requests of one `Requests` in flight: as many as a send window has datagrams.
    pub const REQUESTS_IN_FLIGHT: u32 = 4096;

    /// Bytes of memory for what a caller leaves unread of an answer, above which the request fails where
    /// others are awaited.
    pub const UNREAD_OF_REQUEST: usize = 16 << 20;

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

    /// Bytes of a file of ssh's configuration, or of known hosts: some 100,000 hosts.
    pub const SSH_FILE: u64 = 16 << 20;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    /// The rows of the guide's tables, made from the source of this file.
    fn rows() -> Vec<String> {
        let mut values: HashMap<&str, u64> = HashMap::new();
        let (mut rows, mut module, mut words) = (Vec::new(), "", Vec::new());
        for line in include_str!("limits.rs").lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("pub mod ") {
                module = name.trim_end_matches(" {");
                words.clear();
            } else if let Some(text) = line.strip_prefix("///") {
                words.push(text.trim());
            } else if let Some(constant) = line.strip_prefix("pub const ") {
                let (name, rest) = constant.split_once(": ").unwrap();
                let (_, value) = rest.trim_end_matches(';').split_once(" = ").unwrap();
                let number = value_of(value, &values);
                values.insert(name, number);
                let text = words.join(" ");
                let text = text.split(" [`SEND_WINDOW_DATAGRAMS`]: ").next().unwrap();
                // Links lead to items that the guide does not see.
                let text = match text.split_once("](") {
                    Some((before, after)) => {
                        let after = after.split_once(')').map_or("", |(_, after)| after);
                        format!("{before}]{after}")
                    }
                    None => text.to_owned(),
                };
                let text = text.replace("[`", "`").replace("`]", "`");
                let shown = shown(number, value, &text);
                rows.push(format!("| `{module}::{name}` | {shown} | {text} |"));
                words.clear();
            } else if line == "mod tests {" {
                break;
            }
        }
        rows
    }

    fn value_of(value: &str, known: &HashMap<&str, u64>) -> u64 {
        let value = value.strip_prefix("Duration::from_secs(").unwrap_or(value);
        let value = value.trim_end_matches(')').replace('_', "");
        match value.split_once(" << ") {
            Some((base, shift)) => base.parse::<u64>().unwrap() << shift.parse::<u32>().unwrap(),
            None => value.parse().unwrap_or_else(|_| {
                let same = |(name, _): &(&&str, &u64)| name.replace('_', "") == value;
                *known.iter().find(same).unwrap_or_else(|| panic!("{value}")).1
            }),
        }
    }

    fn shown(number: u64, value: &str, text: &str) -> String {
        let is_size = ["Bytes", "The limit on a frame", "The smallest", "The longest"]
            .into_iter()
            .any(|start| text.starts_with(start))
            || text.contains("in bytes:");
        match number {
            _ if value.starts_with("Duration") => format!("{number} s"),
            _ if !is_size || number < 1 << 10 => number.to_string(),
            _ if number.is_multiple_of(1 << 20) => format!("{} MiB", number >> 20),
            _ => format!("{} KiB", number >> 10),
        }
    }

    #[test]
    fn the_guide_has_every_limit_with_its_default_and_reason() {
        let guide = include_str!("guide/limits.md");
        let wrong: Vec<_> = rows().into_iter().filter(|row| !guide.contains(row)).collect();
        assert!(wrong.is_empty(), "src/guide/limits.md lacks:\n{}", wrong.join("\n"));
        let count = guide.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(count, rows().len(), "rows of limits that are gone");
    }
}
