//! A bad input and its error, and the comparison of many.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
};

use testing::is_text;

/// A bad input as text: a command line, a file, a script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) input: &'static str,
    pub(crate) code: i32,
    /// The line on stderr behind `nlr: `. `*` stands for digits, `TMP` for the folder of the input.
    pub(crate) error: &'static str,
}

pub(crate) const fn case(
    name: &'static str,
    input: &'static str,
    code: i32,
    error: &'static str,
) -> Case {
    Case { name, input, code, error }
}

/// Tries all cases, four at a time, and fails with all that give another text than the expected one.
pub(crate) fn all<T: Sync>(
    cases: &[T],
    name: impl Fn(&T) -> &str + Sync,
    expected: impl Fn(&T) -> String + Sync,
    actual: impl Fn(&T) -> String + Sync,
) {
    let queue = Mutex::new(cases.iter().collect::<VecDeque<_>>());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().pop_front() else { return };
                    let tried = catch_unwind(AssertUnwindSafe(|| actual(case)));
                    let actual = tried.unwrap_or_else(|panic| {
                        format!("PANIC {:?}", panic.downcast_ref::<String>())
                    });
                    if !is_text(&expected(case), &actual) {
                        failures.lock().unwrap().push(format!("{}\n    {actual:?}", name(case)));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let count = failures.len();
    assert!(failures.is_empty(), "{count} inputs give other errors:\n{}", failures.join("\n"));
}

#[test]
fn digits_are_any() {
    assert!(is_text("pid * of *s", "pid 17 of 3s"));
    assert!(!is_text("pid * of *s", "pid x of 3s"));
    assert!(!is_text("pid *", "pid 17 of"));
    assert!(is_text("list: …", "list: a, b"));
}
