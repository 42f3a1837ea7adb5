//! The settings for a connection to an ssh host.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::algorithms::AlgorithmList;

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

/// The addresses that a name may lead to: `AddressFamily`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AddressFamily {
    Inet,
    Inet6,
}

/// The lists of algorithms that replace or change the usual ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct AlgorithmLists {
    /// `Ciphers`.
    pub(crate) ciphers: Option<AlgorithmList>,
    /// `MACs`.
    pub(crate) macs: Option<AlgorithmList>,
    /// `KexAlgorithms`.
    pub(crate) key_exchanges: Option<AlgorithmList>,
    /// `HostKeyAlgorithms`.
    pub(crate) host_keys: Option<AlgorithmList>,
    /// `PubkeyAcceptedAlgorithms`.
    pub(crate) user_keys: Option<AlgorithmList>,
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
    /// The folder of the default keys, where no `IdentityFile` is set.
    pub(crate) key_folder: Option<PathBuf>,
    /// User certificates that exist: `CertificateFile`. Without one, those beside the private keys count.
    pub(crate) certificates: Option<Vec<PathBuf>>,
    /// Of the agent's keys, tries only those that `identity_files` name: `IdentitiesOnly`.
    pub(crate) identities_only: bool,
    /// The agent's socket: `IdentityAgent`, else `SSH_AUTH_SOCK`.
    pub(crate) agent: Option<PathBuf>,
    /// The methods to log in by, in the order to try them: `PreferredAuthentications`, without those
    /// that `PubkeyAuthentication` and the like forbid.
    pub(crate) methods: Vec<&'static str>,
    pub(crate) algorithms: AlgorithmLists,
    /// The fewest bits of an RSA key, the host's or the user's: `RequiredRSASize`.
    pub(crate) required_rsa_bits: u32,
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
    /// A host on this machine needs no known key: `NoHostAuthenticationForLocalhost`.
    pub(crate) trusts_localhost: bool,
    /// Addresses of this family alone: `AddressFamily`.
    pub(crate) family: Option<AddressFamily>,
    /// The address to connect from: `BindAddress`.
    pub(crate) bind_address: Option<IpAddr>,
    /// The interface to connect from: `BindInterface`.
    pub(crate) bind_interface: Option<String>,
    /// The command whose stdin and stdout lead to the host, in place of TCP: `ProxyCommand`.
    pub(crate) proxy_command: Option<String>,
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

#[cfg(any(test, fuzzing))]
impl SshHost {
    /// A host with default settings, no key and no file.
    pub(crate) fn bare(host_name: &str, port: u16, user: &str) -> Self {
        Self {
            hop: format!("ssh://{user}@{host_name}"),
            host_name: host_name.to_owned(),
            port,
            user: user.to_owned(),
            host_key_alias: None,
            identity_files: Vec::new(),
            key_folder: None,
            certificates: None,
            identities_only: false,
            agent: None,
            methods: vec!["publickey", "keyboard-interactive", "password"],
            algorithms: AlgorithmLists::default(),
            required_rsa_bits: 1024,
            password_prompts: 3,
            batch_mode: false,
            user_known_hosts: Vec::new(),
            global_known_hosts: Vec::new(),
            hash_known_hosts: false,
            strict: StrictChecking::Ask,
            trusts_localhost: false,
            family: None,
            bind_address: None,
            bind_interface: None,
            proxy_command: None,
            connect_timeout: None,
            alive_interval: None,
            alive_count: 3,
            compression: false,
            jumps: Vec::new(),
        }
    }
}
