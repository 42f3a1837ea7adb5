//! The command line of `nlr-stub`.

use std::ffi::OsString;

use super::{access::Access, confinement::Confinement};

pub(super) const HELP: &str = "\
Serves kernel netlink sockets to a netlink-remote client on stdin and stdout.

A client starts it, directly or through ssh, sudo or a container's tools. It writes errors to stderr,
and ends at the end of its input. Before it serves, it closes inherited descriptors, gives up the
capabilities that its options do not need, and has the kernel refuse the system calls that a stub does
not make.

Usage: nlr-stub [OPTIONS]

Options:
      --read-only               change nothing: the kernel itself refuses changes (EPERM)
      --allow-protocol LIST     netlink protocols that the client may open, by name or number, with
                                commas: route,generic; may be repeated
      --allow-netns NETNS       namespace that the client may open; may be repeated: current, a name,
                                a path, pid:N, docker:NAME, podman:NAME; a * at the end stands for any
                                text without a slash
      --user NAME|UID[:GID]     become this user
      --no-seccomp              do not filter system calls
      --no-files                refuse files below /proc/net and /proc/sys/net
  -V, --version
  -h, --help

Example, in ~/.ssh/authorized_keys:
  restrict,command=\"nlr-stub --read-only --allow-protocol route\" ssh-ed25519 ...

Exit codes: 0 the client has gone, 64 wrong usage, 74 the stream or a resource failed, 76 the client
did not speak the protocol.
";

/// What a command line asks for.
#[derive(Debug)]
pub(super) enum Request {
    Serve(Access, Confinement),
    Version,
    Help,
}

/// Parses the arguments behind the program's name.
///
/// # Errors
/// A text that names the argument.
pub(super) fn parse(arguments: &[OsString]) -> Result<Request, String> {
    let (mut access, mut confinement) = (Access::default(), Confinement::default());
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let (name, joined) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let takes_value = matches!(name, "--allow-protocol" | "--allow-netns" | "--user");
        if joined.is_some() && !takes_value {
            return Err(format!("{name} takes no value, or is unknown"));
        }
        let mut value =
            || joined.clone().or_else(|| arguments.next()).ok_or(format!("{name} needs a value"));
        match name {
            "--read-only" => access.read_only = true,
            "--no-files" => access.no_files = true,
            "--no-seccomp" => confinement.filter = false,
            "--user" => confinement.user = Some(value()?),
            "--allow-protocol" => {
                for protocol in value()?.split(',') {
                    let parsed = protocol
                        .parse()
                        .map_err(|error| format!("--allow-protocol {protocol:?}: {error}"))?;
                    access.protocols.get_or_insert_default().push(parsed);
                }
            }
            "--allow-netns" => {
                let text = value()?;
                let rule =
                    text.parse().map_err(|error| format!("--allow-netns {text:?}: {error}"))?;
                access.netns.get_or_insert_default().push(rule);
            }
            "--version" | "-V" => return Ok(Request::Version),
            "--help" | "-h" => return Ok(Request::Help),
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(Request::Serve(access, confinement))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Protocol;

    fn parsed(words: &str) -> Result<(Access, Confinement), String> {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        match parse(&words)? {
            Request::Serve(access, confinement) => Ok((access, confinement)),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn options_are_parsed() {
        let (access, confinement) = parsed("").unwrap();
        assert_eq!(access, Access::default());
        assert!(confinement.filter && confinement.user.is_none());
        let (access, confinement) = parsed(
            "--read-only --allow-protocol route,16 --allow-protocol=audit --allow-netns current \
             --allow-netns=blue-* --user nobody --no-seccomp",
        )
        .unwrap();
        assert!(access.read_only && !confinement.filter);
        let protocols = [Protocol::ROUTE, Protocol::GENERIC, Protocol::AUDIT];
        assert_eq!(access.protocols.as_deref(), Some(&protocols[..]));
        let rules = access.netns.unwrap();
        assert_eq!(
            rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["current", "blue-*"]
        );
        assert_eq!(confinement.user.as_deref(), Some("nobody"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, named) in [
            ("x", "\"x\""),
            ("--read-only=yes", "--read-only"),
            ("--user", "--user needs a value"),
            ("--allow-protocol routes", "\"routes\""),
            ("--allow-protocol route,", "\"\""),
            ("--allow-netns pid:x", "\"pid:x\""),
            ("--readonly", "--readonly"),
        ] {
            let text = parsed(words).unwrap_err();
            assert!(text.contains(named), "{words}: {text}");
        }
        assert!(matches!(parse(&["--read-only".into(), "-V".into()]), Ok(Request::Version)));
    }
}
