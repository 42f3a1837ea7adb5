//! An sshd of the tests' own on loopback, for as long as the test binary runs.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How to log in: by which configuration file, and where.
pub(crate) struct Sshd {
    pub(crate) config: PathBuf,
    pub(crate) destination: String,
}

/// The one that all tests share.
pub(crate) fn sshd() -> &'static Sshd {
    static SSHD: OnceLock<Sshd> = OnceLock::new();
    SSHD.get_or_init(start)
}

fn start() -> Sshd {
    super::support::in_test_world();
    // In memory, of this test binary's world alone, and gone with it.
    let folder = PathBuf::from("/run/sshd-of-tests");
    fs::create_dir_all(&folder).unwrap();
    let key = |name: &str| {
        let path = folder.join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
        assert!(command.status().unwrap().success());
        path
    };
    let (host, user) = (key("host"), key("user"));
    let public = fs::read_to_string(user.with_extension("pub")).unwrap();
    fs::write(folder.join("authorized"), public).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let public = fs::read_to_string(host.with_extension("pub")).unwrap();
    fs::write(folder.join("known"), format!("[127.0.0.1]:{port} {public}")).unwrap();
    bare_account(&folder);
    let server = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nUsePAM no\n\
         StrictModes no\nPermitRootLogin yes\nUseDNS no\nMaxStartups 1000\nPidFile none\n",
        host.display(),
        folder.join("authorized").display(),
    );
    let server = write(&folder, "server", &server);
    let client = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {}\n\
         StrictHostKeyChecking yes\n",
        user.display(),
        folder.join("known").display(),
    );
    let config = write(&folder, "client", &client);
    // It is to end with this process: the kernel sees to that for the thread that started it, so
    // that is one which never ends before.
    std::thread::spawn(move || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "/usr/sbin/sshd", "-D", "-q", "-f"]);
        let mut child = command.arg(server).stdin(Stdio::null()).spawn().unwrap();
        panic!("sshd ended: {:?}", child.wait());
    });
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < Duration::from_secs(20), "sshd does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Sshd { config, destination: format!("root@127.0.0.1:{port}") }
}

/// Root's own startup files may do anything, and its home is the machine's. Mounts are private here.
fn bare_account(folder: &Path) {
    let home = folder.join("home");
    fs::create_dir_all(&home).unwrap();
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let others = accounts.lines().filter(|line| !line.starts_with("root:"));
    let others = others.map(|line| format!("{line}\n")).collect::<String>();
    let root = format!("root:x:0:0:root:{}:/bin/sh\n", home.display());
    let accounts = write(folder, "passwd", &(root + &others));
    let mount = Command::new("mount").arg("--bind").arg(accounts).arg("/etc/passwd").status();
    assert!(mount.unwrap().success());
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}
