//! `nlr run`, `nlr shell`: programs of this host with the netlink sockets of a far one.

use std::{
    env,
    ffi::OsString,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use clap::Args;
use nix::sys::signal::Signal;

use super::{
    args::NetnsArg,
    connection::ConnectionArgs,
    failure::{Failure, message, warn},
    inventory,
    session::{self, Session},
};
use netlink_remote::{
    Netns, Target,
    run::{Printed, Run, end_as},
};

const EXAMPLES: &str = "\
The program runs here, and every netlink socket that it or a child of it opens is one of the far kernel:
ip, bridge, tc, ss, nft, ethtool, devlink, conntrack, scripts, static programs. Nothing but sshd and a shell has
to be there. Also far: /run/netns (`ip netns`, `ip -n NAME`), and what programs read below /proc/net and
/proc/sys/net. Other files are this host's. What would change this host's network (other ioctls, raw sockets,
tun devices, BPF) is refused, and said once on standard error.

Exit code and signals are those of the program. A setuid program has no more privileges than its caller.

Examples:
  nlr run ssh://ci@router,sudo: -- ip -br address
  nlr run ssh://ci@router,sudo: -n blue -- nft list ruleset
  nlr run --inventory routers.txt -- ip route show default
  nlr run openssh://router,docker:web -- sh -c 'ip link; ss -tln'
  nlr shell ssh://ci@router,sudo:";

/// Runs a program of this host whose netlink sockets are at TARGET
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
    #[command(flatten)]
    netns: NetnsArg,
    /// File of targets, one a line: `[NAME] TARGET [-n NETNS]...`; the program runs for each of them, without
    /// input; its output is labelled. `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    inventory: Option<PathBuf>,
    #[command(flatten)]
    permits: Permits,
    /// Program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs a shell of this host whose programs have their netlink sockets at TARGET
///
/// The shell is $SHELL. Its prompt says where it is, in bash; NLR_TARGET has it for others.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nlr shell ssh://ci@router,sudo: -n blue")]
pub(crate) struct ShellArgs {
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
    #[command(flatten)]
    netns: NetnsArg,
    #[command(flatten)]
    permits: Permits,
}

#[derive(Debug, Args)]
struct Permits {
    /// Permits what changes this host's network, not the far one's: ioctls, raw sockets, tun devices, BPF
    #[arg(long)]
    allow_local: bool,
}

/// Bytes of output of one target of an inventory, at most.
const MOST_OUTPUT: usize = 64 << 20;

pub(crate) fn run(connection: &ConnectionArgs, args: &RunArgs) -> Result<(), Failure> {
    if let Some(file) = &args.inventory {
        return run_each(connection, args, file);
    }
    let command = || command(&args.command);
    supervise(connection, &args.target, &args.netns, &args.permits, command)
}

pub(crate) fn shell(connection: &ConnectionArgs, args: &ShellArgs) -> Result<(), Failure> {
    let place = match args.netns.given() {
        Some(netns) => format!("{} {netns}", args.target),
        None => args.target.to_string(),
    };
    let place = message(&place);
    let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| "/bin/sh".into());
    let is_bash = Path::new(&shell).file_name().is_some_and(|name| name == "bash");
    let command = || {
        let mut command = Command::new(&shell);
        command.env("NLR_TARGET", &place);
        if is_bash {
            // Runs once, behind the startup files, which set the prompt.
            let prompt = "PS1=\"(nlr $NLR_TARGET) $PS1\"; unset PROMPT_COMMAND";
            command.env("PROMPT_COMMAND", prompt);
        } else {
            command.env("PS1", format!("(nlr {place}) $ "));
        }
        command
    };
    supervise(connection, &args.target, &args.netns, &args.permits, command)
}

fn command(words: &[OsString]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().cloned().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a program with this tool's streams, and ends as it ends.
fn supervise(
    connection: &ConnectionArgs,
    target: &Target,
    netns: &NetnsArg,
    permits: &Permits,
    command: impl Fn() -> Command,
) -> Result<(), Failure> {
    let mut ended = None;
    session::run(connection, target, async |session| {
        let command = command();
        let name = message(&command.get_program().to_string_lossy());
        let run = prepare(command, netns.given(), permits, String::new());
        ended = Some(to_its_end(session, run, &name).await?);
        Ok(())
    })?;
    match ended {
        Some(status) => end_as(status),
        None => Ok(()),
    }
}

fn prepare(command: Command, netns: Option<&Netns>, permits: &Permits, label: String) -> Run {
    let run = Run::new(command).allow_local(permits.allow_local);
    let run = run.netns(netns.cloned().unwrap_or_default());
    run.notices(move |line| warn(&format!("{label}{line}")))
}

async fn to_its_end(session: &Session, run: Run, name: &str) -> Result<ExitStatus, Failure> {
    let mut signals = session.signals();
    let mut program = run.start(&session.client).await?;
    session.leave_to_program();
    let has_terminal = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
    let mut told = false;
    let closed = session.client.closed();
    tokio::pin!(closed);
    let status = loop {
        tokio::select! {
            status = program.wait() => break status?,
            signal = signals.next() => match signal {
                // Ctrl-C on a terminal has reached the program, too.
                Signal::SIGINT if has_terminal => {}
                signal => {
                    let _ = program.signal(signal as i32);
                }
            },
            error = &mut closed, if !told => {
                told = true;
                warn(&format!("{}: {error}", session.target));
            }
        }
    };
    if program.has_others() {
        warn(&format!(
            "{name} has ended; processes that it has left are served until they end (Ctrl-C ends that)"
        ));
        tokio::select! {
            served = program.wait_for_others() => served?,
            _ = signals.next() => {}
        }
    }
    Ok(status)
}

fn run_each(connection: &ConnectionArgs, args: &RunArgs, file: &Path) -> Result<(), Failure> {
    let entries = inventory::read_with(file, args.netns.given())?;
    let work = async |session: &Session, entry: &netlink_remote::fleet::Entry| {
        let mut command = command(&args.command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let netns = entry.netns.first().or(args.netns.given());
        let run = prepare(command, netns, &args.permits, format!("{}: ", entry.name));
        let printed = run.start(&session.client).await?.printed(MOST_OUTPUT).await?;
        let Printed { stdout, stderr, status, .. } = printed;
        for line in String::from_utf8_lossy(&stderr).lines() {
            warn(&format!("{}: {line}", entry.name));
        }
        match status.success() {
            true => Ok(stdout),
            // The output of a program that has failed is not lost.
            false => {
                for line in String::from_utf8_lossy(&stdout).lines() {
                    warn(&format!("{}: {line}", entry.name));
                }
                Err(Failure::request(format_args!("{status}")))
            }
        }
    };
    session::run_each(connection, &entries, work, |entry, result| {
        inventory::labelled(entry, result, false, "output")
    })
}
