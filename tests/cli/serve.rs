//! `nlr serve`: its socket, its clients, its log, and its end.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    process::Command,
};

use nix::sys::signal::Signal;
use testing::{
    Namespace, Running, finish, programs, temporary,
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
    assert_eq!(json_lines(&monitor.end().printed())[0]["priority"], 7);
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
        monitor.end().failed(3, &[&target]);
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
    drop(UnixListener::bind(&path).unwrap());
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
