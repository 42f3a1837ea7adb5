//! `nlr attach`: a far netlink socket behind a descriptor that another program gives.

use std::os::fd::OwnedFd;

use clap::Args;
use nix::sys::socket::{SockType, getsockopt, sockopt};

use super::{args::NetnsArg, connection::ConnectionArgs, failure::Failure, session};
use netlink_remote::{Group, Protocol, Target, errno::words, prompter::inherited_descriptor};

const EXAMPLES: &str = "\
The descriptor is one end of a pair of AF_UNIX sockets of SOCK_SEQPACKET, made by the program that starts nlr; the
other end takes and gives the datagrams of a netlink socket at TARGET. Losses, and datagrams that the far kernel
refuses, come as messages NLMSG_ERROR of sequence number 0. It ends when the other end is closed, with exit code 0.

A line `attached PORTID` on standard output says that the socket is open.

Example, in Python:
  ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
  nlr = subprocess.Popen(['nlr', 'attach', 'ssh://ci@router,sudo:', '--protocol', 'route', '--fd',
                          str(theirs.fileno())], pass_fds=[theirs.fileno()])
  theirs.close()";

/// Puts a netlink socket at TARGET behind a descriptor of the program that starts nlr
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AttachArgs {
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
    #[command(flatten)]
    netns: NetnsArg,
    /// Netlink protocol, by name or number
    #[arg(long, value_name = "PROTOCOL", default_value = "route")]
    protocol: Protocol,
    /// Multicast group to join, by number; may be repeated
    #[arg(long, short, value_name = "GROUP")]
    group: Vec<u32>,
    /// Number of the descriptor
    #[arg(long, value_name = "FD")]
    fd: u32,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &AttachArgs) -> Result<(), Failure> {
    let fd = take(args.fd)?;
    session::run(connection, &args.target, async |session| {
        session.ignore_reader();
        let mut builder = session.client.socket(args.protocol).receive_buffer(0);
        if let Some(netns) = args.netns.given() {
            builder = builder.netns(netns.clone());
        }
        for group in &args.group {
            builder = builder.group(Group::new(*group));
        }
        let socket = builder.open().await?;
        let mut output = super::output::Output::new()?;
        output.write(format!("attached {}\n", socket.portid()).into_bytes()).await?;
        output.finish().await?;
        Ok(socket.serve_fd(fd).await?)
    })
}

/// A copy of the descriptor that was given, which is closed.
fn take(number: u32) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/self/fd/{number}");
    let is_open = std::fs::symlink_metadata(path).is_ok();
    if number < 3 || !is_open {
        let text = "give the number of a descriptor above 2 that nlr inherits";
        return Err(Failure::usage(format_args!("--fd {number}: {text}")));
    }
    let fd = inherited_descriptor(number)
        .map_err(|error| Failure::usage(format_args!("--fd {number}: {}", words(&error))))?;
    match getsockopt(&fd, sockopt::SockType) {
        Ok(SockType::SeqPacket | SockType::Datagram) => Ok(fd),
        _ => {
            let text = "it is no socket of SOCK_SEQPACKET or SOCK_DGRAM";
            Err(Failure::usage(format_args!("--fd {number}: {text}")))
        }
    }
}
