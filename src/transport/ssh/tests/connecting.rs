use std::{
    io::Write,
    net::TcpListener,
    time::{Duration, Instant},
};

use async_ssh2_lite::ssh2::{self, MethodType};

use super::support::{ALONE, Sshd, can_run, failed, free_port, host_at, quiet, run};
use crate::{
    ErrorKind, Step,
    connect_context::ConnectContext,
    prompter::Prompter,
    transport::ssh::{Session, host::SshHost},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_jumps() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let (first, second, third) = (Sshd::start(""), Sshd::start(""), Sshd::start(""));
    let session = first.session().await;
    let session = Session::connect(&second.host(), Some(&session), &quiet()).await.unwrap();
    let session = Session::connect(&third.host(), Some(&session), &quiet()).await.unwrap();
    // The last session keeps its gateways open.
    let (out, _, _) = run(&session, "head -c 3000000 /dev/zero").await;
    assert_eq!(out.len(), 3_000_000);
    let down = Session::connect(&first.host(), None, &quiet()).await.unwrap();
    let nowhere = SshHost { port: free_port(), ..second.host() };
    let error = failed(Session::connect(&nowhere, Some(&down), &quiet()).await);
    assert!(error.to_string().contains("connect failed"), "{error}");
    assert_eq!(error.step(), Some(Step::Connect));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_may_forbid_jumps() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let (gateway, target) = (Sshd::start("AllowTcpForwarding no"), Sshd::start(""));
    let session = gateway.session().await;
    let error = failed(Session::connect(&target.host(), Some(&session), &quiet()).await);
    assert!(error.to_string().contains("AllowTcpForwarding"), "{error}");
    assert!(session.is_open());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_ipv6() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    sshd.session_with(|host| host.host_name = "::1".into()).await;
    sshd.session_with(|host| host.host_name = "localhost".into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_names_a_server_that_does_not_speak_ssh() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let at = |port| SshHost { port, ..sshd.host() };
    let error = failed(Session::connect(&at(free_port()), None, &quiet()).await);
    assert!(error.to_string().contains("is sshd running"), "{error}");
    assert_eq!((error.step(), error.errno()), (Some(Step::Connect), Some(111)));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let context = ConnectContext::new(Prompter::none(), Duration::from_millis(300));
    let error = failed(Session::connect(&at(port), None, &context).await);
    assert_eq!((error.step(), error.kind()), (Some(Step::HostKey), ErrorKind::Timeout));

    // The connection of the attempt before.
    drop(listener.accept().unwrap());
    for said in ["HTTP/1.1 400 Bad Request\r\n\r\n", "", "\0\0\0", "SSH-2.0-x\r\nrubbish, rubbish"]
    {
        let listener = listener.try_clone().unwrap();
        let answer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(said.as_bytes());
        });
        let error = failed(Session::connect(&at(port), None, &quiet()).await);
        assert_eq!(error.step(), Some(Step::HostKey), "{said:?}");
        answer.join().unwrap();
    }
    let error = failed(
        Session::connect(&SshHost { host_name: "no.such".into(), ..sshd.host() }, None, &quiet())
            .await,
    );
    assert!(error.to_string().contains("no.such is not found"), "{error}");
}

/// libssh2 reads for as long as data arrives.
#[tokio::test]
async fn a_server_that_never_stops_sending_does_not_block_the_runtime() {
    let _shared = ALONE.read().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let talker = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        while stream.write_all(&b"no\r\n".repeat(8192)).is_ok() {}
    });
    let host = SshHost { port, ..host_at("127.0.0.1") };
    let context = ConnectContext::new(Prompter::none(), Duration::from_millis(500));
    let start = Instant::now();
    let error = failed(Session::connect(&host, None, &context).await);
    assert_eq!((error.step(), error.kind()), (Some(Step::HostKey), ErrorKind::Timeout));
    // Bytes are progress, within the bound of a step: 20 limits.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    talker.join().unwrap();
}

/// A cipher that OpenSSH does not offer by default either.
#[tokio::test]
async fn an_old_cipher_is_not_agreed_on() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("Ciphers aes256-cbc");
    let error = failed(Session::connect(&sshd.host(), None, &quiet()).await);
    let text = error.to_string();
    assert!(text.contains("no cipher in common") && text.contains("`openssh:`"), "{text}");
}

/// OpenSSL adds key exchanges by its version; one that every server knows is always there.
#[test]
fn the_offered_key_exchanges() {
    let session = ssh2::Session::new().unwrap();
    let offered = session.supported_algs(MethodType::Kex).unwrap();
    assert!(offered.contains(&"curve25519-sha256"), "{offered:?}");
    let is_post_quantum = offered.contains(&"mlkem768x25519-sha256");
    let is_vendored = option_env!("OPENSSL_NO_VENDOR").is_none();
    assert!(is_post_quantum || !is_vendored, "{offered:?}");
}
