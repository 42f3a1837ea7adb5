//! What the benchmarks share: their worlds, transports to a stub, and a table of routes.

pub mod local;
pub mod routes;
pub mod transport;
pub mod world;
