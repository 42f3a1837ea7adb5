//! Peers that speak another protocol, or this one wrongly: each gets an error, and nothing hangs.

use std::{io::Write, process::Stdio, time::Duration};

use netlink_remote::{
    Client, Error, ErrorKind,
    client::ClientOptions,
    stub::{Config, Exit, ListenConfig, ListenEvent, Listener, Shutdown, serve_stream},
    transport::{ExitReport, process, unix},
    wire::{
        Credit, DatagramInfo, Destination, Failure, Flags, FrameType, MARKER, MIN_MAX_FRAME,
        Message, Open, Opened, SocketId, hello::Role, tlv,
    },
};
use testing::tool::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::{raw::*, support::*};

fn open() -> Message<'static> {
    let credit = Credit { bytes: 1 << 20, datagrams: 100 };
    Message::Open(Open { credit, ..Open::default() })
}

fn send() -> Message<'static> {
    Message::Send { serial: 1, destination: Destination::default(), data: &[0; 16] }
}

/// Asserts that a client which sends these frames after its hello is cut off with this reason.
async fn assert_violation(frames: &[Vec<u8>], why: &str) {
    let sent = [hello(Role::Client), frames.concat()].concat();
    let (exit, said) = stub_exit(&sent).await;
    let Exit::Violation(text) = &exit else { panic!("{why}: {exit}") };
    assert!(text.contains(why), "{text:?} does not say {why:?}");
    assert_eq!(exit.code(), 76);
    assert_eq!(fault(&said).as_deref(), Some(text.as_str()));
}

/// The program tests/bad_inputs has all of them, against a server.
#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_cut_off_and_told_why() {
    for length in 0..12 {
        assert_violation(&[raw_header(length, 2, 0)], "shorter than the 12-byte header").await;
    }
    assert_violation(&[frame(ONE, &send())], "socket #1, which is not open").await;
}

#[tokio::test]
async fn what_was_sent_before_a_violation_is_done_and_answered() {
    let request = link_by_index(1, 1);
    // With room for their answers, the stub makes several sends at once.
    let credit = Credit { bytes: 1 << 20, datagrams: 100 };
    let open = Message::Open(Open { credit, receive_buffer: 32 << 20, ..Open::default() });
    let (serial, destination) = (1, Destination::default());
    let send = frame(ONE, &Message::Send { serial, destination, data: &request });
    let broken = raw_header(12, 0x20, 0);
    let sent = [hello(Role::Client), frame(ONE, &open), send.repeat(8), broken].concat();
    let (exit, said) = stub_exit(&sent).await;
    assert!(matches!(exit, Exit::Violation(_)), "{exit}");
    let answers =
        frames(&said).into_iter().filter(|frame| matches!(frame, Message::Datagram { .. }));
    assert_eq!(answers.count(), 8);
}

#[tokio::test]
async fn more_sends_than_credit_are_a_violation() {
    let mut config = Config::default();
    config.send_window = Credit { bytes: 1, datagrams: 1 };
    // Pieces beyond the bound of all sockets together: here the limit on frames, of 64 KiB.
    config.max_queued = 40;
    config.limits.max_frame = MIN_MAX_FRAME;
    let mut sent = hello(Role::Client);
    for id in [ONE, SocketId(2), SocketId(3)] {
        sent.extend(frame(id, &open()));
        let (serial, destination, data) = (1, Destination::default(), &[0; 30_000]);
        Message::Send { serial, destination, data }.encode(id, Flags::MORE, &mut sent);
    }
    let (exit, _) = stub_exit_with(&sent, config).await;
    assert!(
        matches!(&exit, Exit::Violation(text) if text.contains("bytes of incomplete sends")),
        "{exit}"
    );
}

#[tokio::test]
async fn more_sockets_and_unread_answers_than_allowed_are_a_violation() {
    let mut config = Config::default();
    config.limits.max_sockets = 2;
    config.output_limit = 1 << 20;
    let opens: Vec<u8> = (1..=3).flat_map(|n| frame(SocketId(n), &open())).collect();
    let (exit, _) = stub_exit_with(&[hello(Role::Client), opens].concat(), config.clone()).await;
    assert!(
        matches!(&exit, Exit::Violation(text) if text.contains("more than 2 sockets")),
        "{exit}"
    );
    // Endless pings, whose pongs are not read.
    world::require();
    let (near, far) = tokio::io::duplex(4096);
    let serving =
        tokio::spawn(
            async move { serve_stream(far, config, &Shutdown::new().unwrap()).await.unwrap() },
        );
    let (unread, mut write) = tokio::io::split(near);
    write.write_all(&hello(Role::Client)).await.unwrap();
    let pings = frame(SocketId::CONNECTION, &Message::Ping(7)).repeat(1000);
    let flooding = tokio::spawn(async move { while write.write_all(&pings).await.is_ok() {} });
    let exit = within(serving).await.unwrap();
    within(flooding).await.unwrap();
    drop(unread);
    assert!(matches!(&exit, Exit::Violation(text) if text.contains("left unread")), "{exit}");
}

#[tokio::test]
async fn what_is_no_client_is_a_failed_handshake() {
    for (sent, why) in [
        (vec![b'x'; 300_000], "no protocol marker"),
        (hello(Role::Stub), "echoed"),
        ([&MARKER[..], &[0; 8]].concat(), "hello of 0 bytes"),
        ([&MARKER[..], &[0xff; 8]].concat(), "hello of 4294967295 bytes"),
        ([&MARKER[..], &[4, 0, 0, 0, 9, 0, 9, 0]].concat(), "no common protocol version"),
        (
            hello_with(|body| tlv::put(body, 77 | tlv::CRITICAL, &[1])),
            "unknown critical option 0x004d",
        ),
    ] {
        let (exit, said) = stub_exit(&sent).await;
        let Exit::Handshake(text) = &exit else { panic!("{why}: {exit}") };
        assert!(text.contains(why), "{text:?} does not say {why:?}");
        assert_eq!(exit.code(), 76);
        assert_eq!(fault(&said), Some(exit.to_string()), "the client is told");
    }
    let mut config = Config::default();
    config.hello_timeout = Duration::from_millis(50);
    let (exit, _) = stub_exit_with(b"", config).await;
    assert!(matches!(&exit, Exit::Handshake(text) if text.contains("in time")), "{exit}");
}

#[tokio::test]
async fn noise_before_the_hello_and_unknown_options_are_skipped() {
    let mut noisy = b"Welcome!\r\n\x1b[2J\xfenlr-hel".to_vec();
    noisy.extend(hello_with(|body| tlv::put(body, 77, b"from the future")));
    noisy.extend(raw_header(14, 0xee, 1));
    noisy.extend([1, 2, 0, 0]);
    noisy.extend(frame(SocketId::CONNECTION, &Message::Ping(7)));
    let bye = Failure { errno: 1, text: "enough".into() };
    noisy.extend(frame(SocketId::CONNECTION, &Message::Fault(bye)));
    let (exit, said) = stub_exit(&noisy).await;
    assert_eq!(exit, Exit::ClientFault("enough".into()));
    let pong = frame(SocketId::CONNECTION, &Message::Pong(7));
    assert!(said.ends_with(&pong));
}

/// The stub's process reports the end with its exit code.
#[tokio::test]
async fn the_stub_program_exits_with_a_telling_code() {
    world::require();
    for (sent, code, why) in [
        (hello(Role::Client), 0, ""),
        (Vec::new(), 0, ""),
        (b"ls -l\n".to_vec(), 76, "ls -l"),
        ([hello(Role::Client), raw_header(3, 2, 0)].concat(), 76, "shorter than"),
        ([hello(Role::Client), raw_header(40, 2, 0)].concat(), 74, "middle of a frame"),
    ] {
        let mut child = stub_command()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&sent).await.unwrap();
        let output = within(child.wait_with_output()).await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why) && said.lines().count() == usize::from(code != 0), "{said}");
    }
    let output = stub_command().arg("--nonsense").output().await.unwrap();
    assert_eq!(output.status.code(), Some(64));
    let output = stub_command().arg("--version").output().await.unwrap();
    assert_eq!(output.stdout, format!("nlr-stub {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
}

/// A client whose reading end is closed is gone, even with its writing end open.
#[tokio::test]
async fn the_stub_program_ends_when_nobody_reads_it() {
    world::require();
    let mut child = stub_command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let portid = 0x5000_0000;
    let mut open = Open { portid, ..Open::default() };
    open.credit = Credit { bytes: 1 << 20, datagrams: 100 };
    let sent = [hello(Role::Client), frame(ONE, &Message::Open(open))].concat();
    stdin.write_all(&sent).await.unwrap();
    eventually("the socket is open", || has_portid(portid)).await;
    drop(child.stdout.take());
    stdin.write_all(&frame(SocketId::CONNECTION, &Message::Ping(1))).await.unwrap();
    assert_eq!(within(child.wait()).await.unwrap().code(), Some(0));
    assert!(!has_portid(portid));
    drop(stdin);
}

/// Kinds of stdin that epoll refuses: a file, and /dev/null.
#[tokio::test]
async fn the_stub_program_takes_any_kind_of_stdin() {
    world::require();
    let path = temporary("stdin");
    let sent = [hello(Role::Client), frame(SocketId::CONNECTION, &Message::Ping(7))].concat();
    std::fs::write(&path, sent).unwrap();
    let run = |stdin: &std::path::Path| {
        let mut command = stub_command();
        command.stdin(std::fs::File::open(stdin).unwrap());
        async move { within(command.output()).await.unwrap() }
    };
    let output = run(&path).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.ends_with(&frame(SocketId::CONNECTION, &Message::Pong(7))));
    let output = run("/dev/null".as_ref()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    std::fs::remove_file(path).unwrap();
}

// ---- the client's side

/// The result of a handshake with a far end that sends these bytes and then waits.
async fn connect_to(said: Vec<u8>) -> (Result<Client, Error>, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(&said).await.unwrap();
    (within(Client::handshake(near)).await, far)
}

#[tokio::test]
async fn a_far_end_that_speaks_something_else_is_shown() {
    for (said, why) in [
        (b"SSH-2.0-OpenSSH_9.2\r\n".repeat(20_000), "no protocol marker"),
        (hello(Role::Client), "being echoed"),
        ([&MARKER[..], &[1, 0, 0, 0, 9, 0, 9, 0]].concat(), "hello of 1 bytes"),
        ([&MARKER[..], &[4, 0, 0, 0, 7, 0, 5, 0]].concat(), "the peer speaks 5 to 7"),
        (hello_with(|body| tlv::put(body, 99 | tlv::CRITICAL, &[])), "unknown critical option"),
    ] {
        let error = connect_to(said).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Handshake);
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }
    // A far end that ends at once: the error has its words.
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(b"sh: nlr-stub: not found\n").await.unwrap();
    drop(far);
    let error = within(Client::handshake(near)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handshake);
    assert!(error.to_string().contains("sh: nlr-stub: not found"), "{error}");
    // A far end without a word.
    let (near, _far) = tokio::io::duplex(1024);
    let mut options = ClientOptions::default();
    options.timeout = Duration::from_millis(50);
    let error = within(Client::handshake_with(near, options)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// Each side learns why the other refuses its hello, of whatever version that is.
#[tokio::test]
async fn a_refused_hello_is_answered_by_the_reason() {
    world::require();
    let too_small = |body: &mut Vec<u8>| {
        let limits = [0xff_u32, 1, 1].map(u32::to_le_bytes).concat();
        tlv::put(body, 2, &limits);
    };
    // The client refuses a stub, which reads why.
    for (said, why) in [
        (hello_with(too_small), "invalid frame limit: 255"),
        (hello(Role::Client), "being echoed"),
        ([&MARKER[..], &[4, 0, 0, 0, 7, 0, 5, 0]].concat(), "the peer speaks 5 to 7"),
    ] {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&said).await.unwrap();
        let client = tokio::spawn(Client::handshake(near));
        let mut heard = Vec::new();
        within(far.read_to_end(&mut heard)).await.unwrap();
        let told = fault(&heard).unwrap_or_default();
        assert!(told.starts_with("handshake: ") && told.contains(why), "{told:?}");
        drop(far);
        assert!(within(client).await.unwrap().is_err());
    }
    // A stub that has already ended the stream behind its refusal of a client that it is too new for.
    let mut said = [&MARKER[..], &[4, 0, 0, 0, 7, 0, 5, 0]].concat();
    let failure = Failure { errno: 71, text: "speak version 5".to_owned() };
    said.extend(frame(SocketId::CONNECTION, &Message::Fault(failure.clone())));
    let error = connect_to(said).await.0.unwrap_err();
    assert!(format!("{error:#}").contains("the far end says: speak version 5"), "{error:#}");
    // A stub whose own hello is fine.
    let mut said = hello(Role::Stub);
    said.extend(frame(SocketId::CONNECTION, &Message::Fault(failure)));
    let (client, _far) = connect_to(said).await;
    let error = within(client.unwrap().closed()).await;
    assert!(error.to_string().contains("speak version 5"), "{error}");
    // A server tells it to a client for which it has started no thread.
    let server = Server::start(&[]);
    let mut stream = tokio::net::UnixStream::connect(&server.path).await.unwrap();
    stream.write_all(&[&MARKER[..], &[4, 0, 0, 0, 9, 0, 9, 0]].concat()).await.unwrap();
    let mut heard = Vec::new();
    within(stream.read_to_end(&mut heard)).await.unwrap();
    let told = fault(&heard).unwrap_or_default();
    assert!(told.contains("the peer speaks 9 to 9"), "{told:?}");
    // A stub reads a client's refusal.
    let refusal = Failure { errno: 71, text: "handshake: no".to_owned() };
    let refusal = frame(SocketId::CONNECTION, &Message::Fault(refusal));
    let (exit, _) = stub_exit(&[hello(Role::Client), refusal].concat()).await;
    assert_eq!(exit, Exit::ClientFault("handshake: no".to_owned()));
}

#[tokio::test]
async fn an_echo_is_no_stub() {
    world::require();
    let running = process::spawn(tokio::process::Command::new("cat")).unwrap();
    let mut options = ClientOptions::default();
    options.exit_report = Some(ExitReport::of_command("the stub", running.stderr, running.end));
    let error = within(Client::handshake_with(running.stdio, options)).await.unwrap_err();
    assert!(format!("{error:#}").contains("being echoed"), "{error:#}");
}

/// The error of a client whose far end, after its hello and opening socket 1, sends these frames.
async fn after_open(frames: &[Vec<u8>]) -> Error {
    let (client, mut far) = connect_to(hello(Role::Stub)).await;
    let client = client.unwrap();
    let opening = tokio::spawn(client.socket(0).open());
    let opened = Opened { credit: Credit { bytes: 10, datagrams: 10 }, ..Opened::default() };
    eventually_written(&mut far).await;
    far.write_all(&frame(ONE, &Message::Opened(opened))).await.unwrap();
    let socket = within(opening).await.unwrap().unwrap();
    far.write_all(&frames.concat()).await.unwrap();
    let error = loop {
        match within(socket.recv()).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    // The far end gets a fault as the last frame.
    let mut said = Vec::new();
    within(far.read_to_end(&mut said)).await.unwrap();
    let told = Message::Fault(Failure { errno: 71, text: String::new() });
    assert_eq!(told.frame_type(), FrameType::Fault);
    assert!(!said.is_empty(), "no fault was sent");
    error
}

/// Reads until the client has sent its open frame.
async fn eventually_written(far: &mut DuplexStream) {
    let mut buffer = vec![0; 4096];
    let mut seen = 0;
    while seen < MARKER.len() + 60 {
        seen += within(far.read(&mut buffer)).await.unwrap();
    }
}

#[tokio::test]
async fn a_stub_that_breaks_the_protocol_ends_the_connection_and_is_told() {
    let datagram = |socket| {
        frame(socket, &Message::Datagram { info: DatagramInfo::default(), data: &[0; 16] })
    };
    let sent = Message::Sent { serial: 99, errno: 0, nanoseconds: 0 };
    let closed = Message::Closed(Default::default());
    let reply = Message::Reply { request: 5, errno: 0, value: &[] };
    for (frames, why) in [
        (vec![raw_header(0, 0x22, 0)], "shorter than"),
        (vec![raw_header(3, 0x22, 0)], "shorter than"),
        (vec![raw_header((16 << 20) + 1, 0x22, 0)], "exceeds the limit"),
        (vec![raw_header(12, 0xee, 0)], "unknown frame type"),
        (vec![datagram(SocketId(7))], "socket #7, which is not open"),
        (vec![frame(ONE, &sent)], "not asked"),
        (vec![frame(ONE, &reply)], "not asked"),
        (vec![frame(ONE, &closed)], "not closing"),
        (vec![frame(ONE, &open())], "not for this side"),
    ] {
        let error = after_open(&frames).await;
        assert_eq!(error.kind(), ErrorKind::Disconnected);
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }
}

#[tokio::test]
async fn more_datagrams_than_credit_end_the_connection() {
    let (client, mut far) = connect_to(hello(Role::Stub)).await;
    let client = client.unwrap();
    let opening = tokio::spawn(client.socket(0).window(1000, 3).open());
    eventually_written(&mut far).await;
    far.write_all(&frame(ONE, &Message::Opened(Opened::default()))).await.unwrap();
    let socket = within(opening).await.unwrap().unwrap();
    let datagram = frame(ONE, &Message::Datagram { info: DatagramInfo::default(), data: &[0; 16] });
    far.write_all(&datagram.repeat(4)).await.unwrap();
    let error = within(client.closed()).await;
    assert!(format!("{error:#}").contains("beyond the credit of socket #1"), "{error:#}");
    // The datagrams within the credit are delivered.
    for _ in 0..3 {
        assert!(matches!(socket.try_recv(), Ok(Some(_))));
    }
    assert!(socket.try_recv().is_err());
}

#[tokio::test]
async fn a_fault_of_the_stub_is_what_the_caller_gets() {
    let failure = Failure { errno: 12, text: "the far host is out of memory".to_owned() };
    let error = {
        let (client, mut far) = connect_to(hello(Role::Stub)).await;
        let client = client.unwrap();
        far.write_all(&frame(SocketId::CONNECTION, &Message::Fault(failure))).await.unwrap();
        within(client.closed()).await
    };
    assert!(error.to_string().contains("the far host is out of memory"), "{error}");
}

/// A write fails as soon as the far end reads no more; its reason comes later.
#[tokio::test]
async fn a_fault_of_the_stub_counts_more_than_a_failed_write() {
    world::require();
    let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
    far.write_all(&hello(Role::Stub)).await.unwrap();
    let client = within(Client::handshake(near)).await.unwrap();
    let far = far.into_std().unwrap();
    far.shutdown(std::net::Shutdown::Read).unwrap();
    let pinging = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    // The ping and the driver, in turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let failure = Failure { errno: 12, text: "the far host is out of memory".to_owned() };
    (&far).write_all(&frame(SocketId::CONNECTION, &Message::Fault(failure))).unwrap();
    let error = within(client.closed()).await;
    assert!(error.to_string().contains("the far host is out of memory"), "{error:#}");
    within(pinging).await.unwrap().unwrap_err();

    // Without a reason the failed write is the error, after a while.
    let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
    far.write_all(&hello(Role::Stub)).await.unwrap();
    let client = within(Client::handshake(near)).await.unwrap();
    let far = far.into_std().unwrap();
    far.shutdown(std::net::Shutdown::Read).unwrap();
    let error = within(client.ping()).await.unwrap_err();
    assert!(format!("{error:#}").contains("Broken pipe"), "{error:#}");
}

#[tokio::test]
async fn a_stub_program_that_cannot_be_started_is_named() {
    let error = process::spawn(tokio::process::Command::new("/nowhere/nlr-stub")).err().unwrap();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Connect, Some(ENOENT)));
    assert!(error.to_string().contains("/nowhere/nlr-stub"), "{error}");
    world::require();
    let path = temporary("not-executable");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    let error = process::spawn(tokio::process::Command::new(&path)).err().unwrap();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Connect, Some(13)));
    assert!(error.to_string().contains("chmod +x"), "{error}");
    std::fs::remove_file(path).unwrap();
    // Another program: the error has its words.
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", "echo no such thing >&2; exit 127"]);
    let running = process::spawn(command).unwrap();
    let mut options = ClientOptions::default();
    options.exit_report = Some(ExitReport::of_command("the stub", running.stderr, running.end));
    let error = within(Client::handshake_with(running.stdio, options)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit code 127") && text.contains("no such thing"), "{text}");
}

// ---- the unix socket

#[tokio::test]
async fn a_peer_whose_uid_is_not_allowed_is_turned_away() {
    world::require();
    let path = temporary("nlr").with_extension("sock");
    let mut config = ListenConfig::default();
    config.allowed_uids = vec![4242];
    let listener = Listener::bind(&path, config).unwrap();
    let shutdown = Shutdown::new().unwrap();
    let stop = shutdown.clone();
    let (log, logged) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || listener.run(&stop, move |e| drop(log.send(e))));
    let stream = unix::dial(&path).await.unwrap();
    let error = within(Client::handshake(stream)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handshake, "{error}");
    let uid = nix::unistd::geteuid().as_raw();
    assert_eq!(logged.recv().unwrap(), ListenEvent::Listening);
    let ListenEvent::Refused { peer, .. } = logged.recv().unwrap() else { panic!("let in") };
    assert_eq!((peer.uid, peer.pid), (uid, std::process::id().cast_signed()));
    shutdown.trigger();
    thread.join().unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_file_is_private_and_stale_ones_are_replaced() {
    use std::os::unix::fs::PermissionsExt;
    world::require();
    let path = temporary("nlr").with_extension("sock");
    let bind = || Listener::bind(&path, ListenConfig::default());
    // The socket file of a killed server.
    testing::leave_socket(&path);
    let listener = bind().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = bind().unwrap_err();
    assert!(error.to_string().contains("another process listens there"), "{error}");
    drop(listener);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    let error = bind().unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
    let error = unix::dial(&path).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Connect, Some(ENOENT)));
    assert!(error.to_string().contains("nlr serve"), "{error}");
}

#[tokio::test]
async fn many_clients_have_a_stub_state_each_and_a_shutdown_ends_them() {
    world::require();
    let path = temporary("nlr").with_extension("sock");
    let mut config = ListenConfig::default();
    config.max_clients = 20;
    let listener = Listener::bind(&path, config).unwrap();
    let shutdown = Shutdown::new().unwrap();
    let stop = shutdown.clone();
    let thread = std::thread::spawn(move || listener.run(&stop, |_| {}).unwrap());
    let mut clients = Vec::new();
    for _ in 0..20 {
        let stream = unix::dial(&path).await.unwrap();
        let client = Client::handshake(stream).await.unwrap();
        let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
        clients.push((client, socket));
    }
    // The sockets of all connections have the same id, and are not mixed up.
    for (_, socket) in &clients {
        assert!(link_names(socket).await.contains(&"lo".to_owned()));
    }
    // A connection beyond the limit is refused, until another one has ended.
    let stream = unix::dial(&path).await.unwrap();
    assert!(within(Client::handshake(stream)).await.is_err());
    let (client, socket) = clients.pop().unwrap();
    drop(socket);
    client.close().await;
    let again = async {
        loop {
            let stream = unix::dial(&path).await.unwrap();
            if let Ok(client) = Client::handshake(stream).await {
                return client;
            }
        }
    };
    let last = within(again).await;
    shutdown.trigger();
    for (client, _) in &clients {
        assert_eq!(within(client.closed()).await.kind(), ErrorKind::Disconnected);
    }
    within(last.closed()).await;
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    assert!(!path.exists());
}
