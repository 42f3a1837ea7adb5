mod auth;
mod commands;
mod ends;
mod shipped;
mod support;
mod traffic;
mod ways;
