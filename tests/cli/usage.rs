//! The command line, help and completions.

use std::process::Command;

use testing::{
    Namespace, finish, programs, temporary,
    tool::{elements, nlr, nlr_words},
};

#[test]
fn passwords_are_read_from_pipes_files_and_stdin() {
    for redirected in
        ["--password-fd 3 3< <(echo x)", "--password-fd 4 4<<<x", "--password-fd 0 <<<x"]
    {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("\"$0\" ping --count 1 {redirected}"), programs::nlr()]);
        finish(bash).printed();
    }
    let large = format!("head -c 70000 /dev/zero | \"{}\" ping --password-fd 0", programs::nlr());
    let mut bash = Command::new("bash");
    bash.args(["-c", &large]);
    finish(bash).failed(2, &["--password-fd 0", "more than 64 KiB"]);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let help = nlr_words("--help").printed();
    for word in
        ["Examples:", "Exit codes:", "130", "unix:PATH", "monitor", "--connect-timeout", "-vv"]
    {
        assert!(help.contains(word), "no {word}: {help}");
    }
    assert!(!help.contains("stub  "), "the stub is not for people: {help}");
    for command in [
        "show",
        "monitor",
        "netns",
        "netns list",
        "netns add",
        "netns del",
        "ping",
        "bench",
        "serve",
        "completion",
    ] {
        let help = nlr_words(&format!("{command} --help")).printed();
        assert!(help.contains("Example") && help.contains(&format!("nlr {command} ")), "{help}");
    }
    assert_eq!(nlr_words("--version").printed(), concat!("nlr ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = nlr_words(&format!("completion {shell}")).printed();
        for word in ["monitor", "netns", "--group", "--json"] {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(script.contains(word), "{shell} has no {word}");
        }
    }
    let path = temporary("completion");
    std::fs::write(&path, nlr_words("completion bash").printed()).unwrap();
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(
        "source \"$0\"; COMP_WORDS=(nlr mon) COMP_CWORD=1; _nlr nlr mon nlr; echo \"${COMPREPLY[*]}\"",
    );
    bash.arg(&path);
    let ended = finish(bash);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(ended.printed(), "monitor\n");
}

#[test]
fn colours_are_for_terminals_and_for_who_asks() {
    let namespace = Namespace::new();
    let shown =
        |options: &str| nlr_words(&format!("show link -n {} {options}", namespace.0)).printed();
    assert!(shown("--color always").contains("\u{1b}[36mlo\u{1b}[0m"));
    for options in ["", "--color never", "--color auto", "--color always --json"] {
        assert!(!shown(options).contains('\u{1b}'), "{options}");
    }
}

#[test]
fn names_are_shown_harmless_and_kept_apart() {
    let namespace = Namespace::new();
    // An escape sequence, a C1 control and DEL; a bidirectional override; an invisible character.
    for (name, shown, json) in [
        ("a\u{1b}[2Jb", r"a\u{1b}[2Jb", r"a\u001b[2Jb"),
        ("b\u{9b}\u{7f}", r"b\u{9b}\u{7f}", r"b\u009b\u007f"),
        ("c\u{202e}d", r"c\u{202e}d", r"c\u202ed"),
        ("d\u{200b}", r"d\u{200b}", r"d\u200b"),
    ] {
        let link = ["-n", &namespace.0, "link", "add", "x", "type", "veth", "peer", "name", name];
        testing::run("ip", &link);
        let show = |arguments: &[&str]| {
            let mut command = nlr(&["show", "link", "-n", &namespace.0]);
            command.args(arguments);
            finish(command).printed()
        };
        let text = show(&["--color", "never"]);
        assert!(text.contains(shown) && !text.contains(name), "{text:?}");
        let text = show(&["--json"]);
        assert!(text.contains(json) && !text.contains(name), "{text:?}");
        let links = elements(&text);
        assert!(links.iter().any(|link| link["ifname"] == name), "{text}");
        namespace.ip("link del x");
    }
}
