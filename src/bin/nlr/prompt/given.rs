//! The lines of `--password-fd`. Each is for one hop or one key, and goes nowhere else.
//!
//! A line `LABEL`, tab, `SECRET` is for the hop or the key file that the label names: `sudo:`,
//! `ssh://gateway,ssh://host`, `~/.ssh/id_ed25519`. A line without a tab is for the last hop of the
//! target that may ask. Several lines for one hop answer its questions in their order. After a
//! refused answer a hop gets no other: it would be the answer to another question.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroizing;

use super::super::{failure::Failure, inherited::was_closed};
use netlink_remote::{
    Hop, Target,
    errno::{EBADF, words},
    prompter::{SecretKind, SecretRequest, inherited_descriptor},
};

/// Bytes of all secrets that are read from a file descriptor.
const MAX_SECRETS: usize = 64 << 10;

/// The secrets of a descriptor.
pub(super) struct Given {
    /// The hops of the targets that may ask, each after the hops that lead to it.
    asking: Vec<String>,
    /// The hop that lines without a label are for.
    last: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// Hops that have refused an answer.
    refusing: HashSet<String>,
    /// No line was for a question.
    has_missed: bool,
}

struct Line {
    /// Wiped, since the begin of a secret with a tab is taken for a label.
    label: Option<Zeroizing<String>>,
    /// `None` once a hop has had it.
    secret: Option<Zeroizing<String>>,
}

/// The parts of a question that say who asks.
pub(super) struct Asker<'a> {
    pub(super) hop: &'a str,
    /// The key file whose passphrase is asked for.
    pub(super) key_file: Option<&'a Path>,
    pub(super) attempt: u32,
}

impl<'a> From<&'a SecretRequest> for Asker<'a> {
    fn from(request: &'a SecretRequest) -> Self {
        let SecretRequest { kind, hop, key_file, attempt, .. } = request;
        let is_for_key = *kind == SecretKind::Passphrase;
        let key_file = is_for_key.then(|| key_file.as_deref().unwrap_or(Path::new("")));
        Self { hop, key_file, attempt: *attempt }
    }
}

impl Given {
    /// Reads a descriptor that the caller has opened, to its end.
    pub(super) fn read(fd: u32, targets: &[Target]) -> Result<Self, Failure> {
        let failed = |error: &io::Error| {
            let text = match error.raw_os_error() {
                Some(EBADF) => "no descriptor of this number is open for reading".to_owned(),
                _ => words(error),
            };
            Failure::usage(format_args!("--password-fd {fd}: {text}"))
        };
        if was_closed(fd) {
            return Err(failed(&io::Error::from_raw_os_error(EBADF)));
        }
        let file = inherited_descriptor(fd).map_err(|error| failed(&error))?;
        // A string that grows leaves copies in memory.
        let mut text = Zeroizing::new(String::with_capacity(MAX_SECRETS + 2));
        let read = File::from(file).take(MAX_SECRETS as u64 + 1).read_to_string(&mut text);
        read.map_err(|error| failed(&error))?;
        if text.len() > MAX_SECRETS {
            return Err(Failure::usage(format_args!("--password-fd {fd}: more than 64 KiB")));
        }
        Ok(Self::new(&text, targets))
    }

    fn new(text: &str, targets: &[Target]) -> Self {
        let lines = text.lines().map(|line| {
            let owned = |text: &str| Zeroizing::new(text.to_owned());
            let (label, secret) = match line.split_once('\t') {
                Some((label, secret)) => (Some(owned(label)), secret),
                None => (None, line),
            };
            Line { label, secret: Some(owned(secret)) }
        });
        let state = State { lines: lines.collect(), ..State::default() };
        let last = match targets {
            [target] => asking(target).pop(),
            _ => None,
        };
        let mut asking = targets.iter().flat_map(asking).collect::<Vec<_>>();
        asking.sort_unstable();
        asking.dedup();
        Self { asking, last, state: Mutex::new(state) }
    }

    /// The answer to a question, if a line is for it.
    pub(super) fn answer(&self, asker: &Asker<'_>) -> Option<Zeroizing<String>> {
        let mut state = self.lock();
        let is_refused = asker.attempt > 1;
        let answer = match asker.key_file {
            _ if state.refusing.contains(asker.hop) => return None,
            _ if is_refused => {
                state.refusing.insert(asker.hop.to_owned());
                return None;
            }
            // Each hop may ask for it, and none gets it.
            Some(file) => {
                let is_named =
                    |line: &&Line| line.label.as_ref().is_some_and(|label| names(label, file));
                state.lines.iter().find(is_named).and_then(|line| line.secret.clone())
            }
            None => state.lines.iter_mut().find_map(|line| {
                let label = line.label.as_ref().map(|label| label.as_str());
                let label = label.or(self.last.as_deref()).unwrap_or_default();
                line.secret.take_if(|_| self.is_for(label, asker.hop))
            }),
        };
        state.has_missed |= answer.is_none();
        answer
    }

    /// Whether a label names a hop: in full, or by its end where no other hop of the targets has
    /// that. Hosts of ProxyJump may come before.
    fn is_for(&self, label: &str, hop: &str) -> bool {
        let ends_so = |hop: &str| {
            hop.strip_suffix(label).is_some_and(|rest| rest.is_empty() || rest.ends_with(','))
        };
        let count = self.asking.iter().filter(|other| ends_so(other)).count();
        !label.is_empty() && (hop == label || ends_so(hop) && count <= 1)
    }

    /// Forgets all lines.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.lines = Vec::new();
    }

    /// The remedy for a question that no line has answered, or whose answer was refused.
    pub(super) fn remedy(&self) -> String {
        let state = self.lock();
        let last = self.last.as_deref().unwrap_or_default();
        match (state.refusing.is_empty(), state.has_missed, last) {
            (false, ..) => "; the line of --password-fd was refused".to_owned(),
            (true, false, _) => String::new(),
            (true, true, "") => {
                "; --password-fd has no line for it: write the hop or the key file \
                                 that a line is for before it, and a tab between"
                    .to_owned()
            }
            (true, true, last) => format!(
                "; --password-fd has no line for it: a line is for {last}, or has the hop or the key \
                 file that it is for before it, and a tab between"
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hops of a target that may ask for a secret, each after the hops that lead to it.
fn asking(target: &Target) -> Vec<String> {
    let mut asking = Vec::new();
    let mut chain = String::new();
    for hop in target.hops().iter().filter(|hop| **hop != Hop::Local) {
        chain += if chain.is_empty() { "" } else { "," };
        chain += &hop.to_string();
        if matches!(hop, Hop::Ssh(_) | Hop::OpenSsh(_) | Hop::Sudo(_) | Hop::Su(_)) {
            asking.push(chain.clone());
        }
    }
    asking
}

/// Whether a label names a key file: by its path, with `~` for the home folder.
fn names(label: &str, file: &Path) -> bool {
    match label.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().is_some_and(|home| home.join(rest) == file),
        None => !label.is_empty() && Path::new(label) == file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers to questions of these askers: `hop`, `hop#2` for a second attempt, `/path` for a
    /// key of the target's first hop.
    fn answers(lines: &str, targets: &[&str], askers: &[&str]) -> Vec<String> {
        let targets: Vec<Target> = targets.iter().map(|target| target.parse().unwrap()).collect();
        let given = Given::new(lines, &targets);
        let answer = |asker: &&str| {
            let (hop, attempt) = match asker.split_once('#') {
                Some((hop, attempt)) => (hop, attempt.parse().unwrap()),
                None => (*asker, 1),
            };
            let key_file = hop.starts_with('/').then(|| Path::new(hop));
            let hop = if key_file.is_some() { "ssh://h" } else { hop };
            let answer = given.answer(&Asker { hop, key_file, attempt });
            answer.map_or("-".to_owned(), |answer| answer.to_string())
        };
        askers.iter().map(answer).collect()
    }

    #[test]
    fn a_line_goes_where_it_was_meant_to_go() {
        let through = "ssh://gw,ssh://h,sudo:";
        for (lines, targets, askers, expected) in [
            // Without a label: the last hop that may ask, and its questions in order.
            ("a\nb\n", &[through][..], &[through, through, through][..], "a b -"),
            ("a\n", &[through], &["ssh://gw", "ssh://gw,ssh://h", "/key", through], "- - - a"),
            ("a\n", &["ssh://h,docker:web"], &["ssh://h"], "a"),
            ("a\n", &["local:,sudo:"], &["sudo:"], "a"),
            ("a\n", &["local:"], &["sudo:", "ssh://h", "/key"], "- - -"),
            // A host of ProxyJump comes before.
            ("a\n", &["ssh://h"], &["ssh://jump", "ssh://jump,ssh://h"], "- a"),
            // With a label: a hop by its end or in full, or a key, which is none of a hop's.
            (
                "sudo:\ta\nssh://gw\tb\n",
                &[through],
                &["ssh://gw", "ssh://gw,ssh://h", through],
                "b - a",
            ),
            ("ssh://gw,ssh://h\ta", &[through], &["ssh://h", "ssh://gw,ssh://h"], "- a"),
            ("ssh://x,sudo:\ta", &[through], &[through], "-"),
            ("/key\ta\n", &["ssh://h"], &["ssh://h", "/key", "/key", "/other"], "- a a -"),
            ("\ta\n", &[through], &[through, "/key"], "- -"),
            ("sudo:\twith\ttab\n", &["sudo:"], &["sudo:"], "with\ttab"),
            // A label that names two hops names none.
            (
                "sudo:\ta",
                &["sudo:,openssh://b,sudo:"],
                &["sudo:", "sudo:,openssh://b,sudo:"],
                "a -",
            ),
            (
                "sudo:,openssh://b,sudo:\ta",
                &["sudo:,openssh://b,sudo:"],
                &["sudo:", "sudo:,openssh://b,sudo:"],
                "- a",
            ),
            ("sudo:\ta", &["ssh://a,sudo:", "ssh://b,sudo:"], &["ssh://a,sudo:"], "-"),
            ("a\n", &["ssh://a", "ssh://b"], &["ssh://a", "ssh://b"], "- -"),
            // After a refusal the hop gets nothing more, by no other method either.
            ("a\nb\n", &["ssh://h"], &["ssh://h", "ssh://h#2", "ssh://h"], "a - -"),
            ("/key\ta\nb\n", &["ssh://h"], &["/key", "/key#2", "ssh://h"], "a - -"),
            (
                "sudo:\tb\nssh://h\ta\n",
                &["ssh://h,sudo:"],
                &["ssh://h", "ssh://h#2", "ssh://h,sudo:"],
                "a - b",
            ),
        ] {
            let got = answers(lines, targets, askers).join(" ");
            assert_eq!(got, expected, "{lines:?} for {targets:?}");
        }
    }
}
