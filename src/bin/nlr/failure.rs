//! Why the tool ends otherwise than well: an exit code, and one line that says what failed, where,
//! and what to do about it.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use nix::errno::Errno;

use netlink_remote::{Error, ErrorKind, Netns, Step};

/// The exit codes, which `nlr --help` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The reader of the output has gone: nothing is left to do, and nothing is wrong.
    Done = 0,
    Request = 1,
    Usage = 2,
    Connection = 3,
    Permission = 4,
    /// As a shell has it for a program that SIGINT killed.
    Interrupted = 130,
}

/// An end that is not a plain success.
#[derive(Debug)]
pub(super) struct Failure {
    code: Code,
    /// Without one it ends quietly.
    text: Option<String>,
}

impl Failure {
    fn new(code: Code, text: impl fmt::Display) -> Self {
        Self { code, text: Some(text.to_string()) }
    }

    /// What was asked for was refused.
    pub(super) fn request(text: impl fmt::Display) -> Self {
        Self::new(Code::Request, text)
    }

    /// What was asked for cannot be.
    pub(super) fn usage(text: impl fmt::Display) -> Self {
        Self::new(Code::Usage, text)
    }

    /// A request failed with an errno and, perhaps, words of the kernel's.
    pub(super) fn errno(errno: i32, text: impl fmt::Display) -> Self {
        let (code, remedy) = match Errno::from_raw(errno) {
            Errno::EPERM | Errno::EACCES => (Code::Permission, PRIVILEGES),
            _ => (Code::Request, ""),
        };
        Self::new(code, format_args!("{text}{remedy}"))
    }

    /// Ctrl-C.
    pub(super) fn interrupted() -> Self {
        Self { code: Code::Interrupted, text: None }
    }

    /// Standard output cannot be written to; quiet if only its reader has gone.
    pub(super) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: Code::Done, text: None };
        }
        Self::new(Code::Request, format_args!("writing to standard output: {}", describe(error)))
    }

    /// A socket in a namespace could not be opened.
    pub(super) fn opening(error: Error, netns: &Netns) -> Self {
        let remedy = match (error.errno().map(Errno::from_raw), netns) {
            (Some(Errno::ENOENT), Netns::Name(_)) => "; `nlr netns list` shows those there are",
            (Some(Errno::ENOENT | Errno::ESRCH), Netns::Pid(_)) => "; is that process running?",
            (Some(Errno::EINVAL), Netns::Path(_)) => "; give a file such as /proc/PID/ns/net",
            _ => "",
        };
        let known = error.to_string().contains(&netns.to_string());
        let error = match netns {
            Netns::Current => error,
            _ if known => error,
            netns => error.context(netns),
        };
        Self::from(error).followed_by(remedy)
    }

    /// An answer did not come in time.
    pub(super) fn unanswered(text: impl fmt::Display) -> Self {
        Self::new(Code::Connection, text)
    }

    /// The same, with a remedy behind it.
    pub(super) fn followed_by(mut self, remedy: &str) -> Self {
        self.text = self.text.map(|text| format!("{text}{remedy}"));
        self
    }

    /// The same, said about something in particular.
    pub(super) fn context(mut self, about: impl fmt::Display) -> Self {
        self.text = self.text.map(|text| format!("{about}: {text}"));
        self
    }

    /// Whether the far end, or the way there, has gone.
    pub(super) fn is_connection(&self) -> bool {
        self.code == Code::Connection
    }

    /// Whether something there, or on the way, does not let one. That can be for want of an
    /// answer which Ctrl-C cut off.
    pub(super) fn is_refusal(&self) -> bool {
        self.code == Code::Permission
    }

    /// Says it now. What is left ends the tool quietly, with the same exit code.
    pub(super) fn tell(mut self) -> (Self, String) {
        let text = self.text.take().unwrap_or_default();
        complain(&text);
        (self, text)
    }

    /// Says it on standard error, and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        if let Some(text) = &self.text {
            complain(text);
        }
        ExitCode::from(self.code as u8)
    }
}

/// What helps against EPERM and EACCES.
const PRIVILEGES: &str = "; the stub lacks the privileges: run it as root, for instance with sudo";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let denied =
            matches!(error.errno().map(Errno::from_raw), Some(Errno::EPERM | Errno::EACCES));
        let refused = matches!(error.step(), Some(Step::Authentication | Step::Privilege));
        let code = match error.kind() {
            ErrorKind::Connect if refused => Code::Permission,
            // What cannot be executed or connected to has its own remedy in the text already.
            ErrorKind::Connect if denied => Code::Permission,
            ErrorKind::Connect
            | ErrorKind::Handshake
            | ErrorKind::Disconnected
            | ErrorKind::Timeout => Code::Connection,
            ErrorKind::Invalid => Code::Usage,
            _ if denied => {
                return Self::new(Code::Permission, format_args!("{error:#}{PRIVILEGES}"));
            }
            _ => Code::Request,
        };
        Self::new(code, format_args!("{error:#}"))
    }
}

/// Writes one line to standard error, whatever the text holds.
pub(super) fn complain(text: &str) {
    // Where this cannot be written there is nobody to be told.
    let _ = writeln!(io::stderr(), "nlr: {}", one_line(text));
}

/// Text from elsewhere must not command the terminal, nor look like several messages.
pub(super) fn one_line(text: &str) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The system's words for an error, without the number that std puts behind them.
pub(super) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_remote::Origin;

    fn code(kind: ErrorKind, errno: Option<Errno>) -> Code {
        let errno = errno.map(|errno| errno as i32);
        Failure::from(Error::new(kind, "x").with_origin(Origin::Kernel).with_errno(errno)).code
    }

    #[test]
    fn codes_follow_the_kind_and_the_errno() {
        for kind in [ErrorKind::Open, ErrorKind::Namespace, ErrorKind::Request, ErrorKind::Send] {
            assert_eq!(code(kind, Some(Errno::ENOENT)), Code::Request);
            assert_eq!(code(kind, Some(Errno::EPERM)), Code::Permission);
            assert_eq!(code(kind, Some(Errno::EACCES)), Code::Permission);
        }
        for kind in [ErrorKind::Connect, ErrorKind::Handshake, ErrorKind::Disconnected] {
            assert_eq!(code(kind, Some(Errno::ECONNREFUSED)), Code::Connection);
        }
        assert_eq!(code(ErrorKind::Timeout, None), Code::Connection);
        assert_eq!(code(ErrorKind::Connect, Some(Errno::EACCES)), Code::Permission);
        assert_eq!(code(ErrorKind::Invalid, None), Code::Usage);
    }

    #[test]
    fn a_namespace_is_named_once_and_a_remedy_given() {
        let error = |text: &str, errno: Errno| {
            Error::new(ErrorKind::Open, text).with_origin(Origin::Kernel).with_errno(errno as i32)
        };
        let blue = Netns::Name("blue".into());
        let text = |error, netns: &Netns| Failure::opening(error, netns).text.unwrap();
        assert_eq!(
            text(error("opening namespace \"blue\": No such file", Errno::ENOENT), &blue),
            "opening namespace \"blue\": No such file; `nlr netns list` shows those there are"
        );
        let denied = text(error("entering the namespace: no", Errno::EPERM), &blue);
        assert!(denied.starts_with("namespace \"blue\": entering the namespace: no; "), "{denied}");
        assert!(denied.ends_with("sudo"), "{denied}");
        assert_eq!(text(error("a", Errno::EINVAL), &Netns::Current), "a");
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line(" a\nb\u{1b}[2J\n"), "a b [2J");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let failure = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.code, failure.text), (Code::Done, None));
        let failure = Failure::output(&io::Error::from_raw_os_error(Errno::ENOSPC as i32));
        assert_eq!(failure.code, Code::Request);
        assert!(failure.text.unwrap().ends_with("No space left on device"));
    }
}
