//! The kinds of sends.

/// How the stub is to make a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// By itself; answered in any case.
    Confirmed,
    /// By itself; answered only if it fails.
    Pipelined,
    /// As [`Pipelined`](Self::Pipelined), or in one system call with the send before it, if that
    /// was of the same kind: see [`Flags::GATHER`](crate::wire::Flags::GATHER)
    /// for which datagrams may be.
    Gathered(u16),
}
