//! ssh's configuration of a host, from `~/.ssh/config` and `/etc/ssh/ssh_config`; see ssh_config(5).
//!
//! An unsupported setting that matters to the destination or the safety of a connection is an error
//! for the hosts it applies to, never ignored.

mod account;
mod command;
mod destination;
mod expand;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keywords;
mod match_block;
mod network;
mod resolve;
mod setting;
#[cfg(test)]
mod tests;
mod tokenizer;
mod tokens;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

pub(crate) use destination::parse_destination;

use self::{
    account::LocalAccount,
    files::{ConfigReader, FileRules},
    match_block::{MatchSubject, expand_host_name},
    resolve::Resolver,
    setting::Settings,
};
use super::host::SshHost;
use crate::{Error, authority, text::one_line};

/// The source of the configuration, as `ssh -F` chooses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigSource {
    /// The user's `~/.ssh/config`, then `/etc/ssh/ssh_config`.
    Default,
    /// This file alone.
    File(PathBuf),
    /// No file: ssh's defaults.
    None,
}

/// Resolves the settings for a host. The target's own user and port take precedence over the files.
///
/// Blocks: it reads files.
pub(crate) fn resolve(
    hop: &str,
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    source: &ConfigSource,
) -> Result<SshHost, Error> {
    let resolved = resolve_for(&LocalAccount::new()?, hop, user, host, port, source)?;
    tracing::debug!(
        hop,
        host = resolved.host_name,
        port = resolved.port,
        user = resolved.user,
        identity_files = ?resolved.identity_files,
        agent = ?resolved.agent,
        known_hosts = ?resolved.user_known_hosts,
        strict = ?resolved.strict,
        jumps = ?resolved.jumps,
        "ssh configuration resolved",
    );
    Ok(resolved)
}

fn resolve_for(
    local: &LocalAccount,
    hop: &str,
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    source: &ConfigSource,
) -> Result<SshHost, Error> {
    let checked =
        authority::check_host(host).and_then(|()| user.map_or(Ok(()), authority::check_user));
    checked.map_err(|reason| Error::invalid(format!("{}: {reason}", one_line(hop))))?;

    let host_now = host.to_owned();
    let subject =
        MatchSubject { local, original: host, host: host_now, user, port, is_final_pass: false };
    let mut reader = ConfigReader { subject, settings: Settings::default() };
    read(&mut reader, source)?;
    let host_name = host_name(&reader)?;
    if reader.settings.wants_final {
        reader.subject.host.clone_from(&host_name);
        reader.subject.is_final_pass = true;
        // The second pass no longer changes the host name.
        read(&mut reader, source)?;
    }
    Resolver { local, settings: &reader.settings, original: host, host_name }
        .resolve(hop, user, port)
}

/// The host to connect to, by the settings read so far.
fn host_name(reader: &ConfigReader<'_>) -> Result<String, Error> {
    let original = reader.subject.original;
    let name = match reader.settings.first.get("hostname") {
        Some(setting) => {
            let name = expand_host_name(setting.value(), original)
                .map_err(|reason| setting.error(reason))?;
            authority::check_host(&name).map_err(|reason| setting.error(reason))?;
            name
        }
        None => original.to_owned(),
    };
    // known_hosts has addresses in their usual form; an address's zone is case-sensitive.
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) if name.contains([':', '%']) => name,
        Err(_) => match network::short_ipv4(&name) {
            Some(address) => address.to_string(),
            None => name.to_ascii_lowercase(),
        },
    })
}

fn read(reader: &mut ConfigReader<'_>, source: &ConfigSource) -> Result<(), Error> {
    let local = reader.subject.local;
    match source {
        ConfigSource::None => Ok(()),
        ConfigSource::File(path) if path == Path::new("none") => Ok(()),
        ConfigSource::File(path) => reader.read_file(path, FileRules::NAMED),
        ConfigSource::Default => {
            reader.read_file(&local.user_folder().join("config"), FileRules::USER)?;
            reader.read_file(&local.etc.join("ssh_config"), FileRules::SYSTEM)
        }
    }
}
