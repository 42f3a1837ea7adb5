//! Splits a line of `ssh_config` into a keyword and its arguments.

/// A line, with quotes and escapes removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConfigLine {
    pub(super) keyword: String,
    pub(super) arguments: Vec<String>,
    /// All after the keyword, as the file has it: a command is not split.
    pub(super) rest: String,
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a line; `None` for an empty one or a comment.
pub(super) fn tokenize(line: &str) -> Result<Option<ConfigLine>, &'static str> {
    let line = line.trim_end_matches([' ', '\t', '\r', '\n', '\x0c']).trim_start_matches(BLANKS);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = if let Some(quoted) = line.strip_prefix('"') {
        quoted.split_once('"').ok_or("a quote is not closed")?
    } else {
        let end = line.find([' ', '\t', '\r', '\n', '=', '"']).unwrap_or(line.len());
        line.split_at(end)
    };
    if keyword.is_empty() {
        return Err("a line begins with a keyword");
    }
    let rest = rest.trim_start_matches(BLANKS);
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start_matches(BLANKS);
    let arguments = split_arguments(rest)?;
    Ok(Some(ConfigLine { keyword: keyword.to_owned(), arguments, rest: rest.to_owned() }))
}

/// Splits at blanks outside quotes; a `#` at the start of a word ends the line.
fn split_arguments(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(|letter| matches!(letter, ' ' | '\t')).is_some() {}
        if matches!(letters.peek(), None | Some('#')) {
            return Ok(words);
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => {
                    let escaped = letters.next_if(|next| {
                        matches!(next, '\'' | '"' | '\\') || (quote.is_none() && *next == ' ')
                    });
                    word.push(escaped.unwrap_or('\\'));
                }
                ' ' | '\t' if quote.is_none() => break,
                '"' | '\'' if quote.is_none() => quote = Some(letter),
                _ if quote == Some(letter) => quote = None,
                _ => word.push(letter),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed");
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        type Case = (&'static str, Option<(&'static str, &'static [&'static str])>);
        let cases: &[Case] = &[
            ("", None),
            ("  \t\r", None),
            ("# Port 22", None),
            ("  # Port 22", None),
            ("Port 22", Some(("Port", &["22"]))),
            ("\tPort\t22 \r", Some(("Port", &["22"]))),
            ("Port=22", Some(("Port", &["22"]))),
            ("Port = 22", Some(("Port", &["22"]))),
            ("Port =22 # why", Some(("Port", &["22"]))),
            ("Port ==22", Some(("Port", &["=22"]))),
            ("\"Port\" 22", Some(("Port", &["22"]))),
            ("Host a b  c", Some(("Host", &["a", "b", "c"]))),
            ("Host a#b", Some(("Host", &["a#b"]))),
            ("X \"a b\" 'c d'", Some(("X", &["a b", "c d"]))),
            ("X a\"b c\"d", Some(("X", &["ab cd"]))),
            (r"X a\ b \x \\ \'", Some(("X", &["a b", r"\x", r"\", "'"]))),
            ("X \"it's\" 'a\"b'", Some(("X", &["it's", "a\"b"]))),
            ("X \"\"", Some(("X", &[""]))),
            ("X", Some(("X", &[]))),
            ("X # a", Some(("X", &[]))),
        ];
        for (line, expected) in cases {
            let found = tokenize(line).unwrap();
            let found = found.map(|line| (line.keyword, line.arguments));
            let expected = expected.map(|(keyword, arguments)| {
                (keyword.to_owned(), arguments.iter().map(|word| (*word).to_owned()).collect())
            });
            assert_eq!(found, expected, "{line:?}");
        }
    }

    #[test]
    fn malformed_lines() {
        for line in ["X \"a", "X 'a\"", "\"X a", "=x", "X a\\\" \"b"] {
            assert!(tokenize(line).is_err(), "{line:?}");
        }
    }
}
