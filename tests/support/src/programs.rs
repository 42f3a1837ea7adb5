//! The programs that cargo builds along with a test or benchmark.

use std::{
    env, fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Copies a program.
///
/// A child does it: a descriptor of this process that is open for writing would be inherited by
/// whatever another thread starts at that moment, and until that child's exec the kernel refuses
/// to run the file (ETXTBSY, execve(2)).
#[track_caller]
pub fn copy(program: impl AsRef<Path>, to: impl AsRef<Path>) {
    let status = Command::new("cp").arg(program.as_ref()).arg(to.as_ref()).status().unwrap();
    assert!(status.success(), "cp {}", program.as_ref().display());
}

/// Writes a program of mode 0755, by a child as [`copy`] does.
#[track_caller]
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let mut command = Command::new("install");
    command.args(["-m", "755", "/dev/stdin"]).arg(path.as_ref()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
    assert!(child.wait().unwrap().success(), "install {}", path.as_ref().display());
}

/// cargo's folder of this build: `target/debug` of `target/debug/deps/behaviour-HASH`.
pub fn folder() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// cargo's target folder: `target` of `target/debug`.
pub fn target_folder() -> PathBuf {
    folder().parent().unwrap().to_owned()
}

/// The root folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The tool.
pub fn nlr() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| built("nlr"))
}

/// The stub, with the symbols of a debug build.
pub fn stub() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| built("nlr-stub"))
}

/// A program of `examples/`.
pub fn example(name: &str) -> String {
    built(&format!("examples/{name}"))
}

fn built(name: &str) -> String {
    let path = folder().join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path.into_os_string().into_string().unwrap()
}

/// A stub that `build-stubs` has built, such as `x86_64-unknown-linux-musl`.
pub fn static_stub(target: &str) -> Option<PathBuf> {
    let path = target_folder().join(format!("stubs/out/nlr-stub-{target}"));
    path.exists().then_some(path)
}

/// The stub without its symbols, which make it many times as large as what users send. It lies in
/// the folder of this build: the lab's client sees that folder, hosts do not.
pub fn stripped_stub() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = Path::new(stub());
        // Test programs of one build may run at the same time, each with the pids of its own world.
        let own = tempfile::NamedTempFile::new_in(built.parent().unwrap()).unwrap();
        let status = Command::new("strip").arg("-o").arg(own.path()).arg(built).status().unwrap();
        assert!(status.success(), "strip");
        fs::set_permissions(own.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let shared = format!("{}-stripped", built.display());
        own.persist(&shared).unwrap();
        shared
    })
}
