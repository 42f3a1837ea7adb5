//! What has to be known to connect to an ssh host, as the configuration says it.

#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};

/// Whether a host key that is not known is accepted: `StrictHostKeyChecking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Strict {
    /// Ask, and refuse where nobody is there to be asked: ssh's default.
    Ask,
    /// Refuse.
    Yes,
    /// Accept it and write it down; a changed one is refused.
    AcceptNew,
    /// Accept anything: `no`.
    No,
}

/// The `ssh` that a user would start would use these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SshHost {
    /// How the target has it: `ssh://ci@gateway:22`, for prompts and errors.
    pub(crate) hop: String,
    /// The name or address to connect to, IPv6 without brackets: `HostName`.
    pub(crate) host_name: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// What it is looked up by in known_hosts, in place of the name and port: `HostKeyAlias`.
    pub(crate) host_key_alias: Option<String>,
    /// Private keys, in the order to try them; those that do not exist are left out.
    pub(crate) identity_files: Vec<PathBuf>,
    /// Of the agent's keys only those that `identity_files` name.
    pub(crate) identities_only: bool,
    /// The agent's socket: `IdentityAgent`, else `SSH_AUTH_SOCK`.
    pub(crate) agent: Option<PathBuf>,
    /// `UserKnownHostsFile` first, where new keys are written to the first of them, then
    /// `GlobalKnownHostsFile`, which is only read.
    pub(crate) user_known_hosts: Vec<PathBuf>,
    pub(crate) global_known_hosts: Vec<PathBuf>,
    /// Names are written down hashed: `HashKnownHosts`.
    pub(crate) hash_known_hosts: bool,
    pub(crate) strict: Strict,
    pub(crate) connect_timeout: Option<Duration>,
    /// `ServerAliveInterval`; after `alive_count` without an answer the connection is given up.
    pub(crate) alive_interval: Option<Duration>,
    pub(crate) alive_count: u32,
    pub(crate) compression: bool,
    /// Through which hosts to go, outermost first, each `[user@]host[:port]`: `ProxyJump`.
    pub(crate) jumps: Vec<String>,
}
