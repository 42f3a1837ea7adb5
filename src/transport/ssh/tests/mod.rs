mod as_ssh;
mod async_ssh2_lite;
mod auth;
mod commands;
mod connecting;
mod disconnecting;
#[cfg(feature = "cli")]
mod log;
mod support;
mod traffic;
