//! Programs that were not written for this crate, by `nlr run`: what they print and how they end is what they print
//! and how they end inside the namespace.

#![cfg(test)]

mod behaviours;
mod deaths;
mod distance;
mod handles;
mod lines;
mod local;
mod many;
mod support;
