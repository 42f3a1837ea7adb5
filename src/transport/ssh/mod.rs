//! ssh in this process, by libssh2.

pub(crate) mod config;
pub(crate) mod host;
pub(crate) mod known_hosts;
