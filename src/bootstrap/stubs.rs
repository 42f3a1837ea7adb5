//! Which stubs there are on this side, and for which machines.

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{
    arch::{Elf, Machine},
    digest,
};
use crate::{Error, ErrorKind, Origin, Step};

/// How to come by a stub for another kind of machine; said wherever there is none.
pub(crate) const HOW_TO_BUILD: &str = "build static stubs (`.ci/build-stubs`, or `cargo build \
     --profile stub --no-default-features --features stub --bin nlr-stub \
     --target ARCH-unknown-linux-musl`) and put them as nlr-stub-ARCH in the folder that NLR_STUBS \
     names";

/// Where stubs are looked for, besides what the environment says.
#[derive(Debug, Clone, Default)]
pub(crate) struct StubOptions {
    /// Stubs, and folders of stubs, that go before all others.
    pub(crate) files: Vec<PathBuf>,
    /// The running program and the words that make it a stub, where it can be one; the last
    /// resort, for machines like this one.
    pub(crate) own: Option<(PathBuf, Vec<String>)>,
}

/// A program that can be sent.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) machine: &'static Machine,
    pub(crate) path: PathBuf,
    /// What makes it a stub.
    pub(crate) words: Vec<String>,
    /// It needs a loader and libraries where it runs, and may not find them.
    pub(crate) dynamic: bool,
}

/// A program's content.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) bytes: Bytes,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
    pub(crate) cksum: u32,
}

/// The stubs there are, at most one for each kind of machine.
#[derive(Debug, Clone)]
pub(crate) struct Stubs {
    payloads: Vec<Payload>,
    /// Files that were to be stubs and are none, with the reason.
    refused: Vec<String>,
}

/// Where to look, in that order.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// The folder that `NLR_STUBS` names.
    pub(super) named: Option<PathBuf>,
    /// The running program's own.
    pub(super) beside: Option<PathBuf>,
    pub(super) data: Vec<PathBuf>,
}

impl Places {
    fn from_environment() -> Self {
        let folder =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || folder("HOME").map(|home| home.join(".local/share"));
        let user = folder("XDG_DATA_HOME").filter(|path| path.is_absolute()).or_else(home);
        let system = ["/usr/local/share", "/usr/share", "/usr/lib"].map(PathBuf::from);
        let data = user.into_iter().chain(system).map(|path| path.join("netlink-remote")).collect();
        let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
        Self { named: folder("NLR_STUBS"), beside, data }
    }
}

impl Stubs {
    /// Looks for them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where an explicit path, a folder without any included, or what lies in
    /// the folder that `NLR_STUBS` names, is no stub or cannot be read.
    pub(crate) fn find(options: &StubOptions) -> Result<Self, Error> {
        Self::find_in(options, &Places::from_environment())
    }

    pub(super) fn find_in(options: &StubOptions, places: &Places) -> Result<Self, Error> {
        let mut explicit = Vec::new();
        for path in &options.files {
            let found = at(path).map_err(Error::invalid)?;
            if found.is_empty() {
                let shown = path.display();
                let text = format!("there is no stub in {shown}; they are called nlr-stub-ARCH");
                return Err(Error::invalid(text));
            }
            explicit.extend(found);
        }
        if let Some(path) = &places.named {
            explicit.extend(at(path).map_err(|text| Error::invalid(format!("NLR_STUBS: {text}")))?);
        }
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        let mut add = |one: Result<Payload, String>| match one {
            Ok(payload) => found.push(payload),
            Err(reason) => refused.push(reason),
        };
        for place in places.beside.iter().chain(&places.data) {
            folder(place).unwrap_or_default().iter().for_each(|file| add(payload(file)));
        }
        let beside = places.beside.as_ref().map(|place| place.join("nlr-stub"));
        beside.filter(|path| path.exists()).into_iter().for_each(|path| add(payload(&path)));
        if let Some((path, words)) = &options.own {
            add(payload(path).map(|payload| Payload { words: words.clone(), ..payload }));
        }
        // What was asked for goes first; of the rest, what runs anywhere.
        found.sort_by_key(|payload| payload.dynamic);
        let pick = |machine: &Machine| {
            explicit.iter().chain(&found).find(|payload| payload.machine == machine).cloned()
        };
        Ok(Self { payloads: Machine::all().iter().filter_map(pick).collect(), refused })
    }

    /// One for each kind of machine, in the order in which machines are to be matched.
    pub(crate) fn payloads(&self) -> &[Payload] {
        &self.payloads
    }

    /// What there is and what there is not, for an error: ` (there are stubs for x86_64)`.
    pub(crate) fn summary(&self) -> String {
        let names: Vec<_> = self.payloads.iter().map(|payload| payload.machine.name).collect();
        let there = match names.as_slice() {
            [] => "there are no stubs here".to_owned(),
            names => format!("the stubs here are for {}", names.join(", ")),
        };
        match self.refused.as_slice() {
            [] => there,
            refused => format!("{there}; {}", refused.join("; ")),
        }
    }
}

/// "(os error 2)" behind the words helps nobody.
fn in_words(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

/// The files of a folder that are named as stubs, those first that need nothing from their host.
fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: io::Error| {
        format!("reading the folder of stubs {}: {}", path.display(), in_words(&error))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        // Anything may lie beside them, such as a signature.
        if name.to_str().and_then(named).is_some() && !name.to_string_lossy().contains('.') {
            files.push(path.join(name));
        }
    }
    files.sort_by_key(|file| (!file.to_string_lossy().contains("musl"), file.clone()));
    Ok(files)
}

/// The machine for which a file is, by its name.
fn named(name: &str) -> Option<&'static Machine> {
    Machine::named(name.strip_prefix("nlr-stub-")?)
}

/// The stub, or all of those in the folder.
fn at(path: &Path) -> Result<Vec<Payload>, String> {
    match path.is_dir() {
        true => folder(path)?.iter().map(|file| payload(file)).collect(),
        false => Ok(vec![payload(path)?]),
    }
}

fn payload(path: &Path) -> Result<Payload, String> {
    let shown = path.display();
    let mut head = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    opened.map_err(|error| format!("reading the stub {shown}: {}", in_words(&error)))?;
    let elf = Elf::parse(&head)
        .ok_or_else(|| format!("{shown} is no stub: it is no program for Linux"))?;
    let is = elf.machine();
    let said = path.file_name().and_then(|name| named(name.to_str()?));
    let machine = match (said, is) {
        (Some(said), _) if said.runs(&elf) => said,
        (None, Some(is)) => is,
        (said, is) => {
            let said = said.map(|machine| format!(", and its name says {}", machine.name));
            let is = is.map_or("an unknown machine", |machine| machine.name);
            return Err(format!("{shown} is for {is}{}", said.unwrap_or_default()));
        }
    };
    Ok(Payload { machine, path: path.to_owned(), words: Vec::new(), dynamic: elf.dynamic })
}

/// What tells whether a file is still the one that was read.
type Stamp = (u64, u64, i64, i64, u64);

#[derive(Default)]
struct Slot {
    stamp: Stamp,
    image: OnceCell<Arc<Image>>,
}

/// The same file goes to many hosts at once: it is read once, and its bytes are shared.
static IMAGES: LazyLock<Mutex<HashMap<PathBuf, Arc<Slot>>>> = LazyLock::new(Mutex::default);

impl Payload {
    /// Its content and sums.
    pub(crate) async fn image(&self) -> Result<Arc<Image>, Error> {
        let failed = |error: io::Error| {
            let text = format!("reading the stub {}", self.path.display());
            let error = Error::new(ErrorKind::Connect, text).with_source(error);
            error.with_origin(Origin::Library).prefix_step(Step::Bootstrap)
        };
        let about = fs::metadata(&self.path).map_err(failed)?;
        let stamp = (about.len(), about.ino(), about.mtime(), about.mtime_nsec(), about.dev());
        let slot = {
            let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = images.entry(self.path.clone()).or_default();
            if slot.stamp != stamp {
                *slot = Arc::new(Slot { stamp, image: OnceCell::new() });
            }
            Arc::clone(slot)
        };
        let image = slot.image.get_or_try_init(|| async {
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || fs::read(path).map(Image::new));
            let image = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            Ok(Arc::new(image.map_err(failed)?))
        });
        image.await.cloned()
    }
}

impl Image {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let (sha256, cksum) = (digest::sha256(&bytes), digest::cksum(&bytes));
        Self { bytes: bytes.into(), sha256, cksum }
    }
}
