//! A filter of system calls, seccomp(2): what a stub never does, it cannot be made to do.
//!
//! The list is that of a stub on glibc and on musl, as strace(1) shows it for the behaviour tests, and
//! a few calls that libraries fall back to. Anything else fails with EPERM, and the kernel's log has a
//! line for it (`SECCOMP_FILTER_FLAG_LOG`; `type=1326` in the audit log). It does not kill the
//! process: a call that a new libc makes on its way would then end every connection of a router's
//! server, while somebody who has taken the process over gets no further with EPERM.

use std::collections::BTreeMap;

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{capabilities::Duties, sys};

type Call = libc::c_long;

/// Calls of every stub.
const ALWAYS: &[Call] = &[
    // Streams, pollers, wake-ups.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    // Sockets; socket(2) itself has a rule.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    // Files: namespaces, and facts of /proc.
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    // The file of the listening socket is removed in the end.
    libc::SYS_unlinkat,
    // Memory; mmap(2) and mprotect(2) have rules.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads; clone(2) has a rule.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals, those of an abort included.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // This process and its host. Capabilities and privileges can be given up only.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Older names of calls above, which musl uses where the architecture has them.
#[cfg(target_arch = "x86_64")]
const ALWAYS_OLD: &[Call] = &[
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_OLD: &[Call] = &[];

/// Calls to enter namespaces.
const NAMESPACES: &[Call] = &[libc::SYS_setns];

/// Calls to create and delete named namespaces.
const CREATING: &[Call] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_flock,
    libc::SYS_mkdirat,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_unshare,
];
#[cfg(target_arch = "x86_64")]
const CREATING_OLD: &[Call] = &[libc::SYS_chmod, libc::SYS_mkdir];
#[cfg(not(target_arch = "x86_64"))]
const CREATING_OLD: &[Call] = &[];

/// Requests of ioctl(2): whether a stream blocks, and the kinds and owners of namespaces.
const IOCTLS: [libc::Ioctl; 8] = [
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::NS_GET_NSTYPE,
    libc::NS_GET_OWNER_UID,
    libc::NS_GET_PARENT,
    libc::NS_GET_USERNS,
];

/// Has every thread of this process make the calls of these duties only, for ever. Starting a program
/// and a process is none of them.
///
/// # Errors
/// In words: the kernel has no seccomp, or there is no list for this architecture.
pub(crate) fn install(duties: Duties) -> Result<(), String> {
    let allowed = filter(rules(duties), SeccompAction::Errno(Errno::EPERM as u32), SeccompAction::Allow)?;
    // glibc makes threads by clone(2) where clone3(2), whose flags no filter can see, does not exist.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let missing = filter(clone3, SeccompAction::Allow, SeccompAction::Errno(Errno::ENOSYS as u32))?;
    // Each thread would leave a line in the log for the first.
    for (program, log) in [(missing, false), (allowed, true)] {
        sys::install_filter(&program, log).map_err(|errno| match errno {
            Errno::ENOSYS | Errno::EINVAL => "the kernel has no seccomp filters".to_owned(),
            errno => errno.desc().to_owned(),
        })?;
    }
    Ok(())
}

type Rules = BTreeMap<Call, Vec<SeccompRule>>;

fn filter(rules: Rules, otherwise: SeccompAction, on_match: SeccompAction) -> Result<BpfProgram, String> {
    let architecture = std::env::consts::ARCH;
    let target = TargetArch::try_from(architecture)
        .map_err(|_| format!("there is no list of system calls for {architecture}"))?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, target);
    filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
}

fn rules(duties: Duties) -> Rules {
    let mut rules: Rules = BTreeMap::new();
    let mut allow = |calls: &[Call]| rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    allow(ALWAYS);
    allow(ALWAYS_OLD);
    if duties.namespaces {
        allow(NAMESPACES);
        if duties.changes {
            allow(CREATING);
            allow(CREATING_OLD);
        }
    }
    let either = |arg: u8, values: &[u64]| -> Vec<SeccompRule> {
        values.iter().filter_map(|value| rule(arg, SeccompCmpOp::Eq, *value)).collect()
    };
    let masked = |arg, mask: libc::c_int, value: libc::c_int| -> Vec<SeccompRule> {
        rule(arg, SeccompCmpOp::MaskedEq(mask as u64), value as u64).into_iter().collect()
    };
    let families = [libc::AF_NETLINK as u64, libc::AF_UNIX as u64];
    rules.insert(libc::SYS_socket, either(0, &families));
    rules.insert(libc::SYS_ioctl, either(1, &IOCTLS.map(|request| request as u64)));
    // Threads, and no processes.
    rules.insert(libc::SYS_clone, masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD));
    // The other filter refuses it with another errno.
    rules.insert(libc::SYS_clone3, Vec::new());
    // No new code.
    rules.insert(libc::SYS_mmap, masked(2, libc::PROT_EXEC, 0));
    rules.insert(libc::SYS_mprotect, masked(2, libc::PROT_EXEC, 0));
    if rules.contains_key(&libc::SYS_unshare) {
        rules.insert(libc::SYS_unshare, either(0, &[libc::CLONE_NEWNET as u64]));
    }
    if rules.contains_key(&libc::SYS_setns) {
        rules.insert(libc::SYS_setns, either(1, &[libc::CLONE_NEWNET as u64]));
    }
    rules
}

fn rule(arg: u8, operation: SeccompCmpOp, value: u64) -> Option<SeccompRule> {
    let condition = SeccompCondition::new(arg, SeccompCmpArgLen::Dword, operation, value).ok()?;
    SeccompRule::new(vec![condition]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_never_started_and_lists_shrink_with_duties() {
        let all = rules(Duties { changes: true, namespaces: true, audit: true });
        for never in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_connect,
            libc::SYS_kill,
            libc::SYS_setuid,
            libc::SYS_init_module,
        ] {
            assert!(!all.contains_key(&never), "{never}");
        }
        // A rule that could not be made would allow everything.
        for call in [libc::SYS_socket, libc::SYS_ioctl, libc::SYS_clone, libc::SYS_mmap] {
            assert!(!all[&call].is_empty(), "{call}");
        }
        assert!(!all[&libc::SYS_setns].is_empty() && !all[&libc::SYS_unshare].is_empty());
        let looks = rules(Duties { changes: false, namespaces: true, audit: true });
        assert!(looks.contains_key(&libc::SYS_setns) && !looks.contains_key(&libc::SYS_mount));
        assert!(!looks.contains_key(&libc::SYS_unshare));
        let here = rules(Duties { changes: true, namespaces: false, audit: true });
        assert!(!here.contains_key(&libc::SYS_setns) && !here.contains_key(&libc::SYS_mount));
    }
}
