//! The command line of `nlr bench`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use netlink_remote::Target;

use crate::args::{ColorArg, NetnsArg, seconds};

const NOTES: &str = "\
What is measured, of each target:
  request  one link asked for (RTM_GETLINK of index 1) by a plain send, until its answer is there
  ping     a round trip to the stub and no further: the path and this protocol's frames
  kernel   how long sendmsg(2) took at the far end, as the stub tells of confirmed sends
  proxy    the rest of the request's median, once those of ping and kernel are taken off: sockets,
           wake-ups, recvmsg(2) at the far end. 0 where the medians differ less than they vary
  connect  from nothing to a stub that answers; a target that shares a gateway with one before it
           uses that one's connection, and questions count until they are answered
  dump     datagrams and bytes of all routes, listed again and again; a small table gives little,
           and a listing that would take longer than a quarter of the time is cut short
  events   with --events: routes come and go in a namespace that the stub makes for it, that has no
           name and is gone afterwards. Needs root there
The targets take turns, ten each, so that what else the machines do meets all of them alike. Ctrl-C
ends it with what there is until then, and exit code 0 if that is anything. A target that fails is
told and the others are measured; the exit code is that of the first failure.

With --json, an object a line for each target, in nanoseconds and bytes: `target`, `time` (RFC
3339), `host`, `kernel`, `architecture`, `stub` (the far end's software), `connect_ns`; `ping_ns`,
`request_ns` and `kernel_ns`, each with `count`, `min`, `mean`, `p50`, `p90`, `p99`, `p99_9` and
`max`; `proxy_ns`; `dump` with `routes` (of a complete listing), `datagrams`, `bytes` and
`elapsed_ns`; with --events, `events` with `events`, `lost`, `datagrams`, `bytes` and `elapsed_ns`,
or `left_out`, which says why; `error` of a target that failed. What was not measured is null.

Examples:
  nlr bench
  nlr bench local: unix:/run/nlr.sock ssh://ci@test01 --plot paths.svg
  nlr bench ssh://ci@test01 --time 20 --json | jq .request_ns.p99
  sudo nlr bench --events";

/// Measures what a path costs: the way, the kernel, and the proxy, each by itself
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(crate) struct BenchArgs {
    /// Seconds for each target, besides connecting; an answer that takes longer is waited for, 10
    /// seconds at most
    #[arg(long, short, value_name = "SECONDS", default_value = "5", value_parser = time)]
    pub(super) time: Duration,
    #[command(flatten)]
    pub(super) netns: NetnsArg,
    /// Also how many events arrive in a second
    #[arg(long)]
    pub(super) events: bool,
    /// A JSON object on each line
    #[arg(long, short)]
    pub(super) json: bool,
    /// Draws the percentiles of all targets into one picture
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(super) color: ColorArg,
    /// Where; several are compared
    #[arg(default_value = "local:", value_name = "TARGET")]
    pub(super) targets: Vec<Target>,
}

fn time(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    let time = seconds(text).ok().filter(|time| allowed.contains(time));
    time.ok_or_else(|| "expected a number of seconds from 0.1 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_bounded() {
        assert_eq!(time("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(time("3600"), Ok(Duration::from_secs(3600)));
        for wrong in ["0", "3601", "-1", "x", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
