//! The options of `nlr serve` that say what its clients may do, and what it gives up.

use clap::Args;

use netlink_remote::{
    Protocol,
    stub::{Access, Confinement, NetnsRule},
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Privileges")]
pub(crate) struct ConfineArgs {
    /// Netlink protocols that clients may open, by name or number, with commas; may be repeated.
    /// Default: all
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    allow_protocol: Vec<Protocol>,
    /// Namespace that clients may open; may be repeated. `current`, a name, a path, `pid:N`,
    /// `docker:NAME` or `podman:NAME`; a `*` at the end stands for any text without a slash.
    /// Default: all
    #[arg(long, value_name = "NETNS")]
    allow_netns: Vec<NetnsRule>,
    /// User to become once the socket is open: a name, or UID, or UID:GID
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Refuses files below /proc/net and /proc/sys/net, which `nlr run` reads for programs
    #[arg(long)]
    no_files: bool,
    /// Does not filter system calls
    #[arg(long)]
    no_seccomp: bool,
}

impl ConfineArgs {
    /// What clients may do.
    pub(crate) fn access(&self, read_only: bool) -> Access {
        let mut access = Access::default();
        access.read_only = read_only;
        access.protocols = Some(self.allow_protocol.clone()).filter(|list| !list.is_empty());
        access.no_files = self.no_files;
        access.netns = Some(self.allow_netns.clone()).filter(|list| !list.is_empty());
        access
    }

    pub(crate) fn confinement(&self) -> Confinement {
        let mut confinement = Confinement::default();
        confinement.user.clone_from(&self.user);
        confinement.filter = !self.no_seccomp;
        confinement
    }
}
