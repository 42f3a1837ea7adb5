//! The command line, help and completions.

use std::process::Command;

use testing::{
    Namespace, finish, temporary,
    tool::{nlr, nlr_words},
};

#[test]
fn a_wrong_command_line_is_code_2_and_one_line() {
    for (words, says) in [
        ("", "subcommand"),
        ("nosuch", "nosuch"),
        ("show", "<OBJECT>"),
        ("show lnk", "link"),
        ("show link --jsn", "--json"),
        ("show link -4 -6", "cannot be used with"),
        ("show link carrier-pigeon:", "expected local:, ssh://"),
        ("show link unix:", "needs a path"),
        ("show link local: more", "more"),
        ("show route --table nosuch", "rt_tables"),
        ("show addr --table 7", "not addresses"),
        ("show link -n pid:x", "pid:4242"),
        ("show link --connect-timeout soon", "seconds"),
        ("monitor --group nosuch", "ipv4-ifaddr"),
        ("monitor --count 0", "0"),
        ("monitor --timeout -1", "-1"),
        ("netns", "subcommand"),
        ("netns add", "<NAME>"),
        ("serve", "unix:PATH"),
        ("serve local:", "unix:PATH"),
        ("serve unix:/x --max-clients 0", "at least 1"),
        ("completion tcsh", "bash"),
        ("stub --now", "--now"),
    ] {
        let ended = nlr_words(words);
        ended.failed(2, &[says, "--help`"][..if words.contains("table") { 1 } else { 2 }]);
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    let help = nlr_words("--help").printed();
    for word in ["Examples:", "Exit codes:", "130", "unix:PATH", "monitor", "--connect-timeout"] {
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
fn a_name_with_commands_for_the_terminal_is_shown_harmless() {
    let namespace = Namespace::new();
    let name = "a\u{1b}[2Jb";
    let link = ["-n", &namespace.0, "link", "add", "x", "type", "veth", "peer", "name", name];
    testing::run("ip", &link);
    let text = finish(nlr(&["show", "link", "-n", &namespace.0, "--color", "never"])).printed();
    assert!(text.contains("a\\u{1b}[2Jb") && !text.contains('\u{1b}'), "{text}");
}
