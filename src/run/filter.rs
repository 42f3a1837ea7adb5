//! The filter: which system calls of a program are told, which are refused, and which go on at full speed.
//!
//! It is classic BPF over `struct seccomp_data` (seccomp(2)), made here because no crate makes filters that
//! notify.

use std::ops::Range;

use libc::sock_filter;

use super::arch;

/// `SECCOMP_RET_USER_NOTIF`, `SECCOMP_RET_ALLOW`, and `SECCOMP_RET_ERRNO` with ENOSYS.
const NOTIFY: u32 = 0x7fc0_0000;
const ALLOW: u32 = 0x7fff_0000;
const MISSING: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of an argument.
const fn argument(index: u32) -> u32 {
    let high_first = if cfg!(target_endian = "big") { 4 } else { 0 };
    16 + 8 * index + high_first
}

/// Calls that are told whatever they are about: those on sockets, since a handle may have any number, and
/// those that name files and namespaces.
const TOLD: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
];

/// Calls that wait for readiness, on every architecture: they are told so that handles show theirs, and then made
/// by the kernel.
pub(super) const WAITS: &[i64] =
    &[libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

/// Calls that are told for a descriptor in the range of handles.
const OF_HANDLES: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_getdents64,
    libc::SYS_dup,
];

/// `AF_KEY` and `AF_XDP`: sockets that would change this host's network.
const AF_KEY: u32 = 15;
const AF_XDP: u32 = 44;

/// Requests of ioctl(2) on sockets and network devices (`<linux/sockios.h>`, `<linux/wireless.h>`), and
/// `TUNSETIFF`.
pub(super) const SOCKET_REQUESTS: Range<u32> = 0x8900..0x8c00;
pub(super) const TUNSETIFF: u32 = 0x4004_54ca;

/// Whether a descriptor blocks: a handle may have any number.
pub(super) const FIONBIO: u32 = 0x5421;

/// A place in the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Here,
    Socket,
    Raw,
    Ioctl,
    Fcntl,
    Range,
    Notify,
    Allow,
    Missing,
}

/// A test of what was loaded last.
#[derive(Debug, Clone, Copy)]
enum Test {
    Equal = 0x15,
    AtLeast = 0x35,
    HasBit = 0x45,
}

/// An instruction; a jump goes to its label if the test holds, or, the other way round, if it fails, and
/// otherwise on.
enum Step {
    Plain { code: u16, value: u32 },
    If { test: Test, value: u32, to: Label },
    Unless { test: Test, value: u32, to: Label },
}

#[derive(Default)]
struct Assembler {
    steps: Vec<Step>,
    labels: Vec<(Label, usize)>,
}

impl Assembler {
    fn load(&mut self, place: u32) {
        self.steps.push(Step::Plain { code: 0x20, value: place });
    }

    fn and(&mut self, mask: u32) {
        self.steps.push(Step::Plain { code: 0x54, value: mask });
    }

    fn end(&mut self, action: u32) {
        self.steps.push(Step::Plain { code: 0x06, value: action });
    }

    fn jump_if(&mut self, test: Test, value: u32, to: Label) {
        self.steps.push(Step::If { test, value, to });
    }

    fn jump_unless(&mut self, test: Test, value: u32, to: Label) {
        self.steps.push(Step::Unless { test, value, to });
    }

    fn calls(&mut self, calls: &[i64], to: Label) {
        for call in calls {
            self.jump_if(Test::Equal, u32::try_from(*call).unwrap_or(u32::MAX), to);
        }
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.steps.len()));
    }

    /// All labels are ahead of the jumps to them, at less than 256 instructions: the tests try every jump.
    fn finish(self) -> Vec<sock_filter> {
        let ahead = |from: usize, to: Label| {
            let place = self.labels.iter().find(|(label, _)| *label == to).map(|(_, place)| *place);
            let distance = place.and_then(|place| place.checked_sub(from + 1));
            distance.and_then(|distance| u8::try_from(distance).ok()).unwrap_or(u8::MAX)
        };
        let instruction = |(at, step): (usize, &Step)| match *step {
            Step::Plain { code, value } => sock_filter { code, jt: 0, jf: 0, k: value },
            Step::If { test, value, to } => {
                sock_filter { code: test as u16, jt: ahead(at, to), jf: 0, k: value }
            }
            Step::Unless { test, value, to } => {
                sock_filter { code: test as u16, jt: 0, jf: ahead(at, to), k: value }
            }
        };
        self.steps.iter().enumerate().map(instruction).collect()
    }
}

/// The filter for handles with these numbers.
pub(super) fn program(handles: &Range<u32>, allow_local: bool) -> Vec<sock_filter> {
    let mut code = Assembler::default();
    code.load(ARCHITECTURE);
    if let Some((other, calls)) = arch::OTHER {
        code.jump_unless(Test::Equal, other, Label::Here);
        code.load(NUMBER);
        calls.iter().for_each(|call| code.jump_if(Test::Equal, *call, Label::Missing));
        code.end(ALLOW);
        code.label(Label::Here);
    }
    code.jump_unless(Test::Equal, arch::ARCHITECTURE, Label::Allow);
    code.load(NUMBER);
    if let Some(bit) = arch::FOREIGN_BIT {
        code.jump_if(Test::HasBit, bit, Label::Missing);
    }
    code.calls(TOLD, Label::Notify);
    code.calls(WAITS, Label::Notify);
    code.calls(arch::WAITS, Label::Notify);
    for call in [arch::OPEN, arch::MKDIR, arch::UNLINK].into_iter().flatten() {
        code.calls(&[call], Label::Notify);
    }
    if !allow_local {
        code.calls(&[libc::SYS_bpf], Label::Notify);
    }
    code.calls(OF_HANDLES, Label::Range);
    code.calls(&[libc::SYS_socket], Label::Socket);
    code.calls(&[libc::SYS_ioctl], Label::Ioctl);
    code.calls(&[libc::SYS_fcntl], Label::Fcntl);
    code.calls(&[libc::SYS_io_uring_setup], Label::Missing);
    code.end(ALLOW);

    let constant = |value: libc::c_int| u32::try_from(value).unwrap_or_default();
    code.label(Label::Socket);
    code.load(argument(0));
    code.jump_if(Test::Equal, constant(libc::AF_NETLINK), Label::Notify);
    if !allow_local {
        for local in [constant(libc::AF_PACKET), AF_KEY, AF_XDP] {
            code.jump_if(Test::Equal, local, Label::Notify);
        }
        // A raw socket of IPv4 or IPv6, by which iptables-legacy has its tables changed.
        code.jump_if(Test::Equal, constant(libc::AF_INET), Label::Raw);
        code.jump_unless(Test::Equal, constant(libc::AF_INET6), Label::Allow);
        code.label(Label::Raw);
        code.load(argument(1));
        code.and(0xf);
        code.jump_if(Test::Equal, constant(libc::SOCK_RAW), Label::Notify);
    }
    code.end(ALLOW);

    code.label(Label::Fcntl);
    code.load(argument(1));
    code.jump_if(Test::Equal, constant(libc::F_SETFL), Label::Notify);
    code.jump_if(Test::Equal, constant(libc::F_DUPFD), Label::Range);
    code.jump_if(Test::Equal, constant(libc::F_DUPFD_CLOEXEC), Label::Range);
    code.end(ALLOW);

    code.label(Label::Ioctl);
    code.load(argument(1));
    code.jump_if(Test::Equal, TUNSETIFF, Label::Notify);
    code.jump_if(Test::Equal, FIONBIO, Label::Notify);
    code.jump_if(Test::AtLeast, SOCKET_REQUESTS.end, Label::Range);
    code.jump_if(Test::AtLeast, SOCKET_REQUESTS.start, Label::Notify);
    code.label(Label::Range);
    code.load(argument(0));
    code.jump_if(Test::AtLeast, handles.end, Label::Allow);
    code.jump_if(Test::AtLeast, handles.start, Label::Notify);
    code.label(Label::Allow);
    code.end(ALLOW);
    code.label(Label::Notify);
    code.end(NOTIFY);
    code.label(Label::Missing);
    code.end(MISSING);
    code.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter over a call, as the kernel does.
    fn run(code: &[sock_filter], architecture: u32, number: i64, arguments: [u64; 2]) -> u32 {
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let step = code[at];
            at += 1;
            let jumps = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                0x20 => {
                    value = match step.k {
                        NUMBER => u32::try_from(number).unwrap(),
                        ARCHITECTURE => architecture,
                        place if place == argument(0) => arguments[0] as u32,
                        place if place == argument(1) => arguments[1] as u32,
                        place => panic!("nothing is at {place}"),
                    }
                }
                0x54 => value &= step.k,
                0x06 => return step.k,
                0x15 => at += jumps(value == step.k),
                0x35 => at += jumps(value >= step.k),
                0x45 => at += jumps(value & step.k != 0),
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn native(allow_local: bool, number: i64, arguments: [u64; 2]) -> u32 {
        run(&program(&(800..1024), allow_local), arch::ARCHITECTURE, number, arguments)
    }

    #[test]
    fn calls_on_sockets_and_files_are_told_and_others_run() {
        for call in TOLD.iter().chain(WAITS).chain(arch::WAITS) {
            assert_eq!(native(false, *call, [3, 0]), NOTIFY, "{call}");
        }
        for call in [libc::SYS_getpid, libc::SYS_close, libc::SYS_mmap, libc::SYS_futex] {
            assert_eq!(native(false, call, [800, 0]), ALLOW, "{call}");
        }
        assert_eq!(native(false, libc::SYS_io_uring_setup, [1, 0]), MISSING);
    }

    #[test]
    fn some_calls_are_told_for_handles_alone() {
        for call in OF_HANDLES.iter().copied() {
            for (fd, action) in
                [(0, ALLOW), (799, ALLOW), (800, NOTIFY), (1023, NOTIFY), (1024, ALLOW)]
            {
                assert_eq!(native(false, call, [fd, 0]), action, "{call} of {fd}");
            }
        }
        let duplicate = libc::F_DUPFD as u64;
        assert_eq!(native(false, libc::SYS_fcntl, [800, duplicate]), NOTIFY);
        assert_eq!(native(false, libc::SYS_fcntl, [7, duplicate]), ALLOW);
        assert_eq!(native(false, libc::SYS_fcntl, [7, libc::F_SETFL as u64]), NOTIFY);
        assert_eq!(native(false, libc::SYS_fcntl, [800, libc::F_GETFL as u64]), ALLOW);
        for (fd, request, action) in [
            (3, 0x8933, NOTIFY),
            (3, u64::from(TUNSETIFF), NOTIFY),
            (3, 0x541b, ALLOW),
            (3, u64::from(FIONBIO), NOTIFY),
            (900, 0x541b, NOTIFY),
            (3, 0x8c00, ALLOW),
        ] {
            assert_eq!(native(false, libc::SYS_ioctl, [fd, request]), action, "{fd} {request:#x}");
        }
    }

    #[test]
    fn sockets_by_their_families() {
        let socket = |allow_local, family: i32, kind: i32| {
            native(allow_local, libc::SYS_socket, [family as u64, kind as u64])
        };
        let raw = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        for (family, kind, action, local) in [
            (libc::AF_NETLINK, raw, NOTIFY, NOTIFY),
            (libc::AF_UNIX, libc::SOCK_STREAM, ALLOW, ALLOW),
            (libc::AF_INET, libc::SOCK_STREAM, ALLOW, ALLOW),
            (libc::AF_INET, raw, NOTIFY, ALLOW),
            (libc::AF_INET6, raw, NOTIFY, ALLOW),
            (libc::AF_INET6, libc::SOCK_DGRAM, ALLOW, ALLOW),
            (libc::AF_PACKET, raw, NOTIFY, ALLOW),
            (15, raw, NOTIFY, ALLOW),
        ] {
            assert_eq!(socket(false, family, kind), action, "{family} {kind}");
            assert_eq!(socket(true, family, kind), local, "{family} {kind}, local ones allowed");
        }
        assert_eq!(native(false, libc::SYS_bpf, [0, 0]), NOTIFY);
        assert_eq!(native(true, libc::SYS_bpf, [0, 0]), ALLOW);
    }

    #[test]
    fn programs_of_another_architecture_have_no_sockets() {
        let code = program(&(800..1024), false);
        if let Some((other, calls)) = arch::OTHER {
            for call in calls {
                assert_eq!(run(&code, other, call.into(), [16, 3]), MISSING);
            }
            assert_eq!(run(&code, other, 5, [0, 0]), ALLOW);
        }
        if let Some(bit) = arch::FOREIGN_BIT {
            assert_eq!(run(&code, arch::ARCHITECTURE, i64::from(bit) | 41, [16, 3]), MISSING);
        }
    }
}
