//! `nlr ping`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    args::{count, seconds},
    connection::ConnectionArgs,
    failure::{Failure, message},
    inventory, json,
    output::Output,
    session::{self, Session},
};
use netlink_remote::Target;

const EXAMPLES: &str = "\
Ctrl-C ends it with the summary, and exit code 0 if there was an answer.

Examples:
  nlr ping --count 5 unix:/run/nlr.sock
  nlr ping --interval 0.2 --json
  nlr ping --inventory hosts.txt --interval 0.1";

/// Measures the round trip to a stub
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PingArgs {
    /// Number of round trips. Default: until Ctrl-C
    #[arg(long, short, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    count: Option<u64>,
    /// Time between two round trips
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = seconds, allow_hyphen_values = true)]
    interval: Duration,
    /// A JSON object on each line
    #[arg(long, short)]
    json: bool,
    /// File of targets, one a line: `[NAME] TARGET`, with comments from `#` on; `-` is standard input. Each
    /// gets the summary of its round trips, of which there are 3 by default
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    inventory: Option<PathBuf>,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

/// Round trips to each target of an inventory.
const EACH: u64 = 3;

pub(crate) fn run(connection: &ConnectionArgs, args: &PingArgs) -> Result<(), Failure> {
    if let Some(file) = &args.inventory {
        let entries = inventory::read(file)?;
        return session::run_each(
            connection,
            &entries,
            async |session, _| {
                let mut times = Times::default();
                let start = Instant::now();
                while times.count < args.count.unwrap_or(EACH) {
                    if times.count > 0 {
                        sleep(args.interval).await;
                    }
                    times.add(session.client.ping().await?);
                }
                Ok(times.summary(args.json, start.elapsed()).into_bytes())
            },
            |entry, result| inventory::labelled(entry, result, args.json, "summary"),
        );
    }
    session::run(connection, &args.target, async |session| ping(session, args).await)
}

async fn ping(session: &Session, args: &PingArgs) -> Result<(), Failure> {
    let mut signals = session.signals();
    session.handles_interrupt.set(true);
    let mut output = Output::new()?;
    if !args.json {
        output.write(greeting(session).into_bytes()).await?;
    }
    // tokio's interval has to be above zero.
    let mut ticks = interval(args.interval.max(Duration::from_nanos(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut times = Times::default();
    let start = Instant::now();
    let failure = loop {
        if args.count == Some(times.count) {
            break None;
        }
        let round_trip = async {
            ticks.tick().await;
            session.client.ping().await
        };
        let time = tokio::select! {
            time = round_trip => time,
            Signal::SIGINT = signals.next() => break None,
        };
        match time {
            Ok(time) => times.add(time),
            // Ctrl-C on a terminal ends a local stub too.
            Err(error) => match session::arrives(&mut signals).await {
                Some(_) => break None,
                None => break Some(Failure::from(error)),
            },
        }
        output.write(times.line(args.json).into_bytes()).await?;
    };
    output.write(times.summary(args.json, start.elapsed()).into_bytes()).await?;
    output.finish().await?;
    match failure {
        Some(failure) => Err(failure),
        None if times.count == 0 => Err(Failure::interrupted(Signal::SIGINT)),
        None => Ok(()),
    }
}

fn greeting(session: &Session) -> String {
    let (client, host) = (&session.client, session.client.host());
    let line = format!(
        "{} on {}: Linux {} {}, {}, protocol version {}, uid {}",
        session.target,
        host.host_name,
        host.kernel_release,
        host.architecture,
        client.far_software(),
        client.protocol_version(),
        host.uid,
    );
    message(&line) + "\n"
}

/// Statistics of round trips, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    count: u64,
    last: f64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
}

impl Times {
    /// Adds a round trip, by Welford's method, which keeps no list.
    fn add(&mut self, time: Duration) {
        self.last = time.as_secs_f64() * 1e3;
        self.min = if self.count == 0 { self.last } else { self.min.min(self.last) };
        self.max = self.max.max(self.last);
        self.count += 1;
        let distance = self.last - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (self.last - self.mean);
    }

    fn stddev(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }

    fn line(&self, json: bool) -> String {
        match json {
            true => json::text(&json!({ "seq": self.count, "time_ms": rounded(self.last) })) + "\n",
            false => format!("seq={} time={:.3} ms\n", self.count, self.last),
        }
    }

    fn summary(&self, json: bool, elapsed: Duration) -> String {
        let Self { count, min, max, mean, .. } = *self;
        let stddev = self.stddev();
        if json {
            let summary = json!({
                "count": count,
                "min_ms": rounded(min),
                "avg_ms": rounded(mean),
                "max_ms": rounded(max),
                "stddev_ms": rounded(stddev),
            });
            return json::text(&summary) + "\n";
        }
        let elapsed = elapsed.as_secs_f64();
        match count {
            0 => "no round trip\n".to_owned(),
            _ => format!(
                "{count} round trips in {elapsed:.3} s, min/avg/max/stddev = \
                 {min:.3}/{mean:.3}/{max:.3}/{stddev:.3} ms\n"
            ),
        }
    }
}

/// Rounds to a microsecond, finer than a round trip repeats.
fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_that_of_the_times() {
        let mut times = Times::default();
        assert_eq!(times.summary(false, Duration::ZERO), "no round trip\n");
        for millis in [2, 4, 4, 4, 5, 5, 7, 9] {
            times.add(Duration::from_millis(millis));
        }
        assert_eq!(
            times.summary(false, Duration::from_secs(1)),
            "8 round trips in 1.000 s, min/avg/max/stddev = 2.000/5.000/9.000/2.000 ms\n"
        );
        assert_eq!(
            times.summary(true, Duration::ZERO),
            "{\"count\":8,\"min_ms\":2.0,\"avg_ms\":5.0,\"max_ms\":9.0,\"stddev_ms\":2.0}\n"
        );
        assert_eq!(times.line(true), "{\"seq\":8,\"time_ms\":9.0}\n");
    }
}
