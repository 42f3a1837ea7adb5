//! One command line out of many words, for a shell of which nothing is known.

#![forbid(unsafe_code)]

use std::ffi::OsStr;

use crate::Error;

/// What every shell takes as it stands, anywhere in a word.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./:,@+".contains(&byte)
}

/// A command line that sh, csh and fish split back into exactly these words.
///
/// Between single quotes every character stands for itself, but for the quote itself everywhere,
/// the backslash in fish, and the exclamation mark in csh: these three are put outside, behind a
/// backslash. No way to write a newline is common to all of them, and no other control character
/// has any business here.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a control character or what is no UTF-8.
pub(crate) fn quote(argv: &[impl AsRef<OsStr>]) -> Result<String, Error> {
    let mut line = String::new();
    for word in argv {
        let word = word.as_ref();
        let text = word.to_str().filter(|text| !text.chars().any(char::is_control));
        let Some(text) = text else {
            let text = format!(
                "{word:?} cannot be put on a command line: not every shell can take its bytes"
            );
            return Err(Error::invalid(text));
        };
        if !line.is_empty() {
            line.push(' ');
        }
        quote_word(text, &mut line);
    }
    Ok(line)
}

fn quote_word(word: &str, line: &mut String) {
    if !word.is_empty() && word.bytes().all(is_plain) {
        line.push_str(word);
        return;
    }
    let mut open = false;
    for letter in word.chars() {
        let outside = matches!(letter, '\'' | '\\' | '!');
        if outside == open {
            line.push('\'');
            open = !open;
        }
        if outside {
            line.push('\\');
        }
        line.push(letter);
    }
    if open {
        line.push('\'');
    }
    if word.is_empty() {
        line.push_str("''");
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use proptest::prelude::*;

    use super::*;

    /// A shell that is to run a line; fish would write a configuration into any home it finds.
    fn shell(shell: &[&str], line: &str) -> std::io::Result<Output> {
        let (program, arguments) = shell.split_first().unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(line).env("HOME", home.path()).env("LC_ALL", "C.UTF-8");
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME").output()
    }

    /// What a shell makes of a command line that prints its words.
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

    /// Shells that are not installed are left out.
    fn there(program: &&&[&str]) -> bool {
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
        for shell in SHELLS.iter().filter(there) {
            let got = String::from_utf8_lossy(&split(shell, &line)).into_owned();
            assert_eq!(got, expected, "{shell:?} {line}");
        }
    }

    #[test]
    fn awkward_words_come_out_as_they_went_in() {
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
    fn what_needs_no_quotes_has_none() {
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
    fn quoted_again_and_again() {
        let mut argv =
            vec!["/usr/bin/printf".to_owned(), "[%s]".to_owned(), "it's a $test!\\".to_owned()];
        for _ in 0..3 {
            argv = vec!["sh".into(), "-c".into(), quote(&argv).unwrap()];
        }
        let line = quote(&argv).unwrap();
        for shell in SHELLS.iter().filter(there) {
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
