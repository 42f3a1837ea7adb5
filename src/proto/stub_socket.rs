//! One socket in a stub's state.

use super::credit::{Granted, Granting};
use crate::wire::{Counters, Credit, Destination};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    Open,
    Failed,
    Closing,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Opening => "opening",
            Phase::Open => "already open",
            Phase::Failed => "not open",
            Phase::Closing => "closing",
        }
    }
}

/// The one send that may come before the answer to the open.
#[derive(Debug, Default)]
pub(super) enum Early {
    /// It may come.
    #[default]
    None,
    /// It waits until the socket is open.
    Waits(EarlySend),
    /// It has come.
    Done,
}

#[derive(Debug)]
pub(super) struct EarlySend {
    pub(super) serial: u32,
    pub(super) confirm: bool,
    pub(super) destination: Destination,
    pub(super) data: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct StubSocket {
    pub(super) phase: Phase,
    /// The window for datagrams towards the client.
    pub(super) datagrams: Granted,
    /// Credit beyond the grant, while a confirmed send is unanswered.
    pub(super) overdraft: Credit,
    /// The window for sends from the client.
    pub(super) sends: Granting,
    /// The bytes so far of a send that is incomplete ([`Flags::MORE`]).
    pub(super) partial: Vec<u8>,
    /// What its open, while it is being made, takes of `waiting`.
    pub(super) opening: u64,
    /// The send that has come before the answer to the open.
    pub(super) early: Early,
    /// Confirmed sends that are made and not answered, each counted in `waiting`.
    pub(super) unanswered: u64,
    pub(super) counters: Counters,
}
