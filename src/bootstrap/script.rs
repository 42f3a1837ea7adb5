//! The script that starts a stub at the far end, or asks for it to be sent.
//!
//! It looks for the stub with the right digest in a few folders and becomes it, saying nothing:
//! the stub's marker is then the first thing that comes. Otherwise it chooses a folder in which
//! there is room and from which programs may run, and says
//!
//! ```text
//! nlr-boot NONCE need DIGEST FOLDER
//! ```
//!
//! whereupon exactly the stub's bytes are sent. What goes wrong is said as
//! `nlr-boot NONCE fail CODE DETAIL`. The nonce makes these lines different from whatever else may
//! come, an echo of the command line included.

#![forbid(unsafe_code)]

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::stubs::{HOW_TO_BUILD, Image, Payload, Stubs};
use crate::{Error, ErrorKind, Origin, Step};

const FOLDERS: &str = include_str!("folders.sh");
const BOOT: &str = include_str!("boot.sh");
const CLEAN: &str = include_str!("clean.sh");

/// One run of the script.
#[derive(Debug)]
pub(crate) struct Boot {
    nonce: String,
    offers: Vec<(Payload, Arc<Image>)>,
    /// What is said where the far end is a machine for which there is none.
    summary: String,
}

impl Boot {
    /// Reads the stubs, unless that has been done before.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] at [`Step::Bootstrap`] where there are no stubs at all, or one cannot
    /// be read.
    pub(crate) async fn new(stubs: &Stubs) -> Result<Self, Error> {
        if stubs.payloads().is_empty() {
            let text = format!("{}; {HOW_TO_BUILD}", stubs.summary());
            return Err(Error::new(ErrorKind::Connect, text)
                .with_origin(Origin::Library)
                .prefix_step(Step::Bootstrap));
        }
        let mut offers = Vec::new();
        for payload in stubs.payloads() {
            offers.push((payload.clone(), payload.image().await?));
        }
        Ok(Self::offering(offers, stubs.summary()))
    }

    pub(super) fn offering(offers: Vec<(Payload, Arc<Image>)>, summary: String) -> Self {
        Self { nonce: nonce(), offers, summary }
    }

    /// What is to be run at the far end: `sh`, `-c` and the script, which has neither single
    /// quotes, backslashes, exclamation marks nor line ends in it.
    pub(crate) fn argv(&self) -> Vec<String> {
        let version = env!("CARGO_PKG_VERSION");
        let arms: String = self.offers.iter().map(|(payload, image)| arm(payload, image)).collect();
        let given = format!(
            "n={} v={version}; a() {{ case $m in {arms} *) return 1; esac; }};",
            self.nonce
        );
        let script = format!("{given} {} {}", squeeze(FOLDERS), squeeze(BOOT));
        vec!["sh".into(), "-c".into(), script]
    }

    /// What the script's lines begin with.
    pub(super) fn prefix(&self) -> String {
        format!("nlr-boot {} ", self.nonce)
    }

    /// The stub with that digest.
    pub(super) fn offer(&self, sha256: &str) -> Option<&(Payload, Arc<Image>)> {
        self.offers.iter().find(|(_, image)| image.sha256 == sha256)
    }

    /// What the script's words about a failure mean, and what to do; `sent` is what was sent.
    pub(super) fn failure(&self, said: &str, sent: Option<&Payload>) -> String {
        let (code, detail) = said.split_once(' ').unwrap_or((said, ""));
        let because = |text: &str| match detail {
            "" => text.to_owned(),
            detail => format!("{text}: {detail}"),
        };
        match code {
            "arch" if detail.is_empty() => {
                "what machine it is cannot be told there: `uname -m` says nothing; \
                 see to it that PATH leads to it"
                    .to_owned()
            }
            "arch" => format!(
                "there is no stub for that host's architecture, {detail} ({}); {HOW_TO_BUILD}",
                self.summary
            ),
            "folder" => format!(
                "no folder there can take the stub and run it: {}; free space, or set \
                 XDG_CACHE_HOME there to a folder that is not mounted noexec, or install \
                 nlr-stub there",
                folders(detail)
            ),
            "eof" => because("the stub did not arrive as a whole; bytes that came"),
            "io" => because("receiving the stub failed there"),
            "sum" if detail.is_empty() => {
                "nothing there can check the stub that arrived: install sha256sum, \
                 shasum, openssl or cksum there"
                    .to_owned()
            }
            "sum" => {
                "the stub arrived damaged: something on the way changes bytes, such as a terminal"
                    .to_owned()
            }
            "run" => {
                let text = because("the stub does not run there");
                match sent.is_some_and(|payload| payload.dynamic) {
                    true => format!("{text}; it needs libraries of this host, so {HOW_TO_BUILD}"),
                    false => format!("{text}; a security policy there may forbid it"),
                }
            }
            "mv" => because("the stub could not be given its name there"),
            _ => because(&format!("the far end could not start a stub: {code}")),
        }
    }
}

/// What is to be run at the far end to remove what was brought there; see [`clean`](super::clean).
pub(crate) fn clean_argv() -> Vec<String> {
    vec!["sh".into(), "-c".into(), format!("{} {}", squeeze(FOLDERS), squeeze(CLEAN))]
}

/// ` CODE=FOLDER:` again and again, in words.
fn folders(detail: &str) -> String {
    let one = |entry: &str| -> Option<String> {
        let (code, folder) = entry.trim().split_once('=')?;
        let reason = match code {
            "owner" => "is not safely this user's own",
            "write" => "cannot be written to",
            "room" => "has no room for it",
            "noexec" => "runs no programs (noexec)",
            _ => code,
        };
        Some(format!("{folder} {reason}"))
    };
    let all: Vec<_> = detail.split(':').filter_map(one).collect();
    if all.is_empty() { "there is none".to_owned() } else { all.join(", ") }
}

fn arm(payload: &Payload, image: &Image) -> String {
    let Payload { machine, words, .. } = payload;
    let Image { sha256, cksum, bytes } = image;
    let size = bytes.len();
    format!("{}) x={sha256} s={size} p={cksum} w=\"{}\";; ", machine.uname, words.join(" "))
}

/// A script as one line, without its comments.
fn squeeze(script: &str) -> String {
    let lines =
        script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join(" ")
}

/// 16 letters that no other run has.
pub(crate) fn nonce() -> String {
    // Its keys are random, and others each time.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_survive_any_quoting() {
        let boot = Boot::offering(Vec::new(), String::new());
        for script in [boot.argv(), clean_argv()].map(|argv| argv[2].clone()) {
            assert!(
                !script.contains(['\'', '\\', '!', '\n', '\t', '#']) || script.contains("${1#/}")
            );
            assert!(!script.contains(['\'', '\\', '!', '\n', '\t']), "{script}");
        }
        let (boot, clean) = (boot.argv()[2].len(), clean_argv()[2].len());
        assert!(boot < 2300 && clean < 1000, "{boot} {clean}");
    }

    #[test]
    fn an_echo_of_the_command_is_no_answer() {
        let boot = Boot::offering(Vec::new(), String::new());
        assert!(!boot.argv()[2].contains(&boot.prefix()));
        assert!(!clean_argv()[2].contains("nlr-clean "));
        assert_ne!(nonce(), nonce());
    }

    #[test]
    fn failures_say_what_to_do() {
        let boot = Boot::offering(Vec::new(), "the stubs here are for x86_64".into());
        for (said, expected) in [
            ("arch armv7l", "architecture, armv7l (the stubs here are for x86_64); build"),
            (
                "folder  noexec=/tmp/a b: room=/dev/shm/x:",
                "/tmp/a b runs no programs (noexec), /dev/shm/x has no room",
            ),
            ("arch", "`uname -m` says nothing"),
            ("folder", "there is none"),
            ("eof 17", "came: 17"),
            ("sum", "install sha256sum"),
            ("sum abc", "damaged"),
            ("run not found", "does not run there: not found"),
            ("else", "could not start a stub: else"),
        ] {
            let text = boot.failure(said, None);
            assert!(text.contains(expected), "{text}");
        }
    }
}
