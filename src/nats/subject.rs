//! Names as tokens of subjects.

use std::fmt::Write as _;

use crate::{Netns, Protocol, monitor::Source, wire::ContainerEngine};

/// The token of a thing that there is not, and of the stub's own namespace.
pub(super) const NONE: &str = "_";

/// A name as one token.
pub(super) fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => token.push(char::from(byte)),
            // Writing to memory does not fail.
            byte => drop(write!(token, "%{byte:02X}")),
        }
    }
    match token.as_str() {
        "" | NONE => "%5F".to_owned(),
        _ => token,
    }
}

/// The subject of an event: `what` is the group's number, or the event's name.
pub(super) fn subject(
    prefix: &str,
    source: &Source,
    protocol: Option<Protocol>,
    what: &str,
) -> String {
    let netns = match &source.netns {
        None | Some(Netns::Current) => NONE.to_owned(),
        Some(Netns::Name(name)) => token(name),
        Some(netns) => token(&netns_text(netns)),
    };
    let protocol = protocol.map_or_else(|| NONE.to_owned(), protocol_token);
    format!("{prefix}.{}.{netns}.{protocol}.{what}", token(&source.target))
}

/// `NETLINK_ROUTE` is `route`.
fn protocol_token(protocol: Protocol) -> String {
    let name = protocol.to_string();
    token(&name.strip_prefix("NETLINK_").unwrap_or(&name).to_ascii_lowercase())
}

/// A namespace as the value of a header.
pub(super) fn netns_text(netns: &Netns) -> String {
    match netns {
        Netns::Current | Netns::Handle(_) => "current".to_owned(),
        Netns::Name(name) => format!("name:{name}"),
        Netns::Path(path) => format!("path:{path}"),
        Netns::Pid(pid) => format!("pid:{pid}"),
        Netns::Container { engine, name } => format!("{engine}:{name}"),
    }
}

/// The namespace of such a value.
pub(super) fn netns_of(text: &str) -> Option<Netns> {
    if text == "current" {
        return Some(Netns::Current);
    }
    let (kind, rest) = text.split_once(':')?;
    let rest = rest.to_owned();
    Some(match kind {
        "name" => Netns::Name(rest),
        "path" => Netns::Path(rest),
        "pid" => Netns::Pid(rest.parse().ok()?),
        "docker" => Netns::Container { engine: ContainerEngine::Docker, name: rest },
        "podman" => Netns::Container { engine: ContainerEngine::Podman, name: rest },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens() {
        for (name, expected) in [
            ("core1", "core1"),
            ("ssh://ci@core1,sudo:", "ssh%3A%2F%2Fci%40core1%2Csudo%3A"),
            ("a.b *>", "a%2Eb%20%2A%3E"),
            ("", "%5F"),
            ("_", "%5F"),
        ] {
            assert_eq!(token(name), expected);
        }
        let source = Source::new("core1", Some(Netns::Name("blue".into())));
        assert_eq!(
            subject("netlink", &source, Some(Protocol::ROUTE), "1"),
            "netlink.core1.blue.route.1"
        );
        let whole = Source::new("core1", None);
        assert_eq!(subject("n", &whole, None, "disconnected"), "n.core1._._.disconnected");
    }

    #[test]
    fn namespaces_are_values_of_headers() {
        for netns in [
            Netns::Current,
            Netns::Name("a:b".into()),
            Netns::Path("/run/x".into()),
            Netns::Pid(7),
            Netns::docker("web"),
            Netns::podman("web"),
        ] {
            assert_eq!(netns_of(&netns_text(&netns)), Some(netns));
        }
        assert_eq!(netns_of("nosuch"), None);
    }
}
