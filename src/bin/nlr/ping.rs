//! `nlr ping`.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    args::PingArgs,
    failure::{Failure, one_line},
    output::Output,
    session::{self, Session},
};

pub(super) async fn run(session: &Session, args: &PingArgs) -> Result<(), Failure> {
    let mut interrupt = session::interrupt()?;
    session.minds_interrupt.set(true);
    let mut output = Output::new()?;
    if !args.json {
        output.write(greeting(session).into_bytes()).await?;
    }
    // An interval of zero is one that is always over.
    let mut ticks = interval(args.interval.max(Duration::from_nanos(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut times = Times::default();
    let began = Instant::now();
    let failed = loop {
        if args.count == Some(times.count) {
            break None;
        }
        let round_trip = async {
            ticks.tick().await;
            session.client.ping().await
        };
        let time = tokio::select! {
            time = round_trip => time,
            _ = interrupt.recv() => break None,
        };
        match time {
            Ok(time) => times.add(time),
            // Ctrl-C on the terminal of both ends the stub too.
            Err(_) if session::came(&mut interrupt).await => break None,
            Err(error) => break Some(Failure::from(error)),
        }
        output.write(times.line(args.json).into_bytes()).await?;
    };
    output.write(times.summary(args.json, began.elapsed()).into_bytes()).await?;
    output.finish().await?;
    match failed {
        Some(failure) => Err(failure),
        None if times.count == 0 => Err(Failure::interrupted()),
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
    one_line(&line) + "\n"
}

/// Round trips, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    count: u64,
    last: f64,
    least: f64,
    most: f64,
    mean: f64,
    /// Sum of the squares of the distances from the mean.
    squares: f64,
}

impl Times {
    /// Takes one in, by Welford's method, which needs no list of them.
    fn add(&mut self, time: Duration) {
        self.last = time.as_secs_f64() * 1e3;
        self.least = if self.count == 0 { self.last } else { self.least.min(self.last) };
        self.most = self.most.max(self.last);
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
            true => json!({ "seq": self.count, "time_ms": rounded(self.last) }).to_string() + "\n",
            false => format!("seq={} time={:.3} ms\n", self.count, self.last),
        }
    }

    fn summary(&self, json: bool, took: Duration) -> String {
        let Self { count, least, most, mean, .. } = *self;
        let stddev = self.stddev();
        if json {
            let summary = json!({
                "count": count,
                "min_ms": rounded(least),
                "avg_ms": rounded(mean),
                "max_ms": rounded(most),
                "stddev_ms": rounded(stddev),
            });
            return summary.to_string() + "\n";
        }
        let took = took.as_secs_f64();
        match count {
            0 => "no round trip\n".to_owned(),
            _ => format!(
                "{count} round trips in {took:.3} s, min/avg/max/stddev = \
                 {least:.3}/{mean:.3}/{most:.3}/{stddev:.3} ms\n"
            ),
        }
    }
}

/// To a microsecond, which is more than such a time means.
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
