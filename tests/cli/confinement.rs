//! `nlr --read-only`, and what `nlr serve` gives up.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use nix::sys::signal::Signal;
use testing::{
    Namespace, Running, finish, is_alive, programs, temporary,
    tool::{Server, nlr, nlr_words},
    unique, world,
};

#[test]
fn a_read_only_tool_shows_and_changes_nothing() {
    let namespace = Namespace::new();
    let shown = nlr_words(&format!("show link --read-only -n {}", namespace.0)).printed();
    assert!(shown.contains("lo"), "{shown}");
    let name = unique("never");
    let words = ["Operation not permitted", "read-only"];
    nlr_words(&format!("--read-only netns add {name}")).failed(4, &words[1..]);
    nlr_words(&format!("netns del {} --read-only", namespace.0)).failed(4, &words[1..]);
    // The kernel does not tell a client that only looks about the firewall.
    let server = Server::start(&[]);
    let ended = finish(nlr(&["netns", "add", &name, "--read-only", &server.target()]));
    ended.failed(4, &words[1..]);
    finish(nlr(&["show", "link", "-n", &namespace.0, "--read-only", &server.target()])).printed();
    server.stop(Signal::SIGTERM);
}

#[test]
fn a_server_has_the_access_of_its_options() {
    let namespace = Namespace::new();
    let other = Namespace::new();
    let options = ["--read-only", "--allow-netns", &namespace.0, "--allow-protocol", "route,xfrm"];
    let server = Server::start(&options);
    let target = server.target();
    let run = |words: &[&str]| finish(nlr(&[words, &[&target]].concat()));
    assert!(run(&["show", "link", "-n", &namespace.0]).printed().contains("lo"));
    let list = format!("list of namespaces ({})", namespace.0);
    run(&["show", "link"]).failed(4, &[&list]);
    run(&["show", "link", "-n", &other.0]).failed(4, &[&list]);
    run(&["show", "link", "-n", "nlr-there-is-none"]).failed(4, &[&list]);
    run(&["netns", "del", &namespace.0]).failed(4, &["read-only"]);
    let listed = run(&["netns", "list"]).printed();
    assert!(listed.contains(&namespace.0) && !listed.contains(&other.0), "{listed}");
    let log = server.stop(Signal::SIGTERM).stderr;
    assert!(log.contains(&list), "refusals are in the log: {log}");
}

#[test]
fn what_is_wrong_is_wrong_usage() {
    for (words, named) in [
        ("serve unix:/x --allow-netns pid:x", "pid:x"),
        ("serve unix:/x --allow-protocol routes", "routes"),
    ] {
        nlr_words(words).failed(2, &[named]);
    }
    let ended = nlr_words("serve unix:/tmp/nlr-user.sock --user nlr-nobody");
    ended.failed(1, &["no user", "nlr-nobody"]);
}

/// The lines of a server's threads that begin with a name, as /proc/PID/task/TID/status has them.
fn lines(pid: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end meanwhile.
    let status = |path: PathBuf| fs::read_to_string(path.join("status")).ok();
    let of = |status: String| status.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    tasks.filter_map(|task| status(task.unwrap().path()).and_then(of)).collect()
}

#[test]
fn every_thread_of_a_server_is_confined() {
    let user: &[&str] = if world::is_user() { &[] } else { &["--user", "65534:65534"] };
    for options in [&[][..], &["--read-only"], &["--no-seccomp"], user] {
        let server = Server::start(&[options, &["--allow-uid", "0"]].concat());
        let namespace = Namespace::new();
        let target = server.target();
        let words = ["monitor", "--group", "link", "-n", &namespace.0, &target];
        let monitor = Running::start(nlr(&words));
        namespace.wait_for_listener();
        let pid = server.pid();
        let effective = lines(pid, "CapEff");
        assert!(effective.len() >= 4, "{effective:?}");
        // Bit 12 is CAP_NET_ADMIN, bit 7 CAP_SETUID, bit 24 CAP_SYS_RESOURCE.
        for set in [effective, lines(pid, "CapPrm"), lines(pid, "CapBnd")].concat() {
            let bits = u64::from_str_radix(set.split_once('\t').unwrap().1, 16).unwrap();
            let admin = !options.contains(&"--read-only");
            assert_eq!(bits & (1 << 12) != 0, admin, "{options:?} {set}");
            assert_eq!(bits & (1 << 7 | 1 << 24), 0, "{options:?} {set}");
        }
        assert!(lines(pid, "NoNewPrivs").iter().all(|line| line.ends_with('1')));
        let filtered = if options.contains(&"--no-seccomp") { '0' } else { '2' };
        assert!(lines(pid, "Seccomp:").iter().all(|line| line.ends_with(filtered)), "{options:?}");
        if options.contains(&"--user") {
            assert!(
                lines(pid, "Uid").iter().all(|line| line == "Uid:\t65534\t65534\t65534\t65534")
            );
        }
        drop(monitor);
        let path = server.path.clone();
        assert_eq!(server.stop(Signal::SIGTERM).code(), 0);
        assert!(!is_alive(pid));
        // Another user may not remove it from root's folder; the next server replaces it.
        let _ = fs::remove_file(path);
    }
}

fn unit() -> String {
    let path = programs::repository().join("systemd/netlink-remote.service");
    fs::read_to_string(path).unwrap()
}

/// The words of a setting of the unit, which has it once.
fn setting(name: &str) -> Vec<String> {
    let unit = unit();
    let values: Vec<_> =
        unit.lines().filter_map(|line| line.strip_prefix(&format!("{name}="))).collect();
    assert_eq!(values.len(), 1, "{name}");
    values[0].split_whitespace().map(str::to_owned).collect()
}

/// SECURITY.md states the score.
#[test]
fn the_unit_is_as_hardened_as_the_documentation_says() {
    world::require();
    if !PathBuf::from("/usr/bin/systemd-analyze").exists() {
        return world::skip("there is no systemd-analyze");
    }
    let folder = programs::repository().join("systemd");
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", "--threshold=17"]);
    command.arg(folder.join("netlink-remote.service"));
    let ended = finish(command);
    assert_eq!(ended.code(), 0, "{ended:?}");
    let security = fs::read_to_string(programs::repository().join("SECURITY.md")).unwrap();
    assert!(security.contains("(`systemd-analyze security`: 1.7)"));
}

/// As the unit runs it: its arguments, as a user of its own, with its capabilities and no others.
#[test]
fn the_service_s_command_line_serves_as_the_unit_runs_it() {
    if !world::has_real_root("another user") {
        return;
    }
    let namespace = Namespace::new();
    let folder = temporary("service");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.join("socket");
    let target = format!("unix:{}", path.display());
    let list = |sign: &str| {
        let names = setting("AmbientCapabilities").join(" ").to_lowercase();
        let names = names.split(' ').map(|name| name.replace("cap_", sign)).collect::<Vec<_>>();
        format!("-all,{}", names.join(","))
    };
    let capabilities = list("+");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps", &capabilities, "--ambient-caps", &capabilities]);
    command.args(["--bounding-set", &capabilities]);
    let words = setting("ExecStart");
    assert_eq!(words[0], "/usr/bin/nlr");
    command.arg(programs::nlr()).args(&words[1..]).arg(&target);
    let server = Running::start(command);
    testing::wait("the server listens", || finish(nlr(&["show", "link", &target])).code() == 0);
    // CAP_SYS_ADMIN (21) only permitted, CAP_NET_BROADCAST (11), nothing else.
    assert!(lines(server.0.id(), "CapPrm").iter().all(|line| line.ends_with("0000000000200800")));
    assert!(lines(server.0.id(), "CapEff").iter().all(|line| line.ends_with("0000000000000800")));
    let run = |words: &[&str]| finish(nlr(&[words, &[&target]].concat()));
    assert!(run(&["show", "link", "-n", &namespace.0]).printed().contains("lo"));
    run(&["netns", "del", &namespace.0]).failed(4, &["read-only"]);
    run(&["show", "link", "-n", "pid:1"]).failed(4, &["list of namespaces (current, *)"]);
    server.signal(Signal::SIGTERM);
    let ended = server.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    fs::remove_dir(folder).unwrap();
}

/// A stub that is not filtered where the library's user has not asked for it.
#[test]
fn the_tool_as_its_own_stub_is_not_confined() {
    let namespace = Namespace::new();
    let monitor = Running::start(nlr(&["monitor", "--group", "link", "-n", &namespace.0]));
    namespace.wait_for_listener();
    let stub = monitor.children()[0];
    assert!(lines(stub, "Seccomp:").iter().all(|line| line.ends_with('0')));
}
