//! Memory that is given back to the kernel after a burst. glibc keeps much of it otherwise, musl little.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether this process is a stub or a server and little else, and may settle how its heap is kept.
static DEDICATED: AtomicBool = AtomicBool::new(false);

/// Has the heap keep little memory, from now on.
pub(crate) fn dedicate_heap() {
    #[cfg(target_env = "gnu")]
    super::sys::keep_little_memory();
    DEDICATED.store(true, Relaxed);
}

/// Gives free memory back, in a process whose heap is dedicated. It takes as long as the heap is large:
/// some milliseconds for hundreds of megabytes.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    if DEDICATED.load(Relaxed) {
        super::sys::trim_heap();
    }
}
