//! What a client may do with a stub.

use std::{fmt, str::FromStr};

use nix::errno::Errno;

use crate::{
    kernel::{Duties, explained},
    protocol::Protocol,
    wire::{FILE, Failure, Netns, NetnsMode, NetnsRequest, OWN_LEVEL, Open, SocketOption},
};

/// What a client may do with a stub: everything that its account may, by default.
///
/// The stub checks which sockets and namespaces a client opens, and never looks into a datagram. A
/// datagram may name namespaces by pid or by descriptor (`IFLA_NET_NS_PID`); what it may do there is
/// the kernel's decision, which [`read_only`](Self::read_only) leaves with nothing to permit.
///
/// ```
/// let mut config = netlink_remote::stub::Config::default();
/// config.access.read_only = true;
/// config.access.netns = Some(vec!["current".parse()?, "blue-*".parse()?]);
/// # Ok::<_, netlink_remote::stub::BadNetnsRule>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Access {
    /// Whether the client can look alone: false. The threads that act for it give up CAP_NET_ADMIN and
    /// every other capability to change something, so that the kernel itself refuses changes (EPERM).
    /// The kernel also refuses some reading then: all of netfilter and IPsec, keys of WireGuard.
    /// Namespaces are neither created nor deleted, and none is entered in which the stub's user has all
    /// capabilities as the owner of its user namespace (user_namespaces(7)).
    pub read_only: bool,
    /// The protocols that the client may open; `None` for all. Others give EACCES.
    pub protocols: Option<Vec<Protocol>>,
    /// The namespaces that the client may open, create and delete; `None` for all. Others give
    /// EACCES, whether they exist or not, and are not listed. A handle that is open is allowed.
    pub netns: Option<Vec<NetnsRule>>,
    /// Whether files of the host's network, which every user there may read, are refused (EACCES): false. They are
    /// those below `/proc/net` and `/proc/sys/net`, in the namespaces that the client may open.
    pub no_files: bool,
}

/// A namespace, or several, of [`Access::netns`]: a text of one of these forms.
///
/// | text | allows |
/// |---|---|
/// | `current` | the namespace that the stub runs in |
/// | `NAME` | [`Netns::Name`]: a name in `/run/netns` |
/// | `PATH`, with a slash | [`Netns::Path`] of the same text |
/// | `pid:N` | [`Netns::Pid`] |
/// | `docker:NAME`, `podman:NAME` | [`Netns::Container`] |
///
/// A `*` at the end stands for any text without a slash: `blue-*`, `pid:*`, `docker:*`,
/// `/run/netns/*`; `*` alone is any name. The same namespace by another form is another text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetnsRule(String);

/// The error of a text that is no [`NetnsRule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `current`, a name, a path, `pid:N`, `docker:NAME` or `podman:NAME`, with `*` at the end at most"
)]
pub struct BadNetnsRule;

impl FromStr for NetnsRule {
    type Err = BadNetnsRule;

    fn from_str(text: &str) -> Result<Self, BadNetnsRule> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let is_number = |pid: &str| pid == "*" || pid.parse::<u32>().is_ok_and(|pid| pid > 0);
        match text.split_once(':') {
            _ if text.is_empty() || stem.contains(['*', '\0']) => Err(BadNetnsRule),
            _ if text.contains('/') => Ok(Self(text.to_owned())),
            Some(("pid", pid)) if !is_number(pid) => Err(BadNetnsRule),
            Some(("docker" | "podman", "")) => Err(BadNetnsRule),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for NetnsRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NetnsRule {
    fn allows(&self, netns: &Netns) -> bool {
        // A name may have the form of another rule: `pid:7` of /run/netns needs its path.
        let is_name = |text: &str| {
            let special = ["pid:", "docker:", "podman:"].iter().any(|form| text.starts_with(form));
            !special && text != "current" && !text.contains('/')
        };
        match netns {
            Netns::Current => self.0 == "current",
            Netns::Name(name) => is_name(&self.0) && is_name(name) && self.matches(name),
            Netns::Path(path) => self.0.contains('/') && self.matches(path),
            Netns::Pid(pid) => self.matches_behind("pid:", &pid.to_string()),
            Netns::Container { engine, name } => self.matches_behind(&format!("{engine}:"), name),
            Netns::Handle(_) => true,
        }
    }

    fn matches_behind(&self, form: &str, text: &str) -> bool {
        self.0.starts_with(form) && self.matches(&format!("{form}{text}"))
    }

    fn matches(&self, text: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(stem) => text.strip_prefix(stem).is_some_and(|rest| !rest.contains('/')),
            None => text == self.0,
        }
    }
}

impl Access {
    /// Checks that a socket may be opened.
    ///
    /// # Errors
    /// EACCES with the list that has it not; EPERM where it is to create a namespace.
    pub(super) fn check_open(&self, open: &Open) -> Result<(), Failure> {
        let protocol = Protocol::new(open.protocol);
        if let Some(allowed) = &self.protocols
            && !allowed.contains(&protocol)
        {
            return Err(unlisted(format_args!("protocol {protocol}"), "protocols", allowed));
        }
        let is_file = |option: &SocketOption| (option.level, option.name) == (OWN_LEVEL, FILE);
        if self.no_files && open.options.iter().any(is_file) {
            return Err(explained(Errno::EACCES, "this stub serves no files"));
        }
        self.check_netns(&open.netns, open.mode)
    }

    /// Checks that a request on namespaces may be made.
    ///
    /// # Errors
    /// As [`check_open`](Self::check_open).
    pub(super) fn check_request(&self, request: &NetnsRequest) -> Result<(), Failure> {
        let name = |name: &String| Netns::Name(name.clone());
        match request {
            NetnsRequest::Open(netns, mode) => self.check_netns(netns, *mode),
            NetnsRequest::Add(it) => self.check_netns(&name(it), NetnsMode::CreateExclusive),
            NetnsRequest::Delete(it) => self.check_netns(&name(it), NetnsMode::CreateExclusive),
            NetnsRequest::Close(_) | NetnsRequest::List => Ok(()),
        }
    }

    fn check_netns(&self, netns: &Netns, mode: NetnsMode) -> Result<(), Failure> {
        if let Some(allowed) = &self.netns
            && !self.allows(netns)
        {
            return Err(unlisted(netns, "namespaces", allowed));
        }
        if self.read_only && mode != NetnsMode::Existing {
            let text =
                format!("{netns}: this connection is read-only, and creates or deletes none");
            return Err(explained(Errno::EPERM, text));
        }
        Ok(())
    }

    /// Whether a namespace may be opened, and told of.
    pub(super) fn allows(&self, netns: &Netns) -> bool {
        self.netns.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.allows(netns)))
    }

    /// Whether a container engine may be asked.
    pub(super) fn has_containers(&self) -> bool {
        let is_engine =
            |rule: &NetnsRule| rule.0.starts_with("docker:") || rule.0.starts_with("podman:");
        self.netns.as_ref().is_none_or(|rules| rules.iter().any(is_engine))
    }

    /// What a process does that serves clients with this access.
    pub(super) fn duties(&self) -> Duties {
        let others = |rules: &Vec<NetnsRule>| rules.iter().any(|rule| rule.0 != "current");
        Duties {
            changes: !self.read_only,
            namespaces: self.netns.as_ref().is_none_or(others),
            audit: self.protocols.as_ref().is_none_or(|list| list.contains(&Protocol::AUDIT)),
        }
    }
}

/// The failure of what is not in a list.
fn unlisted(what: impl fmt::Display, list: &str, allowed: &[impl fmt::Display]) -> Failure {
    let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
    explained(Errno::EACCES, format!("{what} is not in the stub's list of {list} ({allowed})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> NetnsRule {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_allows_what_its_text_says_alone() {
        let name = |name: &str| Netns::Name(name.to_owned());
        let path = |path: &str| Netns::Path(path.to_owned());
        for (text, allowed, refused) in [
            ("current", vec![Netns::Current], vec![name("current"), name("x"), path("/current")]),
            (
                "blue",
                vec![name("blue")],
                vec![Netns::Current, name("blue2"), path("/run/netns/blue"), Netns::Pid(1)],
            ),
            ("blue-*", vec![name("blue-1"), name("blue-")], vec![name("blue"), name("x-blue-1")]),
            ("*", vec![name("x")], vec![Netns::Current, Netns::Pid(7), path("/x"), name("pid:7")]),
            ("pid:7", vec![Netns::Pid(7)], vec![Netns::Pid(77), name("pid:7")]),
            ("pid:*", vec![Netns::Pid(7)], vec![name("pid:7"), Netns::docker("7")]),
            (
                "docker:web",
                vec![Netns::docker("web")],
                vec![Netns::podman("web"), name("docker:web")],
            ),
            ("docker:*", vec![Netns::docker("web")], vec![name("docker:web"), Netns::podman("x")]),
            (
                "/run/netns/*",
                vec![path("/run/netns/x")],
                vec![path("/run/netns/../x/y"), path("/run/x"), name("x")],
            ),
            ("/a", vec![path("/a")], vec![path("/a/"), path("/a/../a"), name("a")]),
        ] {
            for netns in allowed {
                assert!(rule(text).allows(&netns), "{text}: {netns}");
            }
            for netns in refused {
                assert!(!rule(text).allows(&netns), "{text}: {netns}");
            }
            assert!(rule(text).allows(&Netns::Handle(3)));
        }
        for wrong in ["", "a*b", "**", "pid:", "pid:x", "pid:0", "docker:", "a\0b"] {
            assert_eq!(wrong.parse::<NetnsRule>(), Err(BadNetnsRule), "{wrong:?}");
        }
    }

    #[test]
    fn duties_follow_from_the_lists() {
        let access = |netns: &[&str]| Access {
            netns: Some(netns.iter().map(|text| rule(text)).collect()),
            ..Access::default()
        };
        let all = Access::default();
        assert!(all.duties().namespaces && all.duties().changes && all.duties().audit);
        assert!(all.has_containers());
        assert!(!access(&["current"]).duties().namespaces);
        assert!(access(&["current", "*"]).duties().namespaces);
        assert!(!access(&["current", "*", "/x/docker:"]).has_containers());
        assert!(access(&["podman:*"]).has_containers());
        let route = Access { protocols: Some(vec![Protocol::ROUTE]), read_only: true, ..all };
        assert!(!route.duties().audit && !route.duties().changes);
    }
}
