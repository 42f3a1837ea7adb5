//! Clients and far ends that write their bytes by hand.

use netlink_remote::{
    stub::{Config, Exit, Shutdown, serve_stream},
    wire::{
        Decoded, Flags, HEADER_LEN, Header, Hello, MARKER, Message, SocketId,
        hello::{PeerLimits, Role},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

pub(crate) const ONE: SocketId = SocketId(1);

pub(crate) fn hello(role: Role) -> Vec<u8> {
    let mut out = MARKER.to_vec();
    Hello::new(role, PeerLimits::default(), None).encode(&mut out);
    out
}

pub(crate) fn frame(socket: SocketId, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(socket, Flags::NONE, &mut out);
    out
}

pub(crate) fn raw_header(length: u32, kind: u8, flags: u8) -> Vec<u8> {
    let mut out = length.to_le_bytes().to_vec();
    out.extend([kind, flags, 0, 0, 1, 0, 0, 0]);
    out
}

/// The exit and the output of a stub whose client sends these bytes and then waits.
pub(crate) async fn stub_exit(sent: &[u8]) -> (Exit, Vec<u8>) {
    stub_exit_with(sent, Config::default()).await
}

pub(crate) async fn stub_exit_with(sent: &[u8], config: Config) -> (Exit, Vec<u8>) {
    world::require();
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let serving =
        tokio::spawn(
            async move { serve_stream(far, config, &Shutdown::new().unwrap()).await.unwrap() },
        );
    // The stub may end before it has read all.
    let _ = near.write_all(sent).await;
    let mut said = Vec::new();
    within(near.read_to_end(&mut said)).await.unwrap();
    (within(serving).await.unwrap(), said)
}

/// The frames after the hello in a stub's output.
pub(crate) fn frames(said: &[u8]) -> Vec<Message<'_>> {
    let (_, length) = Hello::decode(&said[MARKER.len()..]).unwrap().unwrap();
    let mut rest = &said[MARKER.len() + length..];
    let mut frames = Vec::new();
    while let Ok(Decoded::Known(header)) = Header::decode(rest, u32::MAX) {
        let payload = &rest[HEADER_LEN..header.length as usize];
        frames.push(Message::decode(header.frame_type, payload).unwrap());
        rest = &rest[header.stream_len()..];
    }
    frames
}

/// The text of the fault frame that ends a stub's output.
pub(crate) fn fault(said: &[u8]) -> Option<String> {
    match frames(said).pop() {
        Some(Message::Fault(failure)) => Some(failure.text),
        _ => None,
    }
}

/// A hello with more bytes in it.
pub(crate) fn hello_with(more: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let whole = hello(Role::Client);
    let mut body = whole[MARKER.len() + 4..].to_vec();
    more(&mut body);
    [&MARKER[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}
