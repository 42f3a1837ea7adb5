use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{ALONE, Sshd, can_run, run};
use crate::transport::{End, Running};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_has_its_streams_and_its_end() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    assert!(session.is_open());
    let cases = [
        ("echo out; echo err >&2", "out\n", "err\n", End::Code(0)),
        ("exit 7", "", "", End::Code(7)),
        ("exit 255", "", "", End::Code(255)),
        ("kill -9 $$", "", "", End::Signal("KILL".into())),
        ("kill -TERM $$", "", "", End::Signal("TERM".into())),
        ("cat; echo done", "done\n", "", End::Code(0)),
        ("exec 2>&-; echo last", "last\n", "", End::Code(0)),
    ];
    for (command, out, err, end) in cases {
        let found = run(&session, command).await;
        assert_eq!(found, (out.to_owned(), err.to_owned(), end), "{command}");
    }
    assert!(session.exec("a\0b").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_side_by_side() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("MaxSessions 20");
    let session = sshd.session().await;
    let commands = (0..10).map(|number| {
        let session = session.clone();
        async move {
            let (out, _, end) = run(&session, &format!("sleep 0.2; echo {number}")).await;
            assert_eq!((out, end), (format!("{number}\n"), End::Code(0)));
        }
    });
    futures_util::future::join_all(commands).await;
}

/// A cancelled opening leaves the session usable, and no channel open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_commands_end() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("MaxSessions 100");
    let session = sshd.session().await;
    for micros in (0..4000).step_by(250) {
        let limit = std::time::Duration::from_micros(micros);
        let _ = tokio::time::timeout(limit, session.exec("cat")).await;
    }
    let (out, _, end) = run(&session, "echo still here").await;
    assert_eq!((out.as_str(), end), ("still here\n", End::Code(0)));
    for _ in 0..10 {
        drop(session.exec("cat").await.unwrap());
        let running = session.exec("cat").await.unwrap();
        drop(running.end);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_not_end_is_closed() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    let running = session.exec("sleep 4").await.unwrap();
    let Running { stdio, stderr: _stderr, end, .. } = running;
    drop(stdio);
    assert_eq!(end.await, End::Overdue);
}

/// A refused channel is an error that names the reason; the session stays usable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_session_is_named() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("MaxSessions 1");
    let session = sshd.session().await;
    let first = session.exec("cat").await.unwrap();
    let error = session.exec("cat").await.unwrap_err();
    assert!(error.to_string().contains("MaxSessions"), "{error}");
    drop(first);
    let error = loop {
        match session.exec("echo again").await {
            Ok(running) => break super::support::finish(running).await,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    assert_eq!(error.0, "again\n");
}

/// Unread stderr does not block stdout while it fits into the window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_stderr_waits() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    let command = "head -c 8M /dev/zero >&2; head -c 24M /dev/zero; echo end";
    let Running { mut stdio, mut stderr, end, .. } = session.exec(command).await.unwrap();
    let mut out = Vec::new();
    // Not up to EOF, which comes after that of stderr.
    let mut piece = vec![0; 64 << 10];
    while out.len() < (24 << 20) + 4 {
        let length = stdio.read(&mut piece).await.unwrap();
        assert_ne!(length, 0);
        out.extend_from_slice(&piece[..length]);
    }
    assert!(out.ends_with(b"end\n"));
    let mut err = Vec::new();
    stderr.read_to_end(&mut err).await.unwrap();
    assert_eq!(err.len(), 8 << 20);
    assert_eq!(stdio.read(&mut piece).await.unwrap(), 0);
    assert_eq!(end.await, End::Code(0));
    assert!(stdio.write_all(b"x").await.is_err());
}
