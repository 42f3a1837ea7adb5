//! Many targets from a file.
//!
//! An inventory has a target a line, with an optional name before it, and network namespaces behind it:
//!
//! ```text
//! # name   target                            namespaces
//! core1    ssh://ci@core1,sudo:
//! lab      ssh://ci@lab,sudo:                -n blue -n green
//!          ssh://ci@test01                   -n pid:4242
//! ```
//!
//! Words are separated by spaces and tabs; a word with one of these, or with a `#`, stands between single or
//! double quotes. Without a name, the target's text is it. [`Monitor`](crate::monitor::Monitor) watches the
//! entries of an inventory together.

#![forbid(unsafe_code)]

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use crate::{Error, Netns, Target, monitor::Watched};

/// The longest inventory, in bytes: some 100,000 targets.
const LONGEST: usize = 16 << 20;

/// A target of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name, which no other entry has.
    pub name: Arc<str>,
    /// The target.
    pub target: Target,
    /// The namespaces; none for the stub's own.
    pub netns: Vec<Netns>,
}

impl Entry {
    /// A target with its text for its name, and with the stub's own namespace.
    pub fn new(target: Target) -> Self {
        Self { name: target.to_string().into(), target, netns: Vec::new() }
    }

    /// The entry for a monitor.
    pub fn watched(&self) -> Watched {
        let watched = Watched::new(self.target.clone()).name(Arc::clone(&self.name));
        self.netns.iter().cloned().fold(watched, Watched::netns)
    }
}

/// The targets of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inventory {
    /// In the order of their lines.
    pub entries: Vec<Entry>,
}

/// Reads an inventory.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), with the number of the line.
impl FromStr for Inventory {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST {
            return Err(Error::invalid(format!("an inventory has at most {LONGEST} bytes")));
        }
        let mut names = BTreeSet::new();
        let mut entries = Vec::new();
        for (number, line) in (1_usize..).zip(text.lines()) {
            let entry = words(line).and_then(entry);
            let entry = entry.map_err(|error| error.context(format_args!("line {number}")))?;
            let Some(entry) = entry else { continue };
            if !names.insert(Arc::clone(&entry.name)) {
                let text = format!(
                    "line {number}: there is another target of the name {:?}; write a name before the \
                     target",
                    entry.name
                );
                return Err(Error::invalid(text));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }
}

/// The words of a line, without its comment.
fn words(line: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut letters = line.chars().peekable();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        let mut word = String::new();
        match letters.peek() {
            None | Some('#') => return Ok(words),
            Some(_) => {}
        }
        while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace()) {
            if !matches!(letter, '"' | '\'') {
                word.push(letter);
                continue;
            }
            loop {
                match letters.next() {
                    Some(end) if end == letter => break,
                    Some(inside) => word.push(inside),
                    None => return Err(Error::invalid(format!("a {letter} without its end"))),
                }
            }
        }
        words.push(word);
    }
}

/// The target of a line's words; `None` for a line without.
fn entry(words: Vec<String>) -> Result<Option<Entry>, Error> {
    let mut words = words.into_iter();
    let Some(first) = words.next() else { return Ok(None) };
    let mut rest = words.peekable();
    let second = rest.next_if(|word| word != "-n");
    let (name, target) = match second {
        Some(target) => (Some(first), target),
        None => (None, first),
    };
    let target: Target = target.parse()?;
    let mut netns = Vec::new();
    while let Some(word) = rest.next() {
        match (word.as_str(), rest.next()) {
            ("-n", Some(text)) => netns.push(parse_netns(&text)?),
            ("-n", None) => return Err(Error::invalid("-n wants a network namespace behind it")),
            _ => {
                let text = format!("{word:?} is too much: expected `[NAME] TARGET [-n NETNS]...`");
                return Err(Error::invalid(text));
            }
        }
    }
    let name = name.unwrap_or_else(|| target.to_string());
    if name.is_empty() {
        return Err(Error::invalid("a name cannot be empty"));
    }
    Ok(Some(Entry { name: name.into(), target, netns }))
}

/// The network namespace of a text: a name of ip-netns(8), a path (any text with a slash), `pid:N`, or
/// `docker:NAME` or `podman:NAME` for that of a running container.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
pub fn parse_netns(text: &str) -> Result<Netns, Error> {
    let container = |engine: &str, netns: Netns| match netns.is_well_named() {
        true => Ok(netns),
        false => {
            let text = format!("expected the name or id of a container, as in `{engine}:web`");
            Err(Error::invalid(text))
        }
    };
    match text.split_once(':') {
        _ if text.contains('/') => Ok(Netns::Path(text.to_owned())),
        Some(("pid", pid)) => match pid.parse() {
            Ok(pid @ 1..) => Ok(Netns::Pid(pid)),
            _ => Err(Error::invalid("expected a process id, as in `pid:4242`")),
        },
        Some((engine @ "docker", name)) => container(engine, Netns::docker(name)),
        Some((engine @ "podman", name)) => container(engine, Netns::podman(name)),
        _ if text.is_empty() => Err(Error::invalid("the name of a namespace cannot be empty")),
        _ => Ok(Netns::Name(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_name_a_target_and_namespaces() {
        let text = "
            # core
            core1  ssh://ci@core1,sudo:          # with a comment
            'the lab' ssh://ci@lab -n blue -n /run/netns/green
            ssh://ci@test01 -n pid:42
            exec1 \"exec:nsenter -t 1 sh\"
        ";
        let inventory: Inventory = text.parse().unwrap();
        let names: Vec<_> = inventory.entries.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["core1", "the lab", "ssh://ci@test01", "exec1"]);
        let [_, lab, test, exec] = &inventory.entries[..] else { panic!() };
        let green = Netns::Path("/run/netns/green".into());
        assert_eq!(lab.netns, [Netns::Name("blue".into()), green]);
        assert_eq!(test.netns, [Netns::Pid(42)]);
        assert_eq!(exec.target.to_string(), "exec:nsenter -t 1 sh");
        assert_eq!("".parse::<Inventory>().unwrap(), Inventory::default());
    }

    #[test]
    fn wrong_lines_are_told_with_their_numbers() {
        for (text, expected) in [
            ("local:\nlocal:", "line 2: there is another target"),
            ("a local:\na local:", "line 2: there is another target of the name \"a\""),
            ("\n\na nosuch://x", "line 3: "),
            ("a local: b", "line 1: \"b\" is too much"),
            ("local: -n", "line 1: -n wants"),
            ("a 'local:", "line 1: a ' without its end"),
            ("'' local:", "line 1: a name cannot be empty"),
            ("local: -n pid:x", "line 1: expected a process id"),
        ] {
            let error = text.parse::<Inventory>().unwrap_err();
            assert!(error.to_string().starts_with(expected), "{text:?}: {error}");
        }
    }
}
