//! ssh in this process, by libssh2.

pub(crate) mod config;
pub(crate) mod host;
