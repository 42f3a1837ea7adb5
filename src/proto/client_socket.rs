//! One socket in a client's state.

use std::collections::HashSet;

use bytes::BytesMut;

use super::credit::{Granted, Granting};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    Open,
    Closing,
}

#[derive(Debug)]
pub(super) struct ClientSocket {
    pub(super) phase: Phase,
    pub(super) sends: Granted,
    pub(super) datagrams: Granting,
    pub(super) confirming: HashSet<u32>,
    /// Pipelined sends whose failure was not told: each may fail once.
    pub(super) may_fail: u64,
    pub(super) partial: BytesMut,
    pub(super) next_serial: u32,
    /// The kind of the last send, if the next one may be gathered with it.
    pub(super) last_kind: Option<u16>,
}
