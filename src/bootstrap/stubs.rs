//! The stubs on this side, one for each architecture.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::debug;

use super::{
    arch::{Arch, Elf},
    source::{Content, Image, StubSource},
};
use crate::{Error, errno, shell};

/// The beginning of a stub's file name, before the target triple.
const PREFIX: &str = "nlr-stub-";

/// The command that builds a stub for an architecture, and the place for its result. Every user has
/// the first one, whose package comes from a registry; the second is part of the package's source.
pub(crate) fn how_to_build(arch: Option<&Arch>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let triple = arch.map_or("<target triple>", |arch| arch.triple);
    format!(
        "build a static one by `cargo install netlink-remote@{version} --no-default-features \
         --features stub --bin nlr-stub --profile stub --target {triple} --root DIR`, or by \
         `./build-stubs` in the source of netlink-remote, and set NLR_STUBS to DIR/bin, or to a \
         folder of files named nlr-stub-<target triple>"
    )
}

/// A program that can be sent and become a stub.
#[derive(Debug, Clone)]
pub(crate) struct Stub {
    pub(crate) arch: &'static Arch,
    pub(crate) content: Content,
    /// The arguments that make it a stub.
    pub(crate) arguments: Vec<String>,
    /// Whether it needs a loader and shared libraries, which another host may not have.
    pub(crate) is_dynamic: bool,
}

impl Stub {
    pub(crate) async fn image(&self) -> Result<Arc<Image>, Error> {
        self.content.image().await
    }

    /// Reads the header of a program that is named `name`.
    fn read(content: Content, name: Option<&str>) -> Result<Self, String> {
        let head = content
            .head()
            .map_err(|error| format!("{content} cannot be read: {}", errno::words(&error)))?;
        let elf =
            Elf::parse(&head).ok_or_else(|| format!("{content} is not a program for Linux"))?;
        let arch = match (name.and_then(arch_of_name), elf.arch()) {
            (Some(named), _) if named.runs(&elf) => named,
            (None, Some(arch)) => arch,
            (named, arch) => {
                let named = named.map(|arch| format!(", and its name says {}", arch.name));
                let arch = arch.map_or("an unknown architecture", |arch| arch.name);
                return Err(format!("{content} is for {arch}{}", named.unwrap_or_default()));
            }
        };
        Ok(Self { arch, content, arguments: Vec::new(), is_dynamic: elf.is_dynamic })
    }

    fn file(path: PathBuf) -> Result<Self, String> {
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        Self::read(Content::File(path), name.as_deref())
    }
}

/// The running program, and the arguments that make it a stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnStub {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

impl OwnStub {
    fn stub(&self) -> Result<Stub, String> {
        let program = self.program.display();
        // The script splits them at blanks, between double quotes.
        if let Some(argument) = self.arguments.iter().find(|argument| !shell::is_plain(argument)) {
            return Err(format!(
                "{program} is not sent: its stub argument {argument:?} has characters that a shell \
                 interprets"
            ));
        }
        let stub = Stub::file(self.program.clone())?;
        Ok(Stub { arguments: self.arguments.clone(), ..stub })
    }
}

/// The places of stubs, in the order of preference.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// The sources that the caller gives. They must hold stubs and nothing else.
    pub(super) sources: Vec<StubSource>,
    /// The folder that `NLR_STUBS` names, with the same strictness.
    pub(super) named: Option<PathBuf>,
    /// The running program's folder.
    pub(super) beside: Option<PathBuf>,
    /// `netlink-remote` in the data folders of the user and of the system.
    pub(super) data: Vec<PathBuf>,
    /// The last resort, for hosts of this architecture.
    pub(super) own: Vec<OwnStub>,
}

impl Search {
    /// The sources, the folders that the environment names, and the running program.
    pub(crate) fn new(sources: Vec<StubSource>, own: Vec<OwnStub>) -> Self {
        let folder =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || folder("HOME").map(|home| home.join(".local/share"));
        let user = folder("XDG_DATA_HOME").filter(|path| path.is_absolute()).or_else(home);
        let system = ["/usr/local/share", "/usr/share", "/usr/lib"].map(PathBuf::from);
        let data = user.into_iter().chain(system).map(|path| path.join("netlink-remote")).collect();
        let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
        Self { sources, named: folder("NLR_STUBS"), beside, data, own }
    }

    /// Finds the stubs.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where one of the sources, or a file in the
    /// folder that `NLR_STUBS` names, is no stub or cannot be read, and where a folder among the
    /// sources holds none.
    pub(crate) fn run(&self) -> Result<StubSet, Error> {
        let mut explicit = Vec::new();
        for source in &self.sources {
            explicit.extend(given(source.content()).map_err(Error::invalid)?);
        }
        if let Some(path) = &self.named {
            let in_variable = |text| Error::invalid(format!("NLR_STUBS: {text}"));
            explicit.extend(at_path(path).map_err(in_variable)?);
        }
        let mut set = StubSet { has_own: !self.own.is_empty(), ..StubSet::default() };
        let mut found = Vec::new();
        let mut add = |stub: Result<Stub, String>| match stub {
            Ok(stub) => found.push(stub),
            Err(reason) => set.passed_over.push(reason),
        };
        for place in self.beside.iter().chain(&self.data) {
            match Folder::read(place) {
                Ok(folder) => {
                    folder.unnamed.into_iter().for_each(|reason| add(Err(reason)));
                    folder.stubs.into_iter().for_each(|file| add(Stub::file(file)));
                }
                Err((_, error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err((text, _)) => add(Err(text)),
            }
        }
        let beside = self.beside.as_ref().map(|place| place.join("nlr-stub"));
        beside.filter(|path| path.exists()).into_iter().for_each(|path| add(Stub::file(path)));
        self.own.iter().for_each(|own| add(own.stub()));
        set.searched = self.named.iter().chain(&self.beside).chain(&self.data).cloned().collect();
        // The caller's stubs come first; among the others, those that run on any host.
        found.sort_by_key(|stub| stub.is_dynamic);
        let first = |arch: &Arch| explicit.iter().chain(&found).find(|stub| stub.arch == arch);
        set.stubs = Arch::all().iter().filter_map(first).cloned().collect();
        debug!(stubs = set.names(), passed_over = ?set.passed_over, "searched for stubs");
        Ok(set)
    }
}

/// The stubs that were found, at most one for each architecture.
#[derive(Debug, Clone, Default)]
pub(crate) struct StubSet {
    stubs: Vec<Stub>,
    searched: Vec<PathBuf>,
    /// Files that are no stubs, each with its reason, and folders that cannot be read.
    passed_over: Vec<String>,
    has_own: bool,
}

impl StubSet {
    /// One for each architecture, in the order in which architectures have to be matched.
    pub(crate) fn stubs(&self) -> &[Stub] {
        &self.stubs
    }

    /// The inventory for an error: stubs found, folders searched, files passed over.
    pub(crate) fn inventory(&self) -> String {
        let mut text = match self.stubs.is_empty() {
            true => "no stub was found".to_owned(),
            false => format!("stubs were found for {}", self.names()),
        };
        if !self.searched.is_empty() {
            let folders = self.searched.iter().map(|path| path.display().to_string());
            let folders = folders.collect::<Vec<_>>().join(", ");
            text += &format!("; folders searched: {folders}");
        }
        if !self.passed_over.is_empty() {
            text += &format!("; passed over: {}", self.passed_over.join(", "));
        }
        if !self.has_own {
            text += "; this program is not its own stub, which \
                     netlink_remote::stub::serve_if_asked() in its main makes it";
        }
        text
    }

    fn names(&self) -> String {
        let name = |stub: &Stub| {
            let dynamic = if stub.is_dynamic { ", needs shared libraries" } else { "" };
            format!("{} ({}{dynamic})", stub.arch.name, stub.content)
        };
        self.stubs.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

/// The stub-like files of a folder.
struct Folder {
    /// Files named `nlr-stub-<target triple>`, those for musl first, which are static.
    stubs: Vec<PathBuf>,
    /// Whether there is a file named `nlr-stub`.
    has_plain: bool,
    /// Reasons for files whose name has the prefix and no architecture.
    unnamed: Vec<String>,
}

impl Folder {
    fn read(path: &Path) -> Result<Self, (String, io::Error)> {
        let unreadable = |error: io::Error| {
            (format!("{} cannot be read: {}", path.display(), errno::words(&error)), error)
        };
        let mut folder = Self { stubs: Vec::new(), has_plain: false, unnamed: Vec::new() };
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str() else { continue };
            folder.has_plain |= name == "nlr-stub";
            // A suffix is of another file about the stub, such as a signature.
            if !name.starts_with(PREFIX) || name.contains('.') {
                continue;
            }
            match arch_of_name(name) {
                Some(_) => folder.stubs.push(path.join(name)),
                None => {
                    let file = path.join(name);
                    let reason = format!("{} names no known architecture", file.display());
                    folder.unnamed.push(reason);
                }
            }
        }
        folder.stubs.sort_by_key(|file| (!file.to_string_lossy().contains("musl"), file.clone()));
        Ok(folder)
    }
}

/// The architecture in a file name of the form `nlr-stub-<target triple>`.
fn arch_of_name(name: &str) -> Option<&'static Arch> {
    Arch::named(name.strip_prefix(PREFIX)?)
}

/// The stubs of a source; at least one.
fn given(content: &Content) -> Result<Vec<Stub>, String> {
    let Content::File(path) = content else { return Ok(vec![Stub::read(content.clone(), None)?]) };
    let stubs = at_path(path)?;
    match stubs.is_empty() {
        true => Err(format!(
            "{} holds no stub: there is no file named nlr-stub-<target triple> in it",
            path.display()
        )),
        false => Ok(stubs),
    }
}

/// The stub, or all stubs in a folder.
fn at_path(path: &Path) -> Result<Vec<Stub>, String> {
    if !path.is_dir() {
        return Ok(vec![Stub::file(path.to_owned())?]);
    }
    let folder = Folder::read(path).map_err(|(text, _)| text)?;
    // Where `cargo install --root` puts it.
    let plain = folder.has_plain.then(|| path.join("nlr-stub"));
    folder.stubs.into_iter().chain(plain).map(Stub::file).collect()
}
