//! The patterns of `ssh_config` and of known_hosts: `*`, `?`, and `!` in lists.

/// Whether the whole text matches: `*` stands for any run of bytes, `?` for any one byte.
pub(crate) fn matches(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.as_bytes(), pattern.as_bytes());
    // The rest of text and pattern at the last `*`, to be tried again with one byte more for it.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (text, pattern) {
            ([], []) => return true,
            (_, [b'*', rest @ ..]) => {
                retry = Some((text, rest));
                pattern = rest;
                continue;
            }
            ([byte, after @ ..], [wanted, rest @ ..]) if *wanted == b'?' || wanted == byte => {
                (text, pattern) = (after, rest);
                continue;
            }
            _ => {}
        }
        let Some(([_, after @ ..], rest)) = retry else { return false };
        retry = Some((after, rest));
        (text, pattern) = (after, rest);
    }
}

/// Whether one of the patterns matches, and none of those after a `!`.
pub(crate) fn list_matches<'a>(text: &str, patterns: impl IntoIterator<Item = &'a str>) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(text, pattern) => return false,
            Some(_) => {}
            None => found |= matches(text, pattern),
        }
    }
    found
}

/// Whether a host name matches a comma-separated list, regardless of case.
pub(crate) fn names_match(name: &str, list: &str) -> bool {
    let list = list.to_ascii_lowercase();
    list_matches(&name.to_ascii_lowercase(), list.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "*", true),
            ("", "?", false),
            ("a", "", false),
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "a?c", true),
            ("abc", "a*", true),
            ("abc", "*c", true),
            ("abc", "*b*", true),
            ("abc", "**a**c**", true),
            ("abc", "*d", false),
            ("aab", "*ab", true),
            ("ababac", "*abac", true),
            ("ABC", "abc", false),
            ("a.b", "a?b", true),
            ("!a", "!a", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text:?} by {pattern:?}");
        }
    }

    #[test]
    fn many_stars_end_soon() {
        let text = "a".repeat(10_000);
        assert!(!matches(&text, &format!("{}b", "*a".repeat(100))));
    }

    #[test]
    fn a_negated_one_wins() {
        for (name, list, expected) in [
            ("a", "a", true),
            ("a", "b,a", true),
            ("a", "a,!a", false),
            ("a", "!a,*", false),
            ("b", "!a,*", true),
            ("b", "!a", false),
            ("Host", "hOST", true),
            ("[h]:23", "[h]:*", true),
            ("h", "", false),
            ("h", ",h,", true),
        ] {
            assert_eq!(names_match(name, list), expected, "{name:?} by {list:?}");
        }
    }
}
