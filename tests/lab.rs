//! The test lab itself, tested by the system's own programs.

#![cfg(test)]

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use testing::{
    Ended, PATIENCE, finish, finish_with,
    lab::{Bad, Census, Lab, Pty, Relay, render},
    wait_up_to,
};

const EVERYTHING: &str = "ci ALL=(ALL) NOPASSWD: ALL";

/// Runs `ssh` with words on the client.
fn ssh(lab: &Lab, words: &[&str], input: &str) -> Ended {
    let mut command = lab.client().command("ssh");
    command.args(["-o", "BatchMode=yes"]).args(words);
    finish_with(command, input)
}

#[track_caller]
fn said(lab: &Lab, words: &[&str]) -> String {
    let ended = ssh(lab, words, "");
    assert_eq!(ended.code(), 0, "{words:?}: {ended:?}");
    ended.stdout
}

#[test]
fn a_key_opens_a_host_of_any_shell() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("one").sudoers(EVERYTHING).start();
    for (shell, program) in
        [("bash", "bash"), ("sh", "dash"), ("ash", "busybox"), ("tcsh", "tcsh"), ("fish", "fish")]
    {
        host.set_shell(shell);
        let words = "sh -c 'readlink /proc/$PPID/exe'; sudo id -u; hostname";
        let expected = format!("/usr/bin/{program}\n0\none\n");
        let told = said(&lab, &["one", words]);
        assert_eq!(told, expected, "{shell}");
    }
    assert_eq!(said(&lab, &["-6", "-l", "root", &host.addresses()[1].to_string(), "id -u"]), "0\n");
    assert_eq!(said(&lab, &["one", "env | grep -c -e NLR -e CARGO; true"]), "0\n");
    host.netns("blue");
    assert!(said(&lab, &["one", "sudo ip -n blue link"]).contains("LOOPBACK,UP"));
    host.assert_idle();

    let ended = finish(lab.nlr(&["--version"]));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let agent = lab.agent();
    lab.client().run("mv ~/.ssh/id_ed25519 ~/kept");
    assert_eq!(ssh(&lab, &["one", "true"], "").code(), 255);
    lab.client().run(&format!("SSH_AUTH_SOCK={} ssh one true", agent.socket()));
}

#[test]
fn a_password_is_typed_at_a_terminal() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("one").password("open sesame").root_password("root's");
    let host = host.doas("permit ci as root").start();
    let mut command = lab.client().command("ssh");
    command.args(["-t", "-o", "PubkeyAuthentication=no", "one", "su -c 'echo I am $(id -u)'"]);
    let mut pty = Pty::start(&command);
    for (prompt, answer) in [
        ("ci@10.", "wrong\n"),
        ("try again", ""),
        ("password:", "open sesame\n"),
        ("Password:", "root's\n"),
        ("I am 0", ""),
    ] {
        pty.expect(prompt, PATIENCE);
        pty.send(answer);
    }
    assert!(pty.wait().success(), "{}", pty.transcript());

    command = lab.client().command("ssh");
    command.args(["-t", "one", "doas id -u"]);
    let mut pty = Pty::start(&command);
    pty.expect("password:", PATIENCE);
    pty.send("open sesame\n");
    assert!(pty.wait().success() && pty.screen().contains("\n0\n"), "{}", pty.screen());
    host.assert_idle();
}

#[test]
fn sudo_asks_teaches_records_and_refuses() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let sudoers = |text: &str| lab.host("one").password("secret").sudoers(text).start();
    let sudo = ["one", "sudo -S -p 'ask: ' id -u"];

    let host = sudoers("Defaults lecture=always, log_output\nci ALL=(ALL) ALL");
    let ended = ssh(&lab, &sudo, "secret\n");
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "0\n"), "{ended:?}");
    assert!(ended.stderr.contains("great power") && ended.stderr.contains("ask: "), "{ended:?}");
    assert!(host.run("find /var/log/sudo-io -name stdout").contains("stdout"));
    let ended = ssh(&lab, &sudo, "wrong\nwrong\nwrong\n");
    assert!(ended.code() == 1 && ended.stderr.contains("3 incorrect"), "{ended:?}");
    // Another language without its locale.
    host.file("/etc/environment", "LANG=C.UTF-8\nLANGUAGE=de\n", 0o644);
    if host.try_run("test -e /usr/share/locale/de/LC_MESSAGES/sudo.mo").code() == 0 {
        let ended = ssh(&lab, &["one", "sudo -n id"], "");
        assert!(ended.stderr.contains("Passwort"), "{ended:?}");
    }
    drop(host);

    let host = sudoers(&format!("Defaults requiretty\n{EVERYTHING}"));
    let ended = ssh(&lab, &sudo, "");
    assert!(ended.code() == 1 && ended.stderr.contains("must have a tty"), "{ended:?}");
    drop(host);

    let host = sudoers("");
    let ended = ssh(&lab, &sudo, "secret\n");
    assert!(ended.code() == 1 && ended.stderr.contains("not in the sudoers"), "{ended:?}");
    drop(host);

    let host = lab.host("one").without_sudo().start();
    assert_eq!(ssh(&lab, &sudo, "").code(), 127);
    host.noexec("/tmp");
    assert_eq!(ssh(&lab, &["one", "cp /usr/bin/true /tmp && /tmp/true"], "").code(), 126);
    drop(host);

    let host = lab.host("one").only_busybox().sudoers(EVERYTHING).start();
    assert!(said(&lab, &["one", "sudo id -u; ls -l /usr/bin/sha256sum"]).contains("busybox"));
    host.assert_idle();
}

#[test]
fn a_host_behind_a_gateway() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let gateway = lab.host("gw01").on("public").on("inner").with_key().start();
    let test01 = lab.host("test01").on("inner").start();
    let direct = ssh(&lab, &["-o", "ConnectTimeout=2", "test01", "true"], "");
    assert_eq!(direct.code(), 255, "{direct:?}");
    assert_eq!(said(&lab, &["-J", "gw01", "test01", "hostname"]), "test01\n");
    assert_eq!(said(&lab, &["gw01", "ssh -o BatchMode=yes test01 hostname"]), "test01\n");
    gateway.assert_idle();
    test01.assert_idle();
}

#[test]
fn links_are_slowed() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("one").start();
    host.shape("tbf rate 2mbit burst 32k latency 1s");
    for words in ["head -c 200000 /dev/zero", "cat >/dev/null"] {
        let start = Instant::now();
        let ended = ssh(&lab, &["one", words], &"x".repeat(200_000));
        assert_eq!(ended.code(), 0, "{ended:?}");
        // 1.6 Mbit, of which 0.3, the first 32 KiB, are not limited.
        assert!(start.elapsed() > Duration::from_millis(600), "{words}: {:?}", start.elapsed());
    }
    host.assert_idle();
}

#[test]
fn links_are_cut_and_sshd_dies() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("one").start();
    let silent = |words: &[&str]| {
        let mut all = vec!["60", "ssh", "-o", "ServerAliveInterval=1"];
        all.extend(["-o", "ServerAliveCountMax=1"]);
        all.extend(words);
        let mut command = lab.client().command("timeout");
        command.args(all).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        // The command of the session, after the shell that becomes it.
        let is_it = |process: &String| process.split_once(' ').unwrap().1 == "sleep 99";
        let sleeps = || host.processes().iter().any(is_it);
        assert!(wait_up_to(PATIENCE, sleeps));
        child
    };
    let child = silent(&["one", "sleep 99"]);
    host.link_down();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("not responding"), "{text}");
    host.link_up();
    host.kill_all("sleep");
    host.kill_sshd();
    host.start_sshd();
    let child = silent(&["one", "sleep 99"]);
    host.kill_sshd();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    // The command of the session gets no signal.
    host.kill_all("sleep");
    host.assert_idle();
}

#[test]
fn two_hundred_addresses_answer_and_bad_ones_do_not() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("many").start();
    let many = lab.many(&host, 200);
    assert_eq!(many.len(), 200);
    let greeted = many.iter().map(|(_, address)| {
        let mut banner = [0; 4];
        let mut stream = TcpStream::connect((*address, 22)).unwrap();
        stream.read_exact(&mut banner).unwrap();
        (stream, banner)
    });
    // All connections are open at once.
    let greeted = greeted.collect::<Vec<_>>();
    assert!(greeted.iter().all(|(_, banner)| banner == b"SSH-"));
    drop(greeted);
    assert_eq!(said(&lab, &["many200", "hostname"]), "many\n");

    let failed = |name: &str| {
        let ended = ssh(&lab, &["-o", "ConnectTimeout=1", name, "true"], "");
        assert_eq!(ended.code(), 255, "{ended:?}");
        ended.stderr
    };
    lab.bad("refused", Bad::Refused);
    assert!(failed("refused").contains("refused"));
    lab.bad("silent", Bad::Silent);
    assert!(failed("silent").contains("timed out"));
    lab.misremember("many7");
    assert!(failed("many7").contains("IDENTIFICATION HAS CHANGED"));
    lab.forget("many8");
    assert!(failed("many8").contains("verification failed"));
    assert!(failed("nobody@many9").contains("Permission denied"));
    host.assert_idle();
}

#[test]
fn nothing_outlives_a_failure() {
    if !Lab::available() {
        return;
    }
    let mut pids = Vec::new();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new();
        let host = lab.host("one").start();
        let _agent = lab.agent();
        let _relay = lab.relay("far", &host, Duration::ZERO);
        host.run("setsid sleep 99 >/dev/null 2>&1 &");
        pids = host.processes();
        // A panic without its message.
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(failed.is_err() && pids.len() == 1, "{pids:?}");
    let pid = pids[0].split_once(' ').unwrap().0;
    assert!(!std::path::Path::new("/proc").join(pid).exists());
}

/// An echo server.
fn echo() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = listener.try_clone().unwrap();
    thread::spawn(move || {
        for stream in theirs.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    listener
}

#[test]
fn a_relay_holds_back_and_counts() {
    const DELAY: Duration = Duration::from_millis(100);
    let server = echo();
    let relay = Relay::new(server.local_addr().unwrap(), DELAY);
    let start = Instant::now();
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    for _ in 0..3 {
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
    }
    // The handshake and three answers.
    assert!(start.elapsed() >= 8 * DELAY, "{:?}", start.elapsed());
    assert_eq!(relay.round_trips(), 4);
    assert_eq!((relay.bytes_up(), relay.bytes_down()), (12, 12));

    // 20 MiB at once take one round trip more, and little time.
    let start = Instant::now();
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        writer.write_all(&vec![7; 20 << 20]).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    sender.join().unwrap();
    assert_eq!(all.len(), 20 << 20);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(relay.round_trips() <= 4 + u64::try_from(start.elapsed().as_millis()).unwrap() / 200);

    let mut reset = TcpStream::connect(relay.address()).unwrap();
    let mut cut = TcpStream::connect(relay.address()).unwrap();
    for stream in [&mut reset, &mut cut] {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    relay.reset();
    let error = reset.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut cut = TcpStream::connect(relay.address()).unwrap();
    cut.write_all(b"x").unwrap();
    cut.read_exact(&mut [0]).unwrap();
    relay.cut();
    cut.write_all(b"x").unwrap();
    cut.set_read_timeout(Some(3 * DELAY)).unwrap();
    let error = cut.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(relay.connections(), 4);
}

#[test]
fn ssh_through_a_relay() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("one").start();
    let relay = lab.relay("far", &host, Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(said(&lab, &["far", "hostname"]), "one\n");
    let waited = u64::try_from(start.elapsed().as_millis()).unwrap();
    let trips = relay.round_trips();
    assert!((5..=12).contains(&trips), "{trips} round trips in {waited} ms");
    assert!(trips * 200 <= waited + 200, "{trips} round trips in {waited} ms");
    host.assert_idle();
}

#[test]
fn a_census_finds_what_is_left() {
    let mut shell = Command::new("bash");
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = shell.stdin.take().unwrap();
    let mut output = shell.stdout.take().unwrap();
    let mut tell = |line: &str| {
        writeln!(input, "{line}; echo").unwrap();
        output.read_exact(&mut [0]).unwrap();
    };
    tell("true");
    let before = Census::of(shell.id());
    before.assert_no_more_than_before(Duration::ZERO);
    let finds_more = || {
        let look = || before.assert_no_more_than_before(Duration::from_millis(50));
        catch_unwind(AssertUnwindSafe(look)).is_err()
    };
    for (leak, mend) in
        [("exec 9</dev/null", "exec 9<&-"), ("sleep 99 & pid=$!", "kill $pid; wait")]
    {
        tell(leak);
        assert!(finds_more(), "{leak}");
        tell(mend);
        before.assert_no_more_than_before(PATIENCE);
    }
    drop(input);
    shell.wait().unwrap();
    Census::take();
}

#[test]
fn a_terminal_shows_what_is_left_on_it() {
    assert_eq!(render("one\r\ntwo\rT\r\n\u{1b}[32mgreen\u{1b}[0m"), "one\nTwo\ngreen");
    assert_eq!(render("50%\r\u{1b}[K100%\u{1b}[1A\u{1b}[2K\r"), "");
    assert_eq!(render("a\r\nb\r\n\u{1b}[2A\u{1b}[Jc"), "c");
    let mut command = Command::new("sh");
    command.args(["-c", "read -r line; printf 'a bar\\rA\\n%s\\n' \"$line\"; tty; stty size"]);
    command.env("PATH", "/usr/bin:/bin");
    let mut pty = Pty::start(&command);
    pty.send("typed\n");
    pty.expect("typed", PATIENCE);
    assert!(pty.wait().success());
    let screen = pty.screen();
    assert!(screen.starts_with("typed\nA bar\ntyped\n/dev/pts/"), "{screen}");
    assert!(screen.ends_with("24 80\n"), "{screen}");
}
