//! One socket in a stub's state.

use super::{
    cost::cost,
    credit::{Granted, Granting},
};
use crate::wire::{Counters, Credit, Destination, Flags, FrameType};

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

impl StubSocket {
    /// Whether a send of so many bytes is the one that may come before the answer to the open, or comes
    /// before its client knows that the open has failed.
    pub(super) fn awaits_early(&self, limit: usize, flags: Flags, length: usize) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Failed)
            && matches!(self.early, Early::None)
            && !flags.contains(Flags::MORE)
            && limit > 0
            && length <= limit
    }

    /// Keeps that send until the socket is open, and gives what it takes of `waiting`; 0 where the open has
    /// failed, and `None` where there is no credit for it.
    pub(super) fn keep_early(&mut self, early: EarlySend) -> Option<u64> {
        if self.phase == Phase::Failed {
            self.early = Early::Done;
            return Some(0);
        }
        let length = early.data.len();
        self.early = Early::Waits(early);
        self.sends.receive(length, Credit::default()).then(|| cost(FrameType::Send, length))
    }

    /// Takes that send, to be made.
    pub(super) fn take_early(&mut self) -> Option<EarlySend> {
        match std::mem::replace(&mut self.early, Early::Done) {
            Early::Waits(early) => Some(early),
            _ => None,
        }
    }

    /// Drops that send, and gives what it has taken of `waiting`. A socket that fails to open may still
    /// get one that was sent before.
    pub(super) fn drop_early(&mut self) -> u64 {
        match &self.early {
            Early::Waits(early) => {
                let taken = cost(FrameType::Send, early.data.len());
                self.early = Early::Done;
                taken
            }
            _ => 0,
        }
    }
}
