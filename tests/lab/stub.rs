//! The stub that tests send.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::OnceLock};

/// The stub that was built with the tests, without its symbols, which make it many times as large
/// as what users send. It lies beside it, which is where the lab's client sees it and hosts do
/// not.
pub(crate) fn stripped() -> &'static str {
    static STUB: OnceLock<String> = OnceLock::new();
    STUB.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_nlr-stub"));
        // Tests of the same build may run at the same time, each with the pids of its own world.
        let own = tempfile::NamedTempFile::new_in(built.parent().unwrap()).unwrap();
        let status = Command::new("strip").arg("-o").arg(own.path()).arg(built).status().unwrap();
        assert!(status.success(), "strip");
        fs::set_permissions(own.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let shared = format!("{}-stripped", built.display());
        own.persist(&shared).unwrap();
        shared
    })
}
