//! What to do about what sudo, doas and su say. They are started so that they say it in English.

#![forbid(unsafe_code)]

use crate::Step;

/// A part of what was said, and the remedy.
const REMEDIES: [(&str, &str); 14] = [
    (
        "must have a tty",
        "sudo demands a terminal there: put `Defaults:USER !requiretty` into its sudoers",
    ),
    (
        "a terminal is required",
        "sudo demands a terminal there: put `Defaults:USER !requiretty` into its sudoers",
    ),
    ("a password is required", GIVE_PASSWORD),
    ("no password was provided", GIVE_PASSWORD),
    (
        "is not in the sudoers file",
        "sudo does not permit this user anything there: add a rule to its sudoers",
    ),
    ("is not allowed to", "sudo permits this user other commands only: stubs are started by `sh`"),
    (
        "may not run sudo",
        "sudo does not permit this user anything there: add a rule to its sudoers",
    ),
    ("unknown user", "there is no such user there"),
    ("does not exist", "there is no such user there"),
    ("incorrect password attempt", "the password was wrong"),
    (
        "doas: Authentication required",
        "doas asks on a terminal only: permit it by `permit nopass USER` in doas.conf",
    ),
    ("doas: Operation not permitted", "doas.conf there does not permit it"),
    ("su: Authentication failure", "the password was wrong"),
    ("must be run from a terminal", "su demands a terminal there; try sudo:"),
];

const GIVE_PASSWORD: &str = "give one (on a terminal, or by --password-fd, --askpass or the program's \
                             callback), or permit it without one by NOPASSWD in sudoers";

/// Programs that make one another user.
const PROGRAMS: [&str; 3] = ["sudo", "doas", "su"];

/// What to do, where sudo, doas or su are the reason for an end; `code` is the exit code.
pub(super) fn of_privilege(said: &str, code: Option<i32>) -> Option<String> {
    let missing = |program: &&&str| {
        // As env, sh, tcsh and fish word it.
        ["not found", "No such file"].iter().any(|words| said.contains(words))
            && said.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == **program)
    };
    if code == Some(127)
        && let Some(program) = PROGRAMS.iter().find(missing)
    {
        return Some(format!("{program} is not installed there"));
    }
    let spoke = PROGRAMS.iter().any(|program| {
        let name = format!("{program}: ");
        said.match_indices(&name).any(|(at, _)| {
            let (before, words) = said.split_at(at);
            let words = words.strip_prefix(&name).unwrap_or_default();
            (before.is_empty() || before.ends_with([' ', '\n'])) && !is_by_the_way(words)
        })
    });
    let known = REMEDIES.iter().find(|(words, _)| said.contains(words));
    match known {
        Some((words, remedy)) if spoke || words.contains("sudo") => Some((*remedy).to_owned()),
        _ => spoke.then(String::new),
    }
}

/// Whether these words of sudo's do not mean that it refuses: it goes on, or has gone on to a
/// program that is not there.
fn is_by_the_way(words: &str) -> bool {
    let program = words.split_once(": command not found").map(|(program, _)| program);
    words.starts_with("unable to resolve host")
        || program.is_some_and(|program| !program.contains(' '))
}

/// What to do where a container's tool says that there is no shell.
pub(super) fn of_container(said: &str) -> Option<&'static str> {
    let missing = ["executable file not found", "no such file or directory"];
    let is_shell = said.contains("\"sh\"") || said.contains("`sh`");
    (is_shell && missing.iter().any(|words| said.to_lowercase().contains(words))).then_some(
        "there is no shell in that container; with -n docker:NAME or -n podman:NAME its network is \
         entered from its host, without one",
    )
}

/// Which step failed and what to do, where the program ssh is the reason for an end.
pub(super) fn of_ssh(said: &str, code: Option<i32>) -> Option<(Step, &'static str)> {
    const KNOWN: [(&str, Step, &str); 4] = [
        (
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
            Step::HostKey,
            "; if the change is known to be right, remove the old key by `ssh-keygen -R HOST`",
        ),
        (
            "Host key verification failed",
            Step::HostKey,
            "; connect to it once with `ssh`, to know its key",
        ),
        ("Permission denied (", Step::Authentication, ""),
        ("Too many authentication failures", Step::Authentication, ""),
    ];
    let known = KNOWN.iter().filter(|_| code == Some(255)).find(|(text, ..)| said.contains(text));
    known.map(|(_, step, remedy)| (*step, *remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_say_is_known() {
        let remedy = |said: &str, code| of_privilege(said, Some(code));
        assert!(
            remedy("sudo: sorry, you must have a tty to run sudo", 1)
                .unwrap()
                .contains("!requiretty")
        );
        assert!(remedy("sudo: a password is required", 1).unwrap().contains("NOPASSWD"));
        let said = "env: \u{2018}sudo\u{2019}: No such file or directory";
        assert_eq!(remedy(said, 127).unwrap(), "sudo is not installed there");
        assert_eq!(remedy("sh: 1: doas: not found", 127).unwrap(), "doas is not installed there");
        assert!(remedy("ci is not in the sudoers file.", 1).unwrap().contains("add a rule"));
        assert!(remedy("doas: Authentication required", 1).unwrap().contains("nopass"));
        // One whose words are new is still known for who it is.
        assert_eq!(remedy("sudo: the moon is full", 1).unwrap(), "");
        // Whatever was said before.
        let said = "Sorry, try again.\nsudo: 3 incorrect password attempts";
        assert_eq!(remedy(said, 1).unwrap(), "the password was wrong");
        assert_eq!(
            remedy("sudo: unable to resolve host h: Unknown name no such container", 1),
            None
        );
        assert_eq!(remedy("sudo: docker: command not found", 1), None);
        let said = "sudo: unable to resolve host h: Unknown name sudo: a password is required";
        assert!(remedy(said, 1).unwrap().contains("NOPASSWD"));
        assert_eq!(remedy("pseudosudo: unknown user", 1), None);
        assert_eq!(remedy("sh: nlr-stub: not found", 127), None);
        let said = "OCI runtime exec failed: exec: \"sh\": executable file not found in $PATH";
        assert!(of_container(said).unwrap().contains("-n docker:"));
        assert_eq!(of_container("Error: No such container: sh"), None);
        assert_eq!(remedy("user x does not exist", 1), None);
    }

    #[test]
    fn what_ssh_says_is_known() {
        let step = |said: &str, code| of_ssh(said, Some(code)).map(|(step, _)| step);
        let said = "ci@host: Permission denied (publickey,password).";
        assert_eq!(step(said, 255), Some(Step::Authentication));
        assert_eq!(step(said, 1), None);
        assert_eq!(step("Host key verification failed.", 255), Some(Step::HostKey));
        assert_eq!(step("ssh: connect to host h port 22: Connection refused", 255), None);
    }
}
