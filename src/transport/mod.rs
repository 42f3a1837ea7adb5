//! Byte streams to a stub. A transport knows neither frames nor sockets.

pub mod process;
pub(crate) mod running;
#[cfg(feature = "ssh")]
pub(crate) mod ssh;
pub mod unix;

pub use running::{End, ExitReport, Running, Stdio};
