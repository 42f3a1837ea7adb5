//! A running `nlr` whose output is read all the time.

use std::{
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::signal::Signal;
use testing::{Ended, is_text, processes, wait_up_to};

use crate::cells::Outcome;

/// The longest time from a fault to the end of `nlr`: keepalive intervals and connect time-outs in
/// these tests are of one and two seconds, the graces of closing add up to five.
const BOUND: Duration = Duration::from_secs(15);

pub(crate) struct Client {
    child: Child,
    stdout: Output,
    stderr: Output,
}

struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&bytes);
        let reader = stream.map(|mut stream| {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    theirs.lock().unwrap().extend_from_slice(&buffer[..length]);
                }
            })
        });
        Self { bytes, reader }
    }

    /// All of it, once nobody holds the other end: this waits.
    fn whole(&mut self) -> String {
        let _ = self.reader.take().map(JoinHandle::join);
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

impl Client {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self { child, stdout: Output::of(stdout), stderr: Output::of(stderr) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    /// Whether it has printed anything.
    pub(crate) fn has_printed(&self) -> bool {
        !self.stdout.bytes.lock().unwrap().is_empty()
    }

    /// The processor time used so far, in ticks of 10 milliseconds.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // utime and stime: fields 14 and 15 of proc_pid_stat(5), the state after the name being the third.
        let fields = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
        fields.filter_map(|field| field.parse::<u64>().ok()).sum()
    }

    /// Bytes printed so far.
    fn printed(&self) -> usize {
        self.stdout.bytes.lock().unwrap().len()
    }

    /// Waits for a condition, or for the end of the program, which is a failure.
    #[track_caller]
    pub(crate) fn reaches(&mut self, step: &str, mut reached: impl FnMut(&Self) -> bool) {
        let mut ended = false;
        let done = wait_up_to(Duration::from_secs(30), || {
            ended = self.child.try_wait().unwrap().is_some();
            ended || reached(self)
        });
        if ended || !done {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let said = self.stderr.whole();
            panic!("{step}: not reached: ended {ended}, stderr {said:?}");
        }
    }

    fn end(&mut self) -> Ended {
        let mut status = None;
        wait_up_to(BOUND, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let late = status.is_none();
        if late {
            let _ = self.child.kill();
        }
        let status = status.unwrap_or_else(|| self.child.wait().unwrap());
        if late {
            let said = String::from_utf8_lossy(&self.stderr.bytes.lock().unwrap()).into_owned();
            panic!("nlr has not ended within {BOUND:?}; stderr {said:?}");
        }
        Ended { status, stdout: self.stdout.whole(), stderr: self.stderr.whole() }
    }

    #[track_caller]
    fn ends(&mut self, code: i32, texts: &[&str], replacements: &[(&str, &str)]) {
        let ended = self.end();
        let mut said = ended.stderr.clone();
        for (what, with) in replacements {
            said = said.replace(with, what);
        }
        let line = said.strip_prefix("nlr: ").and_then(|line| line.strip_suffix('\n'));
        let line = line.unwrap_or(&said);
        assert!(
            ended.code() == code && texts.iter().any(|text| is_text(text, line)),
            "code {}, not {code}, stderr\n    {said:?}, not\n    {texts:?}",
            ended.code()
        );
    }

    /// Asserts the outcome, for which this waits.
    #[track_caller]
    pub(crate) fn assert(mut self, outcome: Outcome, replacements: &[(&str, &str)]) {
        match outcome {
            Outcome::Ends(code, text) => self.ends(code, &[text], replacements),
            Outcome::EndsAsOneOf(code, texts) => self.ends(code, &texts, replacements),
            Outcome::Dies => {
                let ended = self.end();
                assert_eq!((ended.code(), ended.stderr.as_str()), (128 + 9, ""), "{ended:?}");
            }
            Outcome::Swept => panic!("no test of a single cell"),
            Outcome::GoesOn => {
                let before = self.printed();
                self.reaches("more output", |client| client.printed() > before);
                self.signal(Signal::SIGINT);
                let ended = self.end();
                assert_eq!((ended.code(), ended.stderr.as_str()), (130, ""), "{}", ended.stderr);
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
