//! Packet captures: pcapng with the link type NETLINK.
//!
//! Sources: draft-ietf-opsawg-pcapng; LINKTYPE_NETLINK of tcpdump.org, whose pseudo-header is that of
//! LINKTYPE_LINUX_SLL with the netlink protocol in place of an Ethernet type.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use crate::failure::Failure;
use netlink_remote::{Protocol, errno::words, monitor::Source};

/// Block types, and the magic number that tells the byte order.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// `LINKTYPE_NETLINK`, and `ARPHRD_NETLINK`.
const LINK_TYPE: u16 = 253;
const HARDWARE: u16 = 824;

/// Options: the name of an interface, and the resolution of its times (10^-9 seconds).
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;

/// A capture on its way to a file, or to standard output.
pub(super) struct Capture {
    /// Bytes that are not written yet.
    buffer: Vec<u8>,
    interfaces: HashMap<Arc<Source>, u32>,
    file: Option<CaptureFile>,
}

struct CaptureFile {
    path: PathBuf,
    file: File,
    written: u64,
    /// The size at which another file begins.
    size: Option<u64>,
    /// Files that were renamed.
    renamed: u32,
}

impl CaptureFile {
    fn failure(&self, error: &io::Error) -> Failure {
        failure(&self.path, error)
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::request(format_args!("writing {}: {}", path.display(), words(error)))
}

impl Capture {
    /// A capture that begins; `-` is standard output.
    pub(super) fn create(path: &Path, size: Option<u64>) -> Result<Self, Failure> {
        let file = match path == Path::new("-") {
            true if size.is_some() => {
                return Err(Failure::usage("--pcap-size is for a file, not for standard output"));
            }
            true => None,
            false => {
                let file = File::create(path).map_err(|error| failure(path, &error))?;
                Some(CaptureFile { path: path.to_owned(), file, written: 0, size, renamed: 0 })
            }
        };
        let mut capture = Self { buffer: Vec::new(), interfaces: HashMap::new(), file };
        capture.section();
        Ok(capture)
    }

    /// The header of a section: the byte order, version 1.0, and an unknown length.
    fn section(&mut self) {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_ne_bytes());
        body.extend(1_u16.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        body.extend(u64::MAX.to_ne_bytes());
        block(&mut self.buffer, SECTION, &body);
        self.interfaces.clear();
    }

    /// The number of a source's interface, which is described before its first packet.
    fn interface(&mut self, source: &Arc<Source>) -> u32 {
        if let Some(number) = self.interfaces.get(source) {
            return *number;
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let mut body = Vec::new();
        body.extend(LINK_TYPE.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        // No limit on the length of packets.
        body.extend(0_u32.to_ne_bytes());
        option(&mut body, NAME, source.to_string().as_bytes());
        option(&mut body, RESOLUTION, &[NANOSECONDS]);
        option(&mut body, 0, &[]);
        block(&mut self.buffer, INTERFACE, &body);
        self.interfaces.insert(Arc::clone(source), number);
        number
    }

    /// Adds a datagram.
    pub(super) fn packet(
        &mut self,
        source: &Arc<Source>,
        time: SystemTime,
        protocol: Protocol,
        datagram: &[u8],
    ) -> Result<(), Failure> {
        let interface = self.interface(source);
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let mut packet = Vec::with_capacity(16 + datagram.len());
        // From the kernel: PACKET_HOST is 0. The address has no bytes.
        packet.extend(0_u16.to_be_bytes());
        packet.extend(HARDWARE.to_be_bytes());
        packet.extend([0; 10]);
        packet.extend(u16::try_from(protocol.number()).unwrap_or(u16::MAX).to_be_bytes());
        packet.extend(datagram);
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let mut body = Vec::with_capacity(20 + packet.len());
        body.extend(interface.to_ne_bytes());
        body.extend(((nanoseconds >> 32) as u32).to_ne_bytes());
        body.extend((nanoseconds as u32).to_ne_bytes());
        body.extend(length.to_ne_bytes());
        body.extend(length.to_ne_bytes());
        body.extend(packet);
        body.resize(body.len().next_multiple_of(4), 0);
        block(&mut self.buffer, PACKET, &body);
        match &self.file {
            Some(file)
                if file
                    .size
                    .is_some_and(|size| file.written + self.buffer.len() as u64 >= size) =>
            {
                self.write()?;
                self.rotate()
            }
            _ => Ok(()),
        }
    }

    /// Writes what waits; gives the bytes for standard output.
    pub(super) fn take(&mut self) -> Result<Vec<u8>, Failure> {
        match self.file {
            Some(_) => self.write().map(|()| Vec::new()),
            None => Ok(std::mem::take(&mut self.buffer)),
        }
    }

    fn write(&mut self) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.file.write_all(&self.buffer);
        written.map_err(|error| file.failure(&error))?;
        file.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Renames the file, and begins another.
    fn rotate(&mut self) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.renamed += 1;
        let mut name = file.path.clone().into_os_string();
        name.push(format!(".{}", file.renamed));
        let begun = fs::rename(&file.path, name).and_then(|()| File::create(&file.path));
        file.file = begun.map_err(|error| file.failure(&error))?;
        file.written = 0;
        self.section();
        Ok(())
    }
}

/// Appends a block: type, length, body, and the length again.
fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX);
    out.extend(kind.to_ne_bytes());
    out.extend(length.to_ne_bytes());
    out.extend(body);
    out.extend(length.to_ne_bytes());
}

/// Appends an option, padded to a multiple of four bytes.
fn option(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(kind.to_ne_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}
