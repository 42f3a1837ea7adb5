//! Byte streams to a stub. A transport knows neither frames nor sockets.
//!
//! [`Client::handshake`](crate::Client::handshake) takes any [`AsyncRead`](tokio::io::AsyncRead) +
//! [`AsyncWrite`](tokio::io::AsyncWrite) whose other end a stub serves: a TLS stream, a websocket, a
//! serial line. A transport that starts a command describes it by [`Running`]; an [`ExitReport`] then
//! adds the command's end to the error of a lost connection:
//!
//! ```no_run
//! use netlink_remote::{Client, client::ClientOptions, transport::{ExitReport, process}};
//!
//! # async fn f() -> Result<(), netlink_remote::Error> {
//! let running = process::spawn(tokio::process::Command::new("nlr-stub"))?;
//! let mut options = ClientOptions::default();
//! options.exit_report = Some(ExitReport::of_command("nlr-stub", running.stderr, running.end));
//! let client = Client::handshake_with(running.stdio, options).await?;
//! # Ok(()) }
//! ```
//!
//! Rules for a stream: bytes arrive complete and in order; shutting the write half down, or dropping
//! the stream, ends the stub's input, and so the stub. The client flushes once nothing is left to write,
//! and does not wait for the flush.

// `forbid`, but for ssh/callbacks.rs, which libssh2 calls.
#![deny(unsafe_code)]

mod descendants;
mod exit_report;
pub mod process;
mod running;
#[cfg(feature = "ssh")]
pub(crate) mod ssh;
pub mod unix;

pub use exit_report::ExitReport;
pub(crate) use exit_report::StderrTail;
pub(crate) use running::EndFuture;
pub use running::{End, Running, Stdio};
