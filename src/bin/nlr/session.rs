//! A connection for one subcommand, and its orderly end, by a signal too.

use std::{cell::Cell, fs::File, io, time::Duration};

use futures_util::{StreamExt, stream};
use nix::sys::signal::Signal;
use tokio::{
    runtime,
    time::{sleep, timeout},
};

use super::{
    connection::ConnectionArgs,
    failure::Failure,
    output::{self, Output},
    prompt::{self, Questions},
    signals::Signals,
};
use netlink_remote::{
    Client, Connector, Target, TargetOptions, client::HostInfo, errno::words, fleet::Entry,
};

/// Time limit for closing a connection; a stub that hangs is abandoned then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The same once there was a signal.
const CLOSE_AFTER_SIGNAL: Duration = Duration::from_millis(300);

/// Descriptors that tokio's runtimes take, that of the signals included.
const RUNTIME_DESCRIPTORS: usize = 12;

/// Ctrl-C on a terminal reaches a local stub too, and the end of the stub may arrive first.
const SIGNAL_DELAY: Duration = Duration::from_millis(100);

/// The connection of a subcommand.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) target: Target,
    signals: Signals,
    /// Whether the subcommand handles the first Ctrl-C itself.
    pub(crate) handles_interrupt: Cell<bool>,
    /// Whether a program has the terminal: neither signals nor the end of the output's reader end the work.
    runs_program: Cell<bool>,
    /// Whether the work goes on though nobody reads standard output.
    ignores_reader: Cell<bool>,
}

/// Connects, does the work, and closes the connection whatever the result. The work ends at an
/// await point by SIGINT and SIGTERM, and once the reader of standard output has closed it.
pub(crate) fn run(
    connection: &ConnectionArgs,
    target: &Target,
    work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    block_on(async |mut signals| {
        let result = connected(connection, target, &mut signals, work).await;
        match result {
            Err(failure) if failure.is_connection() || failure.is_permission() => {
                Err(match arrives(&mut signals).await {
                    Some(signal) => Failure::interrupted(signal),
                    None => failure,
                })
            }
            result => result,
        }
    })
}

async fn connected(
    connection: &ConnectionArgs,
    target: &Target,
    signals: &mut Signals,
    work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = connect(connection, target, signals).await?;
    let session = Session {
        client,
        target: target.clone(),
        signals: signals.clone(),
        handles_interrupt: Cell::new(false),
        runs_program: Cell::new(false),
        ignores_reader: Cell::new(false),
    };
    let result = tokio::select! {
        // Completed work counts, where both happen at once.
        biased;
        result = work(&session) => result,
        signal = session.interrupted(signals) => Err(Failure::interrupted(signal)),
        () = session.reader_gone() => Ok(()),
    };
    close(session.client, signals).await;
    match *target == Target::local() {
        // "local:" in front of a message says nothing.
        true => result,
        false => result.map_err(|failure| failure.context(target)),
    }
}

/// Connects, and then forgets all secrets that were given for it.
async fn connect(
    connection: &ConnectionArgs,
    target: &Target,
    signals: &mut Signals,
) -> Result<Client, Failure> {
    let questions = Questions::new(connection, std::slice::from_ref(target))?;
    let connector = Connector::new(target_options(connection, &questions));
    tokio::select! {
        client = connector.connect(target) => client.map_err(|error| questions.failure(error)),
        signal = signals.next() => Err(Failure::interrupted(signal)),
    }
}

/// Targets of an inventory that are worked at at a time.
const AT_ONCE: usize = 16;

/// Does the work at each target of an inventory, and writes what `report` makes of each result.
pub(crate) fn run_each(
    connection: &ConnectionArgs,
    entries: &[Entry],
    work: impl AsyncFn(&Session, &Entry) -> Result<Vec<u8>, Failure>,
    report: impl Fn(&Entry, Result<Vec<u8>, Failure>) -> Vec<u8>,
) -> Result<(), Failure> {
    block_on(async |signals| {
        let targets: Vec<_> = entries.iter().map(|entry| entry.target.clone()).collect();
        let questions = Questions::new(connection, &targets)?;
        let connector = Connector::new(target_options(connection, &questions));
        let mut output = Output::new()?;
        let (questions, connector, work, of_signals) = (&questions, &connector, &work, &signals);
        let one = async |entry: &Entry| {
            let client = connector.connect(&entry.target).await;
            let client = client.map_err(|error| questions.failure(error))?;
            let session = Session {
                client,
                target: entry.target.clone(),
                signals: of_signals.clone(),
                handles_interrupt: Cell::new(false),
                runs_program: Cell::new(false),
                ignores_reader: Cell::new(false),
            };
            let result = work(&session, entry).await;
            let _ = timeout(CLOSE_TIMEOUT, session.client.close()).await;
            result
        };
        let one = &one;
        let results = stream::iter(entries).map(|entry| async move { (entry, one(entry).await) });
        let mut results = Box::pin(results.buffer_unordered(AT_ONCE));
        let mut interrupted = signals.clone();
        let mut failed = 0;
        loop {
            let result = tokio::select! {
                biased;
                result = results.next() => result,
                signal = interrupted.next() => return Err(Failure::interrupted(signal)),
                () = output::reader_gone() => return Ok(()),
            };
            let Some((entry, result)) = result else { break };
            failed += usize::from(result.is_err());
            output.write(report(entry, result)).await?;
        }
        drop(results);
        output.finish().await?;
        match failed {
            0 => Ok(()),
            failed => Err(Failure::some(failed, entries.len())),
        }
    })
}

/// Removes the stubs at a target, and returns the removed paths.
pub(crate) fn clean(connection: &ConnectionArgs, target: &Target) -> Result<Vec<String>, Failure> {
    block_on(async |mut signals| {
        let questions = Questions::new(connection, std::slice::from_ref(target))?;
        let connector = Connector::new(target_options(connection, &questions));
        tokio::select! {
            removed = connector.clean(target) => {
                removed.map_err(|error| questions.failure(error))
            }
            signal = signals.next() => Err(Failure::interrupted(signal)),
        }
    })
}

impl Session {
    /// The signals from now on.
    pub(crate) fn signals(&self) -> Signals {
        self.signals.clone()
    }

    /// Has a program that this tool runs decide on its end, from now on.
    pub(crate) fn leave_to_program(&self) {
        Signals::leave_to_program();
        self.runs_program.set(true);
        self.ignores_reader.set(true);
    }

    /// Has the work go on though nobody reads standard output any more.
    pub(crate) fn ignore_reader(&self) {
        self.ignores_reader.set(true);
    }

    async fn reader_gone(&self) {
        output::reader_gone().await;
        if self.ignores_reader.get() {
            std::future::pending().await
        }
    }

    /// Waits for the signal that ends the work.
    async fn interrupted(&self, signals: &mut Signals) -> Signal {
        match signals.next().await {
            _ if self.runs_program.get() => std::future::pending().await,
            // The second one ends a subcommand that takes its time.
            Signal::SIGINT if self.handles_interrupt.get() => signals.next().await,
            signal => signal,
        }
    }

    /// [`check_byte_order`] of the target's host.
    pub(crate) fn check_byte_order(&self) -> Result<(), Failure> {
        check_byte_order(self.client.host())
    }
}

/// Refuses a host of the other byte order: its netlink messages cannot be parsed here.
pub(crate) fn check_byte_order(host: &HostInfo) -> Result<(), Failure> {
    if host.big_endian == cfg!(target_endian = "big") {
        return Ok(());
    }
    let order = if host.big_endian { "big" } else { "little" };
    Err(Failure::request(format_args!(
        "the host there is {order}-endian and this one is not, so that nlr cannot read its \
         messages; run nlr there"
    )))
}

/// Closes a connection, and waits for its end within [`CLOSE_TIMEOUT`], or [`CLOSE_AFTER_SIGNAL`].
pub(crate) async fn close(client: Client, signals: &mut Signals) {
    let overdue = async {
        signals.any().await;
        sleep(CLOSE_AFTER_SIGNAL).await;
    };
    tokio::select! {
        _ = timeout(CLOSE_TIMEOUT, client.close()) => {}
        () = overdue => {}
    }
}

/// Does the work of a subcommand, with the signals that are to end it.
pub(crate) fn block_on<T>(
    work: impl AsyncFnOnce(Signals) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let started = spare_descriptors().and_then(|()| {
        let signals = Signals::take()?;
        Ok((runtime::Builder::new_current_thread().enable_all().build()?, signals))
    });
    let (runtime, signals) = started.map_err(|error| {
        Failure::request(format_args!("starting the runtime: {}", words(&error)))
    })?;
    let result = runtime.block_on(work(signals));
    // A write that blocks for good keeps its thread; waiting for the thread would hang.
    runtime.shutdown_background();
    prompt::end_question();
    result
}

/// Checks that the descriptors for tokio can be had: it panics where it has one for its poller, and
/// none for its signals.
fn spare_descriptors() -> io::Result<()> {
    let spare = (0..RUNTIME_DESCRIPTORS).map(|_| File::open("/dev/null"));
    spare.collect::<io::Result<Vec<_>>>().map(drop)
}

/// The library's options that the command line asks for.
pub(crate) fn target_options(connection: &ConnectionArgs, questions: &Questions) -> TargetOptions {
    let stub = connection.stub.clone().filter(|path| !path.is_empty());
    let mut options = TargetOptions::default();
    options.stub = stub.map(|path| vec![path]);
    options.stubs = connection.stubs.iter().map(|path| path.as_path().into()).collect();
    options.timeout = connection.connect_timeout;
    options.prompter = questions.prompter.clone();
    options.ssh_config.clone_from(&connection.ssh_config);
    options.read_only = connection.read_only;
    options.keepalive = Some(connection.keepalive).filter(|interval| !interval.is_zero());
    options
}

/// The signal that has arrived just before the end of a connection, or arrives just after it.
pub(crate) async fn arrives(signals: &mut Signals) -> Option<Signal> {
    timeout(SIGNAL_DELAY, signals.next()).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_other_byte_order_is_refused_with_a_remedy() {
        let check = |big_endian| {
            let mut host = HostInfo::default();
            host.big_endian = big_endian;
            check_byte_order(&host)
        };
        let here = cfg!(target_endian = "big");
        check(here).unwrap();
        let text = format!("{:?}", check(!here).unwrap_err());
        assert!(text.contains("-endian") && text.contains("run nlr there"), "{text}");
    }
}
