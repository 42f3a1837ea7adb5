//! `nlr bench`: the times of a path.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use testing::{
    Namespace, Running, finish, is_alive, temporary,
    tool::{Server, json_lines, nlr},
    wait, world,
};

/// Asserts that percentiles are in order.
#[track_caller]
fn check_times(times: &Value) {
    let number = |key: &str| times[key].as_u64().unwrap_or_else(|| panic!("{key}: {times}"));
    assert!(number("count") > 0 && number("min") > 0, "{times}");
    let keys = ["min", "p50", "p90", "p99", "p99_9", "max"].map(number);
    assert!(keys.is_sorted(), "{times}");
    assert!((number("min")..=number("max")).contains(&number("mean")), "{times}");
}

/// Asserts that a measured target has all figures.
#[track_caller]
fn check(line: &Value) {
    for key in ["ping_ns", "request_ns", "kernel_ns"] {
        check_times(&line[key]);
    }
    // All are measured the same number of times.
    assert_eq!(line["ping_ns"]["count"], line["kernel_ns"]["count"], "{line}");
    let median = |key: &str| line[key]["p50"].as_u64().unwrap();
    let rest = median("request_ns").saturating_sub(median("ping_ns") + median("kernel_ns"));
    assert_eq!(line["proxy_ns"].as_u64().unwrap(), rest);
    assert!(line["connect_ns"].as_u64().unwrap() > 0);
    for key in ["datagrams", "bytes", "elapsed_ns"] {
        assert!(line["dump"][key].as_u64().unwrap() > 0, "{key}: {line}");
    }
    assert!(line.get("error").is_none(), "{line}");
}

#[test]
fn a_table_has_a_row_for_each_target() {
    let server = Server::start(&[]);
    let ended = finish(nlr(&["bench", "local:", &server.target(), "--time", "0.2"]));
    let text = ended.printed();
    for target in ["local: ", &server.target()] {
        let rows = text.lines().filter(|line| line.starts_with(target));
        assert_eq!(rows.count(), 3, "{text}");
    }
    for word in ["p50", "p99.9", "max", "PING", "KERNEL", "PROXY", "CONNECT", "MiB/s", " µs"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("EVENTS"), "{text}");
}

#[test]
fn json_tells_all_figures() {
    let server = Server::start(&[]);
    let namespace = Namespace::new();
    namespace.ip("link add v0 type veth peer name v1");
    namespace.ip("link set v0 up");
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    let route = |number| format!("route add 11.0.{number}.0/24 via 10.0.0.2\n");
    namespace.batch(&(0..200).map(route).collect::<String>());
    let mut command = nlr(&["bench", "--json", "--time", "0.3", "-n", &namespace.0]);
    command.args(["local:", &server.target()]);
    let lines = json_lines(&finish(command).printed());
    let targets: Vec<_> = lines.iter().map(|line| line["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["local:", &server.target()]);
    for line in &lines {
        check(line);
        assert!((200..300).contains(&line["dump"]["routes"].as_u64().unwrap()), "{line}");
        assert!(line["stub"].as_str().unwrap().starts_with("netlink-remote "));
        assert!(line.get("events").is_none());
    }
}

#[test]
fn a_listing_longer_than_its_time_is_cut_and_disturbs_nothing() {
    let namespace = Namespace::new();
    namespace.ip("link add v0 type veth peer name v1");
    namespace.ip("link set v0 up");
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    let route = |number| format!("route add 11.0.{}.{} via 10.0.0.2\n", number >> 8, number & 255);
    namespace.batch(&(0..20_000).map(route).collect::<String>());
    let command = nlr(&["bench", "--json", "--time", "0.1", "-n", &namespace.0]);
    check(&json_lines(&finish(command).printed())[0]);
}

#[test]
fn events_are_counted_where_a_namespace_may_be_made() {
    let ended = finish(nlr(&["bench", "--json", "--events", "--time", "0.3"]));
    let line = &json_lines(&ended.printed())[0];
    check(line);
    let events = &line["events"];
    match (world::kind(), events.get("left_out")) {
        (world::Kind::User, Some(why)) => assert!(why.as_str().unwrap().contains("root"), "{line}"),
        (_, None) => {
            let number = |key: &str| events[key].as_u64().unwrap();
            assert!(number("events") > 0 && number("datagrams") > 0, "{line}");
            assert!(number("bytes") > number("datagrams") && number("elapsed_ns") > 0, "{line}");
        }
        (world::Kind::Root, Some(_)) => panic!("{line}"),
    }
    // The namespace ended with the connection, and its name before.
    let names = fs::read_dir("/run/netns").unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.starts_with("nlr-bench")));
}

/// Asserts that the elements of an XML text are nested.
fn check_xml(text: &str) {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('<') {
        assert!(!before.contains('>') && !open.is_empty() || before.trim().is_empty(), "{before}");
        let (tag, behind) = behind.split_once('>').unwrap();
        assert!(!tag.contains('<') && tag.matches('"').count() % 2 == 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
        rest = behind;
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?}: {rest}");
    for entity in text.split('&').skip(1) {
        let name = entity.split(';').next().unwrap();
        assert!(["amp", "lt", "gt", "quot", "#39"].contains(&name), "{name}");
    }
}

#[test]
fn the_picture_has_curves_for_each_target() {
    let path = temporary("plot");
    let server = Server::start_at(temporary("a&b'<\"c\""), &[]);
    let plot = path.to_str().unwrap();
    fs::write(&path, "x".repeat(1 << 20)).unwrap();
    let targets = ["local:", &server.target(), "unix:/nosuch"];
    let mut command = nlr(&["bench", "--time", "0.2", "--plot", plot]);
    let ended = finish({
        command.args(targets);
        command
    });
    assert_eq!(ended.code(), 3, "{ended:?}");
    let svg = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    check_xml(&svg);
    assert_eq!(svg.matches("<g class=").count(), 2);
    // A curve and an entry in the legend for each target.
    assert_eq!(svg.matches("<path class=\"request\"").count(), 4);
    assert_eq!(svg.matches("<path class=\"ping\"").count(), 4);
    assert!(svg.contains("a&amp;b&#39;&lt;&quot;c&quot;") && svg.contains("99 %"), "{svg}");
}

#[test]
fn a_picture_that_cannot_be_written_is_told_before_anything_is_measured() {
    let arguments = ["bench", "--time", "3600", "--plot", "/nosuch/folder/x.svg"];
    finish(nlr(&arguments)).failed(1, &["/nosuch/folder/x.svg", "No such file"]);
}

#[test]
fn the_time_is_about_kept() {
    let began = Instant::now();
    finish(nlr(&["bench", "--time", "1"])).printed();
    assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&began.elapsed()));
    finish(nlr(&["bench", "--time", "0"])).failed(2, &["0.1 to 3600"]);
}

#[test]
fn a_target_that_fails_does_not_keep_the_others_from_being_measured() {
    let targets = ["local:", "unix:/nosuch", "local:"];
    let arguments = [&["bench", "--json", "--time", "0.2"], targets.as_slice()].concat();
    let ended = finish(nlr(&arguments));
    assert_eq!(ended.code(), 3, "{ended:?}");
    let line = ended.stderr.strip_suffix('\n').unwrap();
    assert!(line.contains("unix:/nosuch") && !line.contains('\n'), "{line}");
    let lines = json_lines(&ended.stdout);
    assert_eq!(lines.len(), 3);
    check(&lines[0]);
    check(&lines[2]);
    assert!(lines[1]["error"].as_str().unwrap().contains("/nosuch"), "{}", lines[1]);
    assert!(lines[1]["request_ns"].is_null() && lines[1]["connect_ns"].is_null());
    // Without a measurement there is no table.
    finish(nlr(&["bench", "unix:/nosuch"])).failed(3, &["unix:/nosuch"]);
    finish(nlr(&["bench", "-n", "nosuch"])).failed(1, &["local: ", "nosuch", "nlr netns list"]);
}

#[test]
fn a_target_that_dies_keeps_what_was_measured() {
    let running = Running::start(nlr(&["bench", "--json", "--time", "10"]));
    let stub = stub(&running);
    std::thread::sleep(Duration::from_millis(3000));
    let pid = nix::unistd::Pid::from_raw(stub.cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    let ended = running.end();
    assert_eq!(ended.code(), 3, "{ended:?}");
    let line = &json_lines(&ended.stdout)[0];
    check_times(&line["request_ns"]);
    assert!(line["error"].as_str().unwrap().contains("killed by signal 9"), "{line}");
}

fn stub(running: &Running) -> u32 {
    let mut stub = None;
    wait("a stub", || {
        stub = running.children().first().copied();
        stub.is_some()
    });
    stub.unwrap()
}

#[test]
fn ctrl_c_ends_it_with_what_there_is() {
    let running = Running::start(nlr(&["bench", "--json", "--time", "3600"]));
    let stub = stub(&running);
    std::thread::sleep(Duration::from_millis(2000));
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    check_times(&json_lines(&ended.stdout)[0]["request_ns"]);
    wait("the stub's end", || !is_alive(stub));
}
