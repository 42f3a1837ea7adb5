//! Faults: each party of a connection is killed or stopped at each step, links are cut, and resources
//! run out. Each time the error says exactly what happened, within a bounded time, and nothing
//! remains on either side: no process, descriptor, thread, namespace or file.

#![cfg(test)]

// Its macros are for the modules below.
#[macro_use]
mod texts;

mod cells;
mod client;
mod far;
mod limits;
mod load;
mod near;
mod outputs;
mod table;
