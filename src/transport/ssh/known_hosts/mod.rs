//! The known_hosts files: the keys of a host, and the verification of the key it shows.
//!
//! As for ssh, a host with any key on file is known: a key that is not among them is a changed one,
//! of whichever type. A changed or revoked key is refused whatever the configuration says; with
//! `StrictHostKeyChecking no` ssh itself would go on without passwords.

mod append;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod line;
mod lookup;
#[cfg(test)]
mod tests;
mod verify;

pub(super) use lookup::KnownHosts;
pub(super) use verify::verify;
