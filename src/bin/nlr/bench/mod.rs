//! `nlr bench`.

mod args;
mod figures;
mod measure;
mod netlink;
mod plot;
mod storm;
mod table;

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::signal::unix::Signal;

use super::{
    args::ConnectionArgs,
    failure::{Failure, describe, one_line},
    output::{self, Output},
    session,
    time::rfc3339,
};
pub(crate) use args::BenchArgs;
use figures::Figures;
use measure::Bench;
use netlink_remote::{Client, Target, client::HostInfo, hops::Connector};

/// How often each target has its turn.
const TURNS: u32 = 10;

/// Which share of a target's time is for events, where they are asked for.
const EVENTS: f64 = 0.2;

/// A target and what is known of it.
#[derive(Debug)]
struct Run {
    target: Target,
    client: Option<Client>,
    /// Until it fails.
    bench: Option<Bench>,
    figures: Figures,
    host: HostInfo,
    /// The far end's software.
    stub: String,
    spent: Duration,
    error: Option<String>,
}

/// The targets, and the first failure among them.
#[derive(Debug)]
struct Runs {
    runs: Vec<Run>,
    failure: Option<Failure>,
}

pub(super) fn run(connection: &ConnectionArgs, args: &BenchArgs) -> Result<(), Failure> {
    session::block_on(async {
        let mut interrupt = session::interrupt()?;
        let connector = Connector::new(session::target_options(connection)?);
        let mut runs = Runs::new(&args.targets)?;
        let result = tokio::select! {
            result = runs.measured(&connector, args, &mut interrupt) => result,
            () = output::reader_gone() => Ok(()),
        };
        for client in runs.runs.into_iter().filter_map(|run| run.client) {
            session::close(client).await;
        }
        result
    })
}

impl Runs {
    fn new(targets: &[Target]) -> Result<Self, Failure> {
        let run = |target: &Target| {
            let (client, bench, figures) = (None, None, Figures::new()?);
            let (host, stub, spent) = (HostInfo::default(), String::new(), Duration::ZERO);
            let target = target.clone();
            Ok(Run { target, client, bench, figures, host, stub, spent, error: None })
        };
        let runs = targets.iter().map(run).collect::<Result<_, Failure>>()?;
        Ok(Self { runs, failure: None })
    }

    /// Does it all. Ctrl-C ends only the measuring.
    async fn measured(
        &mut self,
        connector: &Connector,
        args: &BenchArgs,
        interrupt: &mut Signal,
    ) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.connect(connector, args) => {}
            _ = interrupt.recv() => return Err(Failure::interrupted()),
        }
        // Better told now than when everything is measured.
        let plot = args.plot.as_deref().filter(|_| self.runs.iter().any(|run| run.bench.is_some()));
        let plot = plot.map(|path| open(path).map(|file| (path, file))).transpose()?;
        let time = SystemTime::now();
        let interrupted = self.measure(args, interrupt).await;
        tokio::select! {
            biased;
            told = self.tell(args, time, plot) => told?,
            _ = interrupt.recv() => return Err(Failure::interrupted()),
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if interrupted && !self.runs.iter().any(|run| run.figures.is_measured()) => {
                Err(Failure::interrupted())
            }
            None => Ok(()),
        }
    }

    /// Connects to one after the other.
    async fn connect(&mut self, connector: &Connector, args: &BenchArgs) {
        for run in &mut self.runs {
            let began = Instant::now();
            let connected = async {
                let client = connector.connect(&run.target).await?;
                run.figures.connect = Some(began.elapsed());
                run.host = client.host().clone();
                run.stub = client.far_software().to_owned();
                let bench = Bench::new(run.client.insert(client), &args.netns.netns()).await;
                // An error of the connector's names the target already.
                bench.map_err(|failure| failure.context(name(&run.target)))
            };
            match connected.await {
                Ok(bench) => run.bench = Some(bench),
                Err(failure) => run.fail(failure, &mut self.failure),
            }
        }
    }

    /// Measures in turns; gives whether Ctrl-C came.
    async fn measure(&mut self, args: &BenchArgs, interrupt: &mut Signal) -> bool {
        let turns = u64::from(TURNS) + u64::from(args.events);
        let progress = Bar::new(turns * self.runs.len() as u64);
        let events = if args.events { args.time.mul_f64(EVENTS) } else { Duration::ZERO };
        let time = args.time.saturating_sub(events);
        for turn in 0..=TURNS {
            if turn == TURNS && !args.events {
                break;
            }
            for run in &mut self.runs {
                progress.step(&run.target);
                let Some(bench) = &mut run.bench else { continue };
                let began = Instant::now();
                let measuring = async {
                    match turn {
                        TURNS => bench.events(&mut run.figures, events).await,
                        // Long ways take longer than their turns.
                        _ if run.spent >= time => Ok(()),
                        _ => bench.turn(&mut run.figures, turn, time / TURNS).await,
                    }
                };
                let result = tokio::select! {
                    // What is done counts, should both happen at once.
                    biased;
                    result = measuring => result,
                    _ = interrupt.recv() => return true,
                };
                run.spent += began.elapsed();
                if let Err(failure) = result {
                    // Ctrl-C on the terminal of both ends the stub too.
                    if failure.is_connection() && session::came(interrupt).await {
                        return true;
                    }
                    let failure = failure.context(name(&run.target));
                    progress.0.suspend(|| run.fail(failure, &mut self.failure));
                }
            }
        }
        false
    }

    /// Prints and draws.
    async fn tell(
        &self,
        args: &BenchArgs,
        time: SystemTime,
        plot: Option<(&Path, File)>,
    ) -> Result<(), Failure> {
        let measured: Vec<&Run> =
            self.runs.iter().filter(|run| run.figures.is_measured()).collect();
        let text = match args.json {
            true => self.runs.iter().map(|run| run.json(time).to_string() + "\n").collect(),
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

impl Run {
    /// Tells of a failure, which ends the measuring of this target.
    fn fail(&mut self, failure: Failure, first: &mut Option<Failure>) {
        let (failure, text) = failure.tell();
        self.error = Some(one_line(&text));
        self.bench = None;
        first.get_or_insert(failure);
    }

    fn json(&self, time: SystemTime) -> Value {
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
            let known = self.figures.connect.is_some();
            insert(key, if known { value.as_str().into() } else { Value::Null });
        }
        for (key, value) in self.figures.json() {
            insert(key, value);
        }
        if let Some(error) = &self.error {
            insert("error", error.as_str().into());
        }
        object.into()
    }
}

/// A target in front of a message's own colon.
fn name(target: &Target) -> String {
    target.to_string().trim_end_matches(':').to_owned()
}

/// A target's text in so many letters: how it begins and ends, if that is not all of it.
fn shortened(target: &Target, letters: usize) -> String {
    let text: Vec<char> = target.to_string().chars().collect();
    if text.len() <= letters {
        return text.into_iter().collect();
    }
    let end = letters / 2;
    let begin = text.iter().take(letters.saturating_sub(end + 1));
    begin.chain(['…'].iter()).chain(text.iter().skip(text.len() - end)).collect()
}

/// Opens a file to be written later, and leaves what is in it until then.
fn open(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    opened.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::request(format_args!("writing {}: {}", path.display(), describe(error)))
}

/// How far it is, on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(steps: u64) -> Self {
        let bar = match io::stderr().is_terminal() {
            true => ProgressBar::new(steps + 1),
            false => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {percent:>3} %  {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    fn step(&self, target: &Target) {
        self.0.set_message(one_line(&target.to_string()));
        self.0.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_target_is_shown_by_its_ends() {
        let target: Target = "ssh://ci@gateway,ssh://ci@test01,sudo:".parse().unwrap();
        assert_eq!(shortened(&target, 38), target.to_string());
        assert_eq!(shortened(&target, 20), "ssh://ci@…st01,sudo:");
        assert_eq!(shortened(&target, 21).chars().count(), 21);
    }
}
