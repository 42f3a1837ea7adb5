//! Targets: the place of a stub, as a chain of hops that is written as text.
//!
//! | hop | meaning |
//! |---|---|
//! | `local:` | this host, with the stub as a child process; the default first hop |
//! | `ssh://[user@]host[:port]` | a host, by ssh in this process |
//! | `openssh://[user@]host[:port]` | a host, by the program `ssh` with all its configuration |
//! | `sudo:[USER]`, `su:[USER]` | another user, root by default |
//! | `doas:[USER]` | likewise, by `doas -n`: doas.conf must permit it with `nopass` |
//! | `docker:NAME`, `podman:NAME` | a container |
//! | `kubectl:NAMESPACE/POD`, `kubectl:[CONTEXT]/NAMESPACE/POD/[CONTAINER]` | a container of a pod |
//! | `lxc:NAME`, `incus:NAME`, `machinectl:NAME` | a container of LXC, Incus, systemd |
//! | `exec:COMMAND` | a shell that the command starts, and that reads commands from its stdin |
//! | `unix:PATH` | the unix socket of a stub that listens, as `nlr serve` does |
//! | `stub:PATH` | comes last: an installed stub; none is sent |
//!
//! Hops are separated by commas, outermost first: `ssh://ci@gateway,ssh://ci@test01,sudo:`. A
//! comma inside a hop is written `%2C`, and a percent sign `%25`. The text of a target is part of
//! error messages and of the log: put no secret into it, nor into the command of an `exec:` hop.
//!
//! The far end needs a POSIX shell alone. A missing stub is sent over the same hops and kept in a
//! cache folder under its digest; [`Connector::clean`](crate::Connector::clean) removes it.
//!
//! # The stub to send
//!
//! A stub runs on one architecture. The stub for a host comes from one of these;
//! [`TargetOptions::stubs`](crate::TargetOptions::stubs) has their order and the folders searched:
//!
//! * the crate `netlink-remote-stubs` carries static stubs:
//!   `TargetOptions::default().with_stubs(netlink_remote_stubs::all())`;
//! * `include_bytes!`, or a file or folder: [`TargetOptions::with_stubs`](crate::TargetOptions::with_stubs);
//! * files named `nlr-stub-<target triple>` in one of the folders of
//!   [`TargetOptions::stubs`](crate::TargetOptions::stubs);
//! * the program itself, for hosts of its own architecture, after
//!   [`stub::serve_if_asked`](crate::stub::serve_if_asked).

#![forbid(unsafe_code)]

mod argv;
#[cfg(feature = "stub")]
mod askpass;
pub(crate) mod connector;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod hop;
pub(crate) mod options;
#[cfg(feature = "ssh")]
mod pool;
mod questions;
#[cfg(feature = "ssh")]
mod sessions;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod validate;

pub use hop::{Pod, SshDestination};
pub use target::TargetBuilder;

pub use crate::bootstrap::StubSource;
