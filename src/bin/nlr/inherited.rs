//! The standard descriptors that were closed when the tool started.
//!
//! std opens /dev/null in place of a closed one before main runs, lest a socket get its number. What
//! is written there is lost without an error, which `nlr show >&-` must not take for success.
// A function that runs before main cannot be named without it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};

/// A bit for each of the descriptors 0 to 2 that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

extern "C" fn note() {
    for descriptor in 0..3 {
        // SAFETY: F_GETFD takes any number and no pointer, and changes nothing; of a number that is
        // not open it fails with EBADF.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << descriptor, Ordering::Relaxed);
        }
    }
}

// SAFETY: the C library calls each function of this section once before main, in the process's only
// thread, with arguments that a function of the C calling convention may ignore. `note` does a
// system call and changes an atomic number: neither needs what std sets up later.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = note;

/// Whether a standard descriptor was closed.
pub(crate) fn was_closed(descriptor: u32) -> bool {
    CLOSED.load(Ordering::Relaxed).checked_shr(descriptor).is_some_and(|bits| bits & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_of_the_start() {
        // The test's own are open; those beyond the standard ones are not looked at.
        assert!((0..100).all(|descriptor| !was_closed(descriptor)));
    }
}
