//! Arguments that several subcommands have in common.

use std::time::Duration;

use clap::{Args, ValueEnum};

use netlink_remote::{Netns, fleet::parse_netns};

/// The network namespace of a subcommand's sockets.
#[derive(Debug, Args)]
pub(crate) struct NetnsArg {
    /// Network namespace: a name of ip-netns(8), a path (any text with a slash), `pid:N` for the
    /// namespace of a process, or `docker:NAME` or `podman:NAME` for that of a running container,
    /// by name or id. Default: the namespace of the stub. A name of ip-netns(8) in one of these
    /// forms needs its path, such as /run/netns/docker:x
    #[arg(id = "netns", long = "netns", short = 'n', value_name = "NETNS", value_parser = netns, allow_hyphen_values = true)]
    value: Option<Netns>,
}

impl NetnsArg {
    /// The namespace that was given.
    pub(crate) fn given(&self) -> Option<&Netns> {
        self.value.as_ref()
    }

    pub(crate) fn netns(&self) -> Netns {
        self.value.clone().unwrap_or_default()
    }
}

/// The choice of colours.
#[derive(Debug, Args)]
pub(crate) struct ColorArg {
    /// Colours in text: `auto` means on a terminal, unless NO_COLOR is set. JSON has none
    #[arg(id = "color", long = "color", value_name = "WHEN", default_value = "auto")]
    value: ColorWhen,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ColorWhen {
    Auto,
    Always,
    Never,
}

impl ColorArg {
    /// Whether standard output gets colours.
    pub(crate) fn on(&self) -> bool {
        match self.value {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                let choice = anstream::AutoStream::choice(&std::io::stdout());
                choice != anstream::ColorChoice::Never
            }
        }
    }
}

/// Parses a number of things above zero.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "expected a number from 1 on".to_owned())
}

/// Parses a number of seconds, zero included.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok();
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "expected a number of seconds, such as 5 or 0.2".to_owned())
}

/// Parses a number of seconds above zero.
pub(crate) fn positive_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("expected more than 0 seconds".to_owned()),
        duration => Ok(duration),
    }
}

pub(crate) fn netns(text: &str) -> Result<Netns, String> {
    parse_netns(text).map_err(|error| error.to_string())
}

/// A namespace as the command line names it.
pub(crate) fn netns_text(netns: &Netns) -> String {
    match netns {
        Netns::Name(name) => name.clone(),
        Netns::Pid(pid) => format!("pid:{pid}"),
        Netns::Path(path) => path.clone(),
        Netns::Container { engine, name } => format!("{engine}:{name}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces() {
        assert_eq!(netns("blue"), Ok(Netns::Name("blue".into())));
        assert_eq!(netns("/run/netns/blue"), Ok(Netns::Path("/run/netns/blue".into())));
        assert_eq!(netns("pid:/x"), Ok(Netns::Path("pid:/x".into())));
        assert_eq!(netns("pid:7"), Ok(Netns::Pid(7)));
        assert_eq!(netns("docker:web-1"), Ok(Netns::docker("web-1")));
        assert_eq!(netns("podman:4f5e.x_y"), Ok(Netns::podman("4f5e.x_y")));
        assert_eq!(netns("docker"), Ok(Netns::Name("docker".into())));
        assert_eq!(netns("a:b"), Ok(Netns::Name("a:b".into())));
        let path = "/run/netns/docker:x";
        assert_eq!(netns(path), Ok(Netns::Path(path.into())));
        for wrong in ["docker:", "docker:-H", "docker:a b", "podman:.x", "docker:a:b"] {
            assert!(netns(wrong).unwrap_err().contains(":web"), "{wrong}");
        }
        for wrong in ["", "pid:", "pid:0", "pid:x", "pid:-1"] {
            assert!(netns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "-1", "x", "nan", "inf", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(positive_seconds("0").is_err() && positive_seconds("0.1").is_ok());
    }
}
