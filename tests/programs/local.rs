//! What is far, what is here, and what is refused.

use testing::{
    Namespace, finish,
    tool::{Server, nlr},
    unique,
};

use crate::support::{alike, by_nlr, native, outcome};

fn run(words: &[&str]) -> (String, String, i32) {
    outcome(nlr(&[&["run", "local:"], words].concat()))
}

#[test]
fn named_namespaces_are_the_far_ones() {
    let (name, other) = (unique("nlr"), Namespace::new());
    let sh = |line: &str| run(&["--", "sh", "-c", line]);
    assert_eq!(sh(&format!("ip netns add {name}")), Default::default());
    // The tool's own view, and that of `ip` outside.
    assert!(testing::run("ip", &["netns", "list"]).contains(&name));
    let (list, _, _) = sh("ip netns list");
    assert!(list.contains(&name) && list.contains(&other.0), "{list}");
    let (_, stderr, code) = sh(&format!("ip netns add {name}"));
    assert!(stderr.contains("File exists") && code == 1, "{stderr}");
    other.ip("link add v0 type veth peer name v1");
    let line = format!("ip -n {} link set v1 netns {name}", other.0);
    assert_eq!(sh(&line), Default::default());
    let (links, _, _) = sh(&format!("ip -n {name} -o link"));
    assert!(links.contains("v1@"), "{links}");
    let line = format!(
        "ip netns exec {name} sh -c 'ip link set lo up; ip -br link show lo; readlink /proc/self/ns/net'"
    );
    let (inside, stderr, code) = sh(&line);
    assert!(inside.starts_with("lo ") && inside.contains("UNKNOWN"), "{inside} {stderr} {code}");
    let line = format!("ip -n {} link add x0 type veth peer name x1 netns {name}", other.0);
    assert_eq!(sh(&line), Default::default());
    assert!(sh(&format!("ip -n {name} link show x1")).0.contains("x1@"));
    assert_eq!(sh(&format!("ip netns delete {name}")), Default::default());
    assert!(!testing::run("ip", &["netns", "list"]).contains(&name));
    let (_, stderr, code) = sh("ip -n nosuch link");
    assert_eq!(stderr, "Cannot open network namespace \"nosuch\": No such file or directory\n");
    assert_eq!(code, 255);
}

/// `ip netns list` prints the names as the directory has them, which is in no order.
#[test]
fn names_come_as_the_directory_has_them() {
    let names = ["b", "z", "a", "m"].map(|letter| unique(&format!("nlr-{letter}")));
    names.iter().for_each(|name| _ = testing::run("ip", &["netns", "add", name]));
    // Other tests have namespaces of their own.
    let of_this = |list: &str| -> Vec<String> {
        let listed = list.lines().filter_map(|line| line.split(' ').next());
        listed.map(str::to_owned).filter(|name| names.contains(name)).collect()
    };
    let expected = of_this(&testing::run("ip", &["netns", "list"]));
    let (listed, stderr, code) = run(&["--", "ip", "netns", "list"]);
    names.iter().for_each(|name| _ = testing::run("ip", &["netns", "delete", name]));
    assert_eq!((of_this(&listed), stderr.as_str(), code), (expected, "", 0));
}

#[test]
fn lists_of_files_are_told_to_be_of_this_host() {
    for list in [
        "ls /proc/net",
        "ls /proc/sys/net",
        "ls /proc/self/net/",
        "ls /proc/$$/task/$$/net",
        "cd /proc/net; ls",
        "ls /sys/class/net",
    ] {
        let (_, stderr, _) = run(&["--", "sh", "-c", list]);
        assert!(stderr.contains("are this host's, not the far one's"), "{list}: {stderr}");
    }
    let (_, stderr, _) = run(&["--", "ls", "/proc/sys/net/ipv4"]);
    assert!(stderr.contains("the stub reads files alone"), "{stderr}");
}

#[test]
fn files_of_the_network_are_the_far_ones() {
    let namespace = alike();
    for file in
        ["net/route", "net/dev_mcast", "net/if_inet6", "sys/net/ipv6/conf/default/accept_dad"]
    {
        let line = format!("cat /proc/{file}");
        let expected = outcome(native(&namespace, &line));
        assert!(!expected.0.is_empty(), "{file}");
        assert_eq!(outcome(by_nlr("local:", &namespace, &line)), expected, "{file}");
    }
    let other = "cd /proc/net; cat route; cd ../sys; cat net/../../$$/net/route";
    let (stdout, stderr, code) = outcome(by_nlr("local:", &namespace, other));
    let expected = outcome(native(&namespace, "cat /proc/net/route /proc/net/route"));
    assert_eq!((stdout, stderr.as_str(), code), (expected.0, "", 0));
    let (stdout, stderr, _) = outcome(by_nlr("local:", &namespace, "head -n 1 /proc/1/net/route"));
    assert!(stdout.starts_with("Iface"), "{stdout}");
    assert_eq!(stderr, "nlr: head: /proc/1/net is that of a process of this host\n");
    let (_, stderr, code) = run(&["--", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    assert!(
        stderr.contains("nlr: sh: writing /proc/sys/net/ipv4/ip_forward changes this host"),
        "{stderr}"
    );
    assert!(stderr.contains("--allow-local") && code != 0, "{stderr}");
}

#[test]
fn threads_find_their_own_namespace() {
    let namespace = Namespace::new();
    let code = "import os, threading
def own():
    paths = ('/proc/self/ns/net', f'/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net')
    print(len({os.fstat(os.open(path, os.O_RDONLY)).st_ino for path in paths}))
for _ in range(2):
    thread = threading.Thread(target=own)
    thread.start()
    thread.join()
own()";
    let ended = run(&["-n", &namespace.0, "--", "python3", "-c", code]);
    assert_eq!(ended, ("1\n1\n1\n".to_owned(), String::new(), 0));
}

#[test]
fn a_server_without_files_says_so() {
    let namespace = alike();
    let server = Server::start(&["--no-files"]);
    let (stdout, stderr, code) =
        outcome(by_nlr(&server.target(), &namespace, "cat /proc/net/route"));
    assert_eq!((stdout.as_str(), code), ("", 1));
    assert!(stderr.contains("this stub serves no files"), "{stderr}");
    assert_eq!(
        outcome(by_nlr(&server.target(), &namespace, "ip link")),
        outcome(native(&namespace, "ip link"))
    );
}

#[test]
fn what_would_act_here_is_refused_and_said_once() {
    let python = |code: &str| run(&["--", "python3", "-c", code]);
    for (code, said) in [
        (
            "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
            "a packet socket acts on this host",
        ),
        (
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)",
            "a raw socket acts on this host",
        ),
        (
            "import fcntl, os; fcntl.ioctl(os.open('/dev/null', os.O_RDWR), 0x400454ca, b'\\0' * 40)",
            "TUNSETIFF makes a device of this host",
        ),
        (
            "import fcntl, socket; fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, b'lo' + b'\\0' * 38)",
            "ioctl 0x8914 (SIOCSIFFLAGS)",
        ),
        (
            "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.unshare(0x40000000) == 0 or (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))",
            "unshare(2) makes a network namespace of this host",
        ),
        (
            "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.syscall(321, 0, 0, 0) >= 0 or (_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))",
            "bpf(2) acts on this host's kernel",
        ),
    ] {
        let (_, stderr, status) = python(code);
        assert_eq!(status, 1, "{code}: {stderr}");
        assert_eq!(stderr.matches(said).count(), 1, "{code}: {stderr}");
        assert!(stderr.contains("nlr: python3: "), "{stderr}");
    }
    let twice = "import socket\nfor _ in range(3):\n try: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)\n except OSError as e: print(e.errno)";
    let (stdout, stderr, _) = python(twice);
    assert_eq!(stdout, "1\n1\n1\n");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn what_acts_here_may_be_permitted() {
    let code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)";
    let ended = finish(nlr(&["run", "--allow-local", "local:", "--", "python3", "-c", code]));
    // As root of this namespace.
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
}

#[test]
fn a_program_that_cannot_be_started() {
    let (stdout, stderr, code) = run(&["--", "/nosuch/program"]);
    assert_eq!((stdout.as_str(), code), ("", 1));
    assert_eq!(stderr, "nlr: /nosuch/program: No such file or directory\n");
    let (_, stderr, code) = run(&["--", testing::programs::nlr(), "run", "local:", "--", "true"]);
    assert!(stderr.contains("`nlr run` does not work inside `nlr run`") && code == 1, "{stderr}");
}

/// A shell's filter that forbids the system call, as a container's policy may.
#[test]
fn where_notification_is_forbidden_other_ways_are_named() {
    let forbid = "import ctypes, os, struct, sys
c = ctypes.CDLL(None)
c.prctl(38, 1, 0, 0, 0)
code = struct.pack('=HBBI', 0x20, 0, 0, 0) + struct.pack('=HBBI', 0x15, 0, 1, int(sys.argv[1])) \
    + struct.pack('=HBBI', 6, 0, 0, 0x50000 | 1) + struct.pack('=HBBI', 6, 0, 0, 0x7fff0000)
room = ctypes.create_string_buffer(code)
program = struct.pack('HxxxxxxP', 4, ctypes.addressof(room))
c.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0)
os.execv(sys.argv[2], sys.argv[2:])";
    // seccomp(2) and pidfd_getfd(2), which has one number everywhere.
    let seccomp = if cfg!(target_arch = "x86_64") { "317" } else { "277" };
    for call in [seccomp, "438"] {
        let mut command = std::process::Command::new("python3");
        let tool = nlr(&["run", "local:", "--", "ip", "link"]);
        command.args(["-c", forbid, call]).arg(tool.get_program()).args(tool.get_args());
        let (stdout, stderr, code) = outcome(command);
        assert_eq!((stdout.as_str(), code), ("", 1), "{stderr}");
        assert!(
            stderr.contains("cannot be supervised") && stderr.contains("`ssh` runs"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
