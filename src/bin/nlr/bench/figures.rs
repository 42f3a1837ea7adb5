//! The figures of a target.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::failure::Failure;
use netlink_remote::{client::RawMessage, nlmsg::aligned};

/// Precision of a histogram, in decimal digits.
const DIGITS: u8 = 3;

/// The longest time of a histogram, in nanoseconds: an hour. Longer times count as an hour.
const LONGEST: u64 = 3600 * 1_000_000_000;

/// A histogram of durations, in nanoseconds.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Result<Self, Failure> {
        let histogram = Histogram::new_with_max(LONGEST, DIGITS);
        histogram.map(Self).map_err(|error| Failure::request(format_args!("counting: {error}")))
    }

    pub(super) fn add(&mut self, time: Duration) {
        self.0.saturating_record(nanoseconds(time));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn min(&self) -> u64 {
        self.0.min()
    }

    pub(super) fn max(&self) -> u64 {
        self.0.max()
    }

    /// The smallest time that this share of all times does not exceed.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    pub(super) fn median(&self) -> u64 {
        self.quantile(0.5)
    }

    fn json(&self) -> Value {
        match self.count() {
            0 => Value::Null,
            count => json!({
                "count": count,
                "min": self.min(),
                "mean": self.0.mean().round() as u64,
                "p50": self.median(),
                "p90": self.quantile(0.9),
                "p99": self.quantile(0.99),
                "p99_9": self.quantile(0.999),
                "max": self.max(),
            }),
        }
    }
}

/// Datagrams and bytes of a time span.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

impl Throughput {
    pub(super) fn add(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        self.bytes += datagram.len() as u64;
    }

    /// Adds a message, and with the first message of a datagram the datagram.
    pub(super) fn add_message(&mut self, message: &RawMessage) {
        self.datagrams += u64::from(message.message().offset == 0);
        self.bytes += aligned(message.bytes().len()) as u64;
    }

    /// The rate of a number in this time span; 0 for an empty span.
    pub(super) fn per_second(&self, number: u64) -> f64 {
        let elapsed = self.elapsed.as_secs_f64();
        if elapsed > 0.0 { number as f64 / elapsed } else { 0.0 }
    }

    fn json(&self) -> Value {
        json!({
            "datagrams": self.datagrams,
            "bytes": self.bytes,
            "elapsed_ns": nanoseconds(self.elapsed),
        })
    }
}

/// The number of routes in a dump.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// In the last complete dump.
    pub(super) complete: Option<u64>,
    /// In the current dump, or in one that was cut short.
    pub(super) so_far: u64,
}

impl Routes {
    pub(super) fn begin(&mut self) {
        self.so_far = 0;
    }

    pub(super) fn add(&mut self) {
        self.so_far += 1;
    }

    pub(super) fn end(&mut self) {
        self.complete = Some(self.so_far);
    }
}

/// The figures of events.
#[derive(Debug)]
pub(super) enum Events {
    Measured {
        events: u64,
        lost: u64,
        throughput: Throughput,
    },
    /// The reason why there are no figures.
    LeftOut(String),
}

/// All figures of a target.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) connect: Option<Duration>,
    pub(super) ping: Times,
    pub(super) request: Times,
    pub(super) kernel: Times,
    pub(super) dump: Throughput,
    pub(super) routes: Routes,
    pub(super) events: Option<Events>,
}

impl Figures {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            connect: None,
            ping: Times::new()?,
            request: Times::new()?,
            kernel: Times::new()?,
            dump: Throughput::default(),
            routes: Routes::default(),
            events: None,
        })
    }

    /// Whether there are figures of requests.
    pub(super) fn is_measured(&self) -> bool {
        self.request.count() > 0 && self.ping.count() > 0 && self.kernel.count() > 0
    }

    /// The median of requests less those of pings and of the kernel.
    pub(super) fn proxy(&self) -> u64 {
        let others = self.ping.median().saturating_add(self.kernel.median());
        self.request.median().saturating_sub(others)
    }

    /// The keys of a JSON object.
    pub(super) fn json(&self) -> Vec<(&'static str, Value)> {
        let mut keys = vec![
            ("connect_ns", self.connect.map_or(Value::Null, |time| nanoseconds(time).into())),
            ("ping_ns", self.ping.json()),
            ("request_ns", self.request.json()),
            ("kernel_ns", self.kernel.json()),
            ("proxy_ns", if self.is_measured() { self.proxy().into() } else { Value::Null }),
        ];
        let mut dump = Value::Null;
        if self.dump.datagrams > 0 {
            dump = with(json!({ "routes": self.routes.complete }), self.dump.json());
        }
        keys.push(("dump", dump));
        match &self.events {
            None => {}
            Some(Events::LeftOut(reason)) => keys.push(("events", json!({ "left_out": reason }))),
            Some(Events::Measured { events, lost, throughput }) => {
                let counts = json!({ "events": events, "lost": lost });
                keys.push(("events", with(counts, throughput.json())));
            }
        }
        keys
    }
}

/// An object with the keys of another appended.
fn with(mut object: Value, other: Value) -> Value {
    if let (Value::Object(object), Value::Object(other)) = (&mut object, other) {
        object.extend(other);
    }
    object
}

/// A duration in nanoseconds, saturating at 584 years.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ping: u64, kernel: u64, request: u64) -> Figures {
        let mut figures = Figures::new().unwrap();
        for _ in 0..3 {
            figures.ping.add(Duration::from_nanos(ping));
            figures.kernel.add(Duration::from_nanos(kernel));
            figures.request.add(Duration::from_nanos(request));
        }
        figures
    }

    #[test]
    fn the_proxys_share_is_the_rest_and_never_negative() {
        assert_eq!(figures(100, 20, 150).proxy(), 30);
        assert_eq!(figures(100, 60, 150).proxy(), 0);
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let figures = Figures::new().unwrap();
        assert!(!figures.is_measured());
        assert!(figures.json().iter().all(|(_, value)| value.is_null()));
    }

    #[test]
    fn percentiles_are_of_the_times() {
        let mut times = Times::new().unwrap();
        (1..=1000).for_each(|micros| times.add(Duration::from_micros(micros)));
        let json = times.json();
        let near = |key: &str, expected: f64| {
            let found = json[key].as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < 0.002, "{key}: {found}");
        };
        for (key, micros) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99_9", 999)] {
            near(key, f64::from(micros) * 1e3);
        }
        near("min", 1e3);
        near("max", 1e6);
        near("mean", 500_500.0);
    }
}
