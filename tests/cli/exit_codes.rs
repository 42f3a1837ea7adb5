//! Exit codes and interrupts: signals, closed pipes, full disks, and no process left.

use std::{
    fs::OpenOptions,
    io::Read,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testing::{Namespace, Running, finish, is_alive, programs, tool::nlr, wait};

/// Starts the tool and waits for its stub.
fn with_stub(arguments: &[&str]) -> (Running, u32) {
    let running = Running::start(nlr(arguments));
    let mut stub = None;
    wait("a stub", || {
        stub = running.children().first().copied();
        stub.is_some()
    });
    (running, stub.unwrap())
}

#[test]
fn ctrl_c_is_code_130_and_leaves_no_stub() {
    let namespace = Namespace::new();
    let (running, stub) = with_stub(&["monitor", "-n", &namespace.0]);
    namespace.wait_for_listener();
    // What the tool starts has no signal blocked, as the tool itself.
    let status = std::fs::read_to_string(format!("/proc/{stub}/status")).unwrap();
    assert!(status.contains("SigBlk:\t0000000000000000\n"), "{status}");
    running.signal(Signal::SIGINT);
    let ended = running.end().without_ready();
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (130, "", ""));
    wait("the stub's end", || !is_alive(stub));
}

#[test]
fn ctrl_c_on_the_terminal_of_both_is_as_quiet() {
    let namespace = Namespace::new();
    for _ in 0..5 {
        let (running, stub) = with_stub(&["monitor", "-n", &namespace.0]);
        namespace.wait_for_listener();
        // The tool may notice the stub's end before its own signal.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(stub.cast_signed()), Signal::SIGKILL)
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10));
        running.signal(Signal::SIGINT);
        let ended = running.end();
        assert_eq!((ended.code(), ended.stderr.as_str()), (130, ""));
    }
}

#[test]
fn ctrl_c_while_connecting_leaves_nothing() {
    let path = testing::temporary("stub");
    testing::programs::write(&path, "#!/bin/sh\nexec sleep 100\n");
    let (running, stub) = with_stub(&["show", "link", "--stub", path.to_str().unwrap()]);
    running.signal(Signal::SIGINT);
    let ended = running.end();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((ended.code(), ended.stderr.as_str()), (130, ""));
    wait("the stub's end", || !is_alive(stub));
}

#[test]
fn ctrl_c_ends_a_ping_with_its_summary() {
    let (mut running, stub) = with_stub(&["ping", "--interval", "0.01"]);
    // The first line and three round trips.
    let mut stdout = running.0.stdout.take().unwrap();
    let (mut text, mut byte) = (Vec::new(), [0]);
    while text.iter().filter(|byte| **byte == b'\n').count() < 4 {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1);
        text.push(byte[0]);
    }
    running.0.stdout = Some(stdout);
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert!(
        ended.stdout.lines().last().unwrap().contains("min/avg/max/stddev"),
        "{}",
        ended.stdout
    );
    wait("the stub's end", || !is_alive(stub));
}

#[test]
fn ctrl_c_ends_it_though_nobody_reads_its_output() {
    let namespace = Namespace::new();
    namespace.ip("link add v0 type veth peer name v1");
    namespace.ip("link set v0 up");
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    let route = |number| format!("route add 11.0.{}.{} via 10.0.0.2\n", number >> 8, number & 255);
    namespace.batch(&(0..20_000).map(route).collect::<String>());
    let mut command = nlr(&["show", "route", "--json", "-n", &namespace.0]);
    command.stdin(std::process::Stdio::null());
    let mut running = Running::start(command);
    // The output is larger than a pipe, so after its first bytes the tool is blocked in write(2).
    let mut byte = [0];
    let mut stdout = running.0.stdout.take().unwrap();
    stdout.read_exact(&mut byte).unwrap();
    let write = "1 ";
    wait("a blocked write", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.0.id())).unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("syscall")).ok())
            .any(|call| call.starts_with(write))
    });
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code(), Some(130));
    drop(stdout);
}

#[test]
fn a_killed_tool_leaves_no_stub() {
    let namespace = Namespace::new();
    let (mut running, stub) = with_stub(&["monitor", "-n", &namespace.0]);
    namespace.wait_for_listener();
    running.signal(Signal::SIGKILL);
    running.wait();
    wait("the stub's end", || !is_alive(stub));
}

#[test]
fn a_killed_stub_is_code_3_and_says_so() {
    let namespace = Namespace::new();
    let (running, stub) = with_stub(&["monitor", "-n", &namespace.0]);
    namespace.wait_for_listener();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(stub.cast_signed()), Signal::SIGKILL)
        .unwrap();
    running.end().without_ready().failed(3, &["killed by signal 9"]);
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let namespace = Namespace::new();
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script, programs::nlr(), &namespace.0]);
        command.env_remove("NLR_STUB");
        finish(command)
    };
    namespace.batch(
        &(1..3000).map(|number| format!("rule add prio {number} lookup 100\n")).collect::<String>(),
    );
    let ended = shell("set -o pipefail; \"$0\" show rule -n \"$1\" | head -n 2");
    assert_eq!(ended.printed().lines().count(), 2);
    let ended = shell("set -o pipefail; \"$0\" --help | true");
    assert_eq!(ended.printed(), "");

    // A monitor notices a closed pipe without an event to write.
    let began = Instant::now();
    let ended = shell("set -o pipefail; \"$0\" monitor -n \"$1\" | sleep 0.2");
    assert_eq!(ended.printed(), "");
    assert!(began.elapsed().as_secs() < 20);
}

#[test]
fn an_output_that_is_full_is_an_error() {
    for arguments in [
        &["show", "link"][..],
        &["show", "link", "--json"],
        &["netns", "list"],
        &["netns", "list", "--json"],
        &["ping", "--count", "1"],
        &["ping", "--count", "1", "--json"],
        &["bench", "--time", "0.1"],
        &["bench", "--time", "0.1", "--json"],
        &["completion", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = nlr(arguments);
        command.stdout(full).stderr(std::process::Stdio::piped());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert_eq!(stderr, "nlr: writing to standard output: No space left on device\n");
    }
}

// ---- signals at each stage

/// The exit code after a signal, which has to come soon; nothing may be said.
#[track_caller]
fn code_after(running: Running, signal: Signal) -> i32 {
    running.signal(signal);
    let signalled = Instant::now();
    let ended = running.end();
    assert!(signalled.elapsed() < Duration::from_secs(3), "{:?}", signalled.elapsed());
    assert!(!ended.stderr.contains("nlr: "), "{ended:?}");
    ended.status.code().unwrap_or_else(|| panic!("killed, and not ended by itself: {ended:?}"))
}

#[test]
fn a_signal_ends_every_subcommand_while_it_connects() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for words in ["show link", "monitor", "netns list", "netns add x", "ping", "bench"] {
            // It accepts, and says nothing.
            let path = testing::temporary("silent");
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let target = format!("unix:{}", path.display());
            let words: Vec<_> = words.split(' ').chain([target.as_str()]).collect();
            let running = Running::start(nlr(&words));
            let _stream = listener.accept().unwrap();
            assert_eq!(code_after(running, signal), code, "{words:?}");
            std::fs::remove_file(&path).unwrap();
        }
        let running = Running::start(nlr(&["clean", "exec:exec sleep 1000"]));
        let mut sleeper = None;
        wait("the sleeper", || {
            sleeper = running.children().first().copied();
            sleeper.is_some()
        });
        assert_eq!(code_after(running, signal), code);
        wait("the sleeper's end", || !is_alive(sleeper.unwrap()));
    }
}

#[test]
fn a_signal_ends_every_subcommand_while_it_waits_for_the_far_end() {
    use testing::far_end::FarEnd;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for words in ["show link", "monitor", "netns list", "netns del x"] {
            let (asked, was_asked) = std::sync::mpsc::channel();
            let far = FarEnd::start(move |side| {
                // An open, a request on namespaces, or more: none is answered.
                side.next_frame()?;
                asked.send(()).unwrap();
                while side.next_frame().is_ok() {}
                Ok(())
            });
            let words = format!("{words} {}", far.target());
            let running = Running::start(nlr(&words.split(' ').collect::<Vec<_>>()));
            was_asked.recv().unwrap();
            assert_eq!(code_after(running, signal), code, "{words}");
        }
    }
}

/// A log that nobody reads blocks the thread that does the work.
#[test]
fn a_signal_ends_it_though_nobody_reads_its_log() {
    use testing::far_end::FarEnd;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let far = FarEnd::start(|side| {
            loop {
                side.send(
                    netlink_remote::wire::SocketId::CONNECTION,
                    &netlink_remote::wire::Message::Ping(1),
                )?;
            }
        });
        let mut running = Running::start(nlr(&["-vv", "ping", &far.target()]));
        let stderr = running.0.stderr.take().unwrap();
        wait("a blocked write", || {
            std::fs::read_to_string(format!("/proc/{}/syscall", running.0.id()))
                .is_ok_and(|call| call.starts_with("1 0x2 "))
        });
        running.signal(signal);
        let signalled = Instant::now();
        assert_eq!(running.wait().code(), Some(code));
        assert!(signalled.elapsed() < Duration::from_secs(3));
        drop(stderr);
    }
}

#[test]
fn sigterm_ends_a_ping_and_a_bench() {
    for words in ["ping --interval 0.01", "bench --time 60"] {
        let (running, stub) = with_stub(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(code_after(running, Signal::SIGTERM), 143);
        wait("the stub's end", || !is_alive(stub));
    }
}

// ---- descriptors and threads that cannot be had

/// A shell that runs a line in which `nlr` is the tool.
fn shell(line: &str) -> testing::Ended {
    testing::world::require();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("nlr() {{ '{}' \"$@\"; }}; {line}", programs::nlr())]);
    command.env_remove("NLR_STUB");
    finish(command)
}

#[test]
fn a_closed_output_is_an_error_and_gets_no_socket() {
    for words in
        ["show link", "show link --json", "netns list", "ping -c 1", "completion bash", "--help"]
    {
        let ended = shell(&format!("nlr {words} >&-"));
        assert_eq!(ended.code(), 1, "{words}: {ended:?}");
        assert_eq!(ended.stderr, "nlr: writing to standard output: it is closed\n", "{words}");
    }
    // A null device is another thing, however it was opened.
    for redirection in [">/dev/null", "1<>/dev/null"] {
        shell(&format!("nlr show link {redirection}")).printed();
    }
    // What prints nothing needs no output, nor an input, nor a place for messages.
    let added = shell("nlr netns add closed >&- <&- 2>&- && nlr netns del closed >&- <&-");
    assert_eq!((added.code(), added.stderr.as_str()), (0, ""));
    assert_eq!(shell("nlr show link unix:/nonexistent 2>&-").code(), 3);
    shell("nlr show link --password-fd 0 <&-").failed(2, &["no descriptor of this number is open"]);
}

#[test]
fn a_lack_of_descriptors_is_an_error() {
    for limit in 3..24 {
        let ended = shell(&format!("ulimit -n {limit}; nlr show link --json"));
        assert!(!ended.stderr.contains("panicked"), "{limit}: {ended:?}");
        match ended.code() {
            0 => assert!(limit > 8),
            // The dynamic linker needs one as well.
            127 => assert!(limit == 3, "{ended:?}"),
            1 | 3 => assert!(ended.stderr.contains("Too many open files"), "{limit}: {ended:?}"),
            _ => panic!("{limit}: {ended:?}"),
        }
    }
}

#[test]
fn a_lack_of_threads_is_an_error() {
    // A limit on processes does not hold for root, nor for a user who has none.
    let run = |limit: u32, words: &str| {
        let limit = format!("--nproc={limit}");
        let mut command = Command::new("setpriv");
        let user = ["--reuid=54321", "--clear-groups", "prlimit", &limit];
        if testing::world::has_real_root("another user") {
            command.args(user);
        } else {
            command = Command::new("prlimit");
            command.arg(&limit);
        }
        command.arg(programs::nlr()).args(words.split(' '));
        finish(command)
    };
    for words in ["show link", "ping -c 1", "show link ssh://me@localhost"] {
        run(1, words).failed(1, &["Resource temporarily unavailable"]);
    }
    // Further threads and the stub's process come later.
    for limit in 2..6 {
        for words in ["show link", "show link ssh://me@localhost", "show link ssh://me@127.0.0.1"] {
            let ended = run(limit, words);
            assert!(!ended.stderr.contains("panicked"), "{limit}: {ended:?}");
            assert!([0, 1, 3, 4].contains(&ended.code()), "{limit}: {ended:?}");
        }
    }
}

#[test]
fn a_signal_ends_the_askpass_program_too() {
    let folder = testing::temporary("bin");
    std::fs::create_dir(&folder).unwrap();
    // A stand-in for sudo, which asks root for nothing: it prints its prompt, and waits.
    let sudo = "#!/bin/sh\nwhile [ \"$1\" != -p ]; do shift; done\n\
                printf %s \"$2\" | sed s/%%/%/ >&2\nread answer\n";
    programs::write(folder.join("sudo"), sudo);
    let pid = folder.join("pid");
    let askpass = folder.join("askpass");
    programs::write(&askpass, format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", pid.display()));
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut command = nlr(&["show", "link", "sudo:", "--askpass", askpass.to_str().unwrap()]);
        command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
        let running = Running::start(command);
        let mut asking = None;
        wait("the question", || {
            let text = std::fs::read_to_string(&pid).unwrap_or_default();
            asking = text.trim().parse().ok();
            asking.is_some()
        });
        assert_eq!(code_after(running, signal), code);
        wait("the end of the askpass program", || !is_alive(asking.unwrap()));
        std::fs::remove_file(&pid).unwrap();
    }
    // The signal comes while the tool is still starting the program, as it does on a busy machine.
    let hasty =
        format!("#!/bin/sh\nkill -INT $PPID\necho $$ > {}\nexec sleep 1000\n", pid.display());
    programs::write(&askpass, hasty);
    let _busy: Vec<_> = (0..6)
        .map(|_| {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            Running::start(command)
        })
        .collect();
    for _ in 0..20 {
        let mut command = nlr(&["show", "link", "sudo:", "--askpass", askpass.to_str().unwrap()]);
        command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
        assert_eq!(Running::start(command).end().code(), 130);
        // It may have ended before it could write.
        let asking = std::fs::read_to_string(&pid).unwrap_or_default();
        if let Ok(asking) = asking.trim().parse() {
            wait("the end of the askpass program", || !is_alive(asking));
        }
        let _ = std::fs::remove_file(&pid);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_timeout_ends_what_a_command_has_started() {
    let pid = testing::temporary("pid");
    let target = format!("exec:sleep 1000 & echo $! >{}; wait", pid.display());
    let ended = finish(nlr(&["show", "link", "--connect-timeout", "0.5", &target]));
    assert_eq!(ended.code(), 3, "{ended:?}");
    let sleeper = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    wait("the sleeper's end", || !is_alive(sleeper));
    std::fs::remove_file(&pid).unwrap();
}
