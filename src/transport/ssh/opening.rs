//! The opening of a channel, up to the start of its command.

use std::sync::{Arc, Mutex};

use async_ssh2_lite::ssh2;

use super::fault::{self, code, would_block};
use crate::{Error, sync::lock};

/// The bytes a server may send before more are granted: the most that fits into a round trip.
const WINDOW: u32 = 16 << 20;
const PACKET: u32 = 32 << 10;

/// The purpose of a channel.
pub(super) enum ChannelKind {
    /// Runs a command, given to the user's shell.
    Command(String),
    /// Carries a TCP connection that the server makes (`direct-tcpip`, RFC 4254, section 7.2).
    Direct { host: String, port: u16 },
    /// Shows whether the server answers; closed at once.
    Probe,
}

/// The permit to open one channel of a session, dropped once libssh2 can open the next. That may be
/// long after the opener has stopped waiting: libssh2 cannot withdraw an opening it has begun.
///
/// It is dropped while its session is locked, so its Drop must not use a session.
pub(crate) type OpenPermit = Box<dyn Send>;

/// The result of an opening, for the opener to take.
#[derive(Default)]
pub(super) struct OpenResult(Mutex<Option<Result<(), Error>>>);

impl OpenResult {
    fn put(&self, result: Result<(), Error>) {
        *lock(&self.0) = Some(result);
    }

    pub(super) fn take(&self) -> Option<Result<(), Error>> {
        lock(&self.0).take()
    }
}

/// A channel that waits to be opened, or is being opened.
pub(super) struct Opening {
    pub(super) id: u64,
    kind: ChannelKind,
    result: Arc<OpenResult>,
    _permit: Option<OpenPermit>,
    channel: Option<ssh2::Channel>,
    /// The opener has gone.
    pub(super) is_abandoned: bool,
    /// The request may have been sent, so the opening has to be completed.
    pub(super) has_begun: bool,
}

/// The outcome of one step of an opening.
pub(super) enum OpenStep {
    /// It would block.
    Blocked,
    /// There is another step to take.
    Advanced,
    Open(ssh2::Channel),
    /// Refused by the server; a channel opened before the refusal has to be closed.
    Refused(Option<ssh2::Channel>),
}

impl Opening {
    pub(super) fn new(
        id: u64,
        kind: ChannelKind,
        result: Arc<OpenResult>,
        permit: Option<OpenPermit>,
    ) -> Self {
        Self {
            id,
            kind,
            result,
            _permit: permit,
            channel: None,
            is_abandoned: false,
            has_begun: false,
        }
    }

    /// Whether the channel is to be closed as soon as it is open.
    pub(super) fn is_unwanted(&self) -> bool {
        self.is_abandoned || matches!(self.kind, ChannelKind::Probe)
    }

    pub(super) fn is_for_command(&self) -> bool {
        matches!(self.kind, ChannelKind::Command(_))
    }

    /// Takes one step. An error ends the session.
    pub(super) fn step(&mut self, session: &ssh2::Session) -> Result<OpenStep, ssh2::Error> {
        self.has_begun = true;
        let Some(channel) = &mut self.channel else {
            let opened = match &self.kind {
                ChannelKind::Direct { host, port } => {
                    session.channel_direct_tcpip(host, *port, None)
                }
                ChannelKind::Command(_) | ChannelKind::Probe => {
                    session.channel_open("session", WINDOW, PACKET, None)
                }
            };
            return match opened {
                Ok(channel) => {
                    self.channel = Some(channel);
                    Ok(OpenStep::Advanced)
                }
                Err(error) => self.failed(error),
            };
        };
        if let ChannelKind::Command(command) = &self.kind
            && let Err(error) = channel.exec(command)
        {
            return self.failed(error);
        }
        self.result.put(Ok(()));
        match self.channel.take() {
            Some(channel) => Ok(OpenStep::Open(channel)),
            None => Ok(OpenStep::Refused(None)),
        }
    }

    fn failed(&mut self, error: ssh2::Error) -> Result<OpenStep, ssh2::Error> {
        if would_block(&error) {
            return Ok(OpenStep::Blocked);
        }
        if !fault::spares_session(&error) {
            self.result.put(Err(fault::session_lost(&error)));
            return Err(error);
        }
        self.result.put(Err(self.refusal(&error)));
        Ok(OpenStep::Refused(self.channel.take()))
    }

    /// The error of a refusal, with a remedy. libssh2 does not keep the server's own description.
    fn refusal(&self, error: &ssh2::Error) -> Error {
        let reason = refusal_reason(error);
        let text = match &self.kind {
            ChannelKind::Direct { host, port } => {
                let remedy = match reason.as_str() {
                    "connect failed" => {
                        "check that it is up, and its name and port as seen from there"
                    }
                    _ => {
                        "the gateway may forbid it: see AllowTcpForwarding and PermitOpen in its sshd_config"
                    }
                };
                format!("the gateway does not connect to {host} port {port} ({reason}); {remedy}")
            }
            _ if fault::code_of(error) == code::CHANNEL_REQUEST_DENIED => {
                "the server does not run commands for this user".to_owned()
            }
            _ => format!(
                "the server opens no further session ({reason}); see MaxSessions in its sshd_config"
            ),
        };
        fault::connect(text)
    }
}

/// The reason in libssh2's words, `Channel open failure (connect failed)`: the part in parentheses.
fn refusal_reason(error: &ssh2::Error) -> String {
    let words = fault::words(error);
    match words.split_once('(').and_then(|(_, rest)| rest.split_once(')')) {
        Some((reason, _)) => reason.to_owned(),
        None => words,
    }
}
