//! The stub that tests send.

use std::{fs, process::Command, sync::OnceLock};

/// The stub that was built with the tests, without its symbols, which make it many times as large
/// as what users send. It lies beside it, which is where the lab's client sees it and hosts do
/// not.
pub(crate) fn stripped() -> &'static str {
    static STUB: OnceLock<String> = OnceLock::new();
    STUB.get_or_init(|| {
        let built = env!("CARGO_BIN_EXE_nlr-stub");
        let (own, shared) =
            (format!("{built}-stripped-{}", std::process::id()), format!("{built}-stripped"));
        let status = Command::new("strip").args(["-o", &own, built]).status().unwrap();
        assert!(status.success(), "strip");
        // Tests of the same build may run at the same time.
        fs::rename(own, &shared).unwrap();
        shared
    })
}
