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

/// A list of calls, each with its name.
macro_rules! calls {
    ($($call:ident)*) => { &[$((stringify!($call), libc::$call)),*] };
}

type Calls = &'static [(&'static str, Call)];

/// Calls of every stub: streams, pollers and wake-ups; sockets; files of /proc and of namespaces, and
/// the removal of the listening socket's file; memory; threads; signals, those of an abort included;
/// time and chance; this process and its host. Capabilities and limits can be given up only.
const ALWAYS: Calls = calls! {
    SYS_read SYS_write SYS_writev SYS_lseek SYS_close SYS_fcntl
    SYS_ppoll SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_eventfd2
    SYS_accept SYS_accept4 SYS_bind SYS_getsockname SYS_getsockopt SYS_recvfrom SYS_recvmsg
    SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setsockopt SYS_shutdown SYS_socketpair
    SYS_fstat SYS_fstatfs SYS_getdents64 SYS_newfstatat SYS_openat SYS_readlinkat SYS_statx
    SYS_unlinkat
    SYS_brk SYS_madvise SYS_mremap SYS_munmap
    SYS_exit SYS_exit_group SYS_futex SYS_restart_syscall SYS_rseq SYS_sched_getaffinity
    SYS_sched_yield SYS_set_robust_list SYS_set_tid_address
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigtimedwait SYS_sigaltstack
    SYS_tgkill SYS_tkill
    SYS_clock_gettime SYS_clock_nanosleep SYS_getrandom SYS_gettimeofday SYS_nanosleep
    SYS_capget SYS_capset SYS_geteuid SYS_getpid SYS_gettid SYS_prctl SYS_prlimit64 SYS_uname
};

/// Older names of calls above, which musl uses where the architecture has them.
#[cfg(target_arch = "x86_64")]
const ALWAYS_OLD: Calls = calls! {
    SYS_epoll_wait SYS_lstat SYS_open SYS_poll SYS_readlink SYS_stat SYS_unlink
};
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_OLD: Calls = &[];

/// Calls to enter namespaces.
const NAMESPACES: Calls = calls! { SYS_setns };

/// Calls to create and delete named namespaces.
const CREATING: Calls = calls! {
    SYS_fchmod SYS_fchmodat SYS_flock SYS_mkdirat SYS_mount SYS_umount2 SYS_unshare
};
#[cfg(target_arch = "x86_64")]
const CREATING_OLD: Calls = calls! { SYS_chmod SYS_mkdir };
#[cfg(not(target_arch = "x86_64"))]
const CREATING_OLD: Calls = &[];

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
    let allowed =
        filter(rules(duties), SeccompAction::Errno(Errno::EPERM as u32), SeccompAction::Allow)?;
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

fn filter(
    rules: Rules,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<BpfProgram, String> {
    let architecture = std::env::consts::ARCH;
    let target = TargetArch::try_from(architecture)
        .map_err(|_| format!("there is no list of system calls for {architecture}"))?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, target);
    filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
}

fn rules(duties: Duties) -> Rules {
    let mut rules: Rules = BTreeMap::new();
    let mut allow = |calls: Calls| rules.extend(calls.iter().map(|(_, call)| (*call, Vec::new())));
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
    #[allow(clippy::unnecessary_cast, reason = "musl's request is narrower than glibc's")]
    let requests = IOCTLS.map(|request| request as u64);
    let families = [libc::AF_NETLINK as u64, libc::AF_UNIX as u64];
    rules.insert(libc::SYS_socket, either(0, &families));
    rules.insert(libc::SYS_ioctl, either(1, &requests));
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

    /// Calls of which the arguments decide.
    const BY_ARGUMENT: Calls = calls! { SYS_socket SYS_ioctl SYS_clone SYS_mmap SYS_mprotect };

    /// The names of the calls that a section of SECURITY.md lists.
    fn documented(heading: &str) -> std::collections::BTreeSet<&'static str> {
        let text = include_str!("../../SECURITY.md");
        let row = text.lines().find(|line| line.starts_with(&format!("| {heading} |"))).unwrap();
        row.split('|').nth(2).unwrap().split_whitespace().collect()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_lists_are_those_of_the_documentation() {
        for (heading, lists) in [
            ("every stub", [ALWAYS, ALWAYS_OLD]),
            ("by their arguments", [BY_ARGUMENT, &[]]),
            ("to enter namespaces", [NAMESPACES, &[]]),
            ("to create namespaces", [CREATING, CREATING_OLD]),
        ] {
            let names = lists.concat().into_iter().map(|(name, _)| name);
            let names = names.map(|name| name.trim_start_matches("SYS_")).collect();
            assert_eq!(documented(heading), names, "{heading}");
        }
    }

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
        for (name, call) in BY_ARGUMENT {
            assert!(!all[call].is_empty(), "{name}");
        }
        assert!(!all[&libc::SYS_setns].is_empty() && !all[&libc::SYS_unshare].is_empty());
        let looks = rules(Duties { changes: false, namespaces: true, audit: true });
        assert!(looks.contains_key(&libc::SYS_setns) && !looks.contains_key(&libc::SYS_mount));
        assert!(!looks.contains_key(&libc::SYS_unshare));
        let here = rules(Duties { changes: true, namespaces: false, audit: true });
        assert!(!here.contains_key(&libc::SYS_setns) && !here.contains_key(&libc::SYS_mount));
    }

    /// The test that runs itself in a process of its own, since a filter stays.
    const NAME: &str = "kernel::seccomp::tests::a_call_outside_of_the_list_fails";

    #[test]
    fn a_call_outside_of_the_list_fails() {
        use std::{env, fs::File, net::TcpListener, process::Command, thread};
        const INSIDE: &str = "NLR_TEST_FILTERED";
        let errno = |error: std::io::Error| error.raw_os_error();
        const EPERM: Option<i32> = Some(libc::EPERM);
        if env::var_os(INSIDE).is_none() {
            let test = env::current_exe().unwrap();
            let run = Command::new(test).args(["--exact", NAME]).env(INSIDE, "").output().unwrap();
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            assert!(run.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        install(Duties { changes: true, namespaces: true, audit: true }).unwrap();
        // Threads that existed before have it, too: the one that waits for this test, and this.
        let status = std::fs::read_to_string(format!("/proc/{}/status", std::process::id()));
        assert!(status.unwrap().contains("Seccomp:\t2"));
        assert_eq!(Command::new("true").status().err().and_then(errno), EPERM);
        assert_eq!(TcpListener::bind("127.0.0.1:0").err().and_then(errno), EPERM);
        assert_eq!(std::os::unix::net::UnixStream::connect("/x").err().and_then(errno), EPERM);
        assert_eq!(std::fs::rename("/tmp/a", "/tmp/b").err().and_then(errno), EPERM);
        use nix::{sched, sys::signal, unistd};
        assert_eq!(signal::kill(unistd::getpid(), None), Err(Errno::EPERM));
        assert_eq!(sched::unshare(sched::CloneFlags::CLONE_NEWUSER), Err(Errno::EPERM));
        assert_eq!(unistd::setuid(unistd::getuid()), Err(Errno::EPERM));
        let own = File::open("/proc/self/ns/mnt").unwrap();
        let enter = sched::setns(own, sched::CloneFlags::CLONE_NEWNS);
        assert_eq!(enter, Err(Errno::EPERM));
        assert_eq!(nix::sys::ptrace::attach(unistd::getppid()), Err(Errno::EPERM));
        // What a stub does works on.
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        sys::socket(0).unwrap();
    }
}
