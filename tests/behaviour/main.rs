//! The behaviour of remote sockets, on the real kernel, over every transport.

#![cfg(test)]

mod access;
mod adapter;
mod bad_input;
mod client;
mod confinement;
mod fairness;
mod far_errno;
mod gathering;
mod hostile_client;
mod hostile_far_end;
mod hostile_users;
mod keepalive;
mod lifetime;
mod monitoring;
mod namespaces;
mod paths;
mod raw;
mod requests;
mod sockets;
mod support;
