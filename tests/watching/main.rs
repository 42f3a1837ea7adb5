//! Monitors and mirrors: what they tell of changing kernels, over connections that are lost.

#![cfg(test)]

mod mirrors;
mod monitors;
mod random;
mod relay;
mod support;
