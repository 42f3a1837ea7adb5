//! Capabilities, capabilities(7), which each thread has for itself and hands to those it starts.
//!
//! The kernel's netlink families ask for the *effective* capabilities of the thread that sends, so a
//! thread whose effective set lacks CAP_NET_ADMIN is refused every change by the kernel itself.

use caps::{CapSet, Capability, CapsHashSet};
use nix::{errno::Errno, sys::prctl::set_no_new_privs};

use super::failure::failure;
use crate::wire::Failure;

pub(crate) use caps::Capability as Cap;

/// What entering a namespace and looking into it takes; see [`needed`].
const TO_LOOK: [Capability; 5] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_NET_BROADCAST,
    Capability::CAP_AUDIT_READ,
];

/// What a stub may have to do, as far as that decides on capabilities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Duties {
    /// Change what netlink configures.
    pub(crate) changes: bool,
    /// Enter namespaces.
    pub(crate) namespaces: bool,
    /// Serve sockets of the audit protocol.
    pub(crate) audit: bool,
}

/// The capabilities that these duties need, as the table of SECURITY.md has them.
pub(crate) fn needed(duties: Duties) -> CapsHashSet {
    let mut needed = CapsHashSet::from([Capability::CAP_NET_BROADCAST]);
    if duties.changes {
        needed.insert(Capability::CAP_NET_ADMIN);
    }
    if duties.namespaces {
        needed.extend([
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_SYS_PTRACE,
            Capability::CAP_DAC_READ_SEARCH,
        ]);
    }
    if duties.audit {
        needed.insert(Capability::CAP_AUDIT_READ);
        if duties.changes {
            needed.extend([Capability::CAP_AUDIT_CONTROL, Capability::CAP_AUDIT_WRITE]);
        }
    }
    needed
}

/// Takes all other capabilities from every set of the calling thread, and privileges to come from
/// programs that it runs (`PR_SET_NO_NEW_PRIVS`). A thread that is to change nothing keeps
/// CAP_SYS_ADMIN, which some families ask for before a change, out of its effective set:
/// [`with`] has it for the calls that need it.
///
/// # Errors
/// EPERM where the kernel refuses, as a security module may.
pub(crate) fn keep(wanted: &CapsHashSet, changes: bool) -> Result<(), Errno> {
    let kept: CapsHashSet = read(CapSet::Permitted)?.intersection(wanted).copied().collect();
    set_no_new_privs()?;
    // A kernel before 4.3 has no ambient set.
    let _ = caps::clear(None, CapSet::Ambient);
    // Without CAP_SETPCAP the bounding set stays. It limits what a program gains by its file, and
    // there is no such gain any more.
    if caps::has_cap(None, CapSet::Permitted, Capability::CAP_SETPCAP).unwrap_or(false) {
        let others = read(CapSet::Bounding)?.difference(wanted).copied().collect::<Vec<_>>();
        let cut = || others.into_iter().try_for_each(|it| caps::drop(None, CapSet::Bounding, it));
        denied(with(Capability::CAP_SETPCAP, cut)?)?;
    }
    let mut effective = kept.clone();
    if !changes {
        effective.remove(&Capability::CAP_SYS_ADMIN);
    }
    let inheritable = CapsHashSet::new();
    // In this order: the effective set is always part of the permitted one.
    denied(caps::set(None, CapSet::Effective, &effective))?;
    denied(caps::set(None, CapSet::Inheritable, &inheritable))?;
    denied(caps::set(None, CapSet::Permitted, &kept))
}

/// [`keep`] for a thread that serves a client which is to change nothing.
///
/// # Errors
/// As [`keep`].
pub(crate) fn only_look() -> Result<(), Failure> {
    keep(&CapsHashSet::from(TO_LOOK), false)
        .map_err(|errno| failure(errno, "giving up the capabilities for changes"))
}

/// The part of an effective set that [`only_look`] leaves, as masks of bits.
pub(crate) fn looking_part(effective: u64) -> u64 {
    let looking = TO_LOOK.iter().filter(|capability| **capability != Capability::CAP_SYS_ADMIN);
    effective & looking.fold(0, |mask, capability| mask | capability.bitmask())
}

/// Runs `work` with a capability in the effective set, if the thread has it at all.
///
/// # Errors
/// EPERM where it cannot be put back, after `work`.
pub(super) fn with<T>(capability: Capability, work: impl FnOnce() -> T) -> Result<T, Errno> {
    let has = |set| caps::has_cap(None, set, capability).unwrap_or(false);
    let raise = !has(CapSet::Effective) && has(CapSet::Permitted);
    if raise {
        denied(caps::raise(None, CapSet::Effective, capability))?;
    }
    let result = work();
    if raise {
        denied(caps::drop(None, CapSet::Effective, capability))?;
    }
    Ok(result)
}

fn read(set: CapSet) -> Result<CapsHashSet, Errno> {
    denied(caps::read(None, set))
}

/// The crate's errors are texts; all of these calls fail by EPERM alone.
fn denied<T, E>(result: Result<T, E>) -> Result<T, Errno> {
    result.map_err(|_| Errno::EPERM)
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// A set of the calling thread, as /proc tells it.
    fn told(set: &str) -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }

    fn mask(capabilities: &CapsHashSet) -> u64 {
        capabilities.iter().fold(0, |mask, capability| mask | capability.bitmask())
    }

    /// The table of SECURITY.md.
    #[test]
    fn duties_need_what_the_table_says() {
        use Capability::*;
        let security = include_str!("../../SECURITY.md");
        for (capability, needs) in [
            (CAP_NET_BROADCAST, [true; 4]),
            (CAP_NET_ADMIN, [true, true, true, false]),
            (CAP_SYS_ADMIN, [true, false, true, true]),
            (CAP_SYS_PTRACE, [true, false, true, true]),
            (CAP_DAC_READ_SEARCH, [true, false, true, true]),
            (CAP_AUDIT_READ, [true, true, false, true]),
            (CAP_AUDIT_CONTROL, [true, true, false, false]),
            (CAP_AUDIT_WRITE, [true, true, false, false]),
            (CAP_DAC_OVERRIDE, [false; 4]),
            (CAP_SETUID, [false; 4]),
        ] {
            let duties = [
                Duties { changes: true, namespaces: true, audit: true },
                Duties { changes: true, namespaces: false, audit: true },
                Duties { changes: true, namespaces: true, audit: false },
                Duties { changes: false, namespaces: true, audit: true },
            ];
            let answers = duties.map(|duties| needed(duties).contains(&capability));
            assert_eq!(answers, needs, "{capability}");
            let row = security.lines().any(|line| line.starts_with(&format!("| {capability} ")));
            assert_eq!(row, needs.contains(&true), "{capability} in SECURITY.md");
        }
    }

    #[test]
    fn a_thread_that_only_looks_has_nothing_else() {
        let before = told("CapPrm");
        let looks = thread::spawn(|| {
            only_look().unwrap();
            let threads = thread::spawn(|| (told("CapEff"), told("CapPrm"), told("CapBnd")));
            let raised = with(Capability::CAP_SYS_ADMIN, || told("CapEff")).unwrap();
            let sets = (told("CapEff"), told("CapPrm"), told("CapBnd"));
            assert_eq!(threads.join().unwrap(), sets, "threads inherit it");
            assert_eq!((told("CapInh"), told("CapAmb"), told("NoNewPrivs")), (0, 0, 1));
            (raised, sets)
        });
        let (raised, (effective, permitted, bounding)) = looks.join().unwrap();
        let look = mask(&TO_LOOK.into());
        let admin = Capability::CAP_SYS_ADMIN.bitmask();
        assert_eq!(permitted, before & look);
        assert_eq!(effective, before & look & !admin);
        assert_eq!(effective, looking_part(before));
        assert_eq!(raised, before & look, "CAP_SYS_ADMIN for the time of a call");
        if before & Capability::CAP_SETPCAP.bitmask() != 0 {
            assert_eq!(bounding & !look, 0);
        }
        assert_eq!(told("CapPrm"), before, "other threads keep theirs");
        // Again changes nothing, and gives nothing back.
        thread::spawn(move || {
            only_look().unwrap();
            only_look().unwrap();
            assert_eq!(told("CapPrm"), permitted);
            keep(&caps::all(), true).unwrap();
            assert_eq!(told("CapPrm"), permitted);
        })
        .join()
        .unwrap();
    }
}
