use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::support::{
    ALONE, PASSWORD, Sshd, asking, can_run, failed, keygen, password_user, quiet,
};
use crate::{
    ErrorKind, Step,
    connect_context::ConnectContext,
    prompter::{Prompter, SecretKind, SecretRequest},
    transport::ssh::{Session, host::SshHost},
};

/// An ssh-agent with these keys.
pub(super) struct Agent(Child, pub(super) std::path::PathBuf);

impl Agent {
    pub(super) fn start(sshd: &Sshd, keys: &[&str]) -> Self {
        let path = sshd.path("agent");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !path.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for key in keys {
            let added = Command::new("ssh-add")
                .arg("-q")
                .arg(sshd.path(key))
                .env("SSH_AUTH_SOCK", &path)
                .status()
                .unwrap();
            assert!(added.success());
        }
        Self(child, path)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_and_key_files() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    keygen(sshd.dir.path(), "other", "");
    let agent = Agent::start(&sshd, &["other", "id"]);
    let with_agent = SshHost { agent: Some(agent.1.clone()), ..sshd.stranger() };
    Session::connect(&with_agent, None, &quiet()).await.unwrap();
    // IdentitiesOnly: the key of the agent that a public half names.
    let named = |name: &str| SshHost {
        identities_only: true,
        identity_files: vec![sshd.path(name)],
        ..with_agent.clone()
    };
    Session::connect(&named("id.pub"), None, &quiet()).await.unwrap();
    let error = failed(Session::connect(&named("other.pub"), None, &quiet()).await);
    assert!(error.to_string().contains("agent (1 key)"), "{error}");
    assert_eq!(error.step(), Some(Step::Authentication));
    // A key file without its .pub file, and a file without a key.
    std::fs::remove_file(sshd.path("id.pub")).unwrap();
    sshd.session().await;
    std::fs::write(sshd.path("junk"), "junk").unwrap();
    std::fs::set_permissions(sshd.path("junk"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let junk = SshHost { identity_files: vec![sshd.path("junk")], ..sshd.stranger() };
    let error = failed(Session::connect(&junk, None, &quiet()).await);
    assert!(error.to_string().contains("not readable as a key"), "{error}");
    // The error names an agent that does not exist.
    let gone = SshHost { agent: Some(sshd.path("nowhere")), ..sshd.stranger() };
    let error = failed(Session::connect(&gone, None, &quiet()).await);
    let said = error.to_string();
    assert!(said.contains("accepts publickey") && said.contains("nowhere"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_keys_ask_for_their_passphrase() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    keygen(sshd.dir.path(), "locked", "sesame");
    let public = std::fs::read(sshd.path("locked.pub")).unwrap();
    std::fs::write(sshd.path("authorized_keys"), public).unwrap();
    let host = SshHost { identity_files: vec![sshd.path("locked")], ..sshd.stranger() };
    let context = asking(|request: &SecretRequest| {
        assert_eq!(request.kind, SecretKind::Passphrase);
        assert!(request.prompt.contains("locked"));
        Some(if request.attempt < 3 { "wrong" } else { "sesame" })
    });
    Session::connect(&host, None, &context).await.unwrap();
    let error = failed(Session::connect(&host, None, &asking(|_| Some("wrong"))).await);
    assert!(error.to_string().contains("wrong passphrase"), "{error}");
    let error = failed(Session::connect(&host, None, &quiet()).await);
    assert!(error.to_string().contains("nobody to ask"), "{error}");
    // No passphrase is asked for a key that the server refuses.
    std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    let context = asking(|request| panic!("asked: {}", request.prompt));
    failed(Session::connect(&host, None, &context).await);
}

/// sshd's default of 6 for MaxAuthTries is for keys and passwords; the questions for its methods do
/// not use it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_tries_as_ssh_has() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("PasswordAuthentication yes\nMaxAuthTries 6");
    let names = ["k1", "k2", "k3", "k4", "k5"];
    for name in names {
        keygen(sshd.dir.path(), name, "");
    }
    for (keys, wrong) in [(5, 0), (4, 1), (3, 2), (2, 2), (1, 2), (0, 2)] {
        let agent = Agent::start(&sshd, &names[..keys]);
        let host = SshHost { agent: Some(agent.1.clone()), ..user(&sshd) };
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let context = asking(move |request| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            assert_eq!(request.attempt, number);
            Some(if number <= wrong { "wrong" } else { PASSWORD })
        });
        let connected = Session::connect(&host, None, &context).await;
        assert!(connected.is_ok(), "{keys} keys, {wrong} wrong: {connected:?}");
        assert_eq!(asked.load(Ordering::SeqCst), wrong + 1, "{keys} keys");
        drop(agent);
        std::fs::remove_file(sshd.path("agent")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_limits_the_questions() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("PasswordAuthentication yes");
    keygen(sshd.dir.path(), "locked", "sesame");
    std::fs::copy(sshd.path("locked.pub"), sshd.path("authorized_keys")).unwrap();
    let by_key = SshHost { identity_files: vec![sshd.path("locked")], ..sshd.stranger() };
    for (prompts, batch, times) in [(1, false, 1), (2, false, 2), (0, false, 0), (3, true, 0)] {
        for host in [user(&sshd), by_key.clone()] {
            let host = SshHost { password_prompts: prompts, batch_mode: batch, ..host };
            let asked = Arc::new(AtomicU32::new(0));
            let count = Arc::clone(&asked);
            let context = asking(move |request| {
                assert_ne!(request.kind, SecretKind::Interactive);
                count.fetch_add(1, Ordering::SeqCst);
                Some("wrong")
            });
            let error = failed(Session::connect(&host, None, &context).await).to_string();
            let by_password = host.user != "root";
            // Root may not log in by a password, but is asked for it.
            let expected = if by_password { times } else { 2 * times };
            assert_eq!(asked.load(Ordering::SeqCst), expected, "{prompts} {batch}: {error}");
        }
    }
}

/// libssh2 does not tell it from a refusal, so the server is asked once more, and the user is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_the_first_of_two_methods_is_asked_for_once() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    for order in ["password,publickey", "keyboard-interactive,publickey", "publickey,password"] {
        let sshd = Sshd::start(&format!(
            "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\nUsePAM yes\n\
             AuthenticationMethods {order}"
        ));
        let host = SshHost { identity_files: vec![sshd.path("id")], ..user(&sshd) };
        for prompts in [1, 3] {
            let context = asking(|request| {
                assert_eq!(request.attempt, 1);
                Some(PASSWORD)
            });
            let host = SshHost { password_prompts: prompts, ..host.clone() };
            let connected = Session::connect(&host, None, &context).await;
            assert!(connected.is_ok(), "{order}: {connected:?}\n{}", sshd.log());
        }
    }
}

/// The session goes on to the next method, and no empty answer is among what the server gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_left_does_not_end_the_session() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let both =
        "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\nUsePAM yes\nCompression yes";
    for compression in [false, true] {
        let sshd = Sshd::start(both);
        let host = SshHost { compression, ..user(&sshd) };
        let context = asking(|request| {
            assert_eq!(request.attempt, 1);
            (request.kind == SecretKind::Password).then_some(PASSWORD)
        });
        Session::connect(&host, None, &context).await.unwrap();
        // sshd notes that a conversation was left; PAM has not judged any answer.
        let is_judged = |log: &str| log.contains("PAM: ") || log.contains("Failed password");
        assert!(!is_judged(&sshd.log()), "{}", sshd.log());
        // An empty secret is no answer either.
        let context = asking(|_| Some(""));
        let error = failed(Session::connect(&host, None, &context).await).to_string();
        assert!(error.contains("tried keyboard-interactive (none given), password (none given)"));
        assert!(!is_judged(&sshd.log()), "{}", sshd.log());
    }
}

pub(super) fn user(sshd: &Sshd) -> SshHost {
    SshHost { user: password_user().into(), ..sshd.stranger() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("PasswordAuthentication yes");
    let context = asking(|request| {
        assert_eq!((request.kind, request.echo), (SecretKind::Password, false));
        Some(if request.attempt == 1 { "wrong" } else { PASSWORD })
    });
    let session = Session::connect(&user(&sshd), None, &context).await.unwrap();
    assert_eq!(super::support::run(&session, "id -un").await.0, "ci\n");
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let context = asking(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Some("wrong")
    });
    let error = failed(Session::connect(&user(&sshd), None, &context).await);
    assert!(
        error.to_string().contains("tried password (refused 3 times); the password"),
        "{error}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let error = failed(Session::connect(&user(&sshd), None, &asking(|_| None)).await);
    assert!(error.to_string().contains("none given"), "{error}");
    let error = failed(Session::connect(&user(&sshd), None, &quiet()).await);
    assert!(error.to_string().contains("nobody to ask"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyboard_interactive() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("UsePAM yes\nKbdInteractiveAuthentication yes");
    let context = asking(|request| {
        assert_eq!(request.kind, SecretKind::Interactive);
        assert!(request.prompt.contains("Password"), "{}", request.prompt);
        Some(if request.attempt == 1 { "wrong" } else { PASSWORD })
    });
    Session::connect(&user(&sshd), None, &context).await.unwrap();
    let error = failed(Session::connect(&user(&sshd), None, &asking(|_| None)).await);
    assert!(error.to_string().contains("keyboard-interactive (none given)"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_a_password() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("PasswordAuthentication yes\nAuthenticationMethods publickey,password");
    let host = SshHost { identity_files: vec![sshd.path("id")], ..user(&sshd) };
    Session::connect(&host, None, &asking(|_| Some(PASSWORD))).await.unwrap();
    let error = failed(Session::connect(&user(&sshd), None, &asking(|_| Some(PASSWORD))).await);
    assert!(error.to_string().contains("accepts publickey;"), "{error}");
}

/// An agent that asks its user to confirm each signature may never answer.
#[test]
fn an_agent_that_hangs_blocks_its_own_connection_only() {
    let _shared = ALONE.blocking_read();
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let path = sshd.path("silent-agent");
    let public = std::fs::read_to_string(sshd.path("id.pub")).unwrap();
    let blob = BASE64_STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let served = std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut request = [0; 5];
            stream.read_exact(&mut request).unwrap();
            let body = [&[12, 0, 0, 0, 1][..], &string(&blob), &string(b"x")].concat();
            stream.write_all(&string(&body)).unwrap();
            held.push(stream);
        }
        held
    });
    let host = SshHost { agent: Some(path), ..sshd.stranger() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let context = ConnectContext::new(Prompter::none(), Duration::from_secs(2));
    let error = failed(runtime.block_on(Session::connect(&host, None, &context)));
    assert_eq!((error.step(), error.kind()), (Some(Step::Authentication), ErrorKind::Timeout));
    // The agent's end ends the thread too.
    let held = served.join().unwrap();
    let (gone, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(runtime);
        let _ = gone.send(());
    });
    waiting.recv_timeout(Duration::from_secs(5)).unwrap();
    drop(held);
}

/// A string of the agent's protocol.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}
