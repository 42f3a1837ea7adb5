//! One step on the way to a stub, and how it is written.

#![forbid(unsafe_code)]

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::Error;

/// One step on the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// `local:`, a child process on this host.
    Local,
    /// `ssh://[user@]host[:port]`, by ssh in this process. Several in a row tunnel through each
    /// other, so that keys never leave this host.
    Ssh(SshDestination),
    /// `openssh://[user@]host[:port]`, by the program `ssh` with all its configuration. Several
    /// in a row are one `ssh -J`.
    OpenSsh(SshDestination),
    /// `sudo:[USER]`, root by default.
    Sudo(Option<String>),
    /// `doas:[USER]`, root by default.
    Doas(Option<String>),
    /// `su:[USER]`, root by default.
    Su(Option<String>),
    /// `docker:NAME`, inside that container.
    Docker(String),
    /// `podman:NAME`, inside that container.
    Podman(String),
    /// `kubectl:[CONTEXT/]NAMESPACE/POD[/CONTAINER]`, inside that container.
    Kubectl(Pod),
    /// `lxc:NAME`, inside that container of LXC's.
    Lxc(String),
    /// `incus:NAME`, inside that instance.
    Incus(String),
    /// `machinectl:NAME`, inside that machine of systemd's.
    Machinectl(String),
    /// `exec:COMMAND`, a command line for `sh -c` that leads to a shell which reads commands from
    /// its stdin: `exec:chroot /srv/image sh`.
    Exec(String),
    /// `unix:PATH`, a stub that listens there, as `nlr serve` does.
    Unix(PathBuf),
    /// `stub:PATH`, a stub that is installed there, so that none is brought along.
    Stub(PathBuf),
}

/// Where ssh is to go. What is left out, ssh's configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SshDestination {
    /// The user there.
    pub user: Option<String>,
    /// The host's name or address, or what the configuration calls it; IPv6 without brackets.
    pub host: String,
    /// The port there.
    pub port: Option<u16>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Pod {
    /// The context of kubectl's configuration.
    pub context: Option<String>,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub name: String,
    /// The container in it.
    pub container: Option<String>,
}

impl Hop {
    /// The word it is written with.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ssh(_) => "ssh",
            Self::OpenSsh(_) => "openssh",
            Self::Sudo(_) => "sudo",
            Self::Doas(_) => "doas",
            Self::Su(_) => "su",
            Self::Docker(_) => "docker",
            Self::Podman(_) => "podman",
            Self::Kubectl(_) => "kubectl",
            Self::Lxc(_) => "lxc",
            Self::Incus(_) => "incus",
            Self::Machinectl(_) => "machinectl",
            Self::Exec(_) => "exec",
            Self::Unix(_) => "unix",
            Self::Stub(_) => "stub",
        }
    }

    /// Whether files of before it are to be found behind it.
    pub(super) fn keeps_files(&self) -> bool {
        matches!(self, Self::Local | Self::Sudo(_) | Self::Doas(_) | Self::Su(_))
    }

    /// Refuses names that would be taken for something else where they are used: programs take
    /// what begins with `-` for an option.
    pub(super) fn check(&self) -> Result<(), Error> {
        let checked = match self {
            Self::Local => Ok(()),
            Self::Ssh(to) | Self::OpenSsh(to) => {
                let user = to.user.as_deref().map_or(Ok(()), |user| check_word(user, "user"));
                user.and_then(|()| check_word(&to.host, "host"))
            }
            Self::Sudo(user) | Self::Doas(user) | Self::Su(user) => {
                user.as_deref().map_or(Ok(()), |user| check_word(user, "user"))
            }
            Self::Docker(name)
            | Self::Podman(name)
            | Self::Lxc(name)
            | Self::Incus(name)
            | Self::Machinectl(name) => check_word(name, "name"),
            Self::Kubectl(pod) => [
                (pod.context.as_ref(), "context"),
                (Some(&pod.namespace), "namespace"),
                (Some(&pod.name), "pod"),
                (pod.container.as_ref(), "container"),
            ]
            .into_iter()
            .filter_map(|(word, what)| Some((word?, what)))
            .try_for_each(|(word, what)| check_word(word, what)),
            Self::Exec(command) if command.trim().is_empty() => {
                Err("needs a command, as in `exec:chroot /srv/image sh`".to_owned())
            }
            Self::Exec(command) if command.contains('\0') => {
                Err("a command cannot hold a NUL".to_owned())
            }
            Self::Exec(_) => Ok(()),
            Self::Unix(path) => check_path(path, "unix:/run/nlr.sock"),
            Self::Stub(path) => check_path(path, "stub:/usr/local/bin/nlr-stub").and_then(|()| {
                match path.is_absolute() {
                    true => Ok(()),
                    // Which folder a command starts in differs from hop to hop.
                    false => Err("the path has to begin with `/`".to_owned()),
                }
            }),
        };
        checked.map_err(|reason| Error::invalid(format!("target `{self}`: {reason}")))
    }
}

fn check_path(path: &Path, example: &str) -> Result<(), String> {
    match path.as_os_str().is_empty() {
        true => Err(format!("needs a path, as in `{example}`")),
        false => Ok(()),
    }
}

fn check_word(word: &str, what: &str) -> Result<(), String> {
    if word.is_empty() {
        return Err(format!("the {what} is missing"));
    }
    if word.starts_with('-') {
        return Err(format!("a {what} cannot begin with `-`"));
    }
    let odd = |letter: char| {
        letter.is_control() || letter.is_whitespace() || "'`\"$\\;&<>|(){}".contains(letter)
    };
    match word.chars().find(|&letter| odd(letter)) {
        Some(letter) => Err(format!("a {what} cannot hold {letter:?}")),
        None => Ok(()),
    }
}

impl SshDestination {
    /// Reads `[user@]host[:port]`.
    ///
    /// # Errors
    /// A reason, where it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        // A user may have an @ in it, as accounts of directory services do; a host may not.
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(NO_PASSWORD.to_owned());
        }
        let bracketed =
            rest.strip_prefix('[').map(|inside| inside.split_once(']').ok_or("`]` is missing"));
        let (host, port) = match bracketed.transpose()? {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                (host, Some(rest.strip_prefix(':').ok_or("expected `:port` behind `]`")?))
            }
            None if rest.matches(':').count() > 1 => {
                return Err("an IPv6 address is written in brackets: `ssh://[::1]`".to_owned());
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.contains('/') {
            return Err("a host cannot hold `/`; hops are separated by commas".to_owned());
        }
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port @ 1..)) => Some(port),
            Some(_) => {
                let text = "a port is a number from 1 to 65535; hops are separated by commas";
                return Err(text.to_owned());
            }
        };
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

impl Pod {
    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let some = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        let (context, namespace, name, container) = match *parts.as_slice() {
            [namespace, name] => ("", namespace, name, ""),
            [.., _, _, _] if parts.len() >= 4 => {
                // The names of contexts may hold slashes, those of what is in a cluster may not.
                let (inside, context) = match parts.as_slice() {
                    [context @ .., namespace, name, container] => {
                        ((*namespace, *name, *container), context)
                    }
                    _ => return Err(POD.to_owned()),
                };
                let (namespace, name, container) = inside;
                let context = context.join("/");
                return Ok(Self {
                    context: some(&context),
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    container: some(container),
                });
            }
            [_, _, _] => {
                let text = "three parts can be read in two ways; write `/NAMESPACE/POD/CONTAINER` \
                            or `CONTEXT/NAMESPACE/POD/`";
                return Err(text.to_owned());
            }
            _ => return Err(POD.to_owned()),
        };
        Ok(Self {
            context: some(context),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            container: some(container),
        })
    }
}

const NO_PASSWORD: &str =
    "a password does not belong into a target; it is asked for, or see --password-fd";

const POD: &str = "expected `[CONTEXT/]NAMESPACE/POD[/CONTAINER]`";

impl FromStr for Hop {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| match reason == NO_PASSWORD {
            // It would be shown.
            true => Error::invalid(format!("target: {reason}")),
            false => Error::invalid(format!("target `{text}`: {reason}")),
        };
        let Some((scheme, rest)) = text.split_once(':') else {
            let reason = match text {
                "" => "a hop is empty; hops are separated by single commas".to_owned(),
                "local" | "sudo" | "doas" | "su" => format!("write `{text}:`"),
                _ if text.contains('/') => "it is not known what that is; for a host write \
                     `ssh://HOST`"
                    .to_owned(),
                _ => format!("it is not known what that is; for a host write `ssh://{text}`"),
            };
            return Err(wrong(&reason));
        };
        let value = unescape(rest);
        let optional = || (!value.is_empty()).then(|| value.clone());
        let hop = match scheme {
            "local" if value.is_empty() => Self::Local,
            "local" => return Err(wrong("`local:` takes nothing behind it")),
            "ssh" | "openssh" => {
                let Some(destination) = value.strip_prefix("//") else {
                    return Err(wrong(&format!("write `{scheme}://{value}`")));
                };
                let destination =
                    SshDestination::parse(destination).map_err(|reason| wrong(&reason))?;
                match scheme {
                    "ssh" => Self::Ssh(destination),
                    _ => Self::OpenSsh(destination),
                }
            }
            "sudo" => Self::Sudo(optional()),
            "doas" => Self::Doas(optional()),
            "su" => Self::Su(optional()),
            "docker" => Self::Docker(value),
            "podman" => Self::Podman(value),
            "kubectl" => Self::Kubectl(Pod::parse(&value).map_err(|reason| wrong(&reason))?),
            "lxc" => Self::Lxc(value),
            "incus" => Self::Incus(value),
            "machinectl" => Self::Machinectl(value),
            "exec" => Self::Exec(value),
            "unix" => Self::Unix(value.into()),
            "stub" => Self::Stub(value.into()),
            _ if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(wrong(&format!("for a host write `ssh://{text}`")));
            }
            _ => {
                let known = "expected local:, ssh://, openssh://, sudo:, doas:, su:, docker:, podman:, \
                             kubectl:, lxc:, incus:, machinectl:, exec:, unix: or stub:";
                return Err(Error::invalid(format!("target `{scheme}:` is not known; {known}")));
            }
        };
        hop.check()?;
        Ok(hop)
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme())?;
        match self {
            Self::Local => Ok(()),
            Self::Ssh(to) | Self::OpenSsh(to) => write!(f, "//{}", escape(&to.to_string())),
            Self::Sudo(user) | Self::Doas(user) | Self::Su(user) => {
                f.write_str(&escape(user.as_deref().unwrap_or_default()))
            }
            Self::Docker(text)
            | Self::Podman(text)
            | Self::Lxc(text)
            | Self::Incus(text)
            | Self::Machinectl(text)
            | Self::Exec(text) => f.write_str(&escape(text)),
            Self::Kubectl(pod) => f.write_str(&escape(&pod.to_string())),
            Self::Unix(path) | Self::Stub(path) => f.write_str(&escape(&path.to_string_lossy())),
        }
    }
}

impl fmt::Display for SshDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context, namespace, name, container } = self;
        let (context, container) = (context.as_deref(), container.as_deref());
        match (context, container) {
            (None, None) => write!(f, "{namespace}/{name}"),
            _ => write!(
                f,
                "{}/{namespace}/{name}/{}",
                context.unwrap_or_default(),
                container.unwrap_or_default()
            ),
        }
    }
}

pub(super) fn escape(text: &str) -> String {
    text.replace('%', "%25").replace(',', "%2C")
}

fn unescape(text: &str) -> String {
    text.replace("%2C", ",").replace("%2c", ",").replace("%25", "%")
}
