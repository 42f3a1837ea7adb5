//! An sshd on loopback that ends with the test program.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::{command::succeed, run, wait, world};

/// The address of the sshd, and how to log in.
pub struct Sshd {
    /// A client's configuration file, with key and known hosts.
    pub config: PathBuf,
    /// `USER@HOST:PORT`.
    pub destination: String,
}

/// The sshd that all tests of this program share, started by the first.
pub fn sshd() -> &'static Sshd {
    static SSHD: OnceLock<Sshd> = OnceLock::new();
    SSHD.get_or_init(start)
}

fn start() -> Sshd {
    world::require();
    // In memory, and of this world alone.
    let folder = PathBuf::from("/run/sshd-of-tests");
    fs::create_dir_all(&folder).unwrap();
    let key = |name: &str| {
        let path = folder.join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
        succeed(command, "");
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
    // The kernel kills sshd when the thread that started it ends, so that thread never does.
    std::thread::spawn(move || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "/usr/sbin/sshd", "-D", "-q", "-f"]);
        let mut child = command.arg(server).stdin(Stdio::null()).spawn().unwrap();
        panic!("sshd ended: {:?}", child.wait());
    });
    wait("sshd to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Sshd { config, destination: format!("root@127.0.0.1:{port}") }
}

/// Gives root an empty home: its own, with startup files that may do anything, is the machine's.
/// Mounts are private to this world.
fn bare_account(folder: &Path) {
    let home = folder.join("home");
    fs::create_dir_all(&home).unwrap();
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let others = accounts.lines().filter(|line| !line.starts_with("root:"));
    let others = others.map(|line| format!("{line}\n")).collect::<String>();
    let root = format!("root:x:0:0:root:{}:/bin/sh\n", home.display());
    let accounts = write(folder, "passwd", &(root + &others));
    run("mount", &["--bind", accounts.to_str().unwrap(), "/etc/passwd"]);
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}
