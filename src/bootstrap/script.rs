//! The script that becomes the stub at the far end, or asks for it.
//!
//! It looks for the stub with the right digest in a few folders and becomes it without a word: the
//! stub's marker is then the first output. Otherwise it chooses a folder that has room and from
//! which programs may run, and prints
//!
//! ```text
//! nlr-boot NONCE pack DIGEST FOLDER
//! nlr-boot NONCE need DIGEST FOLDER
//! ```
//!
//! whereupon the stub is sent: for `pack` the size of what gzip makes of it, as nine digits or blanks and
//! a newline, and then that; for `need` exactly the stub's bytes. `need` also follows a `pack` whose bytes could not be
//! unpacked. `nlr-boot NONCE got BYTES` says how many bytes have come. A failure is `nlr-boot NONCE fail CODE DETAIL`. The
//! nonce tells these lines from all other output, an echo of the command line included.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::{
    arch::Arch,
    source::Image,
    stubs::{Stub, StubSet, how_to_build},
};
use crate::{Error, ErrorKind, Origin, Step};

const FOLDERS: &str = include_str!("folders.sh");
const BOOT: &str = include_str!("boot.sh");
const CLEAN: &str = include_str!("clean.sh");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A stub that the script may ask for.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) stub: Stub,
    pub(crate) image: Arc<Image>,
}

/// The script of one connection attempt.
#[derive(Debug)]
pub(crate) struct BootScript {
    nonce: String,
    offers: Vec<Offer>,
    /// The inventory of stubs, for a host of another architecture.
    inventory: String,
}

impl BootScript {
    /// Reads the stubs, those that were not read before.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] at [`Step::Bootstrap`] where there is no stub, or one cannot be read.
    pub(crate) async fn new(stubs: &StubSet) -> Result<Self, Error> {
        if stubs.stubs().is_empty() {
            let text = format!("{}; {}", stubs.inventory(), how_to_build(None));
            let error = Error::new(ErrorKind::Connect, text).with_origin(Origin::Library);
            return Err(error.prefix_step(Step::Bootstrap).lasting());
        }
        let mut offers = Vec::new();
        for stub in stubs.stubs() {
            offers.push(Offer { stub: stub.clone(), image: stub.image().await? });
        }
        Ok(Self::offering(offers, stubs.inventory()))
    }

    pub(super) fn offering(offers: Vec<Offer>, inventory: String) -> Self {
        Self { nonce: nonce(), offers, inventory }
    }

    /// The command line for the far end: `sh`, `-c` and the script, which holds no single quote,
    /// backslash, exclamation mark or newline.
    pub(crate) fn argv(&self) -> Vec<String> {
        let arms: String = self.offers.iter().map(case_arm).collect();
        let given = format!(
            "n={} v={VERSION}; a() {{ case $m in {arms} *) return 1; esac; }};",
            self.nonce
        );
        let script = format!("{given} {} {}", squeeze(FOLDERS), squeeze(BOOT));
        vec!["sh".into(), "-c".into(), script]
    }

    /// The prefix of the script's lines.
    pub(super) fn prefix(&self) -> String {
        format!("nlr-boot {} ", self.nonce)
    }

    /// The stub with this digest.
    pub(super) fn offer(&self, sha256: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.image.sha256 == sha256)
    }

    /// The error text for a failure, `CODE DETAIL`, with a remedy; `sent` is the stub that was sent.
    pub(super) fn failure(&self, failure: &str, sent: Option<&Stub>) -> String {
        let (code, detail) = failure.split_once(' ').unwrap_or((failure, ""));
        let with_detail = |text: &str| match detail {
            "" => text.to_owned(),
            detail => format!("{text}: {detail}"),
        };
        match code {
            "arch" if detail.is_empty() => "the architecture there is unknown: `uname -m` printed \
                                            nothing; check the PATH there"
                .to_owned(),
            "arch" => format!(
                "no stub for that host's architecture, {detail}: {}; {}",
                self.inventory,
                how_to_build(Arch::named(detail))
            ),
            "folder" => format!(
                "no folder there can take the stub and run it: {}; free some space, or set \
                 XDG_CACHE_HOME there to a folder that is not mounted noexec, or install nlr-stub \
                 there and end the target with its stub:PATH",
                folders(detail)
            ),
            "tool" => format!(
                "`{detail}` is missing there, and receiving the stub needs it: install it (coreutils, or \
                 busybox with it), or install nlr-stub there and end the target with its stub:PATH"
            ),
            "eof" => with_detail("the stub arrived incomplete; bytes received"),
            "io" => with_detail("receiving the stub failed there"),
            "sum" if detail.is_empty() => "no program there can check the stub: install \
                                           sha256sum, shasum, openssl or cksum there"
                .to_owned(),
            "sum" => "the stub arrived damaged: something in between alters bytes, as a terminal \
                      does"
                .to_owned(),
            "run" => match (detail.strip_prefix("nlr-stub "), sent) {
                (Some(version), _) => format!(
                    "the stub does not run there: it is of version {version}, and this program \
                     needs {VERSION}"
                ),
                (None, Some(stub)) if stub.is_dynamic => format!(
                    "{}; it needs shared libraries of this host: {}",
                    with_detail("the stub does not run there"),
                    how_to_build(Some(stub.arch))
                ),
                (None, _) => format!(
                    "{}; a security policy there may forbid it",
                    with_detail("the stub does not run there")
                ),
            },
            "mv" => with_detail("the stub could not be renamed there"),
            _ => with_detail(&format!("the far end could not start a stub: {code}")),
        }
    }
}

/// The command line that removes stubs at the far end; see [`clean`](super::clean).
pub(crate) fn clean_argv() -> Vec<String> {
    vec!["sh".into(), "-c".into(), format!("{} {}", squeeze(FOLDERS), squeeze(CLEAN))]
}

/// A list of ` CODE=FOLDER:` in words.
fn folders(detail: &str) -> String {
    let one = |entry: &str| -> Option<String> {
        let (code, folder) = entry.trim().split_once('=')?;
        let reason = match code {
            "owner" => "is not owned by this user, or another user can replace it",
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

/// The arm of the script's `case` for the hosts that run a stub.
fn case_arm(offer: &Offer) -> String {
    let Offer { stub, image } = offer;
    let Image { sha256, cksum, bytes, .. } = &**image;
    let (pattern, size, arguments) = (stub.arch.uname, bytes.len(), stub.arguments.join(" "));
    format!("{pattern}) x={sha256} s={size} p={cksum} w=\"{arguments}\";; ")
}

/// A script on one line, without its comments.
fn squeeze(script: &str) -> String {
    let lines =
        script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join(" ")
}

/// 16 hexadecimal digits that no other run has.
pub(crate) fn nonce() -> String {
    // The keys of a `RandomState` are random, and differ from call to call.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shell_has_to_quote_a_script() {
        let boot = BootScript::offering(Vec::new(), String::new());
        for script in [boot.argv(), clean_argv()].map(|argv| argv[2].clone()) {
            assert!(
                !script.contains(['\'', '\\', '!', '\n', '\t', '#']) || script.contains("${1#/}")
            );
            assert!(!script.contains(['\'', '\\', '!', '\n', '\t']), "{script}");
        }
        let (boot, clean) = (boot.argv()[2].len(), clean_argv()[2].len());
        assert!(boot < 3100 && clean < 1000, "{boot} {clean}");
    }

    #[test]
    fn an_echo_of_the_command_line_is_no_message() {
        let boot = BootScript::offering(Vec::new(), String::new());
        assert!(!boot.argv()[2].contains(&boot.prefix()));
        assert!(!clean_argv()[2].contains("nlr-clean "));
        assert_ne!(nonce(), nonce());
    }

    #[test]
    fn a_failure_names_its_remedy() {
        let boot = BootScript::offering(Vec::new(), "stubs were found for x86_64".into());
        for (said, expected) in [
            (
                "arch armv7l",
                "architecture, armv7l: stubs were found for x86_64; build a static one by `cargo \
                 install netlink-remote@",
            ),
            ("arch armv7l", "--target armv7-unknown-linux-musleabihf "),
            ("arch sparc64", "--target <target triple> "),
            (
                "folder  noexec=/tmp/a b: room=/dev/shm/x:",
                "/tmp/a b runs no programs (noexec), /dev/shm/x has no room",
            ),
            ("arch", "`uname -m` printed nothing"),
            ("folder", "there is none"),
            ("eof 17", "bytes received: 17"),
            ("tool dd", "`dd` is missing there"),
            ("sum", "install sha256sum"),
            ("sum abc", "damaged"),
            ("run not found", "does not run there: not found; a security policy"),
            ("run nlr-stub 0.0.9", "it is of version 0.0.9, and this program needs "),
            ("else", "could not start a stub: else"),
        ] {
            let text = boot.failure(said, None);
            assert!(text.contains(expected), "{text}");
        }
    }
}
