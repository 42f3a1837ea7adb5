//! Hops, and their text.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    Error,
    authority::{Authority, check_host, check_user, check_word},
    text,
};

/// One step of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// `local:`, a child process on this host.
    Local,
    /// `ssh://[user@]host[:port]`, a host by ssh in this process. Consecutive ssh hops tunnel through
    /// each other, so that keys never leave this host.
    Ssh(SshDestination),
    /// `openssh://[user@]host[:port]`, a host by the program `ssh` with all its configuration.
    /// Consecutive hops are one `ssh -J`.
    OpenSsh(SshDestination),
    /// `sudo:[USER]`, a user by sudo, root by default.
    Sudo(Option<String>),
    /// `doas:[USER]`, a user by `doas -n`, root by default; doas.conf must permit it with `nopass`.
    Doas(Option<String>),
    /// `su:[USER]`, a user by su, root by default.
    Su(Option<String>),
    /// `docker:NAME`, a container by `docker exec`.
    Docker(String),
    /// `podman:NAME`, a container by `podman exec`.
    Podman(String),
    /// `kubectl:NAMESPACE/POD` or `kubectl:[CONTEXT]/NAMESPACE/POD/[CONTAINER]`, a container of a pod
    /// by `kubectl exec`. The second form keeps its three slashes where a part is left out.
    Kubectl(Pod),
    /// `lxc:NAME`, a container by `lxc-attach`.
    Lxc(String),
    /// `incus:NAME`, an instance by `incus exec`.
    Incus(String),
    /// `machinectl:NAME`, a systemd machine by `systemd-run --machine`.
    Machinectl(String),
    /// `exec:COMMAND`, a command line for `sh -c`. It starts a shell that reads commands from its
    /// stdin: `exec:chroot /srv/image sh`.
    Exec(String),
    /// `unix:PATH`, the unix socket of a listening stub, such as `nlr serve`.
    Unix(PathBuf),
    /// `stub:PATH`, an installed stub; none is sent.
    Stub(PathBuf),
}

/// The destination of an ssh hop. ssh's configuration gives the parts that are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SshDestination {
    /// The user there.
    pub user: Option<String>,
    /// The host's name or address, or its alias in the configuration; IPv6 without brackets.
    pub host: String,
    /// The TCP port there.
    pub port: Option<u16>,
}

/// A container of a pod: `NAMESPACE/POD` or `[CONTEXT]/NAMESPACE/POD/[CONTAINER]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Pod {
    /// The context in kubectl's configuration; `None` for the current one.
    pub context: Option<String>,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The container's name; `None` for the pod's default one.
    pub container: Option<String>,
}

impl Hop {
    /// The word before the first colon of its text.
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

    /// Whether the files on both sides of it are the same.
    pub(super) fn keeps_files(&self) -> bool {
        matches!(self, Self::Local | Self::Sudo(_) | Self::Doas(_) | Self::Su(_))
    }

    /// Refuses a name that a program could take for something else, such as an option.
    pub(super) fn check(&self) -> Result<(), Error> {
        let user = |user: &Option<String>| user.as_deref().map_or(Ok(()), check_user);
        let checked = match self {
            Self::Local => Ok(()),
            Self::Ssh(to) | Self::OpenSsh(to) => user(&to.user).and_then(|()| check_host(&to.host)),
            Self::Sudo(to) | Self::Doas(to) | Self::Su(to) => user(to),
            Self::Docker(name)
            | Self::Podman(name)
            | Self::Lxc(name)
            | Self::Incus(name)
            | Self::Machinectl(name) => check_name(name, "name"),
            Self::Kubectl(pod) => [
                (pod.context.as_ref(), "context"),
                (Some(&pod.namespace), "namespace"),
                (Some(&pod.name), "pod"),
                (pod.container.as_ref(), "container"),
            ]
            .into_iter()
            .filter_map(|(name, kind)| Some((name?, kind)))
            .try_for_each(|(name, kind)| check_name(name, kind)),
            Self::Exec(command) if command.trim().is_empty() => {
                Err("it needs a command, as in `exec:chroot /srv/image sh`".to_owned())
            }
            Self::Exec(command) if command.contains('\0') => {
                Err("a command cannot hold a NUL".to_owned())
            }
            Self::Exec(_) => Ok(()),
            Self::Unix(path) => check_path(path, "unix:/run/nlr.sock"),
            Self::Stub(path) => check_path(path, "stub:/usr/local/bin/nlr-stub").and_then(|()| {
                match path.is_absolute() {
                    true => Ok(()),
                    // The folder a command starts in differs from hop to hop.
                    false => Err("the path has to begin with `/`".to_owned()),
                }
            }),
        };
        checked.map_err(|reason| wrong(&self.to_string(), &reason))
    }
}

fn wrong(hop: &str, reason: &str) -> Error {
    Error::invalid(format!("target `{}`: {reason}", text::escaped(hop)))
}

fn check_name(name: &str, kind: &str) -> Result<(), String> {
    check_word(name, kind, "'`\"$\\;&<>|(){}")
}

fn check_path(path: &Path, example: &str) -> Result<(), String> {
    match path.as_os_str().is_empty() {
        true => Err(format!("it needs a path, as in `{example}`")),
        false => Ok(()),
    }
}

impl SshDestination {
    /// Reads `[user@]host[:port]`, with or without a final `/`.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let has_password = text.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        if has_password {
            return Err(NO_PASSWORD.to_owned());
        }
        let Authority { user, host, port } = Authority::parse(text).map_err(|reason| {
            let is_next_hop = text.contains([';', '/', '|', ' ']);
            let hint = if is_next_hop { "; hops are separated by commas" } else { "" };
            format!("{reason}{hint}")
        })?;
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }

    fn authority(&self) -> Authority<'_> {
        Authority { user: self.user.as_deref(), host: &self.host, port: self.port }
    }
}

impl Pod {
    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let some = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        let (context, namespace, name, container) = match *parts.as_slice() {
            [namespace, name] => ("", namespace, name, ""),
            [.., _, _, _] if parts.len() >= 4 => {
                // A context's name may hold slashes; the names of objects in a cluster may not.
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
                let text = "three parts are ambiguous: write `/NAMESPACE/POD/CONTAINER` or \
                            `CONTEXT/NAMESPACE/POD/`";
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

const NO_PASSWORD: &str = "must not contain a password; the hop that needs one asks for it";

const POD: &str = "expected `NAMESPACE/POD` or `[CONTEXT]/NAMESPACE/POD/[CONTAINER]`";

impl FromStr for Hop {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| match reason == NO_PASSWORD {
            // The text shows the password.
            true => Error::invalid(format!("target: {reason}")),
            false => wrong(text, reason),
        };
        let Some((scheme, rest)) = text.split_once(':') else {
            let reason = match text {
                "" => "a hop is empty; hops are separated by single commas".to_owned(),
                "local" | "sudo" | "doas" | "su" => format!("write `{text}:`"),
                _ if text.starts_with(['/', '.', '~']) => {
                    format!("no such hop; for a unix socket write `unix:{}`", text::escaped(text))
                }
                _ if text.contains('/') => "no such hop; for a host write `ssh://HOST`".to_owned(),
                _ => format!("no such hop; for a host write `ssh://{}`", text::escaped(text)),
            };
            return Err(wrong(&reason));
        };
        if matches!(scheme, "pid" | "netns") {
            let namespace = if scheme == "pid" { text } else { rest };
            let reason = format!("a namespace is no hop: `-n {}`", text::escaped(namespace));
            return Err(wrong(&reason));
        }
        let value = unescape(rest);
        let optional = || (!value.is_empty()).then(|| value.clone());
        let hop = match scheme {
            "local" if value.is_empty() => Self::Local,
            "local" => return Err(wrong("`local:` takes nothing after the colon")),
            "ssh" | "openssh" => {
                let Some(destination) = value.strip_prefix("//") else {
                    return Err(wrong(&format!("write `{scheme}://{}`", text::escaped(&value))));
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
                return Err(wrong(&format!("for a host write `ssh://{}`", text::escaped(text))));
            }
            _ => {
                let known = "expected local:, ssh://, openssh://, sudo:, doas:, su:, docker:, podman:, \
                             kubectl:, lxc:, incus:, machinectl:, exec:, unix: or stub:";
                let scheme = text::escaped(scheme);
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
        self.authority().fmt(f)
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

/// Text with the comma, which separates hops, and the percent sign escaped.
pub(super) fn escape(text: &str) -> String {
    text.replace('%', "%25").replace(',', "%2C")
}

fn unescape(text: &str) -> String {
    text.replace("%2C", ",").replace("%2c", ",").replace("%25", "%")
}
