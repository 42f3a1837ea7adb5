//! A connection for the length of one subcommand.

use std::{cell::Cell, ffi::OsString, future::Future, time::Duration};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::{
    args::ConnectionArgs,
    ask,
    failure::{Failure, describe},
    output,
};
use netlink_remote::{
    Client, Target,
    hops::{Connector, TargetOptions},
};

/// The subcommand that makes nlr a stub.
pub(super) const STUB: &str = "stub";

/// How long closing the connection may take; a stub that hangs is left to itself then.
const CLOSING: Duration = Duration::from_secs(5);

/// Ctrl-C reaches a stub on the same terminal too, and its end may be noticed first.
const GRACE: Duration = Duration::from_millis(100);

/// What a subcommand works with.
#[derive(Debug)]
pub(super) struct Session {
    /// The connection.
    pub(super) client: Client,
    /// Where it leads.
    pub(super) target: Target,
    /// Whether the first Ctrl-C is the subcommand's own to act upon.
    pub(super) minds_interrupt: Cell<bool>,
}

impl Session {
    /// Connects, does the work, and closes the connection whatever came of it. Ctrl-C, and the
    /// end of who reads the output, end the work where it waits.
    pub(super) fn run(
        connection: &ConnectionArgs,
        target: Target,
        work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        block_on(Self::connected(connection, target, work))
    }

    /// Removes the stubs at the far end; gives the paths of what there was.
    pub(super) fn clean(
        connection: &ConnectionArgs,
        target: &Target,
    ) -> Result<Vec<String>, Failure> {
        block_on(async {
            let mut interrupt = interrupt()?;
            let connector = Connector::new(target_options(connection)?);
            tokio::select! {
                cleaned = connector.clean(target) => cleaned.map_err(Failure::from),
                _ = interrupt.recv() => Err(Failure::interrupted()),
            }
        })
    }

    async fn connected(
        connection: &ConnectionArgs,
        target: Target,
        work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut interrupt = interrupt()?;
        let connector = Connector::new(target_options(connection)?);
        let connected = tokio::select! {
            connected = connector.connect(&target) => connected.map_err(Failure::from),
            _ = interrupt.recv() => Err(Failure::interrupted()),
        };
        let result = match connected {
            Ok(client) => {
                let session = Self { client, target, minds_interrupt: Cell::new(false) };
                let result = tokio::select! {
                    // What is done counts, should both happen at once.
                    biased;
                    result = work(&session) => result,
                    () = session.interrupted(&mut interrupt) => Err(Failure::interrupted()),
                    () = output::reader_gone() => Ok(()),
                };
                let Self { client, target, .. } = session;
                close(client).await;
                match target == Target::local() {
                    // "local:" would say nothing.
                    true => result,
                    false => result.map_err(|failure| failure.context(&target)),
                }
            }
            Err(failure) => Err(failure),
        };
        match result {
            Err(failure) if failure.is_connection() || failure.is_refusal() => {
                Err(if came(&mut interrupt).await { Failure::interrupted() } else { failure })
            }
            result => result,
        }
    }

    /// Waits for the Ctrl-C that is to end the work.
    async fn interrupted(&self, interrupt: &mut Signal) {
        interrupt.recv().await;
        if self.minds_interrupt.get() {
            // Whoever presses it again does not want to wait for that.
            interrupt.recv().await;
        }
    }

    /// [`check_byte_order`] of this connection.
    pub(super) fn check_byte_order(&self) -> Result<(), Failure> {
        check_byte_order(&self.client)
    }
}

/// Refuses a host whose netlink messages cannot be read here.
pub(super) fn check_byte_order(client: &Client) -> Result<(), Failure> {
    let there = client.host().big_endian;
    if there == cfg!(target_endian = "big") {
        return Ok(());
    }
    let order = if there { "big" } else { "little" };
    Err(Failure::request(format_args!(
        "the host there is {order}-endian and this one is not, so that nlr cannot read its \
         messages; run nlr there"
    )))
}

/// Closes a connection, and does not wait for ever.
pub(super) async fn close(client: Client) {
    let _ = timeout(CLOSING, client.close()).await;
}

pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::request(format_args!("starting the runtime: {}", describe(&error)))
    })?;
    let result = runtime.block_on(work);
    // A write that blocks for good keeps a thread, which is not worth waiting for.
    runtime.shutdown_background();
    result
}

pub(super) fn target_options(connection: &ConnectionArgs) -> Result<TargetOptions, Failure> {
    let stub = connection.stub.clone().filter(|path| !path.is_empty());
    let mut options = TargetOptions::default();
    options.stub = stub.map(|path| vec![path]).or_else(own_stub);
    options.stubs.clone_from(&connection.stubs);
    options.timeout = connection.connect_timeout;
    options.prompter = ask::whom(connection)?;
    options.ssh_config.clone_from(&connection.ssh_config);
    options.keepalive = Some(connection.keepalive).filter(|interval| !interval.is_zero());
    Ok(options)
}

/// Ctrl-C, from now on.
pub(super) fn interrupt() -> Result<Signal, Failure> {
    signal(SignalKind::interrupt())
        .map_err(|error| Failure::request(format_args!("handling Ctrl-C: {}", describe(&error))))
}

/// Whether a signal came just before, or comes just after, a connection's end.
pub(super) async fn came(interrupt: &mut Signal) -> bool {
    timeout(GRACE, interrupt.recv()).await.is_ok()
}

/// This program as a stub.
fn own_stub() -> Option<Vec<OsString>> {
    let program = std::env::current_exe().ok()?;
    Some(vec![program.into(), STUB.into()])
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use netlink_remote::wire::{
        Hello, MARKER,
        hello::{HostInfo, PeerLimits, Role},
    };

    /// What is said of a host of that byte order.
    async fn check(big_endian: bool) -> Result<(), Failure> {
        let (near, mut far) = duplex(4096);
        let mut greeting = MARKER.to_vec();
        let mut host = HostInfo::default();
        host.big_endian = big_endian;
        Hello::new(Role::Stub, PeerLimits::default(), Some(host)).encode(&mut greeting);
        far.write_all(&greeting).await.unwrap();
        let client = Client::handshake(near).await.unwrap();
        tokio::spawn(async move { far.read_to_end(&mut Vec::new()).await });
        let session = Session { client, target: Target::local(), minds_interrupt: false.into() };
        let checked = session.check_byte_order();
        session.client.close().await;
        checked
    }

    #[tokio::test]
    async fn a_host_of_the_other_byte_order_is_refused_with_a_remedy() {
        let here = cfg!(target_endian = "big");
        check(here).await.unwrap();
        let failure = check(!here).await.unwrap_err();
        let text = format!("{failure:?}");
        assert!(text.contains("-endian") && text.contains("run nlr there"), "{text}");
    }
}
