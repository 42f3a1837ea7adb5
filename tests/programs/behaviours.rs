//! What a program sees of its sockets, call by call.

use testing::{Namespace, tool::Server};

use crate::support::{alike, by_nlr, native, outcome};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/behaviours.py");

fn script() -> String {
    format!("exec python3 {SCRIPT}")
}

fn differences(native: &str, far: &str) -> Vec<String> {
    let lines = native.lines().zip(far.lines()).filter(|(native, far)| native != far);
    lines.map(|(native, far)| format!("{native}\n  but by nlr run: {far}")).collect()
}

#[test]
fn calls_have_the_results_of_the_kernel() {
    let here = alike();
    let (expected, errors, code) = outcome(native(&here, &script()));
    assert_eq!((errors.as_str(), code), ("", 0));
    let server = Server::start(&[]);
    for target in ["local:", &server.target()] {
        let there = alike();
        let (printed, errors, code) = outcome(by_nlr(target, &there, &script()));
        let differ = differences(&expected, &printed);
        assert!(differ.is_empty(), "{target}: {}", differ.join("\n"));
        assert_eq!((errors.as_str(), code), ("", 0), "{target}");
        assert_eq!(expected.lines().count(), printed.lines().count(), "{target}");
    }
    assert!(expected.lines().count() >= 67, "{}", expected.lines().count());
}

/// A caller without privileges has namespaces of its own user namespace only: here the host's.
#[test]
fn a_namespace_that_is_not_there() {
    let gone = Namespace::empty().0.clone();
    let ended = testing::finish(testing::tool::nlr(&["run", "local:", "-n", &gone, "--", "true"]));
    ended.failed(1, &[&gone, "No such file or directory"]);
}
