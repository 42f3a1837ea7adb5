//! The refusal of a connection that gets no hello.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

/// Gives a client the reason of its refusal, in plain text. Waits for nothing, so that a client that
/// does not read keeps no other from connecting.
pub(super) fn refuse(mut stream: UnixStream, reason: &str) {
    // A client that has gone needs no reason.
    let _ = stream
        .set_nonblocking(true)
        .and_then(|()| stream.write_all(format!("nlr serve: {reason}\n").as_bytes()));
    let _ = stream.shutdown(Shutdown::Both);
    // Closing a socket with unread data resets the connection, and the reason might be lost. After
    // the shutdown no more data can come.
    let mut piece = [0; 4096];
    while matches!(stream.read(&mut piece), Ok(1..)) {}
}
