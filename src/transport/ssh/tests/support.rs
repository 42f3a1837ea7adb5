//! An sshd, in the world of the test runner.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, sync::RwLock};

use crate::{
    Error,
    connect_context::ConnectContext,
    prompter::{Prompter, Secret, SecretRequest},
    transport::{
        End, Running,
        ssh::{
            OpenPermit, Session,
            host::{SshHost, StrictChecking},
        },
    },
};

impl Session {
    /// Reaches a host and logs in. The gateway must have no other opener.
    pub(super) async fn connect(
        host: &SshHost,
        via: Option<&Session>,
        context: &ConnectContext,
    ) -> Result<Session, Error> {
        let via = via.map(|gateway| (gateway, Box::new(()) as OpenPermit));
        Session::reach(host, via, context).await?.log_in(context).await
    }

    pub(super) async fn exec(&self, command: &str) -> Result<Running, Error> {
        self.run(command, None).await
    }
}

/// Held for reading by every test, and for writing by one that counts the process's resources.
pub(super) static ALONE: RwLock<()> = RwLock::const_new(());

pub(super) const PASSWORD: &str = "correct horse";

/// Whether sshd can run here; prints the reason if not.
pub(super) fn can_run() -> bool {
    let world = std::env::var("NLR_TEST_WORLD").unwrap_or_default();
    let ready = world == "root" && Path::new("/usr/sbin/sshd").exists();
    if !ready {
        eprintln!("skipped: needs sshd, and root in the world of tests/runner (is: {world:?})");
    }
    ready
}

pub(super) struct Sshd {
    pub(super) dir: tempfile::TempDir,
    pub(super) port: u16,
    child: Child,
}

impl Sshd {
    pub(super) fn start(extra: &str) -> Self {
        password_user();
        // sshd reads authorized_keys as the user, so the folder is open to all.
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().display();
        keygen(dir.path(), "host", "");
        keygen(dir.path(), "id", "");
        fs::copy(dir.path().join("id.pub"), dir.path().join("authorized_keys")).unwrap();
        let port = free_port();
        let config = format!(
            "{extra}\nPort {port}\nListenAddress 127.0.0.1\nListenAddress ::1\nHostKey {path}/host\n\
             PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nMaxStartups 1000\n\
             AuthorizedKeysFile {path}/authorized_keys\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nLogLevel VERBOSE\n"
        );
        fs::write(dir.path().join("config"), config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let sshd = Self { dir, port, child };
        let start = Instant::now();
        // Another test may have taken the port since, and answer there for a while.
        while !sshd.log().contains(&format!("Server listening on 127.0.0.1 port {port}")) {
            if sshd.log().contains(&format!("Bind to port {port} on 127.0.0.1 failed")) {
                return Self::start(extra);
            }
            assert!(start.elapsed() < Duration::from_secs(10), "sshd: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Root, with the authorized key.
    pub(super) fn host(&self) -> SshHost {
        SshHost { identity_files: vec![self.path("id")], ..self.stranger() }
    }

    /// Root, without a key.
    pub(super) fn stranger(&self) -> SshHost {
        SshHost {
            hop: format!("ssh://root@localhost:{}", self.port),
            port: self.port,
            user_known_hosts: vec![self.path("known_hosts")],
            ..host_at("127.0.0.1")
        }
    }

    /// The processes that serve connections, and their commands.
    pub(super) fn descendants(&self) -> Vec<i32> {
        let mut found = vec![self.child.id().cast_signed()];
        let parents: Vec<(i32, i32)> = processes();
        let mut index = 0;
        while let Some(parent) = found.get(index).copied() {
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            index += 1;
        }
        found.remove(0);
        found
    }

    pub(super) fn signal_connections(&self, signal: nix::sys::signal::Signal) {
        for pid in self.descendants() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    pub(super) async fn session(&self) -> Session {
        self.session_with(|_| ()).await
    }

    pub(super) async fn session_with(&self, change: impl FnOnce(&mut SshHost)) -> Session {
        let mut host = self.host();
        change(&mut host);
        match Session::connect(&host, None, &quiet()).await {
            Ok(session) => session,
            Err(error) => panic!("{error}\n{}", self.log()),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let children = self.descendants();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in children {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}

/// Every process and its parent.
fn processes() -> Vec<(i32, i32)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stat = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    entries.filter_map(stat).collect()
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(super) fn keygen(dir: &Path, name: &str, passphrase: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-f"])
        .arg(dir.join(name))
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
}

/// Makes a user with a password in this world, and gives root a home without shell files.
pub(super) fn password_user() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = format!(
            "cp -a /etc /run/etc && mkdir -p /run/root && mount --bind /run/etc /etc \
             && sed -i 's|^root:.*|root:x:0:0:root:/run/root:/bin/sh|' /etc/passwd \
             && useradd -m -d /run/ci -s /bin/sh ci && echo 'ci:{PASSWORD}' | chpasswd"
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    });
    "ci"
}

/// Root at a host, with default settings.
pub(super) fn host_at(host_name: &str) -> SshHost {
    SshHost { strict: StrictChecking::AcceptNew, ..SshHost::bare(host_name, 22, "root") }
}

/// A context without callbacks.
pub(super) fn quiet() -> ConnectContext {
    ConnectContext::new(Prompter::none(), Duration::from_secs(20))
}

/// A context with a callback for secrets.
pub(super) fn asking(
    answer: impl Fn(&SecretRequest) -> Option<&'static str> + Send + Sync + 'static,
) -> ConnectContext {
    let ask = Prompter::none()
        .on_secret(move |request| answer(request).map(|text| Secret::new(text.to_owned())));
    ConnectContext::new(ask, Duration::from_secs(20))
}

/// Closes a command's stdin, and returns its output and end.
pub(super) async fn finish(running: Running) -> (String, String, End) {
    let Running { stdio, mut stderr, end, .. } = running;
    let (mut reader, mut writer) = tokio::io::split(stdio);
    let (mut out, mut err) = (String::new(), String::new());
    let (_, first, second, end) = tokio::join!(
        tokio::io::AsyncWriteExt::shutdown(&mut writer),
        reader.read_to_string(&mut out),
        stderr.read_to_string(&mut err),
        end
    );
    first.unwrap();
    second.unwrap();
    (out, err, end)
}

pub(super) async fn run(session: &Session, command: &str) -> (String, String, End) {
    finish(session.exec(command).await.unwrap()).await
}

pub(super) fn failed(result: Result<Session, Error>) -> Error {
    match result {
        Ok(_) => panic!("it connected"),
        Err(error) => {
            eprintln!("{error}");
            error
        }
    }
}

/// The number of times this thread has waited: its voluntary context switches.
pub(super) fn switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
