//! `nlr bench`.
//!
//! | module | contents |
//! |---|---|
//! | `run` | a target and its figures |
//! | `measure` | rounds of measurements over a connection |
//! | `churn` | events of routes that come and go |
//! | `netlink` | the requests that are measured |
//! | `figures` | histograms and rates |
//! | `table`, `plot` | figures as text and as a picture |

mod churn;
mod figures;
mod measure;
mod netlink;
mod plot;
mod run;
mod table;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use super::{
    args::{ColorArg, NetnsArg, seconds},
    connection::ConnectionArgs,
    failure::{Failure, message},
    json,
    output::{self, Output},
    progress::Bar,
    prompt::Questions,
    session,
    signals::Signals,
};
use measure::{Bench, ROUNDS};
use netlink_remote::{Connector, Target, errno::words};
use run::Run;

/// The share of a target's time for events, with --events.
const EVENTS: f64 = 0.2;

const NOTES: &str = "\
Measurements of each target:
  request  from the plain send of a request for one link (RTM_GETLINK of index 1) to its answer
  ping     a round trip to the stub and no further: transport and frames of this protocol
  kernel   duration of sendmsg(2) at the far end, as the stub reports it for confirmed sends
  proxy    median of request less those of ping and kernel: sockets, wake-ups, recvmsg(2) at the
           far end. 0 where the medians differ by less than they vary
  connect  from nothing to an answering stub. A target that shares a gateway with an earlier one
           uses its connection. Time spent on questions counts
  dump     datagrams and bytes of repeated dumps of all routes. A small table gives low figures;
           a dump that would take more than a quarter of the time is cut short
  events   with --events: routes come and go in a namespace that the stub creates for this, without
           a name; it ends with the connection. Needs root there
Ten rounds alternate between the targets, so that other load on the machines affects all alike.
Ctrl-C ends it with the figures until then, and with exit code 0 if there are any. A target that
fails is reported and the others are measured; the exit code is that of the first failure.

With --json each line is an object for one target, in nanoseconds and bytes: `target`, `time` (RFC
3339), `host`, `kernel`, `architecture`, `stub` (the far end's software), `connect_ns`; `ping_ns`,
`request_ns` and `kernel_ns`, each with `count`, `min`, `mean`, `p50`, `p90`, `p99`, `p99_9` and
`max`; `proxy_ns`; `dump` with `routes` (of a complete dump), `datagrams`, `bytes` and `elapsed_ns`;
with --events, `events` with `events`, `lost`, `datagrams`, `bytes` and `elapsed_ns`, or with the
reason `left_out`; `error` of a target that failed. Null stands for no measurement.

Examples:
  nlr bench
  nlr bench local: unix:/run/nlr.sock ssh://ci@test01 --plot paths.svg
  nlr bench ssh://ci@test01 --time 20 --json | jq .request_ns.p99
  sudo nlr bench --events";

/// Measures the cost of a path: transport, kernel and proxy, each by itself
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(crate) struct BenchArgs {
    /// Time for each target, besides connecting; a late answer is awaited for another 10 seconds
    #[arg(long, short, value_name = "SECONDS", default_value = "5", value_parser = time)]
    time: Duration,
    #[command(flatten)]
    netns: NetnsArg,
    /// Measures events per second as well
    #[arg(long)]
    events: bool,
    /// A JSON object on each line
    #[arg(long, short)]
    json: bool,
    /// Draws the percentiles of all targets into one picture
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    color: ColorArg,
    /// Targets to compare, as `nlr --help` describes
    #[arg(default_value = "local:", value_name = "TARGET")]
    targets: Vec<Target>,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &BenchArgs) -> Result<(), Failure> {
    session::block_on(async |mut signals| {
        let questions = Questions::new(connection, &args.targets)?;
        let connector = Connector::new(session::target_options(connection, &questions));
        let runs = args.targets.iter().map(Run::new).collect::<Result<_, _>>()?;
        let mut runs = Runs { runs, failure: None };
        let result = tokio::select! {
            result = runs.bench(&connector, &questions, args, &mut signals) => result,
            () = output::reader_gone() => Ok(()),
        };
        let clients = runs.runs.into_iter().filter_map(|run| run.client);
        let closing = clients.map(|client| {
            let mut signals = signals.clone();
            async move { session::close(client, &mut signals).await }
        });
        closing.collect::<JoinSet<()>>().join_all().await;
        result
    })
}

/// The targets and their first failure.
#[derive(Debug)]
struct Runs {
    runs: Vec<Run>,
    failure: Option<Failure>,
}

impl Runs {
    /// Connects, measures and reports. Ctrl-C ends the measurement only, SIGTERM all of it.
    async fn bench(
        &mut self,
        connector: &Connector,
        questions: &Questions,
        args: &BenchArgs,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.connect(connector, args) => {}
            signal = signals.next() => return Err(Failure::interrupted(signal)),
        }
        questions.connected();
        // Opened first: a file that cannot be written is reported before the measurement.
        let plot = args.plot.as_deref().filter(|_| self.runs.iter().any(|run| run.bench.is_some()));
        let plot = plot.map(|path| open(path).map(|file| (path, file))).transpose()?;
        let time = SystemTime::now();
        let interrupted = self.measure(args, signals).await;
        if let Some(Signal::SIGTERM) = interrupted {
            return Err(Failure::interrupted(Signal::SIGTERM));
        }
        tokio::select! {
            biased;
            reported = self.report(args, time, plot) => reported?,
            signal = signals.next() => return Err(Failure::interrupted(signal)),
        }
        let is_measured = self.runs.iter().any(|run| run.figures.is_measured());
        match (self.failure.take(), interrupted) {
            (Some(failure), _) => Err(failure),
            (None, Some(signal)) if !is_measured => Err(Failure::interrupted(signal)),
            (None, _) => Ok(()),
        }
    }

    /// Connects to one target after the other.
    async fn connect(&mut self, connector: &Connector, args: &BenchArgs) {
        for run in &mut self.runs {
            let start = Instant::now();
            let connected = async {
                let client = connector.connect(&run.target).await?;
                run.figures.connect = Some(start.elapsed());
                run.host = client.host().clone();
                run.stub = client.far_software().to_owned();
                let bench = Bench::new(run.client.insert(client), &args.netns.netns()).await;
                // An error of the connector names the target itself.
                bench.map_err(|failure| failure.context(run.name()))
            };
            match connected.await {
                Ok(bench) => run.bench = Some(bench),
                Err(failure) => run.fail(failure, &mut self.failure),
            }
        }
    }

    /// Measures all targets, and gives the signal that has ended it.
    async fn measure(&mut self, args: &BenchArgs, signals: &mut Signals) -> Option<Signal> {
        let rounds = u64::from(ROUNDS) + u64::from(args.events);
        let steps = rounds * self.runs.len() as u64 + 1;
        let bar = Bar::new(steps, "[{bar:30}] {percent:>3} %  {wide_msg}");
        let events = if args.events { args.time.mul_f64(EVENTS) } else { Duration::ZERO };
        let time = args.time.saturating_sub(events);
        for round in 0..=ROUNDS {
            if round == ROUNDS && !args.events {
                break;
            }
            for run in &mut self.runs {
                bar.set_message(message(&run.target.to_string()));
                bar.advance();
                let Some(bench) = &mut run.bench else { continue };
                let start = Instant::now();
                let measuring = async {
                    match round {
                        ROUNDS => bench.events(&mut run.figures, events).await,
                        // The rounds of a slow path take longer than planned.
                        _ if run.spent >= time => Ok(()),
                        _ => bench.round(&mut run.figures, round, time / ROUNDS).await,
                    }
                };
                let result = tokio::select! {
                    // Completed work counts, where both happen at once.
                    biased;
                    result = measuring => result,
                    signal = signals.next() => return Some(signal),
                };
                run.spent += start.elapsed();
                if let Err(failure) = result {
                    // Ctrl-C on a terminal ends a local stub too.
                    if failure.is_connection()
                        && let Some(signal) = session::arrives(signals).await
                    {
                        return Some(signal);
                    }
                    run.fail(failure.context(run.name()), &mut self.failure);
                }
            }
        }
        None
    }

    /// Prints the figures and draws the picture.
    async fn report(
        &self,
        args: &BenchArgs,
        time: SystemTime,
        plot: Option<(&Path, File)>,
    ) -> Result<(), Failure> {
        let measured: Vec<&Run> =
            self.runs.iter().filter(|run| run.figures.is_measured()).collect();
        let text = match args.json {
            true => self.runs.iter().map(|run| json::text(&run.json(time)) + "\n").collect(),
            false => table::tables(&measured, args.color.on()),
        };
        let mut output = Output::new()?;
        output.write(text.into_bytes()).await?;
        output.finish().await?;
        let Some((path, mut file)) = plot else { return Ok(()) };
        let svg = plot::svg(&measured, time);
        let written = file.set_len(0).and_then(|()| file.write_all(svg.as_bytes()));
        written.map_err(|error| unwritable(path, &error))
    }
}

/// Opens a file for writing, and keeps its content until then.
fn open(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    opened.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::request(format_args!("writing {}: {}", path.display(), words(error)))
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
