//! Where a stub is to run: a chain of hops, written as text.
//!
//! ```text
//! local:                 a stub as a child process
//! unix:PATH              a stub that listens on a unix socket, as `nlr serve` does
//! ```
//!
//! Hops are separated by commas, outermost first; a comma inside a path is written `%2C`, and a
//! percent sign `%25`.

#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use tokio::process::Command;

use crate::{
    Error,
    client::{Client, ConnectOptions},
    transport::{process, unix},
};

/// One step on the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// A child process on this host.
    Local,
    /// A unix socket on this host.
    Unix(PathBuf),
}

/// The way to a stub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    hops: Vec<Hop>,
}

/// How to go there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TargetOptions {
    /// The stub's program and arguments, for hops that start one. By default the program that
    /// the environment variable `NLR_STUB` names, else `nlr-stub` beside the running program,
    /// else `nlr-stub` in `PATH`.
    pub stub: Option<Vec<OsString>>,
    /// How long the far end may take to say hello: 30 seconds.
    pub timeout: Duration,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self { stub: None, timeout: ConnectOptions::default().timeout }
    }
}

impl Target {
    /// A stub as a child process.
    pub fn local() -> Self {
        Self { hops: vec![Hop::Local] }
    }

    /// A stub that listens on a unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { hops: vec![Hop::Unix(path.into())] }
    }

    /// The hops, outermost first; there is at least one.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Connects. Not cancel-safe, but what a dropped future had started ends.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) where a hop cannot be reached or
    /// started; otherwise as [`Client::connect`].
    pub async fn connect(&self, options: &TargetOptions) -> Result<Client, Error> {
        let mut connect = ConnectOptions { timeout: options.timeout, ..Default::default() };
        let result = match self.hops.as_slice() {
            [Hop::Unix(path)] => match unix::connect(path).await {
                Ok(stream) => Client::connect_with(stream, connect).await,
                Err(error) => Err(error),
            },
            // `FromStr` and the constructors make no other.
            _ => match process::spawn(stub_command(options)) {
                Ok((stream, epitaph)) => {
                    connect.epitaph = Some(epitaph);
                    Client::connect_with(stream, connect).await
                }
                Err(error) => Err(error.followed_by(" (or set NLR_STUB to a stub's path)")),
            },
        };
        // "local: starting ...", with one colon.
        result.map_err(|error| error.context(self.to_string().trim_end_matches(':')))
    }
}

fn stub_command(options: &TargetOptions) -> Command {
    if let Some([program, arguments @ ..]) = options.stub.as_deref() {
        let mut command = Command::new(program);
        command.args(arguments);
        return command;
    }
    let beside = || {
        let path = std::env::current_exe().ok()?.with_file_name("nlr-stub");
        path.exists().then(|| path.into_os_string())
    };
    let program = std::env::var_os("NLR_STUB").filter(|path| !path.is_empty()).or_else(beside);
    Command::new(program.unwrap_or_else(|| "nlr-stub".into()))
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hops = text.split(',').map(parse_hop).collect::<Result<Vec<_>, _>>()?;
        match hops.as_slice() {
            [_] => Ok(Self { hops }),
            _ => {
                let text = format!("target {text:?}: a chain of hops cannot begin like that");
                Err(Error::invalid(text))
            }
        }
    }
}

fn parse_hop(text: &str) -> Result<Hop, Error> {
    let expected = "expected `local:` or `unix:PATH`";
    match text.split_once(':') {
        Some(("local", "")) => Ok(Hop::Local),
        Some(("unix", "")) => {
            Err(Error::invalid("target `unix:` needs a path, as in `unix:/run/nlr.sock`"))
        }
        Some(("unix", path)) => Ok(Hop::Unix(path.replace("%2C", ",").replace("%25", "%").into())),
        _ => Err(Error::invalid(format!("target {text:?} is not known; {expected}"))),
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

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hop::Local => f.write_str("local:"),
            Hop::Unix(path) => write!(f, "unix:{}", escape(path)),
        }
    }
}

fn escape(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["local:", "unix:/run/nlr.sock", "unix:relative", "unix:/a%2Cb%25c"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("unix:/a%2Cb".parse::<Target>().unwrap(), Target::unix("/a,b"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "not known"),
            ("local", "not known"),
            ("local:x", "not known"),
            ("unix:", "needs a path"),
            ("local:,local:", "chain of hops"),
            ("carrier-pigeon:", "expected `local:` or `unix:PATH`"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
        }
    }
}
