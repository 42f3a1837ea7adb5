//! One socket in a stub's state.

use super::credit::{Granted, Granting};
use crate::wire::{Counters, Credit};

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
    /// Confirmed sends that are made and not answered, each counted in `waiting`.
    pub(super) unanswered: u64,
    pub(super) counters: Counters,
}
