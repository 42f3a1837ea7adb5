//! ssh in this process, by libssh2.

pub(crate) mod host;
