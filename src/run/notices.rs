//! What is told to the user, once each.

use std::{collections::HashSet, fs, sync::Mutex};

use crate::{sync::lock, text};

pub(super) struct Notices {
    told: Mutex<HashSet<String>>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

/// Different lines, at most.
const MOST: usize = 100;

impl Notices {
    pub(super) fn new(tell: Box<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { told: Mutex::default(), tell }
    }

    /// Says something about a program, unless it was said.
    pub(super) fn say(&self, tid: i32, line: &str) {
        let program = fs::read_to_string(format!("/proc/{tid}/comm")).unwrap_or_default();
        let program = text::escaped(program.trim_end());
        let line = format!("{program}: {line}");
        let mut told = lock(&self.told);
        if told.len() < MOST && told.insert(line.clone()) {
            (self.tell)(&line);
        }
    }

    /// Says that something would act on this host.
    pub(super) fn refused(&self, tid: i32, what: &str) {
        self.say(tid, &format!("{what}, not on the far one: refused; --allow-local permits it"));
    }
}
