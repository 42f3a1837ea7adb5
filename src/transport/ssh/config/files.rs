//! Reads the files: `Host`, `Match` and `Include`, and what applies to the host at hand.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Here,
    expand::tilde,
    keywords::{Class, class},
    match_block::{Subject, host_applies, match_applies},
    pattern,
    tokenizer::{Line, take_apart},
};
use crate::Error;

/// How deep files may include each other: ssh's limit.
const DEEPEST: usize = 16;

/// A line of a file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: Arc<Path>,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A keyword that applies, with its words: one at least, none of them empty.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) place: Place,
    /// As it is written.
    pub(super) keyword: String,
    pub(super) words: Vec<String>,
}

impl Setting {
    pub(super) fn word(&self) -> &str {
        self.words.first().map(String::as_str).unwrap_or_default()
    }

    /// An error about this line.
    pub(super) fn wrong(&self, why: impl fmt::Display) -> Error {
        Error::invalid(format!("{}: {}: {why}", self.place, self.keyword))
    }
}

/// What the files say about a host.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By the keyword's one name; the first value wins.
    pub(super) first: HashMap<&'static str, Setting>,
    /// `IdentityFile`, of which all count.
    pub(super) identities: Vec<Setting>,
    /// A `Match final` wants the files to be read once more, with what they led to.
    pub(super) wants_final: bool,
}

/// What kind of file it is.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// The user's: `~` may be used, and relative includes are in `~/.ssh`.
    pub(super) users: bool,
    /// Only its owner and root may be able to write to it.
    pub(super) guarded: bool,
    /// It must be there.
    pub(super) required: bool,
}

/// Where in the files the reading is.
#[derive(Clone, Copy)]
struct State {
    kind: Kind,
    /// Included where the lines do not apply, so that none of the file's do.
    never: bool,
    depth: usize,
}

/// Reads files one after the other.
pub(super) struct Reader<'a> {
    pub(super) here: &'a Here,
    pub(super) subject: Subject<'a>,
    pub(super) found: Found,
}

impl Reader<'_> {
    /// Takes in a file and all it includes.
    pub(super) fn file(&mut self, path: &Path, kind: Kind) -> Result<(), Error> {
        self.included(path, State { kind, never: false, depth: 0 }, true)
    }

    fn included(&mut self, path: &Path, state: State, active: bool) -> Result<(), Error> {
        match self.content(path, state.kind) {
            Ok(content) => self.content_of(path, &content, state, active),
            Err(Unread::Io(error))
                if error.kind() == io::ErrorKind::NotFound && !state.kind.required =>
            {
                Ok(())
            }
            Err(Unread::Io(error)) => {
                let text = format!("reading {}", path.display());
                Err(Error::invalid(text).with_source(error))
            }
            Err(Unread::Unguarded) => {
                let path = path.display();
                Err(Error::invalid(format!(
                    "{path}: others could have written to it; let you or root own it, and `chmod go-w {path}`"
                )))
            }
        }
    }

    fn content(&self, path: &Path, kind: Kind) -> Result<Vec<u8>, Unread> {
        let mut file = fs::File::open(path)?;
        let about = file.metadata()?;
        if kind.guarded
            && (about.uid() != 0 && about.uid() != self.here.uid || about.mode() & 0o022 != 0)
        {
            return Err(Unread::Unguarded);
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Takes in a file's content.
    fn content_of(
        &mut self,
        path: &Path,
        content: &[u8],
        state: State,
        mut active: bool,
    ) -> Result<(), Error> {
        let file: Arc<Path> = Arc::from(path);
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let place = Place { file: Arc::clone(&file), line: index + 1 };
            let lossy = String::from_utf8_lossy(line);
            let parts = take_apart(&lossy).map_err(|why| at(&place, why));
            let Line { keyword, words } = match parts {
                Ok(Some(line)) => line,
                Ok(None) => continue,
                // ssh stops at these wherever they are; what cannot matter is let pass here.
                Err(_) if !active => continue,
                Err(error) => return Err(error),
            };
            if words.iter().any(String::is_empty) || words.is_empty() {
                if active || matches!(&*keyword.to_ascii_lowercase(), "host" | "match") {
                    return Err(at(&place, format_args!("{keyword} needs a value")));
                }
                continue;
            }
            let setting = Setting { place, keyword, words };
            let keyword = setting.keyword.to_ascii_lowercase();
            match &*keyword {
                "host" => active = !state.never && host_applies(&setting, &self.subject),
                "match" => active = match_applies(&setting, self, !state.never)?,
                "include" => self.include(&setting, state, active)?,
                _ if !active => {}
                _ if lossy.contains('\u{fffd}') => return Err(setting.wrong("it is not UTF-8")),
                _ => self.apply(&keyword, setting)?,
            }
        }
        Ok(())
    }

    fn include(&mut self, setting: &Setting, state: State, active: bool) -> Result<(), Error> {
        if state.depth >= DEEPEST {
            return Err(setting.wrong(format_args!("files include each other {DEEPEST} deep")));
        }
        for word in &setting.words {
            let pattern = if word.starts_with('~') {
                if !state.kind.users {
                    return Err(setting.wrong("there is no ~ in the system's configuration"));
                }
                tilde(word, &self.here.home).map_err(|why| setting.wrong(why))?
            } else if word.starts_with('/') {
                word.clone()
            } else {
                let folder = self.here.folder(state.kind.users);
                format!("{}/{word}", folder.display())
            };
            let options = glob::MatchOptions {
                require_literal_separator: true,
                require_literal_leading_dot: true,
                ..Default::default()
            };
            let paths = glob::glob_with(&pattern, options).map_err(|why| setting.wrong(why))?;
            let mut paths: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
            paths.sort_unstable();
            for path in paths {
                let kind = Kind { guarded: true, required: false, ..state.kind };
                let state = State { kind, never: !active, depth: state.depth + 1 };
                self.included(&path, state, active)?;
            }
        }
        Ok(())
    }

    /// A keyword that applies to the host.
    fn apply(&mut self, keyword: &str, setting: Setting) -> Result<(), Error> {
        let unsupported = |setting: &Setting| {
            let host = self.subject.original;
            setting.wrong(format_args!(
                "not supported, and it applies to {host}; use openssh:// for it, which is ssh itself, or -F none"
            ))
        };
        match class(keyword) {
            Some(Class::Ignored) => {}
            Some(Class::Refused(name, harmless)) => {
                if let Entry::Vacant(entry) = self.found.first.entry(name) {
                    if !harmless.contains(&&*setting.word().to_ascii_lowercase()) {
                        return Err(unsupported(&setting));
                    }
                    entry.insert(setting);
                }
            }
            Some(Class::Followed("identityfile")) => {
                single(&setting)?;
                if !self.found.identities.iter().any(|known| known.words == setting.words) {
                    self.found.identities.push(setting);
                }
            }
            // Whichever of the two is first counts.
            Some(Class::Followed("proxycommand")) => {
                if let Entry::Vacant(entry) = self.found.first.entry("proxyjump") {
                    if !setting.word().eq_ignore_ascii_case("none") {
                        return Err(unsupported(&setting));
                    }
                    entry.insert(setting);
                }
            }
            Some(Class::Followed(name @ ("userknownhostsfile" | "globalknownhostsfile"))) => {
                self.found.first.entry(name).or_insert(setting);
            }
            // As if it were not there: a later one counts.
            Some(Class::Followed("connecttimeout" | "serveraliveinterval"))
                if setting.word() == "none" => {}
            Some(Class::Followed(name)) => {
                single(&setting)?;
                self.found.first.entry(name).or_insert(setting);
            }
            None => {
                let ignored = self.found.first.get("ignoreunknown");
                let ignored =
                    ignored.is_some_and(|list| pattern::names_match(keyword, list.word()));
                if !ignored {
                    return Err(setting.wrong(
                        "there is no such option; correct it, or name it in IgnoreUnknown before",
                    ));
                }
            }
        }
        Ok(())
    }
}

enum Unread {
    Io(io::Error),
    Unguarded,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn at(place: &Place, why: impl fmt::Display) -> Error {
    Error::invalid(format!("{place}: {why}"))
}

fn single(setting: &Setting) -> Result<(), Error> {
    match &*setting.words {
        [_] => Ok(()),
        _ => Err(setting.wrong("it takes one value")),
    }
}
