//! What each party is given: PAM on the hosts logs every token and every failure.

use std::time::Duration;

use netlink_remote::{Prompter, Secret};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testing::{
    Ended, finish_with,
    lab::{Host, Lab, Pty},
    remote::*,
};

const SOON: Duration = Duration::from_secs(30);

/// Logs the tokens of one question, and failures.
const ONE_QUESTION: &str = "\
auth required pam_exec.so quiet expose_authtok /usr/local/sbin/log-token
auth [success=2 default=ignore] pam_unix.so nodelay
auth optional pam_exec.so quiet /usr/local/sbin/log-failure
auth requisite pam_deny.so
auth required pam_permit.so
account required pam_permit.so
session required pam_permit.so
";

/// As [`ONE_QUESTION`], and a second question, whose right answer is 424242.
const TWO_QUESTIONS: &str = "\
auth required pam_exec.so quiet expose_authtok /usr/local/sbin/log-token
auth [success=2 default=ignore] pam_unix.so nodelay
auth optional pam_exec.so quiet /usr/local/sbin/log-failure
auth requisite pam_deny.so
auth optional pam_stress.so
auth requisite pam_exec.so quiet expose_authtok /usr/local/sbin/log-code
auth required pam_permit.so
account required pam_permit.so
session required pam_permit.so
";

/// Sets the PAM stack of a service, which logs to /var/log/pam.
fn watch(host: &Host, service: &str, stack: &str) {
    let log = |name: &str, rest: &str| {
        let script = format!("#!/bin/sh\nexec >>/var/log/pam; {rest}\n");
        host.file(&format!("/usr/local/sbin/{name}"), &script, 0o755);
    };
    let token = "token=$(tr -d '\\000'); echo \"$PAM_SERVICE $token\"";
    log("log-token", token);
    let failed = "echo \"$PAM_SERVICE failed\"";
    log("log-code", &format!("{token}; [ \"$token\" = 424242 ] && exit; {failed}; exit 1"));
    log("log-failure", failed);
    host.file(&format!("/etc/pam.d/{service}"), stack, 0o644);
    // sudo's modules run with the user's real id.
    host.file("/var/log/pam", "", 0o666);
}

/// What PAM was given since the last call: `sshd right; sshd failed`.
fn given(host: &Host) -> String {
    let text = host.run("cat /var/log/pam; : >/var/log/pam");
    text.lines().collect::<Vec<_>>().join("; ")
}

fn show(lab: &Lab, target: &str, lines: &str) -> Ended {
    let mut command = lab.nlr(&["--stubs", stub(), "show", "link", "--json", target]);
    command.args(["--password-fd", "0"]);
    finish_with(command, lines)
}

/// One row for each (what is given) and (what is asked): what each party gets, and the end.
#[track_caller]
fn check(lab: &Lab, host: &Host, rows: &[(&str, &str, &str, &[&str])]) {
    for (target, lines, expected, words) in rows {
        let ended = show(lab, target, lines);
        let got = given(host);
        assert_eq!(got, *expected, "{target} with {lines:?}: {ended:?}\n{}", host.sshd_log());
        let log = host.sshd_log();
        assert_eq!(
            ended.code() == 0,
            words.is_empty(),
            "{target} with {lines:?}: {ended:?}\n{log}"
        );
        for word in *words {
            assert!(ended.stderr.contains(word), "{target} with {lines:?}: no {word:?}: {ended:?}");
        }
        for secret in lines.lines().filter_map(|line| line.rsplit('\t').next()) {
            let is_told = !secret.is_empty() && ended.stderr.contains(secret);
            assert!(!is_told, "{target} with {lines:?}: {ended:?}");
        }
    }
}

#[test]
fn a_server_gets_the_password_that_was_meant_for_it() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").password("right").sudoers("ci ALL=ALL").start();
    watch(&host, "sshd", ONE_QUESTION);
    watch(&host, "sudo", ONE_QUESTION);
    let key = "~/.ssh/id_ed25519";
    lab.client().run(&format!("ssh-keygen -q -p -f {key} -P '' -N sesame"));
    let both = "ssh://h,sudo:";
    check(
        &lab,
        &host,
        &[
            // A mistyped passphrase, and sudo's password behind it.
            (both, &format!("{key}\tmistyped\nright\n"), "", &["wrong passphrase", "was refused"]),
            (both, "mistyped\nright\n", "", &["none given", "no line for it", "ssh://h,sudo:"]),
            (both, &format!("{key}\tsesame\nright\n"), "sudo right", &[]),
            (both, "/home/me/.ssh/id_ed25519\tsesame\nsudo:\tright\n", "sudo right", &[]),
            // sudo refuses: it gets nothing more, and nobody else either. At the end of its input it
            // gives up the next attempt, which its modules of PAM see.
            (
                both,
                &format!("{key}\tsesame\nWr0ng\nright\n"),
                "sudo Wr0ng; sudo failed; sudo failed",
                &["wrong password for sudo", "was refused"],
            ),
            (
                "ssh://h",
                "Wr0ng\nright\n",
                "sshd Wr0ng; sshd failed",
                &["password (refused)", "was refused"],
            ),
            ("ssh://h", "right\n", "sshd right", &[]),
            (both, "ssh://h\tright\nright\n", "sshd right; sudo right", &[]),
            // Nobody answers.
            ("ssh://h", "", "", &["password (none given)", "no line for it"]),
            ("ssh://h", "\n", "", &["password (none given)"]),
            ("ssh://h", "ssh://other\tright\n", "", &["password (none given)"]),
            (
                both,
                &format!("{key}\tsesame\n"),
                "sudo failed",
                &["none was given", "no line for it"],
            ),
        ],
    );
    host.assert_idle();
}

#[test]
fn a_conversation_of_two_questions() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let sshd = "KbdInteractiveAuthentication yes\nPasswordAuthentication yes";
    let host = lab.host("h").password("right").sshd(sshd).start();
    watch(&host, "sshd", TWO_QUESTIONS);
    lab.client().run("rm ~/.ssh/id_ed25519");
    check(
        &lab,
        &host,
        &[
            ("ssh://h", "right\n424242\n", "sshd right; sshd 424242", &[]),
            // Nothing more goes to the server, by the other method either.
            (
                "ssh://h",
                "Wr0ng\n424242\n",
                "sshd Wr0ng; sshd failed",
                &["keyboard-interactive (refused)"],
            ),
            (
                "ssh://h",
                "right\n111111\n222222\n",
                "sshd right; sshd 111111; sshd failed",
                &["keyboard-interactive (refused)"],
            ),
            // Nobody answers: no empty answer, no failure.
            ("ssh://h", "", "", &["keyboard-interactive (none given)", "password (none given)"]),
            ("ssh://h", "\n\n", "", &["keyboard-interactive (none given)"]),
            ("ssh://h", "right\n", "sshd right", &["keyboard-interactive (none given)"]),
        ],
    );
    host.assert_idle();
}

/// A conversation that is left after its first answer does not end the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_question_that_nobody_answers() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let sshd = "KbdInteractiveAuthentication yes\nPasswordAuthentication yes";
    let host = lab.host("h").password("right").sshd(sshd).start();
    watch(&host, "sshd", TWO_QUESTIONS);
    lab.client().run("rm ~/.ssh/id_ed25519");
    let mut options = options(&lab);
    options.prompter = Prompter::none().on_secret(|request| {
        let is_known = request.attempt == 1 && !request.prompt.contains("STRESS");
        is_known.then(|| Secret::new("right".to_owned()))
    });
    let error = connect("ssh://ci@h", &options).await.unwrap_err().to_string();
    let tried =
        "tried keyboard-interactive (none given), password (refused); the password is wrong";
    assert!(error.contains(tried), "{error}");
    // The first is of the conversation; by the method `password` sshd itself answers both questions.
    assert_eq!(given(&host), "sshd right; sshd right; sshd right; sshd failed");
    host.assert_idle();
}

/// A server may ask for ever, and a program answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_conversation_ends() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let sshd = "KbdInteractiveAuthentication yes\nPasswordAuthentication no";
    let host = lab.host("h").password("right").sshd(sshd).start();
    let stack = format!("{}{ONE_QUESTION}", "auth optional pam_stress.so\n".repeat(100));
    watch(&host, "sshd", &stack);
    lab.client().run("rm ~/.ssh/id_ed25519");
    let (prompter, asked) = answers(&["x"; 200]);
    let mut options = options(&lab);
    options.prompter = prompter;
    let error = connect("ssh://ci@h", &options).await.unwrap_err();
    assert_eq!(asked.lock().unwrap().len(), 32, "{error}");
    // The program ssh asks in the same words again only where an answer was refused, as far as is
    // known: a test is no helper of it, and nlr gives no second line.
    let ended = show(&lab, "openssh://ci@h", &"x\n".repeat(200));
    assert!(ended.stderr.contains("what was given was refused"), "{ended:?}");
    assert_eq!(given(&host), "");
    host.assert_idle();
}

#[test]
fn sudo_and_su_with_two_questions() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host =
        lab.host("h").password("right").root_password("root's").sudoers("ci ALL=ALL").start();
    watch(&host, "sudo", TWO_QUESTIONS);
    watch(&host, "su", TWO_QUESTIONS);
    check(
        &lab,
        &host,
        &[
            ("ssh://h,sudo:", "right\n424242\n", "sudo right; sudo 424242", &[]),
            ("ssh://h,su:", "root's\n424242\n", "su root's; su 424242", &[]),
            ("ssh://h,su:", "Wr0ng\n424242\n", "su Wr0ng; su failed", &["was wrong"]),
            (
                "ssh://h,sudo:",
                "right\n111111\n424242\n",
                "sudo right; sudo 111111; sudo failed",
                &["sudo: "],
            ),
        ],
    );
    for (target, expected) in [
        ("ssh://h,sudo:", "asks for more, such as a one-time code: "),
        ("ssh://h,su:", "su: (to become root) asks: STRESS Password: "),
    ] {
        let mut pty = Pty::start(&lab.nlr(&["--stubs", stub(), "show", "link", target]));
        pty.expect("(to become root): ", SOON);
        pty.send(if target.ends_with("su:") { "root's\n" } else { "right\n" });
        pty.expect(expected, SOON);
        pty.send("424242\n");
        assert!(pty.wait().success(), "{}", pty.transcript());
        assert!(!pty.transcript().contains("not accepted"), "{}", pty.transcript());
    }
    host.assert_idle();
}

/// Runs `show link` with a password on each question, on a terminal.
fn terminal(lab: &Lab, words: &[&str], answers: &[(&str, &str)]) -> Pty {
    let mut all = vec!["--stubs", stub(), "show", "link"];
    all.extend(words);
    let mut pty = Pty::start(&lab.nlr(&all));
    for (question, answer) in answers {
        pty.expect(question, SOON);
        pty.send(answer);
    }
    pty
}

#[test]
fn the_program_ssh_asks_through_nlr() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").password("right").sudoers("ci ALL=ALL").start();
    watch(&host, "sshd", ONE_QUESTION);
    watch(&host, "sudo", ONE_QUESTION);
    let key = "/home/me/.ssh/id_ed25519";
    lab.client().run(&format!("ssh-keygen -q -p -f {key} -P '' -N sesame"));
    let both = "openssh://h,sudo:";
    check(
        &lab,
        &host,
        &[
            (both, &format!("{key}\tsesame\nright\n"), "sudo right", &[]),
            (both, &format!("{key}\tmistyped\nright\n"), "", &["authentication", "was refused"]),
            (both, "right\n", "", &["authentication", "none was given", "no line for it"]),
            (both, "openssh://h\tright\nsudo:\tright\n", "sshd right; sudo right", &[]),
            ("openssh://h", "right\n", "sshd right", &[]),
            (
                "openssh://h",
                "Wr0ng\nright\n",
                "sshd Wr0ng; sshd failed",
                &["authentication", "was refused"],
            ),
            ("openssh://h", "", "", &["authentication", "none was given"]),
            ("openssh://h", "\n", "", &["none was given"]),
        ],
    );
    // An askpass program, which may fail; and nobody.
    lab.client().run(&format!("mv {key} {key}.away"));
    lab.client().file("/home/me/askpass", "#!/bin/sh\necho \"$1\" >&2; echo right\n", 0o755);
    nlr_ok_of(&lab, &["--askpass", "/home/me/askpass", "openssh://h"], "'s password: ");
    assert_eq!(given(&host), "sshd right");
    for options in [&["--askpass", "/bin/false"][..], &["--batch"]] {
        let mut words = vec!["show", "link", "openssh://h"];
        words.extend(options);
        nlr_fails(&lab, &words, 4, &["authentication"]);
        assert_eq!(given(&host), "");
    }
    // On the terminal, with a time limit that is shorter than the user takes.
    let mut pty = terminal(&lab, &["openssh://h", "--connect-timeout", "1"], &[]);
    pty.expect("'s password: ", SOON);
    std::thread::sleep(Duration::from_millis(1500));
    pty.send("Wr0ng\n");
    pty.expect("openssh://h: that was not accepted", SOON);
    pty.expect("'s password: ", SOON);
    pty.send("right\n");
    assert!(pty.wait().success(), "{}", pty.transcript());
    assert!(!pty.transcript().contains("right"), "{}", pty.transcript());
    assert_eq!(given(&host), "sshd Wr0ng; sshd failed; sshd right");
    host.assert_idle();
}

/// ssh's decision about an unknown host key is the user's, as that of `ssh://`.
#[test]
fn the_program_ssh_asks_about_an_unknown_host() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("new").start();
    lab.forget("new");
    let mut command = lab.nlr(&["--stubs", stub(), "show", "link", "openssh://new"]);
    command.args(["--password-fd", "0"]);
    finish_with(command, "").failed(3, &["host key", "Host key verification failed"]);
    let mut pty = terminal(
        &lab,
        &["openssh://new"],
        &[("is not known yet", ""), ("SHA256:", ""), ("(yes/no) ", "yes\n")],
    );
    assert!(pty.wait().success(), "{}", pty.transcript());
    nlr_ok(&lab, &["show", "link", "openssh://new", "--batch"]);
    host.assert_idle();
}

/// An askpass program may know a password, and not that it was refused.
#[test]
fn an_askpass_program_is_told_who_asks() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").password("right").sudoers("ci ALL=ALL").start();
    watch(&host, "sudo", ONE_QUESTION);
    let script = "#!/bin/sh\necho \"$NLR_ASKPASS_KIND $NLR_ASKPASS_ATTEMPT $NLR_ASKPASS_HOP\" >&2
        [ $NLR_ASKPASS_ATTEMPT = 1 ] && echo Wr0ng\n";
    lab.client().file("/home/me/askpass", script, 0o755);
    let words = ["show", "link", "ssh://h,sudo:", "--askpass", "/home/me/askpass"];
    let ended = nlr(&lab, &words);
    assert_eq!(ended.code(), 4, "{ended:?}");
    let asked = "privilege 1 ssh://h,sudo:\nprivilege 2 ssh://h,sudo:\n";
    assert!(ended.stderr.starts_with(asked), "{ended:?}");
    assert_eq!(given(&host), "sudo Wr0ng; sudo failed; sudo failed");
    host.assert_idle();
}

/// An ssh that cannot be answered is not left to send an empty password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ssh_that_cannot_ask_sends_nothing() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").password("right").start();
    watch(&host, "sshd", ONE_QUESTION);
    lab.client().run("mv ~/.ssh/id_ed25519 ~/away");
    // A program that is no helper.
    let (prompter, asked) = answers(&["right"]);
    let mut options = options(&lab);
    options.prompter = prompter;
    let address = host.addresses()[0];
    let error = connect(&format!("openssh://ci@{address}"), &options).await.unwrap_err();
    assert!(error.to_string().contains("Permission denied"), "{error}");
    assert!(asked.lock().unwrap().is_empty());
    // The words of an old ssh and of a server look alike.
    let old = "#!/bin/sh\n[ \"$*\" = -V ] || exec /usr/bin/ssh \"$@\"\necho OpenSSH_8.4p1 >&2\n";
    lab.client().file("/home/me/bin/ssh", old, 0o755);
    let mut command = lab.client().command("sh");
    let (tool, stub) = (testing::programs::nlr(), stub());
    let script =
        format!("PATH=$HOME/bin:$PATH {tool} --stubs {stub} show link openssh://h --password-fd 0");
    command.args(["-c", &script]);
    let words = ["Permission denied", "before OpenSSH 8.5", "`ssh:` in place of"];
    finish_with(command, "right\n").failed(4, &words);
    assert_eq!(given(&host), "");
    host.assert_idle();
}

#[track_caller]
fn nlr_ok_of(lab: &Lab, words: &[&str], said: &str) {
    let mut all = vec!["show", "link"];
    all.extend(words);
    let ended = nlr(lab, &all);
    assert!(ended.code() == 0 && ended.stderr.contains(said), "{ended:?}");
}

#[test]
fn ctrl_c_while_the_program_ssh_asks_leaves_the_terminal_as_it_was() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").password("right").start();
    watch(&host, "sshd", ONE_QUESTION);
    lab.client().run("rm ~/.ssh/id_ed25519");
    let tool = testing::programs::nlr();
    let mut command = lab.client().command("sh");
    let script = format!("{tool} --stubs {} show link openssh://h; echo code $?; stty -a", stub());
    command.args(["-c", &script]);
    let mut pty = Pty::start(&command);
    pty.expect("'s password: ", SOON);
    pty.send("\u{3}");
    pty.wait();
    let transcript = pty.transcript();
    assert!(transcript.contains("code 130") && transcript.contains(" echo "), "{transcript}");
    assert_eq!(given(&host), "");
    host.assert_idle();
}

/// The helper ends the ssh that asks, whatever has ended the process that would answer.
#[test]
fn a_killed_client_leaves_no_ssh_that_sends_an_empty_password() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").password("right").start();
    watch(&host, "sshd", ONE_QUESTION);
    lab.client().run("rm ~/.ssh/id_ed25519");
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGHUP] {
        let command = lab.nlr(&["--stubs", stub(), "show", "link", "openssh://h"]);
        let mut pty = Pty::start(&command);
        pty.expect("'s password: ", SOON);
        kill(Pid::from_raw(pty.pid().cast_signed()), signal).unwrap();
        pty.wait();
        host.assert_idle();
        assert_eq!(given(&host), "", "{signal}");
    }
}

#[test]
fn a_conversation_with_the_program_ssh() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let sshd = "KbdInteractiveAuthentication yes\nPasswordAuthentication yes";
    let host = lab.host("h").password("right").sshd(sshd).start();
    watch(&host, "sshd", TWO_QUESTIONS);
    lab.client().run("rm ~/.ssh/id_ed25519");
    check(
        &lab,
        &host,
        &[
            ("openssh://h", "right\n424242\n", "sshd right; sshd 424242", &[]),
            ("openssh://h", "Wr0ng\n424242\n", "sshd Wr0ng; sshd failed", &["was refused"]),
            ("openssh://h", "right\n", "sshd right", &["none was given"]),
            ("openssh://h", "", "", &["none was given"]),
        ],
    );
    host.assert_idle();
}

/// The ssh of a jump host has neither the options of the one that jumps, nor its questions.
#[test]
fn a_jump_host_gets_its_own_password_alone() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let gateway = lab.host("gw").on("public").on("inner").password("outer").start();
    let host = lab.host("h").on("inner").password("right").start();
    for host in [&gateway, &host] {
        watch(host, "sshd", ONE_QUESTION);
    }
    lab.client().run("rm ~/.ssh/id_ed25519");
    let gw = format!("openssh://ci@{}", gateway.addresses()[0]);
    let target = "openssh://gw,openssh://h";
    for (lines, at_gateway, at_host, is_good) in [
        (format!("{gw}\touter\nright\n"), "sshd outer", "sshd right", true),
        ("right\n".to_owned(), "", "", false),
        ("outer\nright\n".to_owned(), "", "", false),
        (format!("{gw}\tWr0ng\nright\n"), "sshd Wr0ng; sshd failed", "", false),
        (format!("{gw}\touter\n"), "sshd outer", "", false),
    ] {
        let ended = show(&lab, target, &lines);
        assert_eq!(ended.code() == 0, is_good, "{lines:?}: {ended:?}");
        assert_eq!(given(&gateway), at_gateway, "{lines:?}: {ended:?}");
        assert_eq!(given(&host), at_host, "{lines:?}: {ended:?}");
    }
    nlr_fails(&lab, &["show", "link", target, "--batch"], 4, &["nobody can be asked"]);
    assert_eq!((given(&gateway), given(&host)), (String::new(), String::new()));
    let mut pty = terminal(
        &lab,
        &[target],
        &[("'s password: ", "outer\n"), ("(via openssh://gw)", "right\n")],
    );
    assert!(pty.wait().success(), "{}", pty.transcript());
    gateway.assert_idle();
    host.assert_idle();
}
