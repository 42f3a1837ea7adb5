//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use super::{bench::BenchArgs, groups, show};
use netlink_remote::{Netns, Target, hops::Hop};

const EXAMPLES: &str = "\
Examples:
  nlr show link                          the links of this host
  nlr show route -n blue --json          the routes of namespace blue, as `ip -n blue -j route`
  nlr monitor --group link --group addr  what changes, a line each
  nlr serve unix:/run/nlr.sock           serve others on a unix socket ...
  nlr show addr unix:/run/nlr.sock       ... and be served
  nlr show link ssh://ci@test01,sudo:    the links of another host, as root
  nlr show link ssh://ci@gateway,ssh://ci@test01,sudo: -n blue
  nlr monitor openssh://test01,docker:web

TARGET says where the netlink sockets are opened: a chain of hops, outermost first, with commas
between (a comma in one is written %2C, a percent sign %25):
  local:                        this host, by a child process of nlr (the default)
  ssh://[USER@]HOST[:PORT]      a host, by ssh within nlr; several in a row tunnel through
                                each other
  openssh://[USER@]HOST[:PORT]  a host, by the program ssh with all its configuration
  sudo:[USER] doas:[USER] su:[USER]
                                another user there, root by default
  docker:NAME podman:NAME kubectl:[CONTEXT/]NAMESPACE/POD[/CONTAINER]
  lxc:NAME incus:NAME machinectl:NAME
                                inside a container; see also -n docker:NAME
  exec:COMMAND                  where a command line leads that ends in a shell
  unix:PATH                     an `nlr serve` that listens there
  stub:PATH                     at the end: an installed nlr-stub there
A host needs nothing installed but a POSIX shell: the stub is sent along, and kept in a cache
folder, until `nlr clean TARGET` removes it.

Exit codes:
  0    done; also when the reader of the output has gone (`| head`)
  1    the request failed
  2    wrong usage
  3    no connection: the target cannot be reached, speaks something else, or has gone
  4    no permission, there or on the way
  130  ended by Ctrl-C";

/// Shows, watches and serves the network of this host's namespaces, and of others.
#[derive(Debug, Parser)]
#[command(name = "nlr", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How to connect.
#[derive(Debug, Args)]
pub(super) struct ConnectionArgs {
    /// The program to start as a stub, instead of nlr itself
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "PATH", env = "NLR_STUB", hide_env_values = true)]
    pub(super) stub: Option<OsString>,
    /// A stub to send to hosts, or a folder of such: files called nlr-stub-ARCHITECTURE, looked
    /// at before the folders that NLR_STUBS and the installation name; may be given more than once
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) stubs: Vec<PathBuf>,
    /// How long each step on the way may take; a question waits for its answer as long as it has to
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    pub(super) connect_timeout: Duration,
    /// How long the far end may be silent, and then how long it may take to answer, before the
    /// connection counts as lost; 0 waits for ever
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub(super) keepalive: Duration,
    /// ssh's configuration, instead of ~/.ssh/config and /etc/ssh/ssh_config; `none` for none
    #[arg(help_heading = "Connection")]
    #[arg(long, short = 'F', global = true, value_name = "FILE")]
    pub(super) ssh_config: Option<PathBuf>,
    /// Asks for nothing: what needs a password, or a decision about a host key, fails
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true)]
    pub(super) batch: bool,
    /// Where passwords and passphrases are read from, a line for each that is asked for, in that
    /// order; one that is refused is not asked for again; `0` is stdin, and with `3< <(pass show host)` it is 3
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "FD", conflicts_with_all = ["batch", "askpass"])]
    pub(super) password_fd: Option<u32>,
    /// A program to ask for passwords and passphrases: it gets the prompt as its argument and
    /// prints the answer, as ssh-askpass does
    #[arg(help_heading = "Connection")]
    #[arg(
        long,
        global = true,
        value_name = "PROGRAM",
        env = "NLR_ASKPASS",
        hide_env_values = true
    )]
    #[arg(conflicts_with = "batch")]
    pub(super) askpass: Option<OsString>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Show(ShowArgs),
    Monitor(MonitorArgs),
    #[command(subcommand)]
    Netns(NetnsCommand),
    Ping(PingArgs),
    Bench(BenchArgs),
    Serve(ServeArgs),
    Clean(CleanArgs),
    Completion(CompletionArgs),
    /// Serves one client on stdin and stdout
    #[command(hide = true)]
    Stub,
}

const SHOW_EXAMPLES: &str = "\
With --json it prints what `ip -j` prints of the same objects, and `ip -d -j` of links. A list is
printed once it is complete: one that fails midway prints nothing.

Examples:
  nlr show link -n blue
  nlr show addr --json | jq -r '.[].addr_info[].local'
  nlr show route -6 --table all unix:/run/nlr.sock
  nlr show neigh -n pid:4242
  nlr show addr -n docker:web            nothing is executed inside the container";

/// Lists links, addresses, routes, neighbours or rules
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(super) struct ShowArgs {
    /// What to list
    pub(super) object: ObjectArg,
    #[command(flatten)]
    pub(super) netns: NetnsArg,
    /// Only IPv4
    #[arg(short = '4', conflicts_with = "inet6")]
    pub(super) inet: bool,
    /// Only IPv6
    #[arg(short = '6')]
    pub(super) inet6: bool,
    /// Routes of this table, rules that lead to it: a name, a number or `all`
    #[arg(long, value_name = "TABLE")]
    pub(super) table: Option<String>,
    /// A JSON array, as `ip -j` prints it
    #[arg(long, short)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) color: ColorArg,
    /// Where
    #[arg(default_value = "local:")]
    pub(super) target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ObjectArg {
    Link,
    #[value(alias = "address")]
    Addr,
    Route,
    #[value(aliases = ["neighbor", "neighbour"])]
    Neigh,
    Rule,
}

impl From<ObjectArg> for show::Object {
    fn from(object: ObjectArg) -> Self {
        match object {
            ObjectArg::Link => Self::Link,
            ObjectArg::Addr => Self::Addr,
            ObjectArg::Route => Self::Route,
            ObjectArg::Neigh => Self::Neigh,
            ObjectArg::Rule => Self::Rule,
        }
    }
}

const MONITOR_EXAMPLES: &str = "\
With --json, one object a line: `time` (RFC 3339, UTC), `event` (`new`, `del`, or `lost`), `object`
(`link`, `addr`, `route`, ...), and beside them the keys of `ip -j`; one of these three names among
them gets the object's name in front, as in `link_event`. A `lost` line has no object, but
`dropped`, how many datagrams the kernel dropped there because nobody read fast enough, and
`total`, since the start.

The end after --count or --timeout is a success: exit code 0.

Examples:
  nlr monitor
  nlr monitor --group link --group ipv6-route -n blue
  nlr monitor --group neigh --json --timeout 60 unix:/run/nlr.sock
  nlr monitor --group addr --count 1      wait for an address to come or go";

/// Tells what changes, a line for each event
#[derive(Debug, Args)]
#[command(after_help = MONITOR_EXAMPLES)]
pub(super) struct MonitorArgs {
    /// What to listen to: a group of the kernel's (`ipv4-route`), an object of ip's (`route`: its
    /// groups of every family), or a group's number; may be given more than once. By default all
    /// groups that the kernel has and allows
    #[arg(long, short, value_name = "GROUP", value_parser = groups::parse)]
    pub(super) group: Vec<groups::Groups>,
    #[command(flatten)]
    pub(super) netns: NetnsArg,
    /// A JSON object on each line
    #[arg(long, short)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) color: ColorArg,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
    /// Where
    #[arg(default_value = "local:")]
    pub(super) target: Target,
}

const NETNS_EXAMPLES: &str = "\
The names are those of ip-netns(8): what this makes, `ip netns` sees, and the other way round.

Examples:
  nlr netns list
  nlr netns add blue
  nlr netns del blue unix:/run/nlr.sock";

/// Lists, creates and deletes named network namespaces
#[derive(Debug, Subcommand)]
#[command(after_help = NETNS_EXAMPLES, disable_help_subcommand = true)]
pub(super) enum NetnsCommand {
    /// Lists the named namespaces, each with the inode number that identifies it
    #[command(after_help = "Example:\n  nlr netns list --json | jq -r '.[].name'")]
    List(NetnsListArgs),
    /// Creates a namespace
    #[command(after_help = "Example:\n  nlr netns add blue")]
    Add(NetnsNameArgs),
    /// Deletes a name; the namespace lives on while anything is in it
    #[command(visible_alias = "delete", after_help = "Example:\n  nlr netns del blue")]
    Del(NetnsNameArgs),
}

#[derive(Debug, Args)]
pub(super) struct NetnsListArgs {
    /// A JSON array of objects with `name` and `inode`
    #[arg(long, short)]
    pub(super) json: bool,
    /// Where
    #[arg(default_value = "local:")]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
pub(super) struct NetnsNameArgs {
    /// The namespace's name
    pub(super) name: String,
    /// Where
    #[arg(default_value = "local:")]
    pub(super) target: Target,
}

const PING_EXAMPLES: &str = "\
Ctrl-C ends it with the summary, and exit code 0 if there was an answer.

Examples:
  nlr ping --count 5 unix:/run/nlr.sock
  nlr ping --interval 0.2 --json";

/// Measures the round trip to a stub
#[derive(Debug, Args)]
#[command(after_help = PING_EXAMPLES)]
pub(super) struct PingArgs {
    /// End after so many round trips
    #[arg(long, short, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Seconds from one to the next
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(super) interval: Duration,
    /// A JSON object on each line
    #[arg(long, short)]
    pub(super) json: bool,
    /// Where
    #[arg(default_value = "local:")]
    pub(super) target: Target,
}

const SERVE_EXAMPLES: &str = "\
What a client does it does with the privileges of this process. The socket's file has mode 0600,
or 0666 where --allow-uid lets others in; who connects is checked either way, by what the kernel
says of the peer. SIGTERM and SIGINT end every client, remove the file and give exit code 0.

Examples:
  nlr serve unix:/run/nlr.sock
  nlr serve unix:/run/nlr.sock --allow-uid 0 --allow-uid 1000 --max-clients 16";

/// Serves clients on a unix socket
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(super) struct ServeArgs {
    /// Where to listen
    #[arg(value_name = "unix:PATH", value_parser = unix_path)]
    pub(super) path: PathBuf,
    /// A user who may connect, instead of the one who serves; may be given more than once
    #[arg(long, value_name = "UID")]
    pub(super) allow_uid: Vec<u32>,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value = "1024", value_parser = max_clients)]
    pub(super) max_clients: usize,
}

const CLEAN_EXAMPLES: &str = "\
Prints the files and folders that it removed, none if there were none. Stubs that run go on.

Examples:
  nlr clean ssh://ci@test01
  nlr clean ssh://ci@test01,sudo:        those in root's cache folder there
  nlr clean docker:web --json";

/// Removes the stubs that were sent to a target
#[derive(Debug, Args)]
#[command(after_help = CLEAN_EXAMPLES)]
pub(super) struct CleanArgs {
    /// A JSON array of paths
    #[arg(long, short)]
    pub(super) json: bool,
    /// Where
    pub(super) target: Target,
}

const COMPLETION_EXAMPLES: &str = "\
Examples:
  nlr completion bash > /etc/bash_completion.d/nlr
  nlr completion zsh > ~/.zfunc/_nlr
  nlr completion fish > ~/.config/fish/completions/nlr.fish";

/// Prints a shell's completions
#[derive(Debug, Args)]
#[command(after_help = COMPLETION_EXAMPLES)]
pub(super) struct CompletionArgs {
    /// The shell
    pub(super) shell: clap_complete::Shell,
}

/// Which namespace.
#[derive(Debug, Args)]
pub(super) struct NetnsArg {
    /// The network namespace: a name of ip-netns(8), a path (with a slash in it), `pid:N` for that
    /// of a process, or `docker:NAME` or `podman:NAME` for that of a running container, by its
    /// name or id. By default the one the stub runs in. A name of ip-netns(8) that looks like one
    /// of these is reached by its path, such as /run/netns/docker:x
    #[arg(id = "netns", long = "netns", short = 'n', value_name = "NETNS", value_parser = netns)]
    pub(super) value: Option<Netns>,
}

impl NetnsArg {
    pub(super) fn netns(&self) -> Netns {
        self.value.clone().unwrap_or_default()
    }
}

/// Whether in colour.
#[derive(Debug, Args)]
pub(super) struct ColorArg {
    /// Colours: by default on a terminal, unless NO_COLOR is set. Never in JSON
    #[arg(id = "color", long = "color", value_name = "WHEN", default_value = "auto")]
    value: ColorWhen,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ColorWhen {
    Auto,
    Always,
    Never,
}

impl ColorArg {
    pub(super) fn on(&self) -> bool {
        match self.value {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                let choice = anstream::AutoStream::choice(&std::io::stdout());
                choice != anstream::ColorChoice::Never
            }
        }
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok();
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "expected a number of seconds, such as 5 or 0.2".to_owned())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("expected more than 0 seconds".to_owned()),
        duration => Ok(duration),
    }
}

fn netns(text: &str) -> Result<Netns, String> {
    let container = |engine: &str, netns: Netns| match netns.is_well_named() {
        true => Ok(netns),
        false => Err(format!("expected the name or id of a container, as in `{engine}:web`")),
    };
    match text.split_once(':') {
        _ if text.contains('/') => Ok(Netns::Path(text.to_owned())),
        Some(("pid", pid)) => match pid.parse() {
            Ok(pid @ 1..) => Ok(Netns::Pid(pid)),
            _ => Err("expected the number of a process, as in `pid:4242`".to_owned()),
        },
        Some((engine @ "docker", name)) => container(engine, Netns::docker(name)),
        Some((engine @ "podman", name)) => container(engine, Netns::podman(name)),
        _ if text.is_empty() => Err("a namespace's name cannot be empty".to_owned()),
        _ => Ok(Netns::Name(text.to_owned())),
    }
}

fn unix_path(text: &str) -> Result<PathBuf, String> {
    let target = text.parse::<Target>().map_err(|error| format!("{error:#}"))?;
    match target.hops() {
        [Hop::Unix(path)] => Ok(path.clone()),
        _ => Err("only `unix:PATH` can be served".to_owned()),
    }
}

fn max_clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a number of at least 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn namespaces() {
        assert_eq!(netns("blue"), Ok(Netns::Name("blue".into())));
        assert_eq!(netns("/run/netns/blue"), Ok(Netns::Path("/run/netns/blue".into())));
        assert_eq!(netns("pid:/x"), Ok(Netns::Path("pid:/x".into())));
        assert_eq!(netns("pid:7"), Ok(Netns::Pid(7)));
        assert_eq!(netns("docker:web-1"), Ok(Netns::docker("web-1")));
        assert_eq!(netns("podman:4f5e.x_y"), Ok(Netns::podman("4f5e.x_y")));
        assert_eq!(netns("docker"), Ok(Netns::Name("docker".into())));
        assert_eq!(netns("a:b"), Ok(Netns::Name("a:b".into())));
        let path = "/run/netns/docker:x";
        assert_eq!(netns(path), Ok(Netns::Path(path.into())));
        for wrong in ["docker:", "docker:-H", "docker:a b", "podman:.x", "docker:a:b"] {
            assert!(netns(wrong).unwrap_err().contains(":web"), "{wrong}");
        }
        for wrong in ["", "pid:", "pid:0", "pid:x", "pid:-1"] {
            assert!(netns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "-1", "x", "nan", "inf", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(some_seconds("0").is_err() && some_seconds("0.1").is_ok());
    }

    #[test]
    fn only_unix_sockets_are_served() {
        assert_eq!(unix_path("unix:/run/a%2Cb"), Ok("/run/a,b".into()));
        assert!(unix_path("local:").unwrap_err().contains("unix:PATH"));
        assert!(unix_path("/run/nlr.sock").is_err());
    }
}
