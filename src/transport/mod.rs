//! Byte streams to a stub. A transport knows neither frames nor sockets.

#![forbid(unsafe_code)]

pub mod process;
pub mod unix;
