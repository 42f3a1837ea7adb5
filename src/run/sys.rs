//! System calls that no crate wraps: a filter with a listener, its notifications, and descriptors of other
//! processes. Sources: seccomp_unotify(2), pidfd_getfd(2), memfd_create(2).
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    mem::zeroed,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    sync::Mutex,
};

use libc::sock_filter;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{prctl, signal::Signal},
    unistd::{getpid, getppid},
};
use tokio::io::{
    Interest,
    unix::{AsyncFd, AsyncFdReadyGuard},
};

use crate::sync::lock;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, and `_WAIT_KILLABLE_RECV` of Linux 5.19.
const NEW_LISTENER: libc::c_ulong = 1 << 3;
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

/// Has this process and its children run under a filter; gives the number of the listener's descriptor.
/// For use between fork and exec: it neither allocates nor locks.
fn install(program: &[sock_filter]) -> Result<RawFd, Errno> {
    let program = libc::sock_fprog {
        len: libc::c_ushort::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        // The kernel only reads from it.
        filter: program.as_ptr().cast_mut(),
    };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the kernel copies the instructions, which outlive the call and are as many as the length
        // says.
        let listener = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
                flags,
                &raw const program,
            )
        };
        Errno::result(listener)
    };
    let listener = match install(NEW_LISTENER | WAIT_KILLABLE) {
        Err(Errno::EINVAL) => install(NEW_LISTENER),
        other => other,
    };
    listener.map(|number| number as RawFd)
}

/// Has a program begin under the filter. It writes its pid and the listener's number to `tell`, and goes on
/// when it can read a byte from `go`; `others` are the other ends of these pipes.
pub(super) fn begin_under(
    command: &mut Command,
    filter: Vec<sock_filter>,
    (tell, go): (BorrowedFd<'_>, BorrowedFd<'_>),
    others: [BorrowedFd<'_>; 2],
) {
    let (tell, go, parent) = (tell.as_raw_fd(), go.as_raw_fd(), getpid());
    let others = others.map(|fd| fd.as_raw_fd());
    let begin = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        prctl::set_no_new_privs()?;
        for other in others {
            // SAFETY: these are the parent's ends of the pipes, of which this process, a copy, has copies that
            // nothing uses; with one of them open it would never see that the parent gives up.
            unsafe { libc::close(other) };
        }
        let listener = install(&filter)?;
        let mut word = [0_u8; 8];
        word[..4].copy_from_slice(&getpid().as_raw().to_ne_bytes());
        word[4..].copy_from_slice(&listener.to_ne_bytes());
        // SAFETY: the descriptors are those of the parent's pipes, which it keeps open until the program has
        // started, and `word` has as many bytes.
        let told = unsafe { libc::write(tell, word.as_ptr().cast(), word.len()) };
        // SAFETY: as above.
        let read = unsafe { libc::read(go, word.as_mut_ptr().cast(), 1) };
        if told != 8 || read != 1 { Err(Errno::ECANCELED.into()) } else { Ok(()) }
    };
    // SAFETY: this runs between fork and exec, where only what a signal handler may do is allowed: it makes
    // system calls, and neither allocates nor locks; the filter was allocated before.
    unsafe { command.pre_exec(begin) };
}

fn owned(number: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = Errno::result(number)? as RawFd;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// pidfd_open(2).
pub(super) fn open_process(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes integers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// pidfd_getfd(2): a copy of another process's descriptor.
pub(super) fn copy_descriptor(process: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes integers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

/// memfd_create(2).
pub(super) fn memory_file(name: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: the name is a C string, which the kernel copies.
    owned(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC) })
}

/// A system call that waits for an answer: `struct seccomp_notif`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    id: u64,
    /// The thread that made it.
    pub(super) tid: i32,
    pub(super) number: i64,
    pub(super) args: [u64; 6],
}

impl Call {
    /// An argument that is a C int.
    pub(super) fn int(&self, index: usize) -> i32 {
        self.args.get(index).map_or(0, |value| *value as i32)
    }

    pub(super) fn argument(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or_default()
    }
}

/// A path as an argument of a call: from a directory, which may be `AT_FDCWD`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    pub(super) directory: i32,
    pub(super) at: u64,
}

impl Path {
    /// The path that `call` has as its argument `number`, behind that of the directory if it has one.
    pub(super) fn of(call: &Call, number: usize) -> Self {
        let directory = match number.checked_sub(1) {
            None => libc::AT_FDCWD,
            Some(before) => call.int(before),
        };
        Self { directory, at: call.argument(number) }
    }
}

#[repr(C)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction: u64,
    args: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddedDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    number_flags: u32,
}

/// `_IOWR('!', n, type)` and `_IOW`, of the layout that x86 and arm64 have.
const fn request(direction: u64, size: usize, number: u64) -> u64 {
    (direction << 30) | ((size as u64) << 16) | (0x21 << 8) | number
}

const RECEIVE: u64 = request(3, size_of::<Notification>(), 0);
const SEND: u64 = request(3, size_of::<Response>(), 1);
const IS_VALID: u64 = request(1, size_of::<u64>(), 2);
const ADD: u64 = request(1, size_of::<AddedDescriptor>(), 3);
const SET_FLAGS: u64 = request(1, size_of::<u64>(), 4);

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

/// `SECCOMP_ADDFD_FLAG_SETFD` and `_SEND`.
const AT_NUMBER: u32 = 1;
const AND_SEND: u32 = 2;

/// The supervisor's end of a filter.
#[derive(Debug)]
pub(super) struct Listener {
    fd: AsyncFd<OwnedFd>,
    /// For one thread at a time: to receive a call that another has taken would block.
    receiving: Mutex<()>,
}

/// Has the runtime watch whether a descriptor is readable.
pub(super) fn watched(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, Errno> {
    // SAFETY: an OwnedFd is one open descriptor, always the same, until it is dropped; the AsyncFd owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(|_| Errno::EMFILE)
}

/// What a listener has.
pub(super) enum Next {
    Call(Call),
    Nothing,
    /// No process is left under the filter.
    Over,
}

impl Listener {
    /// Has the kernel wake this side on the caller's CPU (Linux 6.6).
    pub(super) fn new(listener: OwnedFd) -> Result<Self, Errno> {
        let listener = Self { fd: watched(listener)?, receiving: Mutex::default() };
        // SAFETY: the request takes an integer; a kernel without it gives EINVAL.
        unsafe { libc::ioctl(listener.fd.as_raw_fd(), SET_FLAGS as libc::Ioctl, 1_u64) };
        Ok(listener)
    }

    /// Waits until a call may wait.
    pub(super) async fn readable(&self) -> Result<AsyncFdReadyGuard<'_, OwnedFd>, Errno> {
        self.fd.readable().await.map_err(|_| Errno::EIO)
    }

    fn events(&self) -> Result<PollFlags, Errno> {
        let mut polled = [PollFd::new(self.fd.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO)?;
        let events = polled.iter().filter_map(|polled| polled.revents()).next();
        Ok(events.unwrap_or(PollFlags::empty()))
    }

    /// Whether no process is left under the filter.
    pub(super) fn is_over(&self) -> bool {
        self.events().is_ok_and(|events| events.contains(PollFlags::POLLHUP))
    }

    /// Receives a call, if one waits.
    pub(super) fn next(&self) -> Result<Next, Errno> {
        let _receiving = lock(&self.receiving);
        let events = self.events()?;
        if !events.contains(PollFlags::POLLIN) {
            let over = events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
            return Ok(if over { Next::Over } else { Next::Nothing });
        }
        // SAFETY: plain integers, which the kernel wants to be zero.
        let mut notification: Notification = unsafe { zeroed() };
        match self.control(RECEIVE, &mut notification) {
            // The caller was killed meanwhile.
            Err(Errno::ENOENT | Errno::EINTR) => Ok(Next::Nothing),
            Err(errno) => Err(errno),
            Ok(_) => Ok(Next::Call(Call {
                id: notification.id,
                tid: notification.pid as i32,
                number: notification.number.into(),
                args: notification.args,
            })),
        }
    }

    fn control<T>(&self, request: u64, value: &mut T) -> Result<libc::c_int, Errno> {
        // SAFETY: each request is made with the type whose size is part of its number, and the kernel
        // reads and writes no more than that.
        let result = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), request as libc::Ioctl, std::ptr::from_mut(value))
        };
        Errno::result(result)
    }

    /// Whether the call still waits: its thread, whose memory is looked at, is the one that made it.
    pub(super) fn waits(&self, call: &Call) -> bool {
        let mut id = call.id;
        self.control(IS_VALID, &mut id).is_ok()
    }

    /// Answers with a value, or with an errno. A caller that is gone hears nothing.
    pub(super) fn answer(&self, call: &Call, result: Result<i64, i32>) {
        let (value, error) = match result {
            Ok(value) => (value, 0),
            Err(errno) => (0, -errno),
        };
        let _ = self.control(SEND, &mut Response { id: call.id, value, error, flags: 0 });
    }

    /// Has the kernel make the call itself.
    pub(super) fn go_on(&self, call: &Call) {
        let _ =
            self.control(SEND, &mut Response { id: call.id, value: 0, error: 0, flags: CONTINUE });
    }

    /// Gives the caller a copy of a descriptor, at a number or at the lowest that is free, and answers with
    /// the number.
    pub(super) fn give(
        &self,
        call: &Call,
        descriptor: BorrowedFd<'_>,
        number: Option<u32>,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        let mut added = AddedDescriptor {
            id: call.id,
            flags: AND_SEND | if number.is_some() { AT_NUMBER } else { 0 },
            source: descriptor.as_raw_fd() as u32,
            number: number.unwrap_or_default(),
            number_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        self.control(ADD, &mut added).map(drop)
    }
}

/// Has a signal do what it does by default, and sends it to this process.
pub(super) fn end_by(signal: i32) {
    // SAFETY: SIG_DFL is no handler, and raising a signal takes an integer.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
