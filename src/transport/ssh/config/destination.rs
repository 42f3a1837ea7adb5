//! `[user@]host[:port]` and `ssh://[user@]host[:port]`.

use crate::{
    Error,
    authority::{Authority, check_user},
    text::escaped,
};

/// Splits a destination into user, host and port, an IPv6 address without its brackets.
///
/// Refuses the same as ssh does on its command line: a part that is empty or begins with `-`, control
/// characters, and characters that a shell interprets.
pub(crate) fn parse_destination(
    text: &str,
) -> Result<(Option<String>, String, Option<u16>), Error> {
    let refuse = |reason: &str| {
        let form = "write [user@]host[:port], and IPv6 as [::1]";
        let shown = escaped(text);
        Error::invalid(format!("`{shown}` is no ssh destination: {reason}; {form}"))
    };
    let is_uri = text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("ssh://"));
    let mut rest = text;
    if is_uri {
        rest = text.get(6..).unwrap_or_default();
        rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(refuse("it has a path"));
        }
    }
    let Authority { user, host, port } = Authority::parse(rest).map_err(|why| refuse(&why))?;
    let user = match user {
        Some(user) if is_uri => {
            let user = percent_decoded(user).ok_or_else(|| refuse("a bad % in the user"))?;
            check_user(&user).map_err(|why| refuse(&why))?;
            Some(user)
        }
        user => user.map(str::to_owned),
    };
    Ok((user, host.to_owned(), port))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        for (text, user, host, port) in [
            ("h", None, "h", None),
            ("h.example.com:22", None, "h.example.com", Some(22)),
            ("u@h", Some("u"), "h", None),
            ("u@h:65535", Some("u"), "h", Some(65535)),
            ("u@realm@h", Some("u@realm"), "h", None),
            (r"DOM\u@h", Some(r"DOM\u"), "h", None),
            ("[::1]", None, "::1", None),
            ("[::1]:23", None, "::1", Some(23)),
            ("u@[fe80::1%eth0]:23", Some("u"), "fe80::1%eth0", Some(23)),
            ("ssh://h", None, "h", None),
            ("SSH://u@h:2/", Some("u"), "h", Some(2)),
            ("ssh://a%40b@[::1]:2", Some("a@b"), "::1", Some(2)),
            ("127.0.0.1:1", None, "127.0.0.1", Some(1)),
        ] {
            let expected = (user.map(str::to_owned), host.to_owned(), port);
            assert_eq!(parse_destination(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn invalid_destinations() {
        for text in [
            "",
            "@h",
            "u@",
            ":22",
            "h:",
            "h:0",
            "h:65536",
            "h:+1",
            "h:x",
            "h:1:2",
            "::1",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:",
            "-oProxyCommand=x",
            "-u@h",
            "u@-h",
            "h h",
            "h\n",
            "u\0@h",
            "$(x)",
            "`x`",
            "h;x",
            "u;x@h",
            "u'@h",
            "h|x",
            "h&x",
            "h\\x",
            "u\\@h",
            "ssh://",
            "ssh://h/x",
            "ssh:///",
            "ssh://u%4@h",
            "ssh://u%zz@h",
            "ssh://%0a@h",
            "ssh://%2dx@h",
            "u v@h",
            "a,b",
            "h/x",
            "\u{85}h",
        ] {
            let error = parse_destination(text).expect_err(text).to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}
