//! The structure of the source: which module may use which, and rules for single files.

#![cfg(test)]

mod rules;
mod style;
mod synthetic;
mod tree;

use rules::Row;
use testing::programs;
use tree::{Crate, Files, read};

/// The modules below every layer.
const BASE: &[&str] =
    &["errno", "text", "nlmsg", "shell", "authority", "blocking", "sync", "protocol", "limits"];

/// The modules of the library, lowest first, and the modules that each may use.
const TABLE: &[Row] = &[
    ("errno", &[]),
    ("text", &[]),
    ("nlmsg", &[&["errno", "text"]]),
    ("shell", &[]),
    ("authority", &[]),
    ("blocking", &[]),
    ("sync", &[]),
    ("protocol", &[]),
    ("limits", &[]),
    ("wire", &[BASE]),
    ("proto", &[BASE, &["wire"]]),
    ("kernel", &[BASE, &["wire"]]),
    ("error", &[BASE, &["wire", "proto"]]),
    ("prompter", &[BASE, &["kernel", "error"]]),
    ("connect_context", &[BASE, &["error", "prompter"]]),
    ("stub", &[BASE, &["wire", "proto", "kernel"]]),
    ("transport", &[BASE, &["wire", "error", "prompter", "connect_context"]]),
    ("client", &[BASE, &["wire", "proto", "error", "transport"]]),
    ("bootstrap", &[BASE, &["wire", "error", "prompter", "connect_context", "transport"]]),
    (
        "hops",
        &[
            BASE,
            &["error", "prompter", "connect_context", "stub", "transport", "client", "bootstrap"],
        ],
    ),
    ("monitor", &[BASE, &["wire", "error", "client", "hops"]]),
    ("fleet", &[BASE, &["error", "client", "hops", "monitor", "wire"]]),
    ("mirror", &[BASE, &["wire", "error", "client", "hops", "monitor"]]),
    ("nats", &[BASE, &["wire", "error", "client", "hops", "monitor", "fleet"]]),
    ("run", &[BASE, &["error", "client", "wire"]]),
    // Documentation alone.
    ("guide", &[]),
    // The functions of the fuzz targets.
    (
        "fuzzing",
        &[
            BASE,
            &[
                "wire",
                "proto",
                "error",
                "prompter",
                "connect_context",
                "stub",
                "transport",
                "client",
                "bootstrap",
                "hops",
            ],
        ],
    ),
];

/// The root files of the crates in `src`. The programs use the library's public items alone, which
/// the compiler proves.
const ROOTS: [&str; 3] = ["lib.rs", "bin/nlr/main.rs", "bin/nlr-stub.rs"];

/// The longest file of `src`, in lines.
const LIMIT: usize = 500;

/// Longer files, with the reason.
const LONG: &[(&str, &str)] = &[];

fn source() -> Files {
    read(&programs::repository().join("src"))
}

#[track_caller]
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn modules_use_those_of_the_table_alone() {
    assert_none(&rules::check_layers(&Crate::new(&source(), "lib.rs"), TABLE));
}

#[test]
fn neighbours_use_each_other_in_no_circle() {
    let files = source();
    let circles = |root| rules::check_circles(&Crate::new(&files, root));
    assert_none(&ROOTS.into_iter().flat_map(circles).collect::<Vec<_>>());
}

/// Otherwise the checks would overlook a file.
#[test]
fn every_file_belongs_to_a_crate() {
    let files = source();
    let known: Vec<_> = ROOTS.iter().flat_map(|root| Crate::new(&files, root).files).collect();
    let strangers = files.keys().filter(|file| !known.contains(file));
    assert_none(&strangers.cloned().collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    assert_none(&style::check_length(&source(), LIMIT, LONG));
}

#[test]
fn no_public_item_is_hidden_and_no_file_is_glued_in() {
    for folder in ["src", "tests", "benches", "examples"] {
        let files = read(&programs::repository().join(folder));
        assert_none(&style::check_attributes(folder, &files));
    }
}
