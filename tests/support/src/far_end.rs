//! A far end that a test scripts: a stub that says what it likes, on a unix socket.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    thread::{self, JoinHandle},
};

use netlink_remote::{
    nlmsg::{self, Builder, flags, kind},
    wire::{
        Counters, Credit, DatagramInfo, Decoded, Flags, Header, Hello, MARKER, Message, Opened,
        SocketId,
        hello::{HostInfo, PeerLimits, Role},
    },
};

use crate::temporary;

/// A far end that serves one client in a thread of its own.
pub struct FarEnd {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl FarEnd {
    /// Listens, and has `script` serve the client behind the hellos.
    pub fn start(script: impl FnOnce(&mut FarSide) -> io::Result<()> + Send + 'static) -> Self {
        let path = temporary("far-end");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            // The client may be gone at any time.
            let _ = FarSide::greet(stream, "far").and_then(|mut side| script(&mut side));
        });
        Self { path, thread: Some(thread) }
    }

    /// The target that leads to it.
    pub fn target(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        // The script ends with its client; one that nobody has connected to is not waited for.
        if UnixStream::connect(&self.path).is_ok() || !thread::panicking() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The far side of a connection, behind the hellos.
pub struct FarSide {
    stream: UnixStream,
    read: Vec<u8>,
    /// Credit that the client has granted each socket, and what was used of it.
    credit: HashMap<SocketId, (Credit, Credit)>,
}

impl FarSide {
    /// Exchanges hellos, as the host of this name.
    pub fn greet(stream: UnixStream, host_name: &str) -> io::Result<Self> {
        let mut side = Self { stream, read: Vec::new(), credit: HashMap::new() };
        let mut host = HostInfo::default();
        host.host_name = host_name.to_owned();
        host.big_endian = cfg!(target_endian = "big");
        let mut hello = MARKER.to_vec();
        Hello::new(Role::Stub, PeerLimits::default(), Some(host)).encode(&mut hello);
        side.raw(&hello)?;
        while side.read.len() < MARKER.len() {
            side.fill()?;
        }
        loop {
            if let Some((_, length)) = Hello::decode(&side.read[MARKER.len()..]).unwrap() {
                side.read.drain(..MARKER.len() + length);
                return Ok(side);
            }
            side.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.read.extend_from_slice(&piece[..length]);
                Ok(())
            }
        }
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a frame.
    pub fn send(&mut self, socket: SocketId, message: &Message<'_>) -> io::Result<()> {
        self.raw(&frame(socket, message))
    }

    /// The next frame of the client, with its payload.
    pub fn next_frame(&mut self) -> io::Result<(Header, Vec<u8>)> {
        loop {
            match Header::decode(&self.read, u32::MAX).unwrap() {
                Decoded::Known(header) if self.read.len() >= header.stream_len() => {
                    let frame: Vec<u8> = self.read.drain(..header.stream_len()).collect();
                    return Ok((header, frame[12..header.length as usize].to_vec()));
                }
                _ => self.fill()?,
            }
        }
    }

    /// Sends a datagram of the kernel's once the client has credit for it; other frames that come
    /// meanwhile are answered as [`serve`](Self::serve) does, but for sends, which are dropped.
    pub fn datagram(&mut self, socket: SocketId, data: &[u8]) -> io::Result<()> {
        loop {
            let (granted, used) = self.credit.entry(socket).or_default();
            if used.bytes < granted.bytes && used.datagrams < granted.datagrams {
                used.bytes += data.len() as u64;
                used.datagrams += 1;
                let info = DatagramInfo::default();
                return self.send(socket, &Message::Datagram { info, data });
            }
            self.take_in()?;
        }
    }

    /// Takes in a frame: opens, closes, pings and requests are answered, credit is noted, and a
    /// datagram that is sent is given.
    pub fn take_in(&mut self) -> io::Result<Option<(SocketId, Vec<u8>)>> {
        let (header, payload) = self.next_frame()?;
        let id = header.socket;
        match Message::decode(header.frame_type, &payload).unwrap() {
            Message::Open(open) => {
                self.credit.insert(id, (open.credit, Credit::default()));
                let credit = Credit { bytes: 1 << 40, datagrams: 1 << 40 };
                self.send(id, &Message::Opened(Opened { credit, portid: 7, ..Opened::default() }))?;
            }
            Message::Close => self.send(id, &Message::Closed(Counters::default()))?,
            Message::Ping(token) => self.send(id, &Message::Pong(token))?,
            Message::Credit(credit) => {
                self.credit.entry(id).or_default().0 = credit;
            }
            Message::OptionGet { request, .. }
            | Message::OptionSet { request, .. }
            | Message::Join { request, .. }
            | Message::Leave { request, .. } => {
                self.send(id, &Message::Reply { request, errno: 0, value: &[] })?;
            }
            Message::Send { data, .. } => return Ok(Some((id, data.to_vec()))),
            _ => {}
        }
        Ok(None)
    }

    /// Serves dumps until the client goes: each request is answered with the datagrams that
    /// `messages` gives for its type, each of one message without its header, and an end.
    pub fn serve<M>(&mut self, mut messages: impl FnMut(u16) -> M) -> io::Result<()>
    where
        M: Iterator<Item = (u16, Vec<u8>)>,
    {
        loop {
            let (socket, request) = self.request()?;
            self.answer(socket, request.sequence, messages(request.kind))?;
            let done = Builder::new(kind::DONE, flags::MULTI).sequence(request.sequence);
            self.datagram(socket, &done.put(&[0; 4]).finish())?;
        }
    }

    /// The header of the next request to the kernel, and its socket.
    pub fn request(&mut self) -> io::Result<(SocketId, nlmsg::Header)> {
        loop {
            if let Some((socket, request)) = self.take_in()? {
                return Ok((socket, nlmsg::Header::parse(&request).unwrap()));
            }
        }
    }

    /// Sends messages as parts of the answer to a request.
    pub fn answer(
        &mut self,
        socket: SocketId,
        sequence: u32,
        messages: impl Iterator<Item = (u16, Vec<u8>)>,
    ) -> io::Result<()> {
        let mut datagram = Vec::new();
        for (kind, payload) in messages {
            let part = Builder::new(kind, flags::MULTI).sequence(sequence).put(&payload);
            datagram.extend(part.finish());
            if datagram.len() > 16 << 10 {
                self.datagram(socket, &std::mem::take(&mut datagram))?;
            }
        }
        match datagram.is_empty() {
            true => Ok(()),
            false => self.datagram(socket, &datagram),
        }
    }
}

/// A frame as bytes.
pub fn frame(socket: SocketId, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(socket, Flags::NONE, &mut out);
    out
}

/// A link message without its header: index, and attributes behind the name.
pub fn link(index: u32, name: &[u8], more: &[(u16, &[u8])]) -> Vec<u8> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let name = [name, &[0]].concat();
    let builder = Builder::new(0, 0).put(&header).attribute(3, &name);
    let message =
        more.iter().fold(builder, |builder, (kind, value)| builder.attribute(*kind, value));
    message.finish()[nlmsg::HEADER_LEN..].to_vec()
}

/// A route message of the main table without its header: through the link of this index.
pub fn route(destination: [u8; 4], link: u32) -> Vec<u8> {
    let header = [2, 32, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    let message = Builder::new(0, 0).put(&header).attribute(1, &destination);
    message.attribute(4, &link.to_ne_bytes()).finish()[nlmsg::HEADER_LEN..].to_vec()
}
