//! Where a stub is to run: a chain of hops, written as text.
//!
//! | hop | what it is |
//! |---|---|
//! | `local:` | this host, as a child process; what a chain begins with that does not say |
//! | `ssh://[user@]host[:port]` | a host, by ssh in this process |
//! | `openssh://[user@]host[:port]` | a host, by the program `ssh` with all its configuration |
//! | `sudo:[USER]`, `doas:[USER]`, `su:[USER]` | another user, root by default |
//! | `docker:NAME`, `podman:NAME` | inside a container |
//! | `kubectl:[CONTEXT/]NAMESPACE/POD[/CONTAINER]` | inside a container of a pod |
//! | `lxc:NAME`, `incus:NAME`, `machinectl:NAME` | inside a container of LXC's, Incus's, systemd's |
//! | `exec:COMMAND` | whatever a shell reads its stdin behind |
//! | `unix:PATH` | a stub that listens on a unix socket, as `nlr serve` does |
//! | `stub:PATH` | comes last: an installed stub, instead of one that is brought along |
//!
//! Hops are separated by commas, outermost first: `ssh://ci@gateway,ssh://ci@test01,sudo:`. A
//! comma inside one is written `%2C`, and a percent sign `%25`.
//!
//! Nothing has to be installed at the far end but a POSIX shell: a stub that is not there yet is
//! sent along the way and kept in a cache folder under its digest, from which
//! [`Connector::clean`] removes it.

#![forbid(unsafe_code)]

mod argv;
mod connector;
mod hop;
mod options;
#[cfg(feature = "ssh")]
mod pool;
#[cfg(feature = "ssh")]
mod sessions;
#[cfg(test)]
mod tests;
mod validate;

use std::{fmt, path::PathBuf, str::FromStr};

pub use connector::Connector;
pub use hop::{Hop, Pod, SshDestination};
pub use options::TargetOptions;

use crate::Error;

/// The way to a stub: hops that fit together.
///
/// ```
/// use netlink_remote::Target;
///
/// let target = Target::ssh("ci@gateway").ssh("ci@test01").sudo().build()?;
/// assert_eq!(target, "ssh://ci@gateway,ssh://ci@test01,sudo:".parse()?);
/// # Ok::<(), netlink_remote::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    hops: Vec<Hop>,
}

impl Target {
    /// A stub as a child process.
    pub fn local() -> Self {
        Self { hops: vec![Hop::Local] }
    }

    /// A chain that begins on this host.
    pub fn builder() -> TargetBuilder {
        TargetBuilder { hops: Vec::new(), wrong: None }
    }

    /// A chain that begins with ssh in this process, to `[user@]host[:port]`.
    pub fn ssh(destination: &str) -> TargetBuilder {
        Self::builder().ssh(destination)
    }

    /// A chain that begins with the program `ssh`, to `[user@]host[:port]`.
    pub fn openssh(destination: &str) -> TargetBuilder {
        Self::builder().openssh(destination)
    }

    /// The hops, outermost first; there is at least one.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }
}

/// Hops put together one by one.
#[derive(Debug, Clone)]
#[must_use]
pub struct TargetBuilder {
    hops: Vec<Hop>,
    wrong: Option<Error>,
}

impl TargetBuilder {
    /// Any hop.
    pub fn hop(mut self, hop: Hop) -> Self {
        self.hops.push(hop);
        self
    }

    /// On to `[user@]host[:port]`, by ssh in this process.
    pub fn ssh(self, destination: &str) -> Self {
        self.read(&format!("ssh://{}", hop::escape(destination)))
    }

    /// On to `[user@]host[:port]`, by the program `ssh` of the hop before.
    pub fn openssh(self, destination: &str) -> Self {
        self.read(&format!("openssh://{}", hop::escape(destination)))
    }

    /// As root, by sudo.
    pub fn sudo(self) -> Self {
        self.hop(Hop::Sudo(None))
    }

    /// Into a container of docker's.
    pub fn docker(self, name: &str) -> Self {
        self.hop(Hop::Docker(name.to_owned()))
    }

    /// Into a container of podman's.
    pub fn podman(self, name: &str) -> Self {
        self.hop(Hop::Podman(name.to_owned()))
    }

    /// To the shell that a command line leads to.
    pub fn exec(self, command: &str) -> Self {
        self.hop(Hop::Exec(command.to_owned()))
    }

    /// To an installed stub, at the end.
    pub fn stub(self, path: impl Into<PathBuf>) -> Self {
        self.hop(Hop::Stub(path.into()))
    }

    fn read(mut self, text: &str) -> Self {
        match text.parse() {
            Ok(hop) => self.hops.push(hop),
            Err(error) => self.wrong = self.wrong.or(Some(error)),
        }
        self
    }

    /// The target.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) names the hop that cannot be, and why.
    pub fn build(self) -> Result<Target, Error> {
        match self.wrong {
            Some(error) => Err(error),
            None => {
                validate::check(&self.hops)?;
                Ok(Target { hops: self.hops })
            }
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_empty = text.split(',').any(str::is_empty);
        if is_empty && !text.is_empty() {
            let text =
                format!("target `{text}`: a hop is empty; hops are separated by single commas");
            return Err(Error::invalid(text));
        }
        let hops = text.split(',').map(str::parse).collect::<Result<Vec<Hop>, _>>()?;
        validate::check(&hops)?;
        Ok(Self { hops })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hop) in self.hops.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            hop.fmt(f)?;
        }
        Ok(())
    }
}
