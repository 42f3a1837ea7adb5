//! A connection for one subcommand, Ctrl-C, and their orderly end.

use std::{cell::Cell, future::Future, time::Duration};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::{connection::ConnectionArgs, failure::Failure, output, prompt::Questions};
use netlink_remote::{Client, Connector, Target, TargetOptions, client::HostInfo, errno::words};

/// Time limit for closing a connection; a stub that hangs is abandoned then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Ctrl-C on a terminal reaches a local stub too, and the end of the stub may arrive first.
const SIGNAL_DELAY: Duration = Duration::from_millis(100);

/// The connection of a subcommand.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) target: Target,
    /// Whether the subcommand handles the first Ctrl-C itself.
    pub(crate) handles_interrupt: Cell<bool>,
}

/// Connects, does the work, and closes the connection whatever the result. The work ends at an
/// await point on Ctrl-C, and once the reader of standard output has closed it.
pub(crate) fn run(
    connection: &ConnectionArgs,
    target: &Target,
    work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    block_on(async {
        let mut interrupt = interrupt()?;
        let result = connected(connection, target, &mut interrupt, work).await;
        match result {
            Err(failure) if failure.is_connection() || failure.is_permission() => {
                Err(match arrives(&mut interrupt).await {
                    true => Failure::interrupted(),
                    false => failure,
                })
            }
            result => result,
        }
    })
}

async fn connected(
    connection: &ConnectionArgs,
    target: &Target,
    interrupt: &mut Signal,
    work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let questions = Questions::new(connection, std::slice::from_ref(target))?;
    let connector = Connector::new(target_options(connection, &questions));
    let client = tokio::select! {
        client = connector.connect(target) => {
            client.map_err(|error| questions.failure(error))?
        }
        _ = interrupt.recv() => return Err(Failure::interrupted()),
    };
    let session = Session { client, target: target.clone(), handles_interrupt: Cell::new(false) };
    let result = tokio::select! {
        // Completed work counts, where both happen at once.
        biased;
        result = work(&session) => result,
        () = session.interrupted(interrupt) => Err(Failure::interrupted()),
        () = output::reader_gone() => Ok(()),
    };
    close(session.client).await;
    match *target == Target::local() {
        // "local:" in front of a message says nothing.
        true => result,
        false => result.map_err(|failure| failure.context(target)),
    }
}

/// Removes the stubs at a target, and returns the removed paths.
pub(crate) fn clean(connection: &ConnectionArgs, target: &Target) -> Result<Vec<String>, Failure> {
    block_on(async {
        let mut interrupt = interrupt()?;
        let questions = Questions::new(connection, std::slice::from_ref(target))?;
        let connector = Connector::new(target_options(connection, &questions));
        tokio::select! {
            removed = connector.clean(target) => {
                removed.map_err(|error| questions.failure(error))
            }
            _ = interrupt.recv() => Err(Failure::interrupted()),
        }
    })
}

impl Session {
    /// Waits for the Ctrl-C that ends the work.
    async fn interrupted(&self, interrupt: &mut Signal) {
        interrupt.recv().await;
        if self.handles_interrupt.get() {
            // The second one ends a subcommand that takes its time.
            interrupt.recv().await;
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

/// Closes a connection within [`CLOSE_TIMEOUT`].
pub(crate) async fn close(client: Client) {
    let _ = timeout(CLOSE_TIMEOUT, client.close()).await;
}

pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::request(format_args!("starting the runtime: {}", words(&error)))
    })?;
    let result = runtime.block_on(work);
    // A write that blocks for good keeps its thread; waiting for the thread would hang.
    runtime.shutdown_background();
    result
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
    options.keepalive = Some(connection.keepalive).filter(|interval| !interval.is_zero());
    options
}

/// Ctrl-C, from now on.
pub(crate) fn interrupt() -> Result<Signal, Failure> {
    signal(SignalKind::interrupt())
        .map_err(|error| Failure::request(format_args!("handling Ctrl-C: {}", words(&error))))
}

/// Whether a signal has arrived just before the end of a connection, or arrives just after it.
pub(crate) async fn arrives(interrupt: &mut Signal) -> bool {
    timeout(SIGNAL_DELAY, interrupt.recv()).await.is_ok()
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
