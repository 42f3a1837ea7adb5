//! What differs between architectures: the numbers of calls that only some have, and the name of the
//! architecture for a filter.

#[cfg(target_arch = "x86_64")]
mod here {
    /// `AUDIT_ARCH_X86_64`.
    pub(in crate::run) const ARCHITECTURE: u32 = 0xc000_003e;
    /// `AUDIT_ARCH_I386`, and its `socketcall` and `socket`: programs of 32 bits, which this kernel may run.
    pub(in crate::run) const OTHER: Option<(u32, [u32; 2])> = Some((0x4000_0003, [102, 359]));
    /// `__X32_SYSCALL_BIT`.
    pub(in crate::run) const FOREIGN_BIT: Option<u32> = Some(0x4000_0000);
    pub(in crate::run) const OPEN: Option<i64> = Some(libc::SYS_open);
    pub(in crate::run) const MKDIR: Option<i64> = Some(libc::SYS_mkdir);
    pub(in crate::run) const UNLINK: Option<i64> = Some(libc::SYS_unlink);
    /// Calls that wait for readiness, of this architecture alone.
    pub(in crate::run) const WAITS: &[i64] =
        &[libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait];
}

#[cfg(target_arch = "aarch64")]
mod here {
    /// `AUDIT_ARCH_AARCH64`.
    pub(in crate::run) const ARCHITECTURE: u32 = 0xc000_00b7;
    /// `AUDIT_ARCH_ARM`, and its `socketcall` and `socket`.
    pub(in crate::run) const OTHER: Option<(u32, [u32; 2])> = Some((0x4000_0028, [102, 281]));
    pub(in crate::run) const FOREIGN_BIT: Option<u32> = None;
    pub(in crate::run) const OPEN: Option<i64> = None;
    pub(in crate::run) const MKDIR: Option<i64> = None;
    pub(in crate::run) const UNLINK: Option<i64> = None;
    pub(in crate::run) const WAITS: &[i64] = &[];
}

/// No filter is known for this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here {
    pub(in crate::run) const ARCHITECTURE: u32 = 0;
    pub(in crate::run) const OTHER: Option<(u32, [u32; 2])> = None;
    pub(in crate::run) const FOREIGN_BIT: Option<u32> = None;
    pub(in crate::run) const OPEN: Option<i64> = None;
    pub(in crate::run) const MKDIR: Option<i64> = None;
    pub(in crate::run) const UNLINK: Option<i64> = None;
    pub(in crate::run) const WAITS: &[i64] = &[];
}

pub(super) use here::*;
