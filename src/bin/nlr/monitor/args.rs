//! The command line of `nlr monitor`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};

use super::groups;
use crate::{
    args::{ColorArg, count, positive_seconds, seconds},
    failure::Failure,
    inventory,
};
use netlink_remote::{Netns, Target, fleet::Entry};

const EXAMPLES: &str = "\
The first line of each namespace, `ready`, says that the subscription stands: changes from then on are
events.

A single target and namespace is watched up to its first cut: the end of the connection is an error (exit
code 3), and so is that of the namespace (`gone`, exit code 1). Several targets or namespaces,
--all-netns, --inventory and --reconnect watch on: a cut is a line `disconnected` with the time until the next
attempt, and a `ready` with `again` follows. What no attempt can mend (a login, a host key) is given up, and
the exit code is then 3, or 4 for a lack of permission.

With --json each line is an object: `time` (RFC 3339, UTC; of an event when the stub received it), `event`
(`ready`, `new`, `del`, `get`, `set`, `message`, `lost`, `disconnected`, `gone` or `stats`), `object` of an
event (`link`, `addr`, `route`, ..., `port` for the port of a bridge, the protocol's name for other protocols, or
`message` for an unknown type, with its bytes), `target` and `netns`, then the keys of `ip -j`. `message_flags`
are those of the request that made the change: `replace`, `excl`, `create`, `append`. Where a key of ip's has
one of these names, the object's name is put in front of it, as in `link_event`. A line of `lost` has no object,
but `dropped`, the number of datagrams that the far kernel dropped because its receive buffer was full, and
`total`, their number since the subscription stands.

A link whose name is not known, since it is deleted already, is shown as `if12`, and listed under `unnamed`.

--pcap writes pcapng with the link type NETLINK, which tshark and Wireshark dissect: one interface for each
target and namespace, named after it. Then standard output has no lines of events; the others go to standard
error.

The end by --count is a success: exit code 0. So is that by --timeout alone; where it comes before
the events of --count, the exit code is 124.

Examples:
  nlr monitor
  nlr monitor --group link --group ipv6-route -n blue
  nlr monitor --group neigh --json --timeout 60 unix:/run/nlr.sock
  nlr monitor --group addr --count 1      waits until an address is added or removed
  nlr monitor --group netfilter:nftables --group generic:nlctrl ssh://ci@test01,sudo:
  nlr monitor --all-netns ssh://ci@test01,sudo: ssh://ci@test02,sudo:
  nlr monitor --inventory hosts.txt --json --stats 10
  nlr monitor ssh://ci@test01 --pcap - | tshark -r -";

/// Prints changes as they happen, one line for each event
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MonitorArgs {
    /// Multicast group: a group of rtnetlink (`ipv4-route`), an object of ip (`route`: its groups
    /// of every family), or a number; of another protocol `PROTOCOL[:GROUP]` (netfilter, xfrm, audit,
    /// sock-diag, selinux, connector, uevent, or a number), or `generic:FAMILY[:GROUP]`; may be repeated.
    /// Default: every group of rtnetlink that the kernel has and permits
    #[arg(long, short, value_name = "GROUP", value_parser = groups::parse)]
    pub(super) group: Vec<groups::Groups>,
    /// Network namespace; may be repeated. A name of ip-netns(8), a path, `pid:N`, or `docker:NAME` or
    /// `podman:NAME` for that of a running container. Default: the namespace of the stub
    #[arg(long, short = 'n', value_name = "NETNS", value_parser = crate::args::netns, allow_hyphen_values = true)]
    pub(super) netns: Vec<Netns>,
    /// The stub's own namespace and every named one, those that come later included
    #[arg(long)]
    pub(super) all_netns: bool,
    /// File of targets, one a line: `[NAME] TARGET [-n NETNS]...`, with comments from `#` on; `-` is
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(super) inventory: Option<PathBuf>,
    /// Watches on after the connection was lost, and after the namespace was deleted
    #[arg(long)]
    pub(super) reconnect: bool,
    /// A JSON object on each line
    #[arg(long, short)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) color: ColorArg,
    /// Number of events after which it ends
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    pub(super) count: Option<u64>,
    /// Time after which it ends
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    pub(super) timeout: Option<Duration>,
    /// Every so often a line for each namespace with its events, their rate, and losses
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, allow_hyphen_values = true)]
    pub(super) stats: Option<Duration>,
    /// pcapng file to write instead of lines; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(super) pcap: Option<PathBuf>,
    /// Size at which the file of --pcap is closed and renamed to FILE.1, FILE.2 and so on
    #[arg(long, value_name = "MIB", requires = "pcap", value_parser = value_parser!(u64).range(1..))]
    pub(super) pcap_size: Option<u64>,
    /// Targets, as `nlr --help` describes
    #[arg(default_value = "local:")]
    pub(super) target: Vec<Target>,
}

impl MonitorArgs {
    /// What is to be watched, and whether it is watched up to the first cut alone.
    pub(super) fn entries(&self) -> Result<(Vec<Entry>, bool), Failure> {
        let mut entries = match &self.inventory {
            Some(file) => inventory::read(file)?,
            None => self.target.iter().cloned().map(Entry::new).collect(),
        };
        for entry in &mut entries {
            entry.netns.extend(self.netns.iter().cloned());
        }
        let is_single = matches!(&entries[..], [entry] if entry.netns.len() < 2)
            && self.inventory.is_none()
            && !self.all_netns
            && !self.reconnect;
        Ok((entries, is_single))
    }
}
