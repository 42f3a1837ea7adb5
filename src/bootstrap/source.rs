//! The bytes of a stub, from a file or from memory.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::digest;
use crate::{Error, ErrorKind, Origin, Step, blocking, sync::lock};

/// A place of stubs to send: a file, a folder of files named `nlr-stub-<target triple>`, or bytes in
/// memory.
///
/// A stub is a program for Linux (an ELF file), and its header names its architecture.
///
/// ```
/// use netlink_remote::{TargetOptions, hops::StubSource};
///
/// # const STUB: &[u8] = &[];
/// // const STUB: &[u8] = include_bytes!("nlr-stub-x86_64-unknown-linux-musl");
/// let options = TargetOptions::default().with_stubs([STUB]);
/// let options = TargetOptions::default().with_stubs(["/srv/stubs"]);
/// let options = TargetOptions::default().with_stubs([StubSource::from(STUB), "/srv/stubs".into()]);
/// ```
#[derive(Debug, Clone)]
pub struct StubSource(Content);

impl StubSource {
    pub(super) fn content(&self) -> &Content {
        &self.0
    }
}

/// A file, or a folder of files.
impl From<PathBuf> for StubSource {
    fn from(path: PathBuf) -> Self {
        Self(Content::File(path))
    }
}

/// A file, or a folder of files.
impl From<&Path> for StubSource {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

/// A file, or a folder of files.
impl From<OsString> for StubSource {
    fn from(path: OsString) -> Self {
        PathBuf::from(path).into()
    }
}

/// A file, or a folder of files.
impl From<String> for StubSource {
    fn from(path: String) -> Self {
        PathBuf::from(path).into()
    }
}

/// A file, or a folder of files.
impl From<&str> for StubSource {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

/// A stub in memory.
impl From<Bytes> for StubSource {
    fn from(bytes: Bytes) -> Self {
        Self(Content::Memory(Arc::new(Memory { bytes, image: OnceCell::new() })))
    }
}

/// A stub in memory, as `include_bytes!` has it.
impl From<&'static [u8]> for StubSource {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

/// A stub in memory, as `include_bytes!` has it.
impl<const LENGTH: usize> From<&'static [u8; LENGTH]> for StubSource {
    fn from(bytes: &'static [u8; LENGTH]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

/// A stub in memory.
impl From<Vec<u8>> for StubSource {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

/// The place of a program's bytes.
#[derive(Clone)]
pub(crate) enum Content {
    File(PathBuf),
    Memory(Arc<Memory>),
}

/// A program in memory. Its checksums are computed once for all clones of its source.
pub(crate) struct Memory {
    bytes: Bytes,
    image: OnceCell<Arc<Image>>,
}

/// A program's bytes and checksums.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) bytes: Bytes,
    /// SHA-256 in hexadecimal digits.
    pub(crate) sha256: String,
    /// The CRC of POSIX `cksum`.
    pub(crate) cksum: u32,
    /// What gzip makes of the bytes, made once it is asked for.
    packed: OnceCell<Bytes>,
}

impl Image {
    pub(super) fn new(bytes: Bytes) -> Self {
        let (sha256, cksum) = (digest::sha256(&bytes), digest::cksum(&bytes));
        Self { bytes, sha256, cksum, packed: OnceCell::new() }
    }

    /// The bytes in gzip's format (RFC 1952).
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] at [`Step::Bootstrap`] where no thread can be had.
    pub(super) async fn packed(&self) -> Result<Bytes, Error> {
        let packed = self.packed.get_or_try_init(|| async {
            let bytes = self.bytes.clone();
            blocking::run(move || pack(&bytes)).await.map_err(|error| {
                let error =
                    Error::new(ErrorKind::Connect, "compressing the stub").with_source(error);
                error.with_origin(Origin::Library).prefix_step(Step::Bootstrap)
            })
        });
        packed.await.cloned()
    }
}

fn pack(bytes: &[u8]) -> Bytes {
    /// Method deflate, no flags, no time, best compression, made by an unknown system.
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    const BEST: u8 = 9;
    let mut packed = HEADER.to_vec();
    packed.extend(miniz_oxide::deflate::compress_to_vec(bytes, BEST));
    packed.extend(digest::crc32(bytes).to_le_bytes());
    // Modulo 2^32, by the format.
    #[expect(clippy::cast_possible_truncation, reason = "so the format has it")]
    packed.extend((bytes.len() as u32).to_le_bytes());
    packed.into()
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Memory(memory) => write!(f, "the stub of {} bytes in memory", memory.bytes.len()),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Memory(memory) => write!(f, "Memory({} bytes)", memory.bytes.len()),
        }
    }
}

/// The identity of a file's content: size, inode, mtime with nanoseconds, device.
type Stamp = (u64, u64, i64, i64, u64);

#[derive(Default)]
struct Cached {
    stamp: Stamp,
    image: OnceCell<Arc<Image>>,
}

/// Files read so far: a file that goes to many hosts is read once, and its bytes are shared.
static FILES: LazyLock<Mutex<HashMap<PathBuf, Arc<Cached>>>> = LazyLock::new(Mutex::default);

impl Content {
    /// The first bytes, which hold the ELF and program headers.
    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        const LENGTH: usize = 4096;
        match self {
            Self::File(path) => {
                let mut head = Vec::new();
                File::open(path)?.take(LENGTH as u64).read_to_end(&mut head)?;
                Ok(head)
            }
            Self::Memory(memory) => {
                Ok(memory.bytes.get(..LENGTH).unwrap_or(&memory.bytes).to_vec())
            }
        }
    }

    /// All bytes, with their checksums.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] at [`Step::Bootstrap`] where the file cannot be read.
    pub(super) async fn image(&self) -> Result<Arc<Image>, Error> {
        match self {
            Self::File(path) => file_image(path).await,
            Self::Memory(memory) => {
                let image = memory.image.get_or_try_init(|| async {
                    let bytes = memory.bytes.clone();
                    let image = blocking::run(|| Arc::new(Image::new(bytes))).await;
                    image.map_err(|error| unreadable(self, error))
                });
                image.await.cloned()
            }
        }
    }
}

async fn file_image(path: &Path) -> Result<Arc<Image>, Error> {
    let unreadable = |error: io::Error| unreadable(&path.display(), error);
    let about = fs::metadata(path).map_err(unreadable)?;
    let stamp = (about.len(), about.ino(), about.mtime(), about.mtime_nsec(), about.dev());
    let cached = {
        let mut files = lock(&FILES);
        let cached = files.entry(path.to_owned()).or_default();
        if cached.stamp != stamp {
            *cached = Arc::new(Cached { stamp, image: OnceCell::new() });
        }
        Arc::clone(cached)
    };
    let image = cached.image.get_or_try_init(|| async {
        let path = path.to_owned();
        let read = move || fs::read(path).map(|bytes| Arc::new(Image::new(bytes.into())));
        blocking::run(read).await.and_then(|read| read).map_err(unreadable)
    });
    image.await.cloned()
}

fn unreadable(content: &dyn fmt::Display, error: io::Error) -> Error {
    let error =
        Error::new(ErrorKind::Connect, format!("reading the stub {content}")).with_source(error);
    error.with_origin(Origin::Library).prefix_step(Step::Bootstrap)
}
