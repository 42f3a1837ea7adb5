//! Far ends that say what no kernel does, and never stop: the tool's memory, output and time.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    time::{Duration, Instant},
};

use netlink_remote::{
    nlmsg::{Builder, flags, kind},
    wire::{Flags, FrameType, Message, SocketId},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use testing::{
    Running,
    far_end::{FarEnd, FarSide, frame, link, route},
    finish,
    tool::{elements, nlr, nlr_words},
    wait,
};

/// `RTM_NEWLINK`, `RTM_GETLINK` and `RTM_NEWROUTE`.
const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const NEWROUTE: u16 = 24;

/// Time from a signal to the end.
const SOON: Duration = Duration::from_secs(3);

/// The most memory that a process has had, in bytes.
fn peak(running: &Running) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn links(names: &[&[u8]]) -> Vec<(u16, Vec<u8>)> {
    (1..).zip(names).map(|(index, name)| (NEWLINK, link(index, name, &[]))).collect()
}

fn endless_routes() -> impl Iterator<Item = (u16, Vec<u8>)> {
    (0_u32..).map(|number| (NEWROUTE, route(number.to_be_bytes(), 1)))
}

#[test]
fn a_list_without_end_is_written_as_it_comes() {
    for format in ["--json", "--color=never"] {
        let far = FarEnd::start(|side| {
            side.serve(|wanted| -> Box<dyn Iterator<Item = _>> {
                match wanted {
                    GETLINK => Box::new(links(&[b"v0"]).into_iter()),
                    _ => Box::new(endless_routes()),
                }
            })
        });
        let mut running = Running::start(nlr(&["show", "route", format, &far.target()]));
        let mut stdout = running.0.stdout.take().unwrap();
        let mut text = vec![0; 12 << 20];
        stdout.read_exact(&mut text).unwrap();
        let taken = peak(&running);
        assert!(taken < 64 << 20, "{format}: {taken} bytes");
        running.signal(Signal::SIGINT);
        let signalled = Instant::now();
        assert_eq!(running.wait().code(), Some(130));
        assert!(signalled.elapsed() < SOON);
    }
}

/// A list that takes minutes over a slow link: text is read meanwhile, and JSON is whole.
#[test]
fn the_text_of_a_slow_list_is_written_as_it_comes() {
    let start = |waits: std::sync::mpsc::Receiver<()>| {
        FarEnd::start(move |side| {
            until_listed(side)?;
            let (socket, request) = side.request()?;
            let routes =
                endless_routes().take(2000).enumerate().inspect(move |(number, _)| match number {
                    1000 => std::thread::sleep(Duration::from_millis(2500)),
                    1900 => waits.recv().unwrap_or_default(),
                    _ => {}
                });
            side.answer(socket, request.sequence, routes.map(|(_, route)| route))?;
            let done = Builder::new(kind::DONE, flags::MULTI).sequence(request.sequence);
            side.datagram(socket, &done.put(&[0; 4]).finish())?;
            side.serve(|_| std::iter::empty())
        })
    };
    let (rest, waits) = std::sync::mpsc::channel();
    let far = start(waits);
    let mut running = Running::start(nlr(&["show", "route", "--color=never", &far.target()]));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    // The rest of the list is not sent before these lines are read.
    assert_eq!(lines.by_ref().take(1001).filter(Result::is_ok).count(), 1001);
    rest.send(()).unwrap();
    assert_eq!(lines.filter(Result::is_ok).count(), 1000);
    assert!(running.wait().success());
}

/// What is cut is no list.
#[test]
fn a_long_list_that_breaks_off_is_an_error() {
    let far = FarEnd::start(|side| {
        until_listed(side)?;
        let (socket, request) = side.request()?;
        side.answer(socket, request.sequence, endless_routes().take(150_000))
    });
    let mut command = nlr(&["show", "route", "--json", &far.target()]);
    command.stdout(File::create("/dev/null").unwrap());
    let ended = finish_with_null(command);
    assert_eq!(ended.0, Some(3), "{ended:?}");
    assert!(ended.1.contains("incomplete"), "{ended:?}");
}

fn finish_with_null(mut command: std::process::Command) -> (Option<i32>, String) {
    command.stderr(std::process::Stdio::piped()).stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn links_without_end_are_an_error_that_names_the_bound() {
    let start = || {
        FarEnd::start(|side| {
            side.serve(|_| (1..).map(|index| (NEWLINK, link(index, b"endless", &[]))))
        })
    };
    // Lists that show links, and one that keeps their names.
    for object in ["link", "addr", "route"] {
        let far = start();
        nlr_words(&format!("show {object} --memory 1 {}", far.target()))
            .failed(1, &["more than 1 MiB", "--memory"]);
    }
}

#[test]
fn names_longer_than_a_kernel_s_are_shown_as_invalid() {
    let name = [b'x'; 60_000];
    let start = move || {
        FarEnd::start(move |side| {
            side.serve(|wanted| -> Box<dyn Iterator<Item = _>> {
                match wanted {
                    GETLINK => {
                        let more: [(u16, &[u8]); 3] = [(20, &name), (6, &name), (1, &[2; 5000])];
                        Box::new([(NEWLINK, link(1, &name, &more))].into_iter())
                    }
                    _ => Box::new(endless_routes().take(20_000)),
                }
            })
        })
    };
    let far = start();
    let mut command = nlr(&["show", "route", "--json", &far.target()]);
    command.stdout(std::process::Stdio::piped());
    let mut running = Running::start(command);
    let mut text = String::new();
    let mut stdout = running.0.stdout.take().unwrap();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(running.wait().code(), Some(0));
    let routes = elements(&text);
    assert_eq!(routes.len(), 20_000);
    assert_eq!(routes[7]["dev"], "xxxxxxxxxxxxxxx… (invalid: 60000 bytes)");
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
    for format in ["--json", "--color=never"] {
        let far = start();
        let text = finish(nlr(&["show", "link", format, &far.target()])).printed();
        assert!(text.contains("xxxxxxxxxxxxxxx… (invalid: 60000 bytes)"), "{text}");
        assert!(text.contains("02:02… (invalid: 5000 bytes)"), "{text}");
        assert!(text.len() < 2000, "{text}");
    }
}

#[test]
fn names_that_are_no_utf8_stay_different() {
    let start = || {
        FarEnd::start(|side| {
            side.serve(|_| links(&[b"a\xff", b"a\xfe", br"a\xff", b"a\x1b[2J\xc2\x85"]).into_iter())
        })
    };
    let far = start();
    let text = nlr_words(&format!("show link --json {}", far.target())).printed();
    let names: Vec<Value> = elements(&text).iter().map(|link| link["ifname"].clone()).collect();
    assert_eq!(names, [r"a\xff", r"a\xfe", r"a\x5cxff", "a\u{1b}[2J\u{85}"]);
    assert!(text.contains(r"a\u001b[2J\u0085") && text.is_ascii(), "{text}");
    let far = start();
    let text = nlr_words(&format!("show link --color=never {}", far.target())).printed();
    for name in [r"a\xff ", r"a\xfe ", r"a\x5cxff ", r"a\u{1b}[2J\u{85} "] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

/// Answers until the tool has listed the links, and gives the socket of its events.
fn until_listed(side: &mut FarSide) -> io::Result<SocketId> {
    let (socket, request) = side.request()?;
    let done = Builder::new(kind::DONE, flags::MULTI).sequence(request.sequence).put(&[0; 4]);
    side.datagram(socket, &done.finish())?;
    Ok(SocketId(1))
}

#[test]
fn events_without_end_leave_time_for_signals() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let far = FarEnd::start(|side| {
            let socket = until_listed(side)?;
            let lost = |total| frame(socket, &Message::Lost { dropped: 1, total });
            let flood: Vec<u8> = (1..=2000).flat_map(lost).collect();
            loop {
                side.raw(&flood)?;
            }
        });
        let mut running = Running::start(nlr(&["monitor", &far.target()]));
        let mut stdout = running.0.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 64]).unwrap();
        // Half a second of it.
        let flooded = Instant::now();
        wait("some time of it", || flooded.elapsed() > Duration::from_millis(500));
        let taken = peak(&running);
        assert!(taken < 128 << 20, "{taken} bytes");
        running.signal(signal);
        let signalled = Instant::now();
        assert_eq!(running.wait().code(), Some(code));
        assert!(signalled.elapsed() < SOON, "{:?}", signalled.elapsed());
    }
}

/// A datagram that is kept must not keep what came before it in the stream.
#[test]
fn unread_events_take_their_own_memory_alone() {
    let (done, is_done) = std::sync::mpsc::channel();
    let far = FarEnd::start(move |side| {
        let socket = until_listed(side)?;
        let event = || Builder::new(NEWROUTE, 0).put(&route([10, 0, 0, 1], 1)).finish();
        let datagram: Vec<u8> = std::iter::repeat_with(event).take(100).flatten().collect();
        // A frame of an unknown type that may be skipped.
        let length = 120_u32 << 10;
        let mut skipped =
            [&length.to_le_bytes()[..], &[0x7e, Flags::SKIPPABLE.bits()], &[0; 6]].concat();
        skipped.resize(length as usize, 0);
        // Less than the window of 4 MiB.
        for _ in 0..600 {
            side.raw(&skipped)?;
            side.datagram(socket, &datagram)?;
        }
        // All of it is read once this is answered.
        side.send(SocketId::CONNECTION, &Message::Ping(1))?;
        while side.next_frame()?.0.frame_type != FrameType::Pong {}
        done.send(()).unwrap();
        while side.next_frame().is_ok() {}
        Ok(())
    });
    // Nobody reads what it prints.
    let mut running = Running::start(nlr(&["monitor", "--json", &far.target()]));
    is_done.recv().unwrap();
    let taken = peak(&running);
    assert!(taken < MEMORY, "{taken} bytes");
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code(), Some(130));
}

/// Memory for the program, the datagram and some lines: all of them would take as much again.
const MEMORY: usize = 30 << 20;

/// Events of a datagram.
const EVENTS: usize = 100_000;

#[test]
fn a_datagram_of_many_events_is_written_in_pieces() {
    let far = FarEnd::start(|side| {
        let socket = until_listed(side)?;
        let event = || Builder::new(NEWROUTE, 0).put(&route([10, 0, 0, 1], 1)).finish();
        let datagram: Vec<u8> = (0..EVENTS).flat_map(|_| event()).collect();
        side.datagram(socket, &datagram)?;
        while side.take_in().is_ok() {}
        Ok(())
    });
    let mut running = Running::start(nlr(&["monitor", "--json", &far.target()]));
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    let lines = stdout.by_ref().lines().take(EVENTS);
    let bytes: usize = lines.map(|line| line.unwrap().len()).sum();
    let taken = peak(&running);
    assert!(taken < MEMORY, "{taken} bytes for lines of {bytes}");
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code(), Some(130));
}

/// The host answers, and its kernel does not: another process holds its lock.
#[test]
fn a_kernel_that_does_not_answer_is_told() {
    // Pings and opens are answered, and the request is only taken in.
    let silent = || {
        FarEnd::start(|side| {
            loop {
                side.request()?;
            }
        })
    };
    let far = silent();
    nlr_words(&format!("show link --timeout 0.5 {}", far.target()))
        .failed(124, &["has not given the whole answer within 500ms", "lock"]);
    let far = silent();
    let mut running = Running::start(nlr(&["show", "link", &far.target()]));
    let mut said = String::new();
    BufReader::new(running.0.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("has not answered for 5 s") && said.contains("Ctrl-C"), "{said}");
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code(), Some(130));
}
