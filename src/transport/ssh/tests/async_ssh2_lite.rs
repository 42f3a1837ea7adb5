//! The faults of async-ssh2-lite for which its channels are not used.

use std::time::Duration;

use async_ssh2_lite::{AsyncChannel, AsyncSession, TokioTcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{ALONE, Sshd, can_run, switches};

async fn channel(sshd: &Sshd, command: &str) -> AsyncChannel<TokioTcpStream> {
    let stream = TokioTcpStream::connect(("127.0.0.1", sshd.port)).await.unwrap();
    let mut session = AsyncSession::new(stream, None).unwrap();
    session.handshake().await.unwrap();
    session.userauth_pubkey_file("root", None, &sshd.path("id"), None).await.unwrap();
    let mut channel = session.channel_session().await.unwrap();
    channel.exec(command).await.unwrap();
    channel
}

/// It polls the socket a thousand times a second, in place of waiting for it.
#[tokio::test]
async fn it_waits_by_sleeping() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let mut channel = channel(&sshd, "sleep 1; echo").await;
    let before = switches();
    channel.read_exact(&mut [0; 1]).await.unwrap();
    let woken = switches() - before;
    assert!(woken > 100, "{woken} context switches while nothing came");
}

#[tokio::test]
async fn its_flush_discards_received_data() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let mut channel = channel(&sshd, "head -c 1000000 /dev/zero").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut read = channel.read(&mut [0; 1]).await.unwrap();
    channel.flush().await.unwrap();
    let mut rest = Vec::new();
    let limit = Duration::from_secs(2);
    let _ = tokio::time::timeout(limit, channel.read_to_end(&mut rest)).await;
    read += rest.len();
    assert!(read < 1_000_000, "nothing is lost: {read}");
}
