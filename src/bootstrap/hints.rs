//! Hints for the error messages of sudo, doas, su, ssh and the tools of containers. sudo and su are
//! started with an English locale.

use crate::Step;

/// A part of a message, and the hint for it.
const PRIVILEGE: [(&str, &str); 14] = [
    ("must have a tty", ALLOW_NO_TTY),
    ("a terminal is required", ALLOW_NO_TTY),
    ("a password is required", GIVE_PASSWORD),
    ("no password was provided", GIVE_PASSWORD),
    ("is not in the sudoers file", ADD_RULE),
    (
        "is not allowed to",
        "the sudoers file there permits this user other commands only: permit `sh`, which starts \
         the stub",
    ),
    ("may not run sudo", ADD_RULE),
    ("unknown user", "there is no such user there"),
    ("does not exist", "there is no such user there"),
    ("incorrect password attempt", "the password was wrong"),
    (
        "doas: Authentication required",
        "doas reads a password from a terminal only: add `permit nopass USER` to doas.conf there",
    ),
    ("doas: Operation not permitted", "doas.conf there does not permit it"),
    // su writes its name by itself, err(3). Where the rest comes late, the name passes for a question.
    ("Authentication failure", "the password was wrong"),
    ("must be run from a terminal", "su demands a terminal there; try sudo:"),
];

const ALLOW_NO_TTY: &str =
    "sudo demands a terminal there: add `Defaults:USER !requiretty` to its sudoers file";

const GIVE_PASSWORD: &str = "give a password (on a terminal, or by --password-fd, --askpass or the program's \
                             callback), or permit it without one by NOPASSWD in the sudoers file";

const ADD_RULE: &str = "sudo permits this user no command there: add a rule to its sudoers file";

/// The programs that change the user.
const PROGRAMS: [&str; 3] = ["sudo", "doas", "su"];

/// The hint, perhaps empty, where sudo, doas or su caused an end; `code` is the exit code.
pub(super) fn privilege(said: &str, code: Option<i32>) -> Option<String> {
    let is_missing = |program: &&&str| {
        // As env, sh, tcsh and fish word it.
        ["not found", "No such file"].iter().any(|words| said.contains(words))
            && said.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == **program)
    };
    if code == Some(127)
        && let Some(program) = PROGRAMS.iter().find(is_missing)
    {
        return Some(format!("{program} is not installed there"));
    }
    let has_spoken = PROGRAMS.iter().any(|program| {
        let name = format!("{program}: ");
        said.match_indices(&name).any(|(at, _)| {
            let (before, words) = said.split_at(at);
            let words = words.strip_prefix(&name).unwrap_or_default();
            (before.is_empty() || before.ends_with([' ', '\n'])) && !is_warning(words)
        })
    });
    let known = PRIVILEGE.iter().find(|(words, _)| said.contains(words));
    match known {
        Some((words, hint)) if has_spoken || words.contains("sudo") || said.starts_with(words) => {
            Some((*hint).to_owned())
        }
        _ => has_spoken.then(String::new),
    }
}

/// Whether a message of sudo is no refusal: sudo continues, or has started looking for a program
/// that is not there.
fn is_warning(words: &str) -> bool {
    let program = words.split_once(": command not found").map(|(program, _)| program);
    words.starts_with("unable to resolve host")
        || program.is_some_and(|program| !program.contains(' '))
}

/// The hint where a container has no shell.
pub(super) fn container(said: &str) -> Option<&'static str> {
    let missing = ["executable file not found", "no such file or directory"];
    let is_shell = said.contains("\"sh\"") || said.contains("`sh`");
    (is_shell && missing.iter().any(|words| said.to_lowercase().contains(words))).then_some(
        "that container has no shell; -n docker:NAME or -n podman:NAME enters its network from its \
         host, without one",
    )
}

/// The step that failed and a hint, where the program ssh caused an end.
pub(super) fn ssh(said: &str, code: Option<i32>) -> Option<(Step, &'static str)> {
    const KNOWN: [(&str, Step, &str); 4] = [
        (
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
            Step::HostKey,
            "; if the change is known to be right, remove the old key by `ssh-keygen -R HOST`",
        ),
        (
            "Host key verification failed",
            Step::HostKey,
            "; run `ssh HOST` once from the host before this hop and accept the key",
        ),
        ("Permission denied (", Step::Authentication, ""),
        ("Too many authentication failures", Step::Authentication, ""),
    ];
    let known = KNOWN.iter().filter(|_| code == Some(255)).find(|(text, ..)| said.contains(text));
    known.map(|(_, step, hint)| (*step, *hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_sudo_doas_and_su() {
        let hint = |said: &str, code| privilege(said, Some(code));
        assert!(
            hint("sudo: sorry, you must have a tty to run sudo", 1)
                .unwrap()
                .contains("!requiretty")
        );
        assert!(hint("sudo: a password is required", 1).unwrap().contains("NOPASSWD"));
        let said = "env: \u{2018}sudo\u{2019}: No such file or directory";
        assert_eq!(hint(said, 127).unwrap(), "sudo is not installed there");
        assert_eq!(hint("sh: 1: doas: not found", 127).unwrap(), "doas is not installed there");
        assert!(hint("ci is not in the sudoers file.", 1).unwrap().contains("add a rule"));
        assert!(hint("doas: Authentication required", 1).unwrap().contains("nopass"));
        assert_eq!(hint("Authentication failure", 1).unwrap(), "the password was wrong");
        assert_eq!(hint("x: Authentication failure", 1), None);
        // An unknown message still names its program.
        assert_eq!(hint("sudo: the moon is full", 1).unwrap(), "");
        // After any other text.
        let said = "Sorry, try again.\nsudo: 3 incorrect password attempts";
        assert_eq!(hint(said, 1).unwrap(), "the password was wrong");
        assert_eq!(hint("sudo: unable to resolve host h: Unknown name no such container", 1), None);
        assert_eq!(hint("sudo: docker: command not found", 1), None);
        let said = "sudo: unable to resolve host h: Unknown name sudo: a password is required";
        assert!(hint(said, 1).unwrap().contains("NOPASSWD"));
        assert_eq!(hint("pseudosudo: unknown user", 1), None);
        assert_eq!(hint("sh: nlr-stub: not found", 127), None);
        let said = "OCI runtime exec failed: exec: \"sh\": executable file not found in $PATH";
        assert!(container(said).unwrap().contains("-n docker:"));
        assert_eq!(container("Error: No such container: sh"), None);
        assert_eq!(hint("user x does not exist", 1), None);
    }

    #[test]
    fn messages_of_ssh() {
        let step = |said: &str, code| ssh(said, Some(code)).map(|(step, _)| step);
        let said = "ci@host: Permission denied (publickey,password).";
        assert_eq!(step(said, 255), Some(Step::Authentication));
        assert_eq!(step(said, 1), None);
        assert_eq!(step("Host key verification failed.", 255), Some(Step::HostKey));
        assert_eq!(step("ssh: connect to host h port 22: Connection refused", 255), None);
    }
}
