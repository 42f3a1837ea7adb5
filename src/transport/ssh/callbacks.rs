//! The two calls by which libssh2 uses its socket.
//!
//! libssh2 does not tell what it took in on the way to something else, nor why it stopped. Both
//! have to be known here: what was taken in is no event any more for those it is meant for, and
//! what is known to be empty need not be asked again.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    os::fd::RawFd,
    ptr::from_mut,
    slice,
};

use async_ssh2_lite::ssh2;
use libc::{size_t, ssize_t};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send},
};

/// What is taken in at most at a time: libssh2 would go on for as long as something comes.
const FILL: usize = 1 << 20;

/// What came of libssh2's calls.
#[derive(Clone, Copy, Default)]
pub(super) struct Traffic {
    /// There was nothing more to receive.
    pub(super) dry: bool,
    /// There was no room for all that was to be sent.
    pub(super) full: bool,
    /// Bytes received.
    pub(super) received: usize,
}

thread_local! {
    /// libssh2 has one place for a pointer of its user's, which the ssh2 crate uses.
    /// Nothing is noted, nor taken for known, but within [`watched`].
    static TRAFFIC: Cell<Option<Traffic>> = const { Cell::new(None) };
}

/// Notes what the calls come to that something makes. What is known to be dry is not asked.
pub(super) fn watched<T>(dry: bool, something: impl FnOnce() -> T) -> (T, Traffic) {
    /// Whatever comes later on this thread knows nothing of it, even behind a panic.
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            TRAFFIC.take();
        }
    }
    let _forget = Forget;
    TRAFFIC.set(Some(Traffic { dry, ..Traffic::default() }));
    let result = something();
    (result, TRAFFIC.get().unwrap_or_default())
}

/// Whether nothing more is there to be received, as far as is known.
pub(super) fn is_dry() -> bool {
    TRAFFIC.get().is_some_and(|traffic| traffic.dry)
}

/// Notes that something is not sent before there is room.
pub(super) fn note_full() {
    TRAFFIC.set(TRAFFIC.get().map(|traffic| Traffic { full: true, ..traffic }));
}

/// Has a session use these calls from now on.
pub(super) fn install(session: &ssh2::Session) {
    let mut raw = session.raw();
    let (receive, send): (Receive, Transmit) = (on_receive, on_send);
    // SAFETY: the session is alive and locked, and the functions have the types that libssh2.h
    // gives for these two numbers, LIBSSH2_RECV_FUNC and LIBSSH2_SEND_FUNC.
    unsafe {
        let raw = from_mut(&mut *raw).cast::<c_void>();
        libssh2_session_callback_set(raw, CALLBACK_RECV, receive as *mut c_void);
        libssh2_session_callback_set(raw, CALLBACK_SEND, send as *mut c_void);
    }
}

const CALLBACK_SEND: c_int = 5;
const CALLBACK_RECV: c_int = 6;

type Receive = unsafe extern "C" fn(RawFd, *mut c_void, size_t, c_int, *mut *mut c_void) -> ssize_t;
type Transmit =
    unsafe extern "C" fn(RawFd, *const c_void, size_t, c_int, *mut *mut c_void) -> ssize_t;

// The newer name, libssh2_session_callback_set2, is missing before 1.11.1.
// SAFETY: as libssh2.h has it. The library is linked by way of the ssh2 crate.
unsafe extern "C" {
    fn libssh2_session_callback_set(
        session: *mut c_void,
        kind: c_int,
        callback: *mut c_void,
    ) -> *mut c_void;
}

/// libssh2 takes an error as a negative number.
fn refused(errno: Errno) -> ssize_t {
    let errno = if errno == Errno::EINTR { Errno::EAGAIN } else { errno };
    -(errno as i32 as ssize_t)
}

unsafe extern "C" fn on_receive(
    socket: RawFd,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    _: *mut *mut c_void,
) -> ssize_t {
    let watched = TRAFFIC.get();
    let mut traffic = watched.unwrap_or_default();
    if traffic.dry || traffic.received >= FILL {
        return refused(Errno::EAGAIN);
    }
    // SAFETY: libssh2 gives a buffer of this length, in its session, which was zeroed.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    let taken = recv(socket, buffer, MsgFlags::from_bits_retain(flags));
    match taken {
        Ok(taken) => {
            traffic.received += taken;
            // Of a stream, less than was asked for is all there is; see epoll(7). Nothing at all
            // is its end, which stays to be seen.
            traffic.dry = taken > 0 && taken < length;
        }
        Err(errno) => traffic.dry = errno == Errno::EAGAIN,
    }
    TRAFFIC.set(watched.and(Some(traffic)));
    taken.map_or_else(refused, |taken| ssize_t::try_from(taken).unwrap_or(ssize_t::MAX))
}

unsafe extern "C" fn on_send(
    socket: RawFd,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    _: *mut *mut c_void,
) -> ssize_t {
    // SAFETY: libssh2 gives bytes of its own, of this length.
    let bytes = unsafe { slice::from_raw_parts(buffer.cast::<u8>(), length) };
    let sent = send(socket, bytes, MsgFlags::from_bits_retain(flags));
    let is_wait = |errno| matches!(errno, Errno::EAGAIN | Errno::EINTR);
    if sent.map_or_else(is_wait, |sent| sent < length) {
        note_full();
    }
    sent.map_or_else(refused, |sent| ssize_t::try_from(sent).unwrap_or(ssize_t::MAX))
}
