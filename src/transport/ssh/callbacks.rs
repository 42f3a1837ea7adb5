//! The two callbacks by which libssh2 uses its socket: recv and send.
//!
//! An operation of libssh2 reports neither the data it received for other channels nor the reason it
//! stopped. The callbacks record both: received data raises no further event of the socket, so its
//! waiters have to be woken; and a socket known to be drained needs no recv that fails.

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

/// The most bytes received within one [`observe`]: libssh2 itself stops only when nothing is there.
const RECEIVE_LIMIT: usize = 1 << 20;

/// What libssh2's callbacks did within one [`observe`].
#[derive(Clone, Copy, Default)]
pub(super) struct Traffic {
    /// The socket has nothing more to receive.
    pub(super) drained: bool,
    /// A send found no buffer space for all of its bytes.
    pub(super) send_blocked: bool,
    /// The number of bytes received.
    pub(super) received: usize,
}

thread_local! {
    /// The record of this thread's [`observe`]; `None` outside of one. Not in the session: libssh2's
    /// one user pointer belongs to the ssh2 crate.
    static TRAFFIC: Cell<Option<Traffic>> = const { Cell::new(None) };
    /// The bytes of this thread's [`overhear`]; `None` outside of one.
    static HEARD: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Runs operations of libssh2 and records their traffic. A socket known to be drained is not read.
pub(super) fn observe<T>(drained: bool, operations: impl FnOnce() -> T) -> (T, Traffic) {
    /// Ends the record, after a panic too.
    struct EndRecord;
    impl Drop for EndRecord {
        fn drop(&mut self) {
            TRAFFIC.take();
        }
    }
    let _end = EndRecord;
    TRAFFIC.set(Some(Traffic { drained, ..Traffic::default() }));
    let result = operations();
    (result, TRAFFIC.get().unwrap_or_default())
}

/// The most bytes kept by [`overhear`]: a greeting and an offer of algorithms.
const OVERHEARD: usize = 16 << 10;

/// Runs an operation of libssh2, and gives the first bytes that it received.
pub(super) fn overhear<T>(operation: impl FnOnce() -> T) -> (T, Vec<u8>) {
    /// Ends the record, after a panic too.
    struct EndRecord;
    impl Drop for EndRecord {
        fn drop(&mut self) {
            HEARD.take();
        }
    }
    let _end = EndRecord;
    HEARD.set(Some(Vec::new()));
    let (result, _) = observe(false, operation);
    (result, HEARD.take().unwrap_or_default())
}

/// Whether the socket is known to have nothing more to receive.
pub(super) fn is_drained() -> bool {
    TRAFFIC.get().is_some_and(|traffic| traffic.drained)
}

/// Records that something waits for buffer space to be sent.
pub(super) fn note_send_blocked() {
    TRAFFIC.set(TRAFFIC.get().map(|traffic| Traffic { send_blocked: true, ..traffic }));
}

/// Makes a session use these callbacks from now on.
pub(super) fn install(session: &ssh2::Session) {
    let mut raw = session.raw();
    let (receive, send): (Receive, Transmit) = (on_receive, on_send);
    // SAFETY: `raw` points to a live session, locked by its guard until the end of this function,
    // and the functions have the types that libssh2.h gives for these two numbers,
    // LIBSSH2_RECV_FUNC and LIBSSH2_SEND_FUNC.
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

// Its successor, libssh2_session_callback_set2, is missing before libssh2 1.11.1.
// SAFETY: the declaration in libssh2.h. The ssh2 crate links the library.
unsafe extern "C" {
    fn libssh2_session_callback_set(
        session: *mut c_void,
        kind: c_int,
        callback: *mut c_void,
    ) -> *mut c_void;
}

/// An errno as libssh2 takes it: negative, and EAGAIN for a call to be repeated.
fn negative(errno: Errno) -> ssize_t {
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
    let record = TRAFFIC.get();
    let mut traffic = record.unwrap_or_default();
    if traffic.drained || traffic.received >= RECEIVE_LIMIT {
        return negative(Errno::EAGAIN);
    }
    // SAFETY: libssh2 passes a buffer of this length within its session, which nothing else uses
    // during the call and which was zeroed when it was allocated.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    let received = recv(socket, buffer, MsgFlags::from_bits_retain(flags));
    match received {
        Ok(received) => {
            if let Some(mut heard) = HEARD.take() {
                let room = OVERHEARD.saturating_sub(heard.len());
                let kept = buffer.get(..received.min(room));
                heard.extend_from_slice(kept.unwrap_or_default());
                HEARD.set(Some(heard));
            }
            traffic.received += received;
            // A stream that gives less than was asked for is drained; see epoll(7). One that gives
            // nothing is at its end, which the next recv has to see again.
            traffic.drained = received > 0 && received < length;
        }
        Err(errno) => traffic.drained = errno == Errno::EAGAIN,
    }
    TRAFFIC.set(record.and(Some(traffic)));
    received.map_or_else(negative, |received| ssize_t::try_from(received).unwrap_or(ssize_t::MAX))
}

unsafe extern "C" fn on_send(
    socket: RawFd,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    _: *mut *mut c_void,
) -> ssize_t {
    // SAFETY: libssh2 passes a buffer of this length, which it does not change during the call.
    let bytes = unsafe { slice::from_raw_parts(buffer.cast::<u8>(), length) };
    let sent = send(socket, bytes, MsgFlags::from_bits_retain(flags));
    let is_wait = |errno| matches!(errno, Errno::EAGAIN | Errno::EINTR);
    if sent.map_or_else(is_wait, |sent| sent < length) {
        note_send_blocked();
    }
    sent.map_or_else(negative, |sent| ssize_t::try_from(sent).unwrap_or(ssize_t::MAX))
}
