//! A target and its figures.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{figures::Figures, measure::Bench};
use crate::{
    failure::{Failure, message},
    table::shortened,
    time::rfc3339,
};
use netlink_remote::{Client, Target, client::HostInfo, text::escaped};

#[derive(Debug)]
pub(super) struct Run {
    pub(super) target: Target,
    /// `None` until it is connected.
    pub(super) client: Option<Client>,
    /// `None` until it is connected, and after a failure.
    pub(super) bench: Option<Bench>,
    pub(super) figures: Figures,
    pub(super) host: HostInfo,
    /// The software of the far end.
    pub(super) stub: String,
    /// Time spent on measuring.
    pub(super) spent: Duration,
    error: Option<String>,
}

impl Run {
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        Ok(Self {
            target: target.clone(),
            client: None,
            bench: None,
            figures: Figures::new()?,
            host: HostInfo::default(),
            stub: String::new(),
            spent: Duration::ZERO,
            error: None,
        })
    }

    /// Prints a failure and ends the measurement of this target.
    pub(super) fn fail(&mut self, failure: Failure, first: &mut Option<Failure>) {
        let (failure, text) = failure.print();
        self.error = Some(message(&text));
        self.bench = None;
        first.get_or_insert(failure);
    }

    pub(super) fn json(&self, time: SystemTime) -> Value {
        let mut object = serde_json::Map::new();
        let mut insert = |key: &str, value: Value| object.insert(key.to_owned(), value);
        insert("target", self.target.to_string().into());
        insert("time", rfc3339(time).into());
        for (key, value) in [
            ("host", &self.host.host_name),
            ("kernel", &self.host.kernel_release),
            ("architecture", &self.host.architecture),
            ("stub", &self.stub),
        ] {
            let is_known = self.figures.connect.is_some();
            insert(key, if is_known { value.as_str().into() } else { Value::Null });
        }
        for (key, value) in self.figures.json() {
            insert(key, value);
        }
        if let Some(error) = &self.error {
            insert("error", error.as_str().into());
        }
        object.into()
    }

    /// The target for the front of a message, without a colon at its end.
    pub(super) fn name(&self) -> String {
        self.target.to_string().trim_end_matches(':').to_owned()
    }

    /// The target in so many letters: if need be its beginning and its end.
    pub(super) fn short_name(&self, letters: usize) -> String {
        shortened(&escaped(&self.target.to_string()), letters)
    }
}
