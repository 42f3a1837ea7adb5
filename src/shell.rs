//! Words quoted for a shell of which nothing is known.

#![forbid(unsafe_code)]

use std::{ffi::OsStr, fmt};

/// A word that some shell cannot take on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unquotable(String);

impl fmt::Display for Unquotable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot be quoted for every shell: it holds a control character or no UTF-8",
            self.0
        )
    }
}

impl std::error::Error for Unquotable {}

/// Whether every shell takes a word as it stands.
pub(crate) fn is_plain(word: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:,@+".contains(&byte);
    !word.is_empty() && word.bytes().all(is_plain)
}

/// A command line that sh, csh and fish split back into exactly these words.
///
/// Between single quotes every character stands for itself, but for the quote itself everywhere,
/// the backslash in fish, and the exclamation mark in csh: these three are put outside, each after
/// a backslash. No spelling of a newline is common to all of them, and no other control character
/// has a use here.
///
/// # Errors
/// [`Unquotable`] for a word with a control character, and for one that is not UTF-8.
pub(crate) fn quote(argv: &[impl AsRef<OsStr>]) -> Result<String, Unquotable> {
    let mut line = String::new();
    for word in argv {
        let word = word.as_ref();
        let text = word.to_str().filter(|text| !text.chars().any(char::is_control));
        let text = text.ok_or_else(|| Unquotable(format!("{word:?}")))?;
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&quote_word(text));
    }
    Ok(line)
}

/// One word of a command line, quoted as by [`quote`]. Control characters stay as they are.
pub(crate) fn quote_word(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    if word.is_empty() {
        return "''".to_owned();
    }
    let mut quoted = String::with_capacity(word.len() + 2);
    let mut is_open = false;
    for letter in word.chars() {
        let is_outside = matches!(letter, '\'' | '\\' | '!');
        if is_outside == is_open {
            quoted.push('\'');
            is_open = !is_open;
        }
        if is_outside {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    if is_open {
        quoted.push('\'');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use proptest::prelude::*;

    use super::*;

    /// Runs a line in a shell, with an empty home: fish writes its configuration into any home.
    fn shell(shell: &[&str], line: &str) -> std::io::Result<Output> {
        let (program, arguments) = shell.split_first().unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(line).env("HOME", home.path()).env("LC_ALL", "C.UTF-8");
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME").output()
    }

    /// The output of a shell for a command line that prints its words.
    fn split(program: &[&str], line: &str) -> Vec<u8> {
        let output = shell(program, line).unwrap();
        assert!(output.status.success(), "{program:?} {line}: {output:?}");
        output.stdout
    }

    const SHELLS: [&[&str]; 6] = [
        &["sh", "-c"],
        &["dash", "-c"],
        &["bash", "-c"],
        &["busybox", "sh", "-c"],
        &["tcsh", "-f", "-c"],
        &["fish", "--no-config", "-c"],
    ];

    /// Whether a shell is installed.
    fn is_installed(program: &&&[&str]) -> bool {
        shell(program, ":").is_ok()
    }

    fn check(words: &[String]) {
        let mut argv = vec!["/usr/bin/printf".to_owned(), "[%s]".to_owned()];
        argv.extend_from_slice(words);
        let line = quote(&argv).unwrap();
        let expected = match words {
            [] => "[]".to_owned(),
            words => words.iter().map(|word| format!("[{word}]")).collect(),
        };
        for shell in SHELLS.iter().filter(is_installed) {
            let got = String::from_utf8_lossy(&split(shell, &line)).into_owned();
            assert_eq!(got, expected, "{shell:?} {line}");
        }
    }

    #[test]
    fn awkward_words_survive() {
        let words = [
            "", " ", "'", "\\", "!", "!!", "!$", "\\'", "'\\!'", "a'b", "\\\\", "\\n", "$HOME",
            "`id`", "$(id)", "*", "?", "[a]", "{a,b}", "~", "~root", "#", "a#b", "&", "|", ";",
            "<", ">", "(", ")", "\"", "%", "%1", "^", "^a^b", "=ls", "a=b", "-n", "--", "ü",
            "日本", "a b", "é'!\\", "@", "$", "$$", "\\!", "end\\",
        ];
        let words = words.map(str::to_owned);
        check(&words);
        for word in words {
            check(&[word]);
        }
        check(&[]);
    }

    #[test]
    fn plain_words_stay_bare() {
        assert_eq!(quote(&["sh", "-c", "a b", "x/y.z:1,2@3"]).unwrap(), "sh -c 'a b' x/y.z:1,2@3");
        assert_eq!(quote(&["a'b!"]).unwrap(), r"'a'\''b'\!");
        assert_eq!(quote(&["", "\\"]).unwrap(), r"'' \\");
    }

    #[test]
    fn control_characters_are_refused() {
        for word in ["a\nb", "\r", "\0", "\x1b[9", "\u{85}", "\t"] {
            assert!(quote(&[word]).is_err(), "{word:?}");
        }
        use std::os::unix::ffi::OsStrExt;
        assert!(quote(&[OsStr::from_bytes(b"\xff")]).is_err());
    }

    #[test]
    fn quoting_nests() {
        let mut argv =
            vec!["/usr/bin/printf".to_owned(), "[%s]".to_owned(), "it's a $test!\\".to_owned()];
        for _ in 0..3 {
            argv = vec!["sh".into(), "-c".into(), quote(&argv).unwrap()];
        }
        let line = quote(&argv).unwrap();
        for shell in SHELLS.iter().filter(is_installed) {
            assert_eq!(split(shell, &line), b"[it's a $test!\\]", "{shell:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 60,
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn any_words(
            words in prop::collection::vec("(?s)[^\\p{Cc}]{0,12}|['\\\\! $a-]{0,8}", 0..6)
        ) {
            check(&words);
        }
    }
}
