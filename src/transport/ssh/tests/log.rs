use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use super::support::{ALONE, PASSWORD, Sshd, asking, can_run, keygen, password_user, run};
use crate::{
    prompter::SecretKind,
    transport::ssh::{Session, host::SshHost},
};

/// The events of this thread, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects events until the guards are dropped.
    fn begin(&self) -> (tracing::subscriber::DefaultGuard, tracing::Dispatch) {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        // As long as there is one dispatcher only, tracing asks that of the thread that comes to an
        // event first, for all threads and for good: another test's thread, which has none.
        let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        (tracing::subscriber::set_default(subscriber), second)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_each_step_and_holds_no_secret() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start(
        "UsePAM yes\nKbdInteractiveAuthentication yes\n\
         AuthenticationMethods publickey,keyboard-interactive",
    );
    keygen(sshd.dir.path(), "locked", "sesame");
    let public = std::fs::read(sshd.path("locked.pub")).unwrap();
    std::fs::write(sshd.path("authorized_keys"), public).unwrap();
    let identity_files = vec![sshd.path("locked")];
    let host = SshHost { identity_files, user: password_user().into(), ..sshd.stranger() };
    let context = asking(|request| match request.kind {
        SecretKind::Passphrase => Some("sesame"),
        _ if request.attempt == 1 => Some("mistyped"),
        _ => Some(PASSWORD),
    });
    let log = Log::default();
    let guard = log.begin();
    let session = Session::connect(&host, None, &context).await.unwrap();
    run(&session, "exit 3").await;
    drop((session, guard));
    let text = log.text();
    for event in [
        "connected by TCP address=127.0.0.1",
        "algorithms agreed on",
        "key_exchange=\"",
        "host key accepted key=ssh-ed25519 SHA256:",
        "the server accepts methods=publickey",
        "key of a file key=\"SHA256:",
        "answer=Accepted",
        "refused method=\"keyboard-interactive\" attempt=1",
        "accepted method=\"keyboard-interactive\" attempt=2",
        "authenticated user=\"ci\"",
        "command started",
        "command ended with exit code 3",
        "ssh session closed",
    ] {
        assert!(text.contains(event), "{event} is missing: {text}");
    }
    for secret in ["sesame", "mistyped", PASSWORD] {
        assert!(!text.contains(secret), "{secret} is logged: {text}");
    }
}
