mod async_ssh2_lite;
mod auth;
mod commands;
mod connecting;
mod disconnecting;
mod support;
mod traffic;
