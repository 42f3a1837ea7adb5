//! Reads the files: their `Host` and `Match` blocks, their `Include`s, and the settings that apply to
//! the host at hand.

use std::{
    collections::hash_map::Entry,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::account::is_guarded;
use super::{
    expand::tilde,
    keywords::{KeywordClass, classify},
    match_block::{MatchSubject, host_applies, match_applies},
    setting::{Location, Setting, Settings},
    tokenizer::{ConfigLine, tokenize},
};
use crate::{
    Error, errno,
    text::one_line,
    transport::ssh::{bounded, pattern},
};

/// The most files that include each other: ssh's limit.
const MAX_DEPTH: usize = 16;

/// The rules for a file and those it includes.
#[derive(Clone, Copy)]
pub(super) struct FileRules {
    /// The user's: `~` is allowed, and relative includes are in `~/.ssh`.
    is_users: bool,
    /// Only its owner, the user or root, may be able to write to it.
    is_guarded: bool,
    /// It must exist, and be readable.
    is_required: bool,
    /// It was named by an `Include`.
    is_included: bool,
}

impl FileRules {
    /// A file named by `-F`.
    pub(super) const NAMED: Self =
        Self { is_users: true, is_guarded: false, is_required: true, is_included: false };
    /// `~/.ssh/config`.
    pub(super) const USER: Self =
        Self { is_users: true, is_guarded: true, is_required: false, is_included: false };
    /// `/etc/ssh/ssh_config`.
    pub(super) const SYSTEM: Self =
        Self { is_users: false, is_guarded: false, is_required: false, is_included: false };

    /// Whether ssh goes on without the file: it must not exist if it is included, and otherwise may
    /// be unreadable as well.
    fn passes_over(self, error: &io::Error) -> bool {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        !self.is_required && (is_missing || !self.is_included)
    }
}

/// The position of a file among the files that include it.
#[derive(Clone, Copy)]
struct Nesting {
    rules: FileRules,
    /// Included by a line that does not apply, so that none of the file's lines do.
    is_inactive: bool,
    depth: usize,
}

/// Reads files one after the other, and collects the settings that apply.
pub(super) struct ConfigReader<'a> {
    pub(super) subject: MatchSubject<'a>,
    pub(super) settings: Settings,
}

impl ConfigReader<'_> {
    /// Reads a file, and the files it includes.
    pub(super) fn read_file(&mut self, path: &Path, rules: FileRules) -> Result<(), Error> {
        self.read_nested(path, Nesting { rules, is_inactive: false, depth: 0 }, true)
    }

    fn read_nested(&mut self, path: &Path, nesting: Nesting, is_active: bool) -> Result<(), Error> {
        match self.content(path, nesting.rules) {
            Ok(content) => {
                tracing::debug!(file = %path.display(), "reading ssh configuration");
                self.apply_content(path, &content, nesting, is_active)
            }
            Err(ReadFailure::Io(error)) if nesting.rules.passes_over(&error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let file = path.display();
                    tracing::warn!("{file} is passed over: {}", errno::words(&error));
                }
                Ok(())
            }
            Err(ReadFailure::Io(error)) => {
                let text = format!("reading {}", path.display());
                Err(Error::invalid(text).with_source(error))
            }
            Err(ReadFailure::Unguarded) => {
                let path = path.display();
                Err(Error::invalid(one_line(&format!(
                    "{path}: others could have written to it; let you or root own it, and `chmod go-w {path}`"
                ))))
            }
        }
    }

    fn content(&self, path: &Path, rules: FileRules) -> Result<Vec<u8>, ReadFailure> {
        let file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        if rules.is_guarded && !is_guarded(&metadata, self.subject.local.uid) {
            return Err(ReadFailure::Unguarded);
        }
        // A folder, which a pattern of an `Include` may match, has no lines.
        if metadata.is_dir() {
            return Ok(Vec::new());
        }
        Ok(bounded::read(file)?)
    }

    /// Collects the settings of a file's content.
    fn apply_content(
        &mut self,
        path: &Path,
        content: &[u8],
        nesting: Nesting,
        mut is_active: bool,
    ) -> Result<(), Error> {
        let file: Arc<Path> = Arc::from(path);
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let location = Location { file: Arc::clone(&file), line: index + 1 };
            let text = String::from_utf8_lossy(line);
            let tokens = tokenize(&text).map_err(|reason| location.error(reason));
            let ConfigLine { keyword, arguments, rest } = match tokens {
                Ok(Some(line)) => line,
                Ok(None) => continue,
                // ssh refuses such a line anywhere; where it does not apply, it is skipped here.
                Err(_) if !is_active => continue,
                Err(error) => return Err(error),
            };
            if arguments.iter().any(String::is_empty) || arguments.is_empty() {
                if is_active || matches!(&*keyword.to_ascii_lowercase(), "host" | "match") {
                    return Err(location.error(format_args!("{keyword} needs a value")));
                }
                continue;
            }
            let setting = Setting { location, keyword, arguments, rest };
            let keyword = setting.keyword.to_ascii_lowercase();
            match &*keyword {
                "host" => {
                    is_active = !nesting.is_inactive && host_applies(&setting, &self.subject);
                }
                "match" => {
                    let (subject, settings) = (&self.subject, &mut self.settings);
                    is_active = match_applies(&setting, subject, settings, !nesting.is_inactive)?;
                }
                "include" => self.include(&setting, nesting, is_active)?,
                _ if !is_active => {}
                _ if text.contains('\u{fffd}') => return Err(setting.error("it is not UTF-8")),
                _ => self.apply(&keyword, setting)?,
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        setting: &Setting,
        nesting: Nesting,
        is_active: bool,
    ) -> Result<(), Error> {
        if nesting.depth >= MAX_DEPTH {
            return Err(setting.error(format_args!("files include each other {MAX_DEPTH} deep")));
        }
        let local = self.subject.local;
        for word in &setting.arguments {
            let pattern = if word.starts_with('~') {
                if !nesting.rules.is_users {
                    return Err(setting.error("the system's configuration cannot use ~"));
                }
                tilde(word, &local.home).map_err(|reason| setting.error(reason))?
            } else if word.starts_with('/') {
                word.clone()
            } else {
                let folder = match nesting.rules.is_users {
                    true => local.user_folder(),
                    false => local.etc.clone(),
                };
                format!("{}/{word}", folder.display())
            };
            let options = glob::MatchOptions {
                require_literal_separator: true,
                require_literal_leading_dot: true,
                ..Default::default()
            };
            let paths =
                glob::glob_with(&pattern, options).map_err(|reason| setting.error(reason))?;
            let mut paths: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
            paths.sort_unstable();
            for path in paths {
                let rules = FileRules {
                    is_guarded: true,
                    is_required: false,
                    is_included: true,
                    ..nesting.rules
                };
                let depth = nesting.depth + 1;
                self.read_nested(
                    &path,
                    Nesting { rules, is_inactive: !is_active, depth },
                    is_active,
                )?;
            }
        }
        Ok(())
    }

    /// Collects a setting that applies to the host.
    fn apply(&mut self, keyword: &str, setting: Setting) -> Result<(), Error> {
        let unsupported = |setting: &Setting| {
            let host = self.subject.original;
            setting.error(format_args!(
                "not supported, and it applies to {host}; use openssh:// for it, which is ssh itself, or -F none"
            ))
        };
        match classify(keyword) {
            Some(KeywordClass::Ignored) => {}
            Some(KeywordClass::Refused(name, harmless)) => {
                if let Entry::Vacant(entry) = self.settings.first.entry(name) {
                    if !harmless.contains(&&*setting.value().to_ascii_lowercase()) {
                        return Err(unsupported(&setting));
                    }
                    entry.insert(setting);
                }
            }
            Some(KeywordClass::Followed("identityfile")) => {
                single(&setting)?;
                if !self
                    .settings
                    .identities
                    .iter()
                    .any(|known| known.arguments == setting.arguments)
                {
                    self.settings.identities.push(setting);
                }
            }
            Some(KeywordClass::Followed("certificatefile")) => {
                single(&setting)?;
                let known = &mut self.settings.certificates;
                if !known.iter().any(|known| known.arguments == setting.arguments) {
                    known.push(setting);
                }
            }
            // The first of ProxyJump and ProxyCommand counts; a command is not split into words.
            Some(KeywordClass::Followed("proxycommand")) => {
                let jump = self.settings.first.get("proxyjump").map(Setting::value);
                if jump.is_none_or(|jump| jump.eq_ignore_ascii_case("none")) {
                    self.settings.first.entry("proxycommand").or_insert(setting);
                }
            }
            Some(KeywordClass::Followed("proxyjump")) => {
                single(&setting)?;
                if !self.settings.first.contains_key("proxycommand") {
                    self.settings.first.entry("proxyjump").or_insert(setting);
                }
            }
            Some(KeywordClass::Followed(
                name @ ("userknownhostsfile" | "globalknownhostsfile"),
            )) => {
                self.settings.first.entry(name).or_insert(setting);
            }
            // No setting at all: a later one counts.
            Some(KeywordClass::Followed("connecttimeout" | "serveraliveinterval"))
                if setting.value() == "none" => {}
            Some(KeywordClass::Followed(name)) => {
                single(&setting)?;
                self.settings.first.entry(name).or_insert(setting);
            }
            None => {
                let ignored = self.settings.first.get("ignoreunknown");
                let ignored =
                    ignored.is_some_and(|list| pattern::names_match(keyword, list.value()));
                if !ignored {
                    return Err(setting.error(
                        "ssh has no such keyword; correct it, or list it in an IgnoreUnknown before",
                    ));
                }
            }
        }
        Ok(())
    }
}

enum ReadFailure {
    Io(io::Error),
    /// Others could have written to the file.
    Unguarded,
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn single(setting: &Setting) -> Result<(), Error> {
    match &*setting.arguments {
        [_] => Ok(()),
        _ => Err(setting.error("it takes one value")),
    }
}
