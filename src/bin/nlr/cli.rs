//! The command line: global options and subcommands.

use clap::{ArgAction, Parser, Subcommand};

use super::{
    attach::AttachArgs,
    bench::BenchArgs,
    clean::CleanArgs,
    completion::CompletionArgs,
    connection::ConnectionArgs,
    mirror::MirrorArgs,
    monitor::MonitorArgs,
    netns::NetnsCommand,
    ping::PingArgs,
    run::{RunArgs, ShellArgs},
    serve::ServeArgs,
    show::ShowArgs,
    wait::WaitArgs,
};

const EXAMPLES: &str = "\
Examples:
  nlr show link                          links of this host
  nlr show route -n blue --json          routes of namespace blue, as `ip -n blue -j route`
  nlr monitor --group link --group addr  changes of links and addresses, one line each
  nlr serve unix:/run/nlr.sock           serves clients on a unix socket ...
  nlr show addr unix:/run/nlr.sock       ... and a client of it
  nlr show link ssh://ci@test01,sudo:    links of another host, as root
  nlr show link ssh://ci@gateway,ssh://ci@test01,sudo: -n blue
  nlr monitor openssh://test01,docker:web
  nlr run ssh://ci@router,sudo: -- ip route add 10.0.0.0/8 via 192.0.2.1
  nlr -v ping ssh://ci@test01            with the steps of connecting on standard error

TARGET is the place of the netlink sockets: a chain of hops, outermost first, separated by commas
(a comma inside a hop is written %2C, a percent sign %25):
  local:                        this host, in a child process of nlr (the default)
  ssh://[USER@]HOST[:PORT]      a host, by ssh inside nlr; consecutive ssh hops tunnel through
                                each other
  openssh://[USER@]HOST[:PORT]  a host, by the program ssh with all its configuration
  sudo:[USER] doas:[USER] su:[USER]
                                another user there, root by default; doas runs as `doas -n`
  docker:NAME podman:NAME lxc:NAME incus:NAME machinectl:NAME
  kubectl:NAMESPACE/POD kubectl:[CONTEXT]/NAMESPACE/POD/[CONTAINER]
                                inside a container; compare -n docker:NAME
  exec:COMMAND                  the shell that a command line starts
  unix:PATH                     a unix socket on which `nlr serve` listens
  stub:PATH                     last hop: an nlr-stub installed there
A host needs a POSIX shell and nothing else: nlr sends the stub and keeps it in a cache folder of
the host, from which `nlr clean TARGET` removes it.

Environment:
  NLR_STUB     as --stub
  NLR_STUBS    folder of stubs to send, searched after those of --stubs
  NLR_ASKPASS  as --askpass, without --batch and --password-fd
  NLR_LOG      without -v: filters of tracing events, such as netlink_remote::transport=trace
  NO_COLOR     not empty: no colours

Exit codes:
  0    success; also after the reader of the output has closed it (`| head`)
  1    the request failed
  2    wrong usage
  3    no connection: the target is unreachable, speaks another protocol, or was lost
  4    permission denied, at the target or while connecting
  21 and more: with --inventory, 20 and the number of targets that failed (50 at most)
  124  the time of `monitor --timeout` was over before the events of --count had come
  of `run` and `shell`: those of the program
  130  interrupted by Ctrl-C (SIGINT)
  143  ended by SIGTERM";

/// Shows, watches and serves the network of namespaces, on this host and on others.
#[derive(Debug, Parser)]
#[command(name = "nlr", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Writes the steps of connecting to standard error; twice (-vv): every frame as well. NLR_LOG
    /// selects other events, such as `netlink_remote::transport=trace`
    #[arg(help_heading = "Connection")]
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Show(ShowArgs),
    Monitor(MonitorArgs),
    Mirror(MirrorArgs),
    Wait(WaitArgs),
    Run(RunArgs),
    Shell(ShellArgs),
    Attach(AttachArgs),
    #[cfg(feature = "nats")]
    Collect(super::collect::CollectArgs),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn verbosity_is_counted_before_and_after_the_subcommand() {
        let verbosity = |words: &str| {
            Cli::try_parse_from(words.split(' ')).map(|cli| cli.verbose).unwrap_or(u8::MAX)
        };
        assert_eq!(verbosity("nlr ping"), 0);
        assert_eq!(verbosity("nlr -v ping"), 1);
        assert_eq!(verbosity("nlr ping -vv"), 2);
        assert_eq!(verbosity("nlr --verbose netns list"), 1);
        assert_eq!(verbosity("nlr netns list --verbose -v"), 2);
    }
}
