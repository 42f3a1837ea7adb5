//! Prompts and progress on a terminal.

use std::time::Duration;

use testing::{
    lab::{Lab, Pty},
    programs,
    remote::*,
};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_password_is_asked_for_and_a_slow_upload_shows_its_progress() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("slow").password("secret").start();
    // Without the user's key.
    lab.client().run("mv ~/.ssh/id_ed25519 ~/hidden");
    let size = std::fs::metadata(stub()).unwrap().len();
    // An upload of about four seconds.
    host.shape(&format!("tbf rate {}bit burst 64k latency 400ms", size * 8 / 4));
    let command = lab.nlr(&["--stubs", stub(), "show", "link", "ssh://ci@slow"]);
    let mut pty = Pty::start(&command);
    pty.expect("assword", SOON);
    pty.send("wrong\n");
    pty.expect("please try again", SOON);
    pty.expect("assword", SOON);
    pty.send("secret\n");
    pty.expect("ssh://ci@slow: sending the stub, ", SOON);
    pty.expect(" KiB, ", SOON);
    assert!(pty.wait().success(), "{}", pty.transcript());
    let screen = pty.screen();
    assert!(screen.contains("eth0"), "{screen}");
    // The line is erased, and the password was never on the terminal.
    assert!(!screen.contains("sending"), "{screen}");
    assert!(!pty.transcript().contains("secret"), "{}", pty.transcript());
    host.assert_idle();
}

#[test]
fn an_unknown_host_is_a_question() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("new").start();
    lab.forget("new");
    let command = lab.nlr(&["--stubs", stub(), "show", "link", "ssh://new"]);
    let mut pty = Pty::start(&command);
    pty.expect("is not known yet", SOON);
    pty.expect("SHA256:", SOON);
    pty.expect("(yes/no)", SOON);
    pty.send("no\n");
    assert_eq!(pty.wait().code(), Some(3), "{}", pty.transcript());
    let mut pty = Pty::start(&command);
    pty.expect("(yes/no)", SOON);
    pty.send("yes\n");
    assert!(pty.wait().success(), "{}", pty.transcript());
    let mut pty = Pty::start(&command);
    assert!(pty.wait().success(), "{}", pty.transcript());
    assert!(!pty.transcript().contains("SHA256"), "{}", pty.transcript());
    host.assert_idle();
}

#[test]
fn a_signal_at_a_prompt_ends_it_and_leaves_the_terminal_as_it_was() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").password("secret").sudoers("ci ALL=ALL").start();
    let tool = programs::nlr();
    let script = format!(
        "sh -c 'echo $$ >/tmp/nlr.pid; exec {tool} --stubs {} show link ssh://test01,sudo:'; \
         echo code $?; stty -a",
        stub()
    );
    for (code, end) in [("code 130", None), ("code 130", Some("INT")), ("code 143", Some("TERM"))] {
        let mut command = lab.client().command("sh");
        command.args(["-c", &script]);
        let mut pty = Pty::start(&command);
        pty.expect("(to become root): ", SOON);
        match end {
            None => pty.send("\u{3}"),
            Some(signal) => {
                lab.client().run(&format!("kill -{signal} $(cat /tmp/nlr.pid)"));
            }
        }
        pty.wait();
        let transcript = pty.transcript();
        assert!(transcript.contains(code), "{end:?}: {transcript}");
        for setting in [" echo ", " icanon ", "isig "] {
            assert!(transcript.contains(setting), "{end:?}: no {setting}: {transcript}");
        }
        host.assert_idle();
    }
}

#[test]
fn hosts_of_one_name_are_told_apart_by_the_way_to_them() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let gateway = lab.host("gateway").on("public").on("inner").password("outer one").start();
    let inner = lab.host("inner").on("inner").password("inner one").start();
    lab.client().run("mv ~/.ssh/id_ed25519 ~/hidden");
    // A host behind a gateway may have any name.
    let config = lab.client().read("/home/me/.ssh/config");
    let alias = config.replace("Host inner\n", "Host inner\n  HostKeyAlias nobody-knows\n");
    lab.client().file("/home/me/.ssh/config", &alias, 0o600);
    let command = lab.nlr(&["--stubs", stub(), "show", "link", "ssh://gateway,ssh://inner"]);
    let mut pty = Pty::start(&command);
    pty.expect("Password for ci@", SOON);
    assert!(!pty.transcript().contains("behind"), "{}", pty.transcript());
    pty.send("outer one\n");
    pty.expect("nobody-knows (via ssh://gateway) is not known yet", SOON);
    pty.expect("(yes/no)", SOON);
    pty.send("yes\n");
    pty.expect("(via ssh://gateway) Password for ci@", SOON);
    pty.send("wrong\n");
    pty.expect("ssh://gateway,ssh://inner: that was not accepted", SOON);
    pty.expect("(via ssh://gateway) Password for ci@", SOON);
    pty.send("inner one\n");
    assert!(pty.wait().success(), "{}", pty.transcript());
    gateway.assert_idle();
    inner.assert_idle();
}
