//! `[user@]host[:port]`, read by the rules of OpenSSH.

#![forbid(unsafe_code)]

use std::fmt;

/// The parts of `[user@]host[:port]`.
///
/// A user may hold `@` and `\`, as accounts of directory services do. An IPv6 address stands in
/// brackets in the text, and without them in [`host`](Self::host).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// The account's name.
    pub(crate) user: Option<&'a str>,
    /// The host's name or address.
    pub(crate) host: &'a str,
    /// The TCP port.
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `[user@]host[:port]`.
    ///
    /// # Errors
    /// The reason, in words that hold no control character.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let (host, port) = split_port(place)?;
        user.map_or(Ok(()), check_user)?;
        check_host(host)?;
        let port = match port.map(parse_port) {
            Some(None) => return Err("a port is a number from 1 to 65535".to_owned()),
            port => port.flatten(),
        };
        Ok(Self { user, host, port })
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The host without brackets, and the text of the port.
fn split_port(place: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or("`]` is missing")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("only `:port` may follow `]`".to_owned()),
        };
    }
    if place.matches(':').count() > 1 {
        return Err("an IPv6 address is written in brackets, as in `[::1]:22`".to_owned());
    }
    Ok(match place.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    })
}

/// A port in decimal digits, from 1 to 65535.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_digits && *port != 0)
}

/// Refuses a host that OpenSSH's `valid_hostname` refuses, and one that cannot be a host at all.
pub(crate) fn check_host(host: &str) -> Result<(), String> {
    // RFC 1035, section 2.3.4. A scope may follow an address.
    const LONGEST: usize = 255;
    if host.len() > LONGEST {
        return Err(format!("a host has {LONGEST} bytes at most"));
    }
    check_word(host, "host", "'`\"$\\;&<>|(){}[]@/,")
}

/// Refuses a user that OpenSSH's `valid_ruser` refuses.
pub(crate) fn check_user(user: &str) -> Result<(), String> {
    check_word(user, "user", "'`\";&<>|(){}")?;
    match user.ends_with('\\') {
        true => Err("a user cannot end with `\\`".to_owned()),
        false => Ok(()),
    }
}

/// Refuses a word that a program could take for something else than a `kind`: one that is empty or
/// begins with `-`, and one with a blank, a control character or one of the `forbidden` ones.
pub(crate) fn check_word(word: &str, kind: &str, forbidden: &str) -> Result<(), String> {
    if word.is_empty() {
        return Err(format!("the {kind} is missing"));
    }
    if word.starts_with('-') {
        return Err(format!("a {kind} cannot begin with `-`"));
    }
    let is_bad =
        |letter: char| letter.is_control() || letter.is_whitespace() || forbidden.contains(letter);
    match word.chars().find(|&letter| is_bad(letter)) {
        Some(letter) => Err(format!("a {kind} cannot hold {letter:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_back() {
        for (text, user, host, port) in [
            ("h", None, "h", None),
            ("h.example.com:22", None, "h.example.com", Some(22)),
            ("u@h:65535", Some("u"), "h", Some(65535)),
            ("u@realm@h", Some("u@realm"), "h", None),
            (r"DOM\u@h", Some(r"DOM\u"), "h", None),
            ("[::1]:23", None, "::1", Some(23)),
            ("u@[fe80::1%eth0]:23", Some("u"), "fe80::1%eth0", Some(23)),
        ] {
            let authority = Authority::parse(text).unwrap();
            assert_eq!(authority, Authority { user, host, port }, "{text}");
            assert_eq!(authority.to_string(), text);
        }
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("", "the host is missing"),
            ("u@", "the host is missing"),
            ("[]", "the host is missing"),
            (":22", "the host is missing"),
            ("@h", "the user is missing"),
            ("-u@h", "a user cannot begin with `-`"),
            ("u\\@h", "a user cannot end with `\\`"),
            ("u\n@h", "a user cannot hold '\\n'"),
            ("u@-h", "a host cannot begin with `-`"),
            ("h;x", "a host cannot hold ';'"),
            ("h/x", "a host cannot hold '/'"),
            ("h h", "a host cannot hold ' '"),
            ("h:", "a port is a number from 1 to 65535"),
            ("h:0", "a port is a number from 1 to 65535"),
            ("h:+1", "a port is a number from 1 to 65535"),
            ("h:65536", "a port is a number from 1 to 65535"),
            ("::1", "an IPv6 address is written in brackets, as in `[::1]:22`"),
            ("[::1", "`]` is missing"),
            ("[::1]x", "only `:port` may follow `]`"),
        ] {
            assert_eq!(Authority::parse(text).unwrap_err(), reason, "{text:?}");
        }
    }
}
