//! The real sudo, doas and su, with real configuration files.

use std::{io::Write, os::fd::AsRawFd, time::Duration};

use netlink_remote::{Client, ErrorKind, Event, Netns, Step, nlmsg};
use testing::{
    finish_with,
    lab::{Lab, Pty},
    netlink,
    remote::*,
    wait_up_to,
};

const TARGET: &str = "ssh://test01,sudo:";

async fn is_root(client: &Client) {
    assert_eq!(client.host().uid, 0);
    assert!(dump_links(client, Netns::Current).await.contains(&"eth0".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_the_program_and_a_wrong_one_is_asked_for_again() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").password("right one").sudoers("ci ALL=ALL").start();
    let mut options = options(&lab);

    let (ask, asked) = answers(&["right one"]);
    options.prompter = ask;
    let client = connect(TARGET, &options).await.unwrap();
    is_root(&client).await;
    client.close().await;
    let requests = asked.lock().unwrap().clone();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].hop.as_str(), requests[0].attempt), (TARGET, 1));
    assert!(requests[0].prompt.contains("root"), "{}", requests[0].prompt);
    assert!(!requests[0].echo);

    // sudo remembers a success for a terminal, and there is none here.
    let (ask, asked) = answers(&["wrong", "right one"]);
    options.prompter = ask;
    let client = connect(TARGET, &options).await.unwrap();
    is_root(&client).await;
    client.close().await;
    assert_eq!(asked.lock().unwrap().last().unwrap().attempt, 2);

    let (ask, asked) = answers(&["a", "b", "c", "d"]);
    options.prompter = ask;
    let error = connect(TARGET, &options).await.unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::Connect, Some(Step::Privilege)));
    assert!(error.to_string().contains("password"), "{error}");
    assert!(!error.to_string().contains("right one"), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 3);

    // Without a prompter.
    options.prompter = netlink_remote::Prompter::none();
    let error = connect(TARGET, &options).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Privilege), "{error}");
    assert!(error.to_string().contains("a password is required"), "{error}");
    host.assert_idle();
}

#[test]
fn the_tool_takes_passwords_from_a_descriptor_a_program_and_a_terminal() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").password("right one").sudoers("ci ALL=ALL").start();
    let words = ["--stubs", stub(), "show", "link", "--json", TARGET];

    let mut command = lab.nlr(&words);
    command.args(["--password-fd", "0"]);
    let ended = finish_with(command, "right one\n");
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert_eq!(link_names(&ended.stdout), links_of(&host));

    let mut command = lab.nlr(&words);
    command.args(["--password-fd", "0"]);
    // The second line answers another question, not a refusal of the first.
    let ended = finish_with(command, "wrong\nright one\n");
    assert_eq!(ended.code(), 4, "{ended:?}");
    assert!(ended.stderr.contains("sudo") && ended.stderr.contains("password"), "{ended:?}");

    lab.client().file("/home/me/askpass", "#!/bin/sh\necho \"$1\" >&2; echo 'right one'\n", 0o755);
    let mut command = lab.nlr(&words);
    command.args(["--askpass", "/home/me/askpass"]);
    let ended = finish_with(command, "");
    assert_eq!(ended.code(), 0, "{ended:?}");
    let asks = "(via ssh://test01) Password for sudo: (to become root): ";
    assert!(ended.stderr.contains(asks), "{ended:?}");

    let mut pty = Pty::start(&lab.nlr(&words));
    pty.expect(asks, Duration::from_secs(30));
    pty.send("wrong\n");
    pty.expect("please try again", Duration::from_secs(30));
    pty.expect("(to become root): ", Duration::from_secs(30));
    pty.send("right one\n");
    assert!(pty.wait().success(), "{}", pty.transcript());
    assert!(!pty.transcript().contains("right one"), "{}", pty.transcript());

    nlr_fails(&lab, &["show", "link", TARGET, "--batch"], 4, &["sudo", "a password is required"]);
    host.assert_idle();
}

/// Asserts that no writable memory of a process has a secret, as soon as it has connected.
#[track_caller]
fn assert_forgotten(pid: u32, secret: &str) {
    let mut left = None;
    wait_up_to(Duration::from_secs(10), || {
        left = remembered(pid, secret);
        left.is_none()
    });
    assert_eq!(left, None, "the password is still in memory");
}

/// The place of a secret in the writable memory of a process, and the bytes around it.
fn remembered(pid: u32, secret: &str) -> Option<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let writable = |line: &&str| line.split(' ').nth(1).unwrap().starts_with("rw");
    maps.lines().filter(writable).find_map(|line| {
        let range = line.split(' ').next().unwrap().split_once('-').unwrap();
        let at = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(at(range.1) - at(range.0)).unwrap()];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, at(range.0)).ok()?;
        let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes())?;
        let around = &bytes[found.saturating_sub(64)..bytes.len().min(found + 64)];
        Some(format!("{line}: {}", String::from_utf8_lossy(around)))
    })
}

#[test]
fn a_password_is_seen_nowhere() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").password("Tr0ub4dor").sudoers("ci ALL=ALL").start();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut command = lab.nlr(&["--stubs", stub(), "monitor", TARGET, "--password-fd", "0"]);
    writer.write_all(b"Tr0ub4dor\n").unwrap();
    drop(writer);
    assert!(reader.as_raw_fd() > 0);
    command.stdin(reader).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let is_up = || host.processes().iter().any(|process| process.contains("netlink-remote/stub-"));
    assert!(wait_up_to(Duration::from_secs(30), is_up), "{:?}", host.processes());
    // Everyone may read the arguments of every process, and root its environment.
    for process in host.processes() {
        let pid = process.split(' ').next().unwrap();
        for file in ["cmdline", "environ"] {
            let Ok(bytes) = std::fs::read(format!("/proc/{pid}/{file}")) else { continue };
            assert!(!String::from_utf8_lossy(&bytes).contains("Tr0ub4dor"), "{process}: {file}");
        }
    }
    // Other processes of the user cannot read the memory, nor does a core file hold it: proc(5).
    let memory = std::fs::metadata(format!("/proc/{}/mem", child.id())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&memory), 0);
    // After its use no memory here has it either.
    assert_forgotten(child.id(), "Tr0ub4dor");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!host.sshd_log().contains("Tr0ub4dor"));
    host.assert_idle();
}

#[test]
fn a_password_is_forgotten_wherever_it_came_from() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").password("Tr0ub4dor").sudoers("ci ALL=ALL").start();
    let is_up = || host.processes().iter().any(|process| process.contains("netlink-remote/stub-"));
    let mut pty = Pty::start(&lab.nlr(&["--stubs", stub(), "monitor", TARGET]));
    pty.expect("(to become root): ", Duration::from_secs(30));
    pty.send("Tr0ub4dor\n");
    assert!(wait_up_to(Duration::from_secs(30), is_up), "{}", pty.transcript());
    assert_forgotten(pty.pid(), "Tr0ub4dor");
    drop(pty);
    host.assert_idle();

    lab.client().file("/home/me/askpass", "#!/bin/sh\necho Tr0ub4dor\n", 0o755);
    let mut command = lab.nlr(&["--stubs", stub(), "monitor", TARGET]);
    command.args(["--askpass", "/home/me/askpass"]).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    assert!(wait_up_to(Duration::from_secs(30), is_up), "{:?}", host.processes());
    assert_forgotten(child.id(), "Tr0ub4dor");
    child.kill().unwrap();
    child.wait().unwrap();
    host.assert_idle();
}

#[test]
fn what_ssh_was_given_is_forgotten() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    lab.client()
        .run("ssh-keygen -q -t ed25519 -N Tr0ub4dor -f ~/locked; mv ~/.ssh/id_ed25519 ~/away");
    let by_key = lab.host("key").start();
    by_key.file_of_ci(
        "/home/ci/.ssh/authorized_keys",
        &lab.client().read("/home/me/locked.pub"),
        0o600,
    );
    let by_password = lab.host("password").password("Tr0ub4dor").start();
    let sshd = "KbdInteractiveAuthentication yes\nPasswordAuthentication no";
    let by_conversation = lab.host("kbd").password("Tr0ub4dor").sshd(sshd).start();
    lab.client().run("cp locked .ssh/id_ed25519; cp locked.pub .ssh/id_ed25519.pub");
    for host in [&by_key, &by_password, &by_conversation] {
        let up = || host.processes().iter().any(|process| process.contains("netlink-remote/stub-"));
        for scheme in ["ssh", "openssh"] {
            let target = format!("{scheme}://{}", host.name());
            let mut command =
                lab.nlr(&["--stubs", stub(), "monitor", &target, "--password-fd", "0"]);
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(b"/home/me/.ssh/id_ed25519\tTr0ub4dor\nTr0ub4dor\n").unwrap();
            drop(writer);
            command.stdin(reader).stdout(std::process::Stdio::null());
            let mut child = command.spawn().unwrap();
            assert!(wait_up_to(Duration::from_secs(30), up), "{target}: {:?}", host.processes());
            assert_forgotten(child.id(), "Tr0ub4dor");
            child.kill().unwrap();
            child.wait().unwrap();
            host.assert_idle();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sudo_as_it_is_configured_out_there() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    for (name, lines, secrets) in [
        ("nopasswd", "ci ALL=NOPASSWD: ALL", &[][..]),
        ("lecture", "Defaults lecture=always\nci ALL=ALL", &["secret"][..]),
        // sudo then copies the command's input and output, and leaves stdin non-blocking.
        ("log", "Defaults log_output\nDefaults log_input\nci ALL=NOPASSWD: ALL", &[][..]),
        ("log-asks", "Defaults log_output\nci ALL=ALL", &["secret"][..]),
        ("pty", "Defaults use_pty\nci ALL=NOPASSWD: ALL", &[][..]),
        ("language", "Defaults env_keep+=\"LANG LC_ALL LANGUAGE\"\nci ALL=ALL", &["secret"][..]),
        ("override", "Defaults !passprompt_override\nci ALL=ALL", &["secret"][..]),
    ] {
        let host = lab.host(name).password("secret").sudoers(lines).start();
        let mut options = options(&lab);
        let (ask, _) = answers(secrets);
        options.prompter = ask;
        // Cold and warm.
        for _ in 0..2 {
            let client = connect(&format!("ssh://{name},sudo:"), &options).await;
            let client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
            is_root(&client).await;
            client.close().await;
            let (ask, _) = answers(secrets);
            options.prompter = ask;
        }
        host.assert_idle();
    }
}

#[test]
fn what_sudo_refuses_is_explained() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let refusing = |name: &str, lines: &str| lab.host(name).password("x").sudoers(lines).start();
    let tty = refusing("tty", "Defaults requiretty\nci ALL=NOPASSWD: ALL");
    let show = |target: &str, texts: &[&str]| {
        nlr_fails(&lab, &["show", "link", target, "--batch"], 4, texts);
    };
    show("ssh://tty,sudo:", &["privilege", "have a tty", "!requiretty"]);
    let no = refusing("no", "");
    show("ssh://no,sudo:", &["privilege", "sudo", "sudoers"]);
    let few = refusing("few", "ci ALL=NOPASSWD: /bin/true");
    show("ssh://few,sudo:", &["privilege", "sudo"]);
    let none = lab.host("none").without_sudo().start();
    show("ssh://none,sudo:", &["privilege", "sudo", "not installed"]);
    show("ssh://few,sudo:nobody-there", &["privilege", "nobody-there"]);
    for host in [tty, no, few, none] {
        host.assert_idle();
    }
}

/// The error's step is the one that failed, not an earlier one.
#[test]
fn what_fails_behind_a_sudo_that_asked_is_no_fault_of_it() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").password("pw").sudoers("ci ALL=ALL").without("docker").start();
    let fails = |target: &str, secrets: &str, code: i32, texts: &[&str]| {
        let mut command = lab.nlr(&["--stubs", stub(), "show", "link", target]);
        command.args(["--password-fd", "0"]);
        let ended = finish_with(command, secrets);
        assert_eq!(ended.code(), code, "{target}: {ended:?}");
        for text in texts {
            assert!(ended.stderr.contains(text), "{target}: {text:?} is not in {ended:?}");
        }
    };
    fails("ssh://h,sudo:,docker:web", "pw\n", 3, &["bootstrap: ", "docker", "not found"]);
    let script = "#!/bin/sh\necho 'Error: No such container: web' >&2; exit 1\n";
    host.file("/usr/local/bin/docker", script, 0o755);
    fails("ssh://h,sudo:,docker:web", "pw\n", 3, &["bootstrap: ", "No such container: web"]);
    fails("ssh://h,sudo:,stub:/bin/false", "pw\n", 3, &["bootstrap: ", "exit code 1"]);
    fails("ssh://h,sudo:,docker:web", "wrong\n", 4, &["privilege: ", "wrong password"]);
    host.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doas_and_su() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let doas = lab.host("doas").doas("permit nopass ci").start();
    let asks = lab.host("asks").password("x").doas("permit ci").start();
    let su = lab.host("su").root_password("secret root").start();
    let mut options = options(&lab);
    let client = connect("ssh://doas,doas:", &options).await.unwrap();
    is_root(&client).await;
    client.close().await;
    let error = connect("ssh://asks,doas:", &options).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Privilege), "{error}");
    assert!(error.to_string().contains("nopass"), "{error}");

    let (ask, asked) = answers(&["secret root"]);
    options.prompter = ask;
    let client = connect("ssh://su,su:", &options).await.unwrap();
    is_root(&client).await;
    client.close().await;
    assert_eq!(asked.lock().unwrap()[0].hop, "ssh://su,su:");
    let (ask, _) = answers(&["wrong"]);
    options.prompter = ask;
    let error = connect("ssh://su,su:", &options).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Privilege), "{error}");
    // Root is not asked for a password.
    let client = connect("ssh://root@su,su:ci,stub:/usr/bin/true", &options).await;
    assert!(client.is_err());
    let client = connect("ssh://root@su,su:ci", &options).await.unwrap();
    assert_eq!(client.host().uid, 1000);
    client.close().await;
    for host in [doas, asks, su] {
        host.assert_idle();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_this_host_the_stub_is_there_already() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let client = connect("sudo:", &options(&lab)).await.unwrap();
    assert_eq!(client.host().uid, 0);
    assert!(dump_links(&client, Netns::Current).await.contains(&"lo".to_owned()));
    client.close().await;
}

#[test]
fn a_password_before_a_shell_that_is_typed_into() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let lines = "ci ALL=ALL";
    let host = lab.host("h").password("pw").root_password("rpw").sudoers(lines).start();
    for (target, secrets) in [
        ("ssh://h,sudo:,exec:sh", "pw\n"),
        ("ssh://h,su:,exec:sh", "rpw\n"),
        ("ssh://h,sudo:,exec:su ci -s /bin/sh,sudo:", "ssh://h,sudo:\tpw\npw\n"),
        ("openssh://h,su:,su:ci,sudo:", "su:\trpw\npw\n"),
    ] {
        let mut command = lab.nlr(&["--stubs", stub(), "show", "link", "--json", target]);
        command.args(["--password-fd", "0"]);
        let ended = finish_with(command, secrets);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{target}: {ended:?}");
        assert_eq!(link_names(&ended.stdout), links_of(&host));
    }
    host.assert_idle();
}

/// A program that su starts cannot get root's password with a prompt like su's.
#[test]
fn a_host_that_says_what_su_says_gets_nothing() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("h").root_password("rpw").start();
    let script = "#!/bin/sh\nprintf 'Password: '; head -n1 >/tmp/got; exec cat >>/tmp/got\n";
    host.file("/usr/local/bin/phish", script, 0o755);
    host.file_of_ci("/home/ci/.bashrc", "printf 'Password: '; printf 'Password: ' >&2\n", 0o644);
    host.set_shell("bash");
    for target in ["ssh://h,su:,stub:/usr/local/bin/phish", "openssh://h,su:,docker:x"] {
        let words = ["--stubs", stub(), "show", "link", target, "--connect-timeout", "2"];
        let mut command = lab.nlr(&words);
        command.args(["--password-fd", "0"]);
        let ended = finish_with(command, "rpw\nanother secret\n");
        assert_eq!(ended.code(), 3, "{target}: {ended:?}");
        let got = host.run("cat /tmp/got 2>/dev/null || true");
        assert!(!got.contains("secret") && !got.contains("rpw"), "{got}");
    }
    nlr_fails(
        &lab,
        &["show", "link", "ssh://h,su:", "--batch"],
        4,
        &["needs a password", "--askpass"],
    );
    host.assert_idle();
}

/// As `command="nlr-stub --read-only"` in authorized_keys: sshd runs it whatever the client asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_command_lets_a_key_look_alone() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = |name: &str, arguments: &str| {
        let forced = format!("ForceCommand sudo -n /usr/local/bin/nlr-stub{arguments}");
        let host = lab.host(name).sshd(&forced).sudoers("ci ALL=(ALL) NOPASSWD: ALL").start();
        std::fs::create_dir_all(host.outside("/usr/local/bin")).unwrap();
        testing::programs::copy(stub(), host.outside("/usr/local/bin/nlr-stub"));
        host
    };
    let (looking, changing) = (host("test01", " --read-only"), host("test02", ""));
    for scheme in ["ssh", "openssh"] {
        let target = |host: &str| format!("{scheme}://{host}");
        let shown = nlr_ok(&lab, &["show", "link", "--json", &target("test01")]);
        assert_eq!(link_names(&shown), links_of(&looking), "{scheme}");
        for (host, errno) in [("test01", Some(libc::EPERM)), ("test02", Some(0))] {
            let client = connect(&target(host), &options(&lab)).await.unwrap();
            is_root(&client).await;
            let socket = client.socket(netlink::NETLINK_ROUTE).open().await.unwrap();
            socket.send(&netlink::add_route(1, nlmsg::flags::ACK)).await.unwrap();
            let answer = socket.recv().await.unwrap();
            let Event::Datagram(datagram) = answer else { panic!("{answer:?}") };
            assert_eq!(netlink::error_code(&datagram.data), errno, "{scheme} {host}");
            socket.send(&netlink::delete_route(1)).await.unwrap();
            client.close().await;
        }
    }
    looking.assert_idle();
    changing.assert_idle();
}
