//! Targets, and their text.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{
    hop::{self, Hop},
    validate,
};
use crate::{Error, text};

/// The place of a stub: a chain of hops that fit together.
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
    /// This host, with the stub as a child process: `local:`.
    pub fn local() -> Self {
        Self { hops: vec![Hop::Local] }
    }

    /// A builder without hops, which begins on this host.
    pub fn builder() -> TargetBuilder {
        TargetBuilder { hops: Vec::new(), error: None }
    }

    /// A builder whose first hop is `[user@]host[:port]` by ssh in this process.
    pub fn ssh(destination: &str) -> TargetBuilder {
        Self::builder().ssh(destination)
    }

    /// A builder whose first hop is `[user@]host[:port]` by the program `ssh`.
    pub fn openssh(destination: &str) -> TargetBuilder {
        Self::builder().openssh(destination)
    }

    /// The hops, outermost first; at least one.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// The hops after `local:`.
    pub(super) fn far_hops(&self) -> &[Hop] {
        self.hops.strip_prefix(&[Hop::Local]).unwrap_or(&self.hops)
    }
}

/// Builds a [`Target`] hop by hop.
#[derive(Debug, Clone)]
#[must_use]
pub struct TargetBuilder {
    hops: Vec<Hop>,
    /// The first hop that could not be read.
    error: Option<Error>,
}

impl TargetBuilder {
    /// Adds a hop.
    pub fn hop(mut self, hop: Hop) -> Self {
        self.hops.push(hop);
        self
    }

    /// Adds `[user@]host[:port]`, by ssh in this process.
    pub fn ssh(self, destination: &str) -> Self {
        self.read(&format!("ssh://{}", hop::escape(destination)))
    }

    /// Adds `[user@]host[:port]`, by the program `ssh` at the hop before.
    pub fn openssh(self, destination: &str) -> Self {
        self.read(&format!("openssh://{}", hop::escape(destination)))
    }

    /// Adds root, by sudo.
    pub fn sudo(self) -> Self {
        self.hop(Hop::Sudo(None))
    }

    /// Adds a container, by `docker exec`.
    pub fn docker(self, name: &str) -> Self {
        self.hop(Hop::Docker(name.to_owned()))
    }

    /// Adds a container, by `podman exec`.
    pub fn podman(self, name: &str) -> Self {
        self.hop(Hop::Podman(name.to_owned()))
    }

    /// Adds a shell that a command line starts.
    pub fn exec(self, command: &str) -> Self {
        self.hop(Hop::Exec(command.to_owned()))
    }

    /// Adds an installed stub, which comes last.
    pub fn stub(self, path: impl Into<PathBuf>) -> Self {
        self.hop(Hop::Stub(path.into()))
    }

    fn read(mut self, text: &str) -> Self {
        match text.parse() {
            Ok(hop) => self.hops.push(hop),
            Err(error) => self.error = self.error.or(Some(error)),
        }
        self
    }

    /// The target of these hops.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) names the first misplaced or malformed hop,
    /// and the reason.
    pub fn build(self) -> Result<Target, Error> {
        match self.error {
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
            let text = text::escaped(text);
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
