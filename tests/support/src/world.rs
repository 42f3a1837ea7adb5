//! The world a test runs in: namespaces that `tests/runner` makes, so that tests change nothing of
//! the machine.

use std::{
    io::{self, Write},
    thread,
};

/// The kinds of world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Real root.
    Root,
    /// Root of a user namespace: no privileges outside it.
    User,
}

/// The kind of this world.
///
/// # Panics
/// Outside any world, as [`require`].
pub fn kind() -> Kind {
    match std::env::var("NLR_TEST_WORLD").as_deref() {
        Ok("root") => Kind::Root,
        Ok("user") => Kind::User,
        _ => panic!("this test changes namespaces and links: run it with `tests/run`"),
    }
}

/// Asserts that this process is in a world. Called before anything that changes the machine.
pub fn require() {
    kind();
}

/// Whether this world has no privileges outside its user namespace.
pub fn is_user() -> bool {
    kind() == Kind::User
}

/// Whether this world has real root. Where it has not, the calling test is skipped, since `needs`,
/// such as "sshd", takes it.
pub fn has_real_root(needs: &str) -> bool {
    if is_user() {
        skip(&format!("{needs} takes real root"));
    }
    !is_user()
}

/// Prints that the calling test is skipped, and why.
///
/// # Panics
/// As root with `CI` in the environment: there everything is to be tested.
pub fn skip(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(is_user() || std::env::var_os("CI").is_none(), "{test} is skipped: {why}");
    // print! would go to the test harness, which shows it for failed tests alone.
    let _ = writeln!(io::stderr(), "{test} is skipped: {why}");
}
