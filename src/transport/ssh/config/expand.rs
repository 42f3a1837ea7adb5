//! Expands `%` tokens, `${VARIABLE}` and `~` in values.

use std::path::{Path, PathBuf};

use crate::text::escaped;

/// Looks up an environment variable.
pub(super) type EnvLookup = dyn Fn(&str) -> Option<String>;

/// Replaces `%` tokens and, where `env` is given, `${VARIABLE}`. Replacements are not expanded again.
pub(super) fn expand(
    text: &str,
    token: impl Fn(char) -> Option<String>,
    env: Option<&EnvLookup>,
) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        if let (Some(env), Some(after)) = (env, from.strip_prefix("${")) {
            let (name, after) = after.split_once('}').ok_or("`${` without its `}`")?;
            let unset = || format!("the variable {} is not set", escaped(name));
            let value = env(name).ok_or_else(unset)?;
            expanded.push_str(&value);
            rest = after;
            continue;
        }
        let mut letters = from.chars();
        match (letters.next(), letters.clone().next()) {
            (Some('%'), Some('%')) => expanded.push('%'),
            (Some('%'), Some(letter)) => match token(letter) {
                Some(value) => expanded.push_str(&value),
                None => {
                    let token = format!("%{letter}");
                    return Err(format!("the token {} is not supported here", escaped(&token)));
                }
            },
            (Some('%'), None) => return Err("a % at the end".to_owned()),
            _ => {
                expanded.push('$');
                rest = letters.as_str();
                continue;
            }
        }
        letters.next();
        rest = letters.as_str();
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Replaces a leading `~` or `~user`.
pub(super) fn tilde(text: &str, home: &Path) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(text.to_owned()) };
    let (user, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = match user {
        "" => home.to_owned(),
        user => home_of(user).ok_or_else(|| format!("there is no user {}", escaped(user)))?,
    };
    Ok(format!("{}{rest}", home.display()))
}

fn home_of(user: &str) -> Option<PathBuf> {
    Some(nix::unistd::User::from_name(user).ok()??.dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "SET").then(|| "%h".to_owned())
    }

    #[test]
    fn tokens_and_variables() {
        let token = |letter| (letter == 'h').then(|| "HOST".to_owned());
        for (text, expected) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("%h", Some("HOST")),
            ("a%hb%h", Some("aHOSTbHOST")),
            ("%%h", Some("%h")),
            ("${SET}/%h", Some("%h/HOST")),
            ("$SET $", Some("$SET $")),
            ("%x", None),
            ("%", None),
            ("%é", None),
            ("${SET", None),
            ("${UNSET}", None),
            ("${}", None),
        ] {
            let found = expand(text, token, Some(&env)).ok();
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert_eq!(expand("${SET}", token, None).as_deref(), Ok("${SET}"));
    }

    #[test]
    fn homes() {
        let home = Path::new("/h");
        assert_eq!(tilde("~", home).as_deref(), Ok("/h"));
        assert_eq!(tilde("~/x~", home).as_deref(), Ok("/h/x~"));
        assert_eq!(tilde("x~", home).as_deref(), Ok("x~"));
        assert_eq!(tilde("~root/x", home).as_deref(), Ok("/root/x"));
        assert!(tilde("~no-such-user-here/x", home).is_err());
    }
}
