//! What ssh's configuration and files ask for, with a real sshd.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    auth::{Agent, user},
    support::{ALONE, PASSWORD, Sshd, asking, can_run, failed, free_port, quiet, run},
};
use crate::{
    ErrorKind, Step,
    connect_context::ConnectContext,
    prompter::Prompter,
    transport::ssh::{
        Session,
        algorithms::AlgorithmList,
        host::{AddressFamily, AlgorithmLists, SshHost},
    },
};

fn only(names: &str) -> Option<AlgorithmList> {
    Some(AlgorithmList::Only(names.split(',').map(str::to_owned).collect()))
}

fn ssh_keygen(folder: &Path, arguments: &[&str]) {
    let made = Command::new("ssh-keygen").arg("-q").args(arguments).current_dir(folder).status();
    assert!(made.unwrap().success());
}

/// The server, the client and the log agree on what was chosen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn algorithm_lists() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("LogLevel DEBUG2");
    let none = AlgorithmLists::default;
    for (lists, logged) in [
        (AlgorithmLists { ciphers: only("aes192-ctr"), ..none() }, "cipher: aes192-ctr"),
        (
            AlgorithmLists { ciphers: only("aes128-ctr"), macs: only("hmac-sha2-512"), ..none() },
            "cipher: aes128-ctr MAC: hmac-sha2-512",
        ),
        (
            AlgorithmLists { key_exchanges: only("nope,ecdh-sha2-nistp384"), ..none() },
            "kex: algorithm: ecdh-sha2-nistp384",
        ),
        (
            AlgorithmLists { host_keys: only("ssh-ed25519"), ..none() },
            "kex: host key algorithm: ssh-ed25519",
        ),
    ] {
        sshd.session_with(|host| host.algorithms = lists.clone()).await;
        assert!(sshd.log().contains(logged), "{logged}: {}", sshd.log());
    }
    for (lists, said) in [
        (AlgorithmLists { ciphers: only("3des"), ..none() }, "Ciphers of the ssh configuration"),
        (AlgorithmLists { key_exchanges: only("x"), ..none() }, "KexAlgorithms of the ssh"),
        (
            AlgorithmLists { host_keys: only("rsa-sha2-512"), ..none() },
            "no type of host key in common: the server offers ssh-ed25519, and ssh:// offers rsa-sha2-512;",
        ),
        (
            AlgorithmLists { user_keys: only("rsa-sha2-512"), ..none() },
            "(ssh-ed25519; PubkeyAcceptedAlgorithms)",
        ),
    ] {
        let host = SshHost { algorithms: lists, ..sshd.host() };
        let error = failed(Session::connect(&host, None, &quiet()).await).to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_knows_other_algorithms() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    for (extra, said) in [
        (
            "KexAlgorithms sntrup761x25519-sha512@openssh.com",
            "no key exchange in common: the server offers sntrup761x25519-sha512@openssh.com,",
        ),
        (
            "Ciphers aes128-cbc",
            "no cipher in common: the server offers aes128-cbc, and ssh:// offers ",
        ),
        (
            "Ciphers aes128-ctr\nMACs umac-64@openssh.com",
            "no MAC in common: the server offers umac-64@",
        ),
    ] {
        let sshd = Sshd::start(extra);
        let error = failed(Session::connect(&sshd.host(), None, &quiet()).await);
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains("`openssh:`"), "{error}");
        assert_eq!(error.step(), Some(Step::HostKey));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_certificates() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let sshd = Sshd::start("TrustedUserCAKeys /run/nlr-user-ca.pub");
        let folder = sshd.dir.path();
        fs::write(sshd.path("authorized_keys"), "").unwrap();
        ssh_keygen(folder, &["-t", "ed25519", "-N", "", "-f", "ca"]);
        fs::copy(sshd.path("ca.pub"), "/run/nlr-user-ca.pub").unwrap();
        for (name, passphrase) in [("cert", ""), ("locked", "sesame")] {
            ssh_keygen(folder, &["-t", kind, "-N", passphrase, "-f", name]);
            let public = format!("{name}.pub");
            ssh_keygen(folder, &["-s", "ca", "-I", "me", "-n", "root", &public]);
        }
        let with =
            |name: &str| SshHost { identity_files: vec![sshd.path(name)], ..sshd.stranger() };
        // Beside the key, with a passphrase, and named by CertificateFile.
        Session::connect(&with("cert"), None, &quiet()).await.unwrap();
        let asked = asking(|request| request.prompt.contains("locked:").then_some("sesame"));
        Session::connect(&with("locked"), None, &asked).await.unwrap();
        fs::rename(sshd.path("cert-cert.pub"), sshd.path("other-name")).unwrap();
        let error = failed(Session::connect(&with("cert"), None, &quiet()).await).to_string();
        assert!(error.contains("none of the keys tried"), "{error}");
        let named = SshHost { certificates: Some(vec![sshd.path("other-name")]), ..with("cert") };
        Session::connect(&named, None, &quiet()).await.unwrap();
        assert!(sshd.log().contains("CA ED25519"), "{}", sshd.log());
        // Without its private key, and a file that is no certificate.
        let alone = SshHost { identity_files: Vec::new(), ..named };
        let error = failed(Session::connect(&alone, None, &quiet()).await).to_string();
        assert!(error.contains("other-name (its private key is in no file"), "{error}");
        let wrong = SshHost { certificates: Some(vec![sshd.path("ca.pub")]), ..with("cert") };
        let error = failed(Session::connect(&wrong, None, &quiet()).await).to_string();
        assert!(error.contains("ca.pub (not a certificate)"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_files_as_ssh_takes_them() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let error = |host: SshHost| async move {
        failed(Session::connect(&host, None, &quiet()).await).to_string()
    };
    // Open to others.
    fs::set_permissions(sshd.path("id"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = error(sshd.host()).await;
    assert!(said.contains("id (others may read it, so it is not used: chmod 600 it)"), "{said}");
    fs::set_permissions(sshd.path("id"), fs::Permissions::from_mode(0o600)).unwrap();
    // The public half alone names a key of the agent, by the private one's name.
    let agent = Agent::start(&sshd, &["id"]);
    fs::remove_file(sshd.path("id")).unwrap();
    let by_agent = SshHost { agent: Some(agent.1.clone()), identities_only: true, ..sshd.host() };
    Session::connect(&by_agent, None, &quiet()).await.unwrap();
    // Too short.
    ssh_keygen(sshd.dir.path(), &["-t", "rsa", "-b", "1024", "-N", "", "-f", "short"]);
    let short = SshHost { identity_files: vec![sshd.path("short")], ..sshd.stranger() };
    let said = error(SshHost { required_rsa_bits: 2048, ..short }).await;
    assert!(said.contains("short (1024 bits; RequiredRSASize 2048)"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_refuses_to_sign() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let agent = Agent::start(&sshd, &[]);
    // Nobody can confirm: the agent has no askpass program.
    let mut add = Command::new("ssh-add");
    add.args(["-q", "-c"]).arg(sshd.path("id")).env("SSH_AUTH_SOCK", &agent.1);
    let added = add.status().unwrap();
    assert!(added.success());
    let host = SshHost { agent: Some(agent.1.clone()), ..sshd.stranger() };
    let error = failed(Session::connect(&host, None, &quiet()).await).to_string();
    assert!(error.contains("agent (1 key, which it refused to sign with)"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_in_the_order_of_the_configuration() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("PasswordAuthentication yes");
    let with = |methods: &[&'static str]| SshHost {
        methods: methods.to_vec(),
        identity_files: vec![sshd.path("id")],
        ..user(&sshd)
    };
    let asked = asking(|_| Some(PASSWORD));
    Session::connect(&with(&["password", "publickey"]), None, &asked).await.unwrap();
    assert!(sshd.log().contains("Accepted password") && !sshd.log().contains("Accepted publickey"));
    let error = failed(Session::connect(&with(&[]), None, &asked).await).to_string();
    assert!(error.contains("the ssh configuration forbids these methods"), "{error}");
}

/// Shown at once, and quoted where the login fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_s_words() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    fs::write("/run/nlr-banner", "Your account has expired.\nSee \x1b[1mhttps://example.org\n")
        .unwrap();
    let sshd = Sshd::start("Banner /run/nlr-banner");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heard);
    let prompter = Prompter::none().on_notice(move |notice| {
        noted.lock().unwrap().push((notice.hop.clone(), notice.text.clone()));
    });
    let context = ConnectContext::new(prompter, Duration::from_secs(20));
    let error = failed(Session::connect(&sshd.stranger(), None, &context).await).to_string();
    let said = "; the server says: Your account has expired. See ";
    assert!(error.contains(said) && !error.contains('\x1b'), "{error}");
    let heard = heard.lock().unwrap();
    let [(hop, text)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(*hop, sshd.stranger().hop);
    assert!(
        text.starts_with("Your account has expired.\nSee ") && !text.contains('\x1b'),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_host() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    sshd.session_with(|host| {
        host.host_name = "::1".into();
        host.family = Some(AddressFamily::Inet6);
        host.bind_interface = Some("lo".into());
        host.bind_address = Some("::1".parse().unwrap());
    })
    .await;
    assert!(sshd.log().contains("Connection from ::1 "), "{}", sshd.log());
    let other = SshHost { bind_address: Some("192.0.2.1".parse().unwrap()), ..sshd.host() };
    let error = failed(Session::connect(&other, None, &quiet()).await);
    assert!(format!("{error:#}").contains("Cannot assign requested address"), "{error:#}");
    // Loopback needs no known key, if the configuration says so.
    sshd.session_with(|host| {
        host.trusts_localhost = true;
        host.strict = crate::transport::ssh::host::StrictChecking::Yes;
        host.user_known_hosts.clear();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_command() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let by = |command: String| SshHost { proxy_command: Some(command), ..sshd.host() };
    // bash connects by itself.
    let script =
        format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}; cat <&3 & cat >&3; kill $!'", sshd.port);
    let session = Session::connect(&by(script), None, &quiet()).await.unwrap();
    let (out, _, _) = run(&session, "head -c 3000000 /dev/zero").await;
    assert_eq!(out.len(), 3_000_000);
    let marker = "sleep 98765";
    let running = || {
        let found = Command::new("pgrep").args(["-fx", marker]).output().unwrap();
        found.status.success()
    };
    let silent = ConnectContext::new(Prompter::none(), Duration::from_secs(1));
    let error = failed(Session::connect(&by(marker.into()), None, &silent).await);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let deadline = Instant::now() + Duration::from_secs(10);
    while running() {
        assert!(Instant::now() < deadline, "the command lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fails = by("sh -c 'echo no such host >&2; exit 1'".into());
    let error = failed(Session::connect(&fails, None, &quiet()).await);
    assert_eq!(error.step(), Some(Step::HostKey), "{error}");
    assert!(error.to_string().contains("its ProxyCommand says: no such host"), "{error}");
}

/// A server that says this, on an address where no other test looks for a free port, and then holds the connection for a while or closes it.
fn answering(said: &'static [u8], holds: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().take(8) {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(said);
            match holds {
                true => held.push(stream),
                // The client's greeting is taken, so that no reset comes in its place.
                false => drop(stream.read(&mut [0; 256])),
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_do_not_come_to_the_point() {
    let _shared = ALONE.read().await;
    let context = ConnectContext::new(Prompter::none(), Duration::from_secs(1));
    for (said, holds, expected) in [
        (
            &b""[..],
            true,
            "host key: not done within 1s; the connection is up, but no ssh server has",
        ),
        (
            b"SSH-2.0-slow\r\n",
            true,
            "not done within 1s; SSH-2.0-slow has greeted, and its key exchange",
        ),
        (
            b"220 mail ESMTP\r\n",
            true,
            "not done within 1s; what answers there is not an ssh server",
        ),
        (b"", false, "closed the connection before it greeted as an ssh server does"),
        (
            b"SSH-2.0-gone\r\n",
            false,
            "closed the connection within the key exchange, after its greeting SSH-2.0-gone",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            false,
            "is not an ssh server (it says: HTTP/1.1 400 Bad Request)",
        ),
        (b"Exceeded MaxStartups\r\n", false, "is busy"),
        (b"Not allowed at this time\r\n", false, "takes no connection from here for a while"),
    ] {
        let host = SshHost::bare("127.0.0.2", answering(said, holds), "root");
        let error = failed(Session::connect(&host, None, &context).await).to_string();
        assert!(error.contains(expected), "{said:?}: {error}");
    }
}

/// A dropbear, ended when dropped.
struct Dropbear(std::process::Child, u16);

impl Dropbear {
    fn start(sshd: &Sshd) -> Self {
        // It takes keys from the home alone.
        let folder = Path::new("/run/root/.ssh");
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        fs::copy(sshd.path("id.pub"), folder.join("authorized_keys")).unwrap();
        let mut key = Command::new("dropbearkey");
        key.args(["-t", "ed25519", "-f"]).arg(sshd.path("dropbear")).stdout(Stdio::null());
        assert!(key.stderr(Stdio::null()).status().unwrap().success());
        let port = free_port();
        let server = Command::new("/usr/sbin/dropbear")
            .args(["-F", "-E", "-P", "/dev/null", "-p", &format!("127.0.0.1:{port}"), "-r"])
            .arg(sshd.path("dropbear"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(server, port)
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server of routers and of rescue systems: by key, by password, as a gateway, and with another
/// key of its own than expected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropbear() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let dropbear = Dropbear::start(&sshd);
    let at = |host: SshHost| SshHost { port: dropbear.1, ..host };
    let session = Session::connect(&at(sshd.host()), None, &quiet()).await.unwrap();
    let (out, _, _) = run(&session, "id -un; head -c 3000000 /dev/zero").await;
    assert_eq!(out.len(), 3_000_005);
    let behind = Session::connect(&sshd.host(), Some(&session), &quiet()).await.unwrap();
    assert_eq!(run(&behind, "echo through").await.0, "through\n");
    let asked = asking(|request| (request.attempt == 2).then_some(PASSWORD).or(Some("wrong")));
    let by_password = Session::connect(&at(user(&sshd)), None, &asked).await.unwrap();
    assert_eq!(run(&by_password, "id -un").await.0, "ci\n");
    let known = sshd.path("known_hosts");
    let text = fs::read_to_string(&known).unwrap();
    let own = fs::read_to_string(sshd.path("id.pub")).unwrap();
    let key = own.split(' ').nth(1).unwrap();
    let wrong = format!("[127.0.0.1]:{} ssh-ed25519 {key}\n", dropbear.1);
    let others = text.lines().filter(|line| !line.contains(&format!("]:{} ", dropbear.1)));
    fs::write(&known, others.map(|line| format!("{line}\n")).collect::<String>() + &wrong).unwrap();
    let error = failed(Session::connect(&at(sshd.host()), None, &quiet()).await).to_string();
    assert!(error.contains("has CHANGED"), "{error}");
}
