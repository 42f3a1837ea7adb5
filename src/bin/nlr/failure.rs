//! Errors of the tool: an exit code, and one line with the cause, the place and a remedy.

use std::{fmt, io, process::ExitCode};

use nix::sys::signal::Signal;

use super::progress;
use netlink_remote::{
    Error, ErrorKind, Netns, Step,
    errno::{EACCES, EINVAL, ENOENT, EPERM, ESRCH, words},
    text::one_line,
};

/// The exit codes that `nlr --help` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The reader of the output has closed it: no error.
    Done = 0,
    Request = 1,
    Usage = 2,
    Connection = 3,
    Permission = 4,
    /// As that of timeout(1).
    TimedOut = 124,
    /// A shell's code for a program that SIGINT killed.
    Interrupted = 130,
    /// Likewise SIGTERM.
    Terminated = 143,
}

/// The exit code of an inventory of which targets have failed, without their number, which counts up to 50.
const SOME_FAILED: u8 = 20;
const MOST_FAILED: usize = 50;

/// An end other than a plain success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    /// `None` ends the tool silently.
    text: Option<String>,
    /// Targets of an inventory that have failed, in place of the code.
    failed: Option<usize>,
}

impl Failure {
    fn new(code: Code, text: impl fmt::Display) -> Self {
        Self { code, text: Some(text.to_string()), failed: None }
    }

    /// A request failed.
    pub(crate) fn request(text: impl fmt::Display) -> Self {
        Self::new(Code::Request, text)
    }

    /// A request makes no sense.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self::new(Code::Usage, text)
    }

    /// A request failed with an errno; `text` has its words.
    pub(crate) fn errno(errno: i32, text: impl fmt::Display) -> Self {
        let (code, remedy) = match errno {
            EPERM | EACCES => (Code::Permission, PRIVILEGES),
            _ => (Code::Request, ""),
        };
        Self::new(code, format_args!("{text}{remedy}"))
    }

    /// A signal that ends the tool: SIGINT or SIGTERM.
    pub(crate) fn interrupted(signal: Signal) -> Self {
        let code = match signal {
            Signal::SIGTERM => Code::Terminated,
            _ => Code::Interrupted,
        };
        Self { code, text: None, failed: None }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self.failed {
            Some(failed) => {
                SOME_FAILED.saturating_add(u8::try_from(failed.min(MOST_FAILED)).unwrap_or(0))
            }
            None => self.code as u8,
        }
    }

    /// Some targets of an inventory have failed, each of which was told.
    pub(crate) fn some(failed: usize, all: usize) -> Self {
        let text = format!("{failed} of {all} targets failed");
        Self { code: Code::Request, text: Some(text), failed: Some(failed) }
    }

    /// The text, for a place of one's own.
    pub(crate) fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }

    /// Standard output cannot be written; silent where its reader has closed it.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: Code::Done, text: None, failed: None };
        }
        Self::new(Code::Request, format_args!("writing to standard output: {}", words(error)))
    }

    /// A socket in a namespace could not be opened.
    pub(crate) fn opening(error: Error, netns: &Netns) -> Self {
        let remedy = match (error.errno(), netns) {
            (Some(ENOENT), Netns::Name(_)) => "; `nlr netns list` lists the namespaces",
            (Some(ENOENT | ESRCH), Netns::Pid(_)) => "; is that process running?",
            (Some(EINVAL), Netns::Path(_)) => "; expected a file such as /proc/PID/ns/net",
            _ => "",
        };
        let is_named = format!("{error:#}").contains(&netns.to_string());
        let error = match netns {
            Netns::Current => error,
            _ if is_named => error,
            netns => error.context(netns),
        };
        Self::from(error).with_remedy(remedy)
    }

    /// The far end did not answer in time.
    pub(crate) fn timeout(text: impl fmt::Display) -> Self {
        Self::new(Code::Connection, text)
    }

    /// What was waited for has not come in the time that the user gave.
    pub(crate) fn waited_in_vain(text: impl fmt::Display) -> Self {
        Self::new(Code::TimedOut, text)
    }

    /// Appends a remedy to the text.
    pub(crate) fn with_remedy(mut self, remedy: &str) -> Self {
        self.text = self.text.map(|text| format!("{text}{remedy}"));
        self
    }

    /// Puts the subject in front of the text.
    pub(crate) fn context(mut self, subject: impl fmt::Display) -> Self {
        self.text = self.text.map(|text| format!("{subject}: {text}"));
        self
    }

    /// Whether the connection was lost, or never made.
    pub(crate) fn is_connection(&self) -> bool {
        self.code == Code::Connection
    }

    /// Whether permission was denied, be it that Ctrl-C cut off the question for a password.
    pub(crate) fn is_permission(&self) -> bool {
        self.code == Code::Permission
    }

    /// Writes the text to standard error now, and returns it with the failure. The failure is
    /// silent from then on and keeps its exit code.
    pub(crate) fn print(mut self) -> (Self, String) {
        let text = self.text.take().unwrap_or_default();
        warn(&text);
        (self, text)
    }

    /// Writes the text to standard error, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(text) = &self.text {
            warn(text);
        }
        ExitCode::from(self.code())
    }
}

/// The remedy for EPERM and EACCES.
const PRIVILEGES: &str = "; the stub lacks privileges: run it as root, by the hop `sudo:` in the target, or nlr itself by sudo";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_denied = error.is_permission();
        let is_refused = matches!(error.step(), Some(Step::Authentication | Step::Privilege));
        let code = match error.kind() {
            // The text has a remedy of its own already.
            ErrorKind::Connect if is_refused || is_denied => Code::Permission,
            ErrorKind::Connect
            | ErrorKind::Handshake
            | ErrorKind::Disconnected
            | ErrorKind::Timeout => Code::Connection,
            ErrorKind::Invalid => Code::Usage,
            _ if is_denied => {
                return Self::new(Code::Permission, format_args!("{error:#}{PRIVILEGES}"));
            }
            _ => Code::Request,
        };
        Self::new(code, format_args!("{error:#}"))
    }
}

/// Writes a message to standard error, as one line whatever its text holds.
pub(crate) fn warn(text: &str) {
    progress::print_line(&format!("nlr: {}", message(text)));
}

/// Letters of a message, at most: a far end may have chosen them.
const LONGEST: usize = 4096;

/// Text of an error on one line, harmless on a terminal.
pub(crate) fn message(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => one_line(text.get(..end).unwrap_or_default()).into_owned() + "…",
        None => one_line(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_remote::{
        Origin,
        errno::{ECONNREFUSED, ENOSPC},
    };

    fn code(kind: ErrorKind, errno: Option<i32>) -> Code {
        Failure::from(Error::new(kind, "x").with_origin(Origin::Kernel).with_errno(errno)).code
    }

    #[test]
    fn codes_follow_the_kind_and_the_errno() {
        for kind in [ErrorKind::Open, ErrorKind::Namespace, ErrorKind::Request, ErrorKind::Send] {
            assert_eq!(code(kind, Some(ENOENT)), Code::Request);
            assert_eq!(code(kind, Some(EPERM)), Code::Permission);
            assert_eq!(code(kind, Some(EACCES)), Code::Permission);
        }
        for kind in [ErrorKind::Connect, ErrorKind::Handshake, ErrorKind::Disconnected] {
            assert_eq!(code(kind, Some(ECONNREFUSED)), Code::Connection);
        }
        assert_eq!(code(ErrorKind::Timeout, None), Code::Connection);
        assert_eq!(code(ErrorKind::Connect, Some(EACCES)), Code::Permission);
        assert_eq!(code(ErrorKind::Invalid, None), Code::Usage);
    }

    #[test]
    fn a_namespace_is_named_once_and_a_remedy_given() {
        let error = |text: &str, errno: i32| {
            Error::new(ErrorKind::Open, text).with_origin(Origin::Kernel).with_errno(errno)
        };
        let blue = Netns::Name("blue".into());
        let text = |error, netns: &Netns| Failure::opening(error, netns).text.unwrap();
        assert_eq!(
            text(error("opening namespace \"blue\": No such file", ENOENT), &blue),
            "opening namespace \"blue\": No such file; `nlr netns list` lists the namespaces"
        );
        let denied = text(error("entering the namespace: no", EPERM), &blue);
        assert!(denied.starts_with("namespace \"blue\": entering the namespace: no; "), "{denied}");
        assert!(denied.ends_with("sudo"), "{denied}");
        assert_eq!(text(error("a", EINVAL), &Netns::Current), "a");
    }

    #[test]
    fn a_message_is_one_harmless_line() {
        assert_eq!(message(" a\nb\u{1b}[2J\n"), "a b\u{fffd}[2J");
        assert_eq!(message("a\u{202e}b\u{200b}"), "a\u{fffd}b\u{fffd}");
        let long = message(&"ü".repeat(1 << 20));
        assert!(long.chars().count() == LONGEST + 1 && long.ends_with('…'));
    }

    #[test]
    fn a_closed_reader_is_no_error() {
        let failure = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.code, failure.text), (Code::Done, None));
        let failure = Failure::output(&io::Error::from_raw_os_error(ENOSPC));
        assert_eq!(failure.code, Code::Request);
        assert!(failure.text.unwrap().ends_with("No space left on device"));
    }
}
