//! Guides: short programs for what users of this crate do most. Each compiles, and runs where a
//! documentation test can run it.
//!
//! | guide | shows |
//! |---|---|
//! | [`password_callback`] | answering questions for secrets and host keys |
//! | [`sharing_connections`] | one ssh connection for many targets, one connection for many sockets |
//! | [`own_transport`] | a connection over TLS, over a websocket |
//! | [`own_stub`] | a program that is its own stub, and stubs in memory |
//! | [`embedding_a_stub`] | serving clients from within a daemon |
//! | [`after_a_loss`] | `Lost`, then a dump |
//! | [`cancelling`] | time limits, and what a dropped future leaves behind |
//! | [`raw_messages`] | sock_diag and nftables without a netlink library |
//! | [`limits`] | every limit, and what hostile clients can take |

#[doc = include_str!("password_callback.md")]
pub mod password_callback {}

#[doc = include_str!("sharing_connections.md")]
pub mod sharing_connections {}

#[doc = include_str!("own_transport.md")]
pub mod own_transport {}

#[doc = include_str!("own_stub.md")]
pub mod own_stub {}

#[doc = include_str!("embedding_a_stub.md")]
pub mod embedding_a_stub {}

#[doc = include_str!("after_a_loss.md")]
pub mod after_a_loss {}

#[doc = include_str!("cancelling.md")]
pub mod cancelling {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("raw_messages.md")]
pub mod raw_messages {}
