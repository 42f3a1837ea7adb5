//! The settings for a connection to an ssh host.

use std::{path::PathBuf, time::Duration};

/// The treatment of a host key that is not known: `StrictHostKeyChecking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum StrictChecking {
    /// Asks the user, and refuses the key without a callback to ask: ssh's default.
    Ask,
    /// Refuses it.
    Yes,
    /// Accepts it and appends it to known_hosts; a changed one is refused.
    AcceptNew,
    /// As `AcceptNew`, also where it cannot be appended: `no`.
    No,
}

/// The settings by which the program `ssh` would connect to a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SshHost {
    /// The hop as the target has it, for prompts and errors: `ssh://ci@gateway:22`.
    pub(crate) hop: String,
    /// The name or address to connect to, IPv6 without brackets: `HostName`.
    pub(crate) host_name: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// The name to look up in known_hosts, in place of host name and port: `HostKeyAlias`.
    pub(crate) host_key_alias: Option<String>,
    /// Private keys that exist, in the order to try them: `IdentityFile`.
    pub(crate) identity_files: Vec<PathBuf>,
    /// Of the agent's keys, tries only those that `identity_files` name: `IdentitiesOnly`.
    pub(crate) identities_only: bool,
    /// The agent's socket: `IdentityAgent`, else `SSH_AUTH_SOCK`.
    pub(crate) agent: Option<PathBuf>,
    /// How often one password or passphrase is asked for: `NumberOfPasswordPrompts`.
    pub(crate) password_prompts: u32,
    /// No password or passphrase is asked for: `BatchMode`.
    pub(crate) batch_mode: bool,
    /// `UserKnownHostsFile`; new keys are appended to the first.
    pub(crate) user_known_hosts: Vec<PathBuf>,
    /// `GlobalKnownHostsFile`, only read.
    pub(crate) global_known_hosts: Vec<PathBuf>,
    /// Appends names in hashed form: `HashKnownHosts`.
    pub(crate) hash_known_hosts: bool,
    pub(crate) strict: StrictChecking,
    /// `ConnectTimeout`.
    pub(crate) connect_timeout: Option<Duration>,
    /// `ServerAliveInterval`: the time between two probes of the server.
    pub(crate) alive_interval: Option<Duration>,
    /// `ServerAliveCountMax`: the number of intervals without answer that ends the connection.
    pub(crate) alive_count: u32,
    pub(crate) compression: bool,
    /// The hosts to connect through, outermost first, each `[user@]host[:port]`: `ProxyJump`.
    pub(crate) jumps: Vec<String>,
}
