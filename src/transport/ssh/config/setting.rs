//! The settings that apply to a host, each with its place in the files.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use crate::{Error, text::one_line};

/// A line of a file.
#[derive(Debug, Clone)]
pub(super) struct Location {
    pub(super) file: Arc<Path>,
    /// From 1.
    pub(super) line: usize,
}

impl Location {
    /// An error about this line.
    pub(super) fn error(&self, reason: impl fmt::Display) -> Error {
        let text = format!("{}:{}: {reason}", self.file.display(), self.line);
        Error::invalid(one_line(&text))
    }
}

/// A keyword that applies, and its arguments: at least one, none of them empty.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) location: Location,
    /// As the file has it.
    pub(super) keyword: String,
    pub(super) arguments: Vec<String>,
    /// All after the keyword, as the file has it.
    pub(super) rest: String,
}

impl Setting {
    /// The first argument.
    pub(super) fn value(&self) -> &str {
        self.arguments.first().map(String::as_str).unwrap_or_default()
    }

    /// An error about this setting.
    pub(super) fn error(&self, reason: impl fmt::Display) -> Error {
        self.location.error(format_args!("{}: {reason}", self.keyword))
    }
}

/// The settings of all files for one host.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// By the keyword's canonical name; the first setting counts.
    pub(super) first: HashMap<&'static str, Setting>,
    /// `IdentityFile`, of which all count.
    pub(super) identities: Vec<Setting>,
    /// `CertificateFile`, of which all count.
    pub(super) certificates: Vec<Setting>,
    /// A `Match final` asks for a second pass over the files, with the result of the first.
    pub(super) wants_final: bool,
}
