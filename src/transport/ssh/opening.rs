//! The opening of a channel, up to the command that runs on it.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use async_ssh2_lite::ssh2;

use super::fault::{self, code, would_block};
use crate::{Error, ErrorKind};

/// What the far end may send before more is granted: what fits into a round trip, at most.
const WINDOW: u32 = 16 << 20;
const PACKET: u32 = 32 << 10;

/// What a channel is for.
pub(super) enum Way {
    /// A command.
    Command(String),
    /// A connection that the server makes.
    Direct { host: String, port: u16 },
    /// To see whether the server answers; it is closed at once.
    Probe,
}

/// Whoever lets someone open a channel gets this back, by its being dropped, once libssh2 can open
/// another. That may be long after nobody waits any more: what is under way cannot be withdrawn.
///
/// It is dropped while the session is locked, so it must not use one.
pub(crate) type Turn = Box<dyn Send>;

/// Where the result of an opening is put.
#[derive(Default)]
pub(super) struct Opened(Mutex<Option<Result<(), Error>>>);

impl Opened {
    fn put(&self, result: Result<(), Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    pub(super) fn take(&self) -> Option<Result<(), Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) struct Opening {
    pub(super) id: u64,
    way: Way,
    opened: Arc<Opened>,
    _turn: Option<Turn>,
    channel: Option<ssh2::Channel>,
    /// Nobody wants it any more.
    pub(super) abandoned: bool,
    /// The server may have heard of it, so that it has to be gone through with.
    pub(super) begun: bool,
}

/// How far an opening has come.
pub(super) enum Stage {
    /// As far as it was.
    Waiting,
    Further,
    Open(ssh2::Channel),
    /// Refused; what channel there is has to be closed.
    Refused(Option<ssh2::Channel>),
}

impl Opening {
    pub(super) fn new(id: u64, way: Way, opened: Arc<Opened>, turn: Option<Turn>) -> Self {
        Self { id, way, opened, _turn: turn, channel: None, abandoned: false, begun: false }
    }

    /// Whether the channel is of no use once it is open.
    pub(super) fn is_in_vain(&self) -> bool {
        self.abandoned || matches!(self.way, Way::Probe)
    }

    pub(super) fn is_for_command(&self) -> bool {
        matches!(self.way, Way::Command(_))
    }

    /// One step. An error is the session's end.
    pub(super) fn step(&mut self, session: &ssh2::Session) -> Result<Stage, ssh2::Error> {
        self.begun = true;
        let Some(channel) = &mut self.channel else {
            let opened = match &self.way {
                Way::Direct { host, port } => session.channel_direct_tcpip(host, *port, None),
                Way::Command(_) | Way::Probe => {
                    session.channel_open("session", WINDOW, PACKET, None)
                }
            };
            return match opened {
                Ok(channel) => {
                    self.channel = Some(channel);
                    Ok(Stage::Further)
                }
                Err(error) => self.failed(error),
            };
        };
        if let Way::Command(command) = &self.way
            && let Err(error) = channel.exec(command)
        {
            return self.failed(error);
        }
        self.opened.put(Ok(()));
        match self.channel.take() {
            Some(channel) => Ok(Stage::Open(channel)),
            None => Ok(Stage::Refused(None)),
        }
    }

    fn failed(&mut self, error: ssh2::Error) -> Result<Stage, ssh2::Error> {
        if would_block(&error) {
            return Ok(Stage::Waiting);
        }
        if !fault::spares_session(&error) {
            self.opened.put(Err(fault::lost(&error)));
            return Err(error);
        }
        self.opened.put(Err(self.refusal(&error)));
        Ok(Stage::Refused(self.channel.take()))
    }

    /// A refusal in words of use. The server's own are not to be had.
    fn refusal(&self, error: &ssh2::Error) -> Error {
        let text = words_of_refusal(error);
        let text = match &self.way {
            Way::Direct { host, port } => {
                let remedy = match text.as_str() {
                    "connect failed" => {
                        "check that it is up, and its name and port as seen from there"
                    }
                    _ => {
                        "the gateway may forbid it: see AllowTcpForwarding and PermitOpen in its sshd_config"
                    }
                };
                format!("the gateway does not connect to {host} port {port} ({text}); {remedy}")
            }
            _ if fault::code_of(error) == code::CHANNEL_REQUEST_DENIED => {
                "the server does not run commands for this user".to_owned()
            }
            _ => format!(
                "the server opens no further session ({text}); see MaxSessions in its sshd_config"
            ),
        };
        Error::new(ErrorKind::Connect, text)
    }
}

/// "Channel open failure (connect failed)": what is in the parentheses.
fn words_of_refusal(error: &ssh2::Error) -> String {
    let words = fault::words(error);
    match words.split_once('(').and_then(|(_, rest)| rest.split_once(')')) {
        Some((reason, _)) => reason.to_owned(),
        None => words,
    }
}
