//! `nlr serve`: its socket, its clients, its log, and its end.

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixDatagram, UnixListener},
        },
    },
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use testing::{
    Namespace, PATIENCE, Running, finish, programs, temporary,
    tool::{Server, json_lines, nlr},
    world,
};

#[test]
fn two_clients_at_once() {
    let server = Server::start(&[]);
    let namespace = Namespace::new();
    let target = server.target();
    let words =
        ["monitor", "--group", "rule", "--count", "1", "--json", "-n", &namespace.0, &target];
    let monitor = Running::start(nlr(&words));
    namespace.wait_for_listener();
    let shown = finish(nlr(&["show", "link", "-n", &namespace.0, &target])).printed();
    assert!(shown.contains("lo"), "{shown}");
    namespace.ip("rule add prio 7 lookup 100");
    assert_eq!(json_lines(&monitor.end().printed())[1]["priority"], 7);
    let log = server.stop(Signal::SIGTERM).stderr;
    assert_eq!(log.matches("has connected").count(), 2, "{log}");
    assert_eq!(log.matches("has ended: the client has gone").count(), 2, "{log}");
}

#[test]
fn signals_end_it_cleanly_with_its_clients() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start(&[]);
        let namespace = Namespace::new();
        let (path, target) = (server.path.clone(), server.target());
        let monitor = Running::start(nlr(&["monitor", "-n", &namespace.0, &target]));
        namespace.wait_for_listener();
        let ended = server.stop(signal);
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, ""), "{ended:?}");
        assert!(ended.stderr.contains(signal.as_str()), "{ended:?}");
        assert!(!path.exists());
        monitor.end().without_ready().failed(3, &[&target]);
    }
}

#[test]
fn the_file_is_its_owner_s_unless_others_are_let_in() {
    let mode = |server: &Server| fs::metadata(&server.path).unwrap().permissions().mode() & 0o777;
    let server = Server::start(&[]);
    assert_eq!(mode(&server), 0o600);
    let server = Server::start(&["--allow-uid", "0"]);
    assert_eq!(mode(&server), 0o600);
    let server = Server::start(&["--allow-uid", "0", "--allow-uid", "1000"]);
    assert_eq!(mode(&server), 0o666);
}

#[test]
fn a_stale_file_is_replaced_and_others_are_not() {
    let path = temporary("stale");
    testing::leave_socket(&path);
    assert!(path.exists());
    let server = Server::start_at(path.clone(), &[]);
    finish(nlr(&["ping", "--count", "1", &server.target()])).printed();

    // Now a server listens there.
    let second = finish(nlr(&["serve", &server.target()]));
    second.failed(1, &[path.to_str().unwrap(), "another process listens"]);
    finish(nlr(&["ping", "--count", "1", &server.target()])).printed();
    server.stop(Signal::SIGTERM);
    assert!(!path.exists());

    fs::write(&path, "precious").unwrap();
    let target = format!("unix:{}", path.display());
    finish(nlr(&["serve", &target])).failed(1, &["no socket"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    finish(nlr(&["serve", "unix:/nonexistent/socket"])).failed(1, &["/nonexistent/socket"]);
}

#[test]
fn a_uid_that_is_not_allowed_is_told_so() {
    let server = Server::start(&["--allow-uid", "4242"]);
    // Many times: the order of the client's hello and its end matters.
    for _ in 0..20 {
        let ended = finish(nlr(&["show", "link", &server.target()]));
        ended.failed(3, &[&server.target(), "uid 0 may not connect here"]);
    }
    let log = server.stop(Signal::SIGTERM).stderr;
    assert!(log.contains("was refused: uid 0 may not connect here"), "{log}");
}

#[test]
fn another_user_is_let_in_only_by_name() {
    if world::is_user() {
        // The user namespace of an ordinary user has one uid.
        return;
    }
    let show_as_nobody = |server: &Server| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args([programs::nlr(), "show", "link", &server.target()]);
        finish(command)
    };
    let folder = temporary("folder");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::start_at(folder.join("closed"), &[]);
    show_as_nobody(&server).failed(4, &["Permission denied", "may not write to the socket file"]);
    fs::set_permissions(&server.path, fs::Permissions::from_mode(0o666)).unwrap();
    show_as_nobody(&server).failed(3, &["uid 65534 may not connect here"]);
    server.stop(Signal::SIGTERM);
    let server = Server::start_at(folder.join("open"), &["--allow-uid", "65534"]);
    assert!(show_as_nobody(&server).printed().contains("lo"));
    server.stop(Signal::SIGTERM);
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::start(&["--max-clients", "1"]);
    let namespace = Namespace::new();
    let first = Running::start(nlr(&["monitor", "-n", &namespace.0, &server.target()]));
    namespace.wait_for_listener();
    finish(nlr(&["show", "link", &server.target()])).failed(3, &["1 of 1 clients are taken"]);
    drop(first);
    testing::wait("the first client's place", || {
        finish(nlr(&["show", "link", &server.target()])).code() == 0
    });
}

#[test]
fn the_log_has_a_line_for_each_client_socket_namespace_and_refusal() {
    let server = Server::start(&["--max-clients", "1"]);
    let namespace = Namespace::new();
    let target = server.target();
    finish(nlr(&["show", "link", "-n", &namespace.0, &target])).printed();
    finish(nlr(&["netns", "list", &target])).printed();
    finish(nlr(&["netns", "add", &namespace.0, &target])).failed(1, &["exists already"]);
    finish(nlr(&["show", "link", "-n", "no\u{202e}thing", &target])).failed(1, &["no"]);
    let monitor = Running::start(nlr(&["monitor", "-n", &namespace.0, &target]));
    namespace.wait_for_listener();
    finish(nlr(&["show", "link", &target])).failed(3, &["1 of 1 clients are taken"]);
    let pid = monitor.0.id();
    drop(monitor);
    let log = server.stop(Signal::SIGTERM).stderr;
    let name = &namespace.0;
    for line in [
        format!("has opened a NETLINK_ROUTE socket in namespace \"{name}\": port id "),
        "asked to list the namespaces: done".to_owned(),
        format!("asked to create namespace \"{name}\", and was refused: "),
        "was refused a NETLINK_ROUTE socket in namespace \"no".to_owned(),
        format!("(uid 0, pid {pid}) has connected"),
        "was refused: 1 of 1 clients are taken".to_owned(),
    ] {
        assert!(log.contains(&line), "{line}\n{log}");
    }
    assert!(!log.contains('\u{202e}'), "{log}");
}

#[test]
fn the_log_as_json_has_an_object_for_each_event() {
    let path = temporary("serve");
    let target = format!("unix:{}", path.display());
    let server = Running::start(nlr(&["serve", &target, "--json"]));
    testing::wait("the socket", || path.exists());
    testing::wait("a client", || finish(nlr(&["show", "link", &target])).code() == 0);
    finish(nlr(&["netns", "delete", "nothing", &target])).failed(1, &["nothing"]);
    server.signal(Signal::SIGINT);
    let events = json_lines(&server.end().stderr);
    let all = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!(events.first().unwrap()["event"], "listening");
    let socket = all("socket")[0];
    assert_eq!((&socket["protocol"], &socket["uid"]), (&"NETLINK_ROUTE".into(), &0.into()));
    assert!(socket["portid"].as_u64().unwrap() > 0 && socket["time"].as_f64().unwrap() > 1e9);
    assert_eq!(socket["netns"], "the current namespace");
    let deleted = all("namespace")[0];
    assert_eq!(deleted["request"], "delete namespace \"nothing\"");
    assert!(deleted["error"].as_str().unwrap().contains("no namespace"), "{deleted}");
    let (accepted, ended) = (all("accepted"), all("ended"));
    assert_eq!((accepted.len(), ended.len()), (2, 2));
    assert_eq!(accepted[1]["client"], deleted["client"]);
    assert_eq!(ended[1]["reason"], "the client has gone");
}

/// As systemd starts a service by a socket unit: the listening socket is descriptor 3.
#[test]
fn a_socket_of_a_service_manager_is_served_and_left() {
    let path = temporary("activated");
    let listener = UnixListener::bind(&path).unwrap();
    let manager = temporary("notify");
    let notices = UnixDatagram::bind(&manager).unwrap();
    notices.set_read_timeout(Some(PATIENCE)).unwrap();
    let notice = || {
        let mut text = [0; 64];
        let length = notices.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let target = format!("unix:{}", path.display());
    // The client comes first, and is served when the server is there.
    let waiting = Running::start(nlr(&["show", "link", &target]));
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", programs::nlr(), "serve"]);
    command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "nlr"), ("NO_COLOR", "1")]);
    command.env("NOTIFY_SOCKET", &manager);
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = Running(command.spawn().unwrap());
    assert_eq!(notice(), "READY=1");
    assert!(waiting.end().printed().contains("lo"));
    server.signal(Signal::SIGTERM);
    assert_eq!(notice(), "STOPPING=1");
    let ended = server.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("the service manager's socket \"nlr\""), "{ended:?}");
    assert!(path.exists(), "the file belongs to the socket unit");
    fs::remove_file(&path).unwrap();
    fs::remove_file(&manager).unwrap();
}

#[test]
fn sockets_that_cannot_be_served_are_refused() {
    finish(nlr(&["serve"])).failed(2, &["no socket to listen on", "unix:PATH"]);
    let script = "exec 3</dev/null; LISTEN_PID=$$ exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", programs::nlr(), "serve"]).env("LISTEN_FDS", "1");
    finish(command).failed(1, &["no unix stream socket that listens"]);
    let mut command = nlr(&["serve"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    finish(command).failed(2, &["no socket to listen on"]);
}
