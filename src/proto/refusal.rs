//! Errors of the caller of a client's state; none of them harms the connection.

/// Why a datagram cannot be sent; nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The credit is used up; more comes with [`ClientEvent::SendCredit`](super::ClientEvent).
    #[error("no credit is left to send on this socket")]
    NoCredit,
    /// The datagram is longer than any that this connection carries: that limit, in bytes.
    #[error("the datagram is longer than {0} bytes, the most that this connection carries")]
    TooLarge(usize),
    /// The socket is not open.
    #[error("the socket is not open")]
    NotOpen,
}

/// Why an open or a request cannot be made; nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There are as many as the stub allows; one more fits when one of them has ended.
    #[error("the stub allows no more of them at a time")]
    TooMany,
    /// The socket is not open.
    #[error("the socket is not open")]
    NotOpen,
    /// The frame would be longer than both sides accept, which would end the connection.
    #[error("a frame of {length} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Bytes of the frame.
        length: u32,
        /// The limit, in bytes.
        limit: u32,
    },
}
