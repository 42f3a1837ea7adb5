//! What `ssh` would do to reach a host: `~/.ssh/config` and `/etc/ssh/ssh_config`, see
//! ssh_config(5).
//!
//! What is not followed here, though it matters to where or how safely one connects, is an error
//! for the hosts it applies to, never ignored.

#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the transport on top of it comes next")]

mod destination;
mod expand;
mod files;
mod keywords;
mod match_block;
pub(crate) mod pattern;
mod resolve;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::{
    env,
    net::IpAddr,
    path::{Path, PathBuf},
};

#[allow(unused_imports, reason = "the transport on top of it comes next")]
pub(crate) use destination::parse_destination;

use self::{
    files::{Found, Kind, Reader, Setting},
    match_block::{Subject, expand_host_name},
};
use super::host::SshHost;
use crate::{Error, authority};

/// Where the configuration of ssh comes from: `ssh -F`.
#[allow(unreachable_pub, reason = "for the transport's API")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// The user's `~/.ssh/config`, then `/etc/ssh/ssh_config`.
    #[default]
    Default,
    /// This file alone.
    File(PathBuf),
    /// Nowhere: everything is as ssh has it without files.
    None,
}

/// What of this machine and process decides.
struct Here {
    home: PathBuf,
    /// The name of this process's user, where it has one.
    user: Option<String>,
    uid: u32,
    /// `/etc/ssh`.
    etc: PathBuf,
    env: fn(&str) -> Option<String>,
}

impl Here {
    fn new() -> Result<Self, Error> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let uid = nix::unistd::Uid::current();
        let entry = nix::unistd::User::from_uid(uid).ok().flatten();
        let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(|| entry.as_ref().map(|entry| entry.dir.clone()));
        let home = home.ok_or_else(|| {
            Error::invalid(format!("there is no home folder for uid {uid}; set HOME"))
        })?;
        let user = entry.map(|entry| entry.name);
        let user = user.or_else(|| variable("LOGNAME")).or_else(|| variable("USER"));
        let etc = PathBuf::from("/etc/ssh");
        Ok(Self { home, user, uid: uid.as_raw(), etc, env: |name| env::var(name).ok() })
    }

    /// `~/.ssh`, or else the system's.
    fn folder(&self, users: bool) -> PathBuf {
        if users { self.home.join(".ssh") } else { self.etc.clone() }
    }
}

/// Finds out how to reach a host. What the target itself says comes before the files.
///
/// Blocks: it reads files.
pub(crate) fn resolve(
    hop: &str,
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    source: &ConfigSource,
) -> Result<SshHost, Error> {
    resolve_here(&Here::new()?, hop, user, host, port, source)
}

fn resolve_here(
    here: &Here,
    hop: &str,
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    source: &ConfigSource,
) -> Result<SshHost, Error> {
    let checked =
        authority::check_host(host).and_then(|()| user.map_or(Ok(()), authority::check_user));
    checked.map_err(|why| Error::invalid(format!("{hop}: {why}")))?;

    let subject = Subject { original: host, host: host.to_owned(), user, last_pass: false };
    let mut reader = Reader { here, subject, found: Found::default() };
    read(&mut reader, source)?;
    let host_name = host_name(&reader)?;
    if reader.found.wants_final {
        reader.subject.host.clone_from(&host_name);
        reader.subject.last_pass = true;
        // What it became is not changed any more.
        read(&mut reader, source)?;
    }
    resolve::Values { here, found: &reader.found, original: host, host_name }.host(hop, user, port)
}

/// Where to connect to, as far as the files have been read.
fn host_name(reader: &Reader<'_>) -> Result<String, Error> {
    let original = reader.subject.original;
    let name = match reader.found.first.get("hostname") {
        Some(setting) => {
            let name =
                expand_host_name(setting.word(), original).map_err(|why| setting.wrong(why))?;
            authority::check_host(&name).map_err(|why| setting.wrong(why))?;
            name
        }
        None => original.to_owned(),
    };
    // An address is looked up in known_hosts as it is usually written, and its zone has a case.
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) if name.contains([':', '%']) => name,
        Err(_) => name.to_ascii_lowercase(),
    })
}

fn read(reader: &mut Reader<'_>, source: &ConfigSource) -> Result<(), Error> {
    let here = reader.here;
    match source {
        ConfigSource::None => Ok(()),
        ConfigSource::File(path) if path == Path::new("none") => Ok(()),
        ConfigSource::File(path) => {
            reader.file(path, Kind { users: true, guarded: false, required: true })
        }
        ConfigSource::Default => {
            let users = here.folder(true).join("config");
            reader.file(&users, Kind { users: true, guarded: true, required: false })?;
            let system = here.etc.join("ssh_config");
            reader.file(&system, Kind { users: false, guarded: false, required: false })
        }
    }
}
