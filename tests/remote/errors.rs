//! The error of each failed step names the hop, the step and the remedy.

use std::{io::Write, net::TcpListener};

use netlink_remote::{ErrorKind, Prompter, Step, TargetOptions};
use testing::{
    lab::{Bad, Lab},
    programs,
    remote::*,
};

#[test]
fn a_host_that_is_not_there_or_not_the_one_it_was() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    lab.bad("refused", Bad::Refused);
    lab.bad("silent", Bad::Silent);
    let (changed, unknown) = (lab.host("changed").start(), lab.host("unknown").start());
    lab.misremember("changed");
    lab.forget("unknown");
    let fails = |target: &str, code: i32, texts: &[&str]| {
        let arguments = ["show", "link", target, "--batch", "--connect-timeout", "2"];
        nlr_fails(&lab, &arguments, code, texts)
    };
    fails("ssh://refused", 3, &["ssh://refused: connect: ", "Connection refused"]);
    fails("ssh://silent", 3, &["ssh://silent: connect: ", "2.0s"]);
    fails("ssh://nowhere.invalid", 3, &["ssh://nowhere.invalid: connect: ", "nowhere.invalid"]);
    let said = fails("ssh://changed", 3, &["ssh://changed: host key: ", "ssh-keygen -R"]);
    assert!(said.contains("known_hosts:"), "{said}");
    fails("ssh://unknown", 3, &["ssh://unknown: host key: ", "SHA256:"]);
    // The program ssh has words of its own.
    fails("openssh://refused", 3, &["openssh://refused: ", "Connection refused"]);
    fails("openssh://unknown", 3, &["openssh://unknown: ", "Host key verification failed"]);
    fails("ssh://someone@changed:23", 3, &["connect: ", "Connection refused"]);
    // Nothing was sent to a host without the right key.
    for host in [&changed, &unknown] {
        assert!(!host.sshd_log().contains("Accepted"), "{}", host.sshd_log());
        host.assert_idle();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_answers_and_is_no_ssh_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("ssh://ci@{}", listener.local_addr().unwrap());
    let mut options = TargetOptions::default();
    // The home of root is closed to who is root in a user namespace alone.
    let config = testing::temporary("config");
    std::fs::write(&config, "UserKnownHostsFile none\n").unwrap();
    options.ssh_config = Some(config.clone());
    // The stub as it was built: stripping would write a file beside it.
    options.stubs = vec![programs::stub().into()];
    for (says, expected) in [
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "is not an ssh server (it says: HTTP/1.1 400 Bad Request)",
        ),
        ("\0\0\0", "is not an ssh server (it says: "),
        ("", "before it greeted as an ssh server"),
        (
            "SSH-2.0-x\r\nrubbish, rubbish",
            "closed the connection within the key exchange, after its greeting SSH-2.0-x",
        ),
    ] {
        let answers = async || {
            let listener = listener.try_clone().unwrap();
            let answer = move || listener.accept().unwrap().0.write_all(says.as_bytes());
            tokio::task::spawn_blocking(answer).await.unwrap().unwrap();
        };
        let (connected, ()) = tokio::join!(connect(&target, &options), answers());
        let error = connected.unwrap_err();
        let failed = (error.step(), error.kind());
        assert_eq!(failed, (Some(Step::HostKey), ErrorKind::Connect), "{says:?}: {error}");
        assert!(error.to_string().contains(expected), "{says:?}: {error}");
    }
    std::fs::remove_file(&config).unwrap();
}

#[test]
fn an_account_or_gateway_that_does_not_let_one_in() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let gateway = lab.host("gateway").on("public").on("inner").start();
    let closed = lab.host("closed").on("public").on("inner").sshd("AllowTcpForwarding no").start();
    let inner = lab.host("inner").on("inner").start();
    let fails = |target: &str, code: i32, texts: &[&str]| {
        nlr_fails(&lab, &["show", "link", target, "--batch"], code, texts);
    };
    fails("ssh://nobody@gateway", 4, &["ssh://nobody@gateway: authentication: ", "publickey"]);
    let two = "ssh://gateway,ssh://nobody@inner";
    fails(two, 4, &["ssh://nobody@inner: authentication: "]);
    let forbidden = "ssh://closed,ssh://inner";
    fails(forbidden, 3, &["ssh://inner: connect: ", "AllowTcpForwarding"]);
    fails("ssh://gateway,ssh://inner:23", 3, &["ssh://inner:23: connect: "]);
    for host in [gateway, closed, inner] {
        host.assert_idle();
    }
}

#[test]
fn what_is_no_stub_or_no_host_for_one() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").sudoers("ci ALL=NOPASSWD: ALL").start();
    let fails = |target: &str, code: i32, texts: &[&str]| {
        let arguments = ["show", "link", target, "--batch", "--connect-timeout", "3"];
        nlr_fails(&lab, &arguments, code, texts);
    };
    fails("ssh://test01,stub:/nowhere", 3, &["bootstrap: ", "/nowhere", "ot found"]);
    fails("ssh://test01,stub:/bin/true", 3, &["ssh://test01,stub:/bin/true: "]);
    host.file("/usr/local/bin/talks", "#!/bin/sh\necho what is this; cat >/dev/null\n", 0o755);
    fails("ssh://test01,stub:/usr/local/bin/talks", 3, &["what is this", "3s"]);
    host.file("/usr/local/bin/hangs", "#!/bin/sh\necho sorry >&2; cat >/dev/null\n", 0o755);
    fails("ssh://test01,stub:/usr/local/bin/hangs", 3, &["sorry", "3s"]);
    fails("ssh://test01,docker:web", 3, &["bootstrap: ", "docker"]);
    fails("exec:no-such-program-here", 3, &["bootstrap: ", "no-such-program-here"]);
    host.file("/usr/local/bin/uname", "#!/bin/sh\necho sparc64\n", 0o755);
    fails("ssh://test01,sudo:", 3, &["bootstrap: ", "sparc64", "nlr-stub-<target triple>"]);
    host.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_is_a_question_and_is_known_from_then_on() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("new").start();
    lab.forget("new");
    let mut options = options(&lab);
    let error = connect("ssh://new", &options).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::HostKey), "{error}");
    let fingerprint = host.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    let fingerprint = fingerprint.split(' ').nth(1).unwrap().to_owned();
    options.prompter = Prompter::none().on_host_key(|_| false);
    let error = connect("ssh://new", &options).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::HostKey), "{error}");
    let (expected, address) = (fingerprint.clone(), host.addresses()[0].to_string());
    options.prompter = Prompter::none().on_host_key(move |question| {
        assert_eq!((&question.fingerprint, &question.host), (&expected, &address));
        question.key_type == "ssh-ed25519"
    });
    connect("ssh://new", &options).await.unwrap().close().await;
    assert!(lab.client().read("/home/me/.ssh/known_hosts").contains("ssh-ed25519"));
    options.prompter = Prompter::none();
    connect("ssh://new", &options).await.unwrap().close().await;
    host.assert_idle();
}
