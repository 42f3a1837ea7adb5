//! Targets, stubs, namespaces and permissions, and the errors of each.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use testing::{
    Namespace, finish, programs, temporary,
    tool::{elements, nlr, nlr_words},
    world,
};

#[test]
fn a_stub_that_cannot_be_started_is_code_3_or_4() {
    let ended = nlr_words("show link --stub /nonexistent/stub");
    ended.failed(3, &["/nonexistent/stub", "No such file"]);
    // Not executable: no permission.
    let path = temporary("stub");
    fs::write(&path, "").unwrap();
    let ended = finish(nlr(&["show", "link", "--stub", path.to_str().unwrap()]));
    ended.failed(4, &[path.to_str().unwrap(), "Permission denied", "chmod +x"]);
    // Executable, and no stub.
    programs::write(&path, "#!/bin/sh\necho no stub here\n");
    let ended = finish(nlr(&["show", "link", "--stub", path.to_str().unwrap()]));
    ended.failed(3, &["no stub here"]);
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_stub_that_does_not_speak_times_out() {
    let path = temporary("stub");
    programs::write(&path, "#!/bin/sh\nexec sleep 100\n");
    let stub = path.to_str().unwrap();
    let ended = finish(nlr(&["show", "link", "--stub", stub, "--connect-timeout", "0.2"]));
    fs::remove_file(&path).unwrap();
    ended.failed(3, &["no stub was started", "200ms"]);
}

#[test]
fn options_win_over_the_askpass_program_of_the_environment() {
    for options in [&["--batch"][..], &["--password-fd", "0"]] {
        let mut command = nlr(&["ping", "--count", "1"]);
        command.args(options).env("NLR_ASKPASS", "/nonexistent/askpass");
        finish(command).printed();
    }
    nlr_words("ping --batch --askpass x").failed(2, &["--batch", "--askpass"]);
}

#[test]
fn another_stub_is_named_by_option_or_environment() {
    let stub = programs::stub();
    let host = finish(nlr(&["ping", "--count", "1", "--stub", stub])).printed();
    assert!(host.contains("netlink-remote"), "{host}");
    let mut command = nlr(&["show", "link"]);
    command.env("NLR_STUB", "/nonexistent/stub");
    finish(command).failed(3, &["/nonexistent/stub"]);
    let mut command = nlr(&["show", "link", "--stub", stub]);
    command.env("NLR_STUB", "/nonexistent/stub");
    assert!(finish(command).printed().contains("lo"));
    let mut command = nlr(&["show", "link"]);
    command.env("NLR_STUB", "");
    assert!(finish(command).printed().contains("lo"));
}

#[test]
fn a_socket_where_nobody_listens_is_code_3() {
    let path = temporary("nobody");
    let target = format!("unix:{}", path.display());
    let ended = finish(nlr(&["show", "link", &target]));
    ended.failed(3, &[&target, "nlr serve"]);
}

#[test]
fn namespaces_by_name_path_and_process() {
    let namespace = Namespace::new();
    namespace.ip("link add here type veth peer name there");
    let links = |netns: &str| {
        elements(&finish(nlr(&["show", "link", "--json", "-n", netns])).printed()).len()
    };
    assert_eq!(links(&namespace.0), 3);
    assert_eq!(links(&format!("/run/netns/{}", namespace.0)), 3);
    let mut sleeper = Command::new("ip");
    sleeper.args(["netns", "exec", &namespace.0, "sleep", "100"]);
    let sleeper = testing::Running::start(sleeper);
    let netns = format!("pid:{}", sleeper.0.id());
    // `ip` becomes `sleep` after it has entered the namespace.
    testing::wait("ip to enter the namespace", || links(&netns) == 3);
}

#[test]
fn a_namespace_that_is_none_is_code_1_with_a_remedy() {
    nlr_words("show link -n nosuch").failed(1, &["\"nosuch\"", "No such file", "nlr netns list"]);
    nlr_words("monitor -n nosuch").failed(1, &["\"nosuch\"", "nlr netns list"]);
    // A path is not told apart from another.
    nlr_words("show link -n /etc/passwd").failed(1, &["/etc/passwd", "no network namespace"]);
    nlr_words("show link -n /nonexistent").failed(1, &["/nonexistent", "no network namespace"]);
    nlr_words("show link -n /proc/self/ns/uts").failed(1, &["/proc/self/ns/uts", "UTS namespace"]);
    nlr_words("show link -n pid:4194304").failed(1, &["4194304", "running?"]);
    nlr_words("show link -n ..").failed(1, &["cannot be a namespace's name"]);
}

#[test]
fn no_permission_is_code_4_with_a_remedy() {
    let namespace = Namespace::new();
    // A user namespace of its own may not enter the namespaces of this one.
    let denied = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.arg("--user").arg(programs::nlr()).args(arguments);
        finish(command)
    };
    let netns = ["show", "link", "-n", &namespace.0];
    denied(&netns).failed(4, &[&namespace.0, "Operation not permitted", "sudo"]);
    let netns = ["monitor", "--timeout", "0", "-n", &namespace.0];
    denied(&netns).failed(4, &[&namespace.0, "Operation not permitted", "sudo"]);
    denied(&["netns", "del", &namespace.0]).failed(4, &[&namespace.0, "sudo"]);
    assert!(denied(&["show", "link"]).printed().contains("lo"), "reading needs no privileges");
    // Some groups need privileges; the events of the others are shown.
    denied(&["monitor", "--timeout", "0"]).printed();
    denied(&["monitor", "--group", "ipv4-mroute-r"]).failed(4, &["IPV4_MROUTE_R", "sudo"]);
}

#[test]
fn what_the_kernel_refuses_is_code_1_in_its_words() {
    let namespace = Namespace::new();
    let ended = nlr_words(&format!("show route --table 77 -n {}", namespace.0));
    ended.failed(1, &["routes", "FIB table does not exist"]);
    let ended = nlr_words(&format!("monitor --group 400 -n {}", namespace.0));
    ended.failed(1, &["400", "no such group"]);
}

#[test]
fn a_ping_goes_there_and_back() {
    let text = nlr_words("ping --count 3 --interval 0.01").printed();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 3 + 1, "{text}");
    assert!(lines[0].starts_with("local: on ") && lines[0].contains("Linux"), "{text}");
    assert!(lines[3].starts_with("seq=3 time="), "{text}");
    assert!(lines[4].starts_with("3 round trips in ") && lines[4].contains("stddev"), "{text}");

    let lines =
        testing::tool::json_lines(&nlr_words("ping --count 2 --interval 0 --json").printed());
    assert_eq!(lines.len(), 3);
    assert!(lines[1]["seq"] == 2 && lines[1]["time_ms"].as_f64().unwrap() > 0.0);
    let number = |key: &str| lines[2][key].as_f64().unwrap();
    assert!(number("min_ms") <= number("avg_ms") && number("avg_ms") <= number("max_ms"));
    assert_eq!(lines[2]["count"], 2);
}

/// A home folder is closed to others: the stub goes to them through stdin.
#[test]
fn a_program_that_another_user_cannot_run_is_sent() {
    if !world::has_real_root("another user") {
        return;
    }
    let closed = temporary("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let program = closed.join("nlr");
    fs::copy(programs::nlr(), &program).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .args(["--stubs", programs::stripped_stub()])
            .arg("local:,sudo:nobody");
        finish(command).printed()
    };
    assert!(run(&["ping", "--count", "1"]).contains("uid 65534"));
    // There is something to remove, too.
    assert!(run(&["clean"]).contains("netlink-remote-65534"));
    fs::remove_dir_all(&closed).unwrap();
}
