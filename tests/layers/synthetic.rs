//! The checks themselves, on small crates that break each rule.

use crate::{
    rules::{self, Row},
    style,
    tree::{Crate, Files},
};

const TABLE: &[Row] = &[("low", &[]), ("middle", &[&["low"]]), ("high", &[&["low", "middle"]])];

fn files(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
}

/// A crate of three layers, with more files or others in their place.
fn layers(more: &[(&str, &str)]) -> Crate {
    let mut all = files(&[
        ("lib.rs", "pub mod high; mod low; mod middle; pub use low::Item;"),
        ("low.rs", "pub struct Item; pub fn run() {}"),
        ("middle/mod.rs", "mod part; pub use part::Part; pub use crate::low::Item as Low;"),
        ("middle/part.rs", "use crate::{Item, low}; pub struct Part(Item); fn f() { low::run() }"),
        ("high.rs", "use crate::middle::Part; pub use crate::middle::Low; pub struct High(Part);"),
    ]);
    all.extend(files(more));
    Crate::new(&all, "lib.rs")
}

#[track_caller]
fn finds(breaches: &[String], expected: &[&str]) {
    assert_eq!(breaches.len(), expected.len(), "{breaches:#?}");
    for (breach, expected) in breaches.iter().zip(expected) {
        assert!(breach.contains(expected), "{breach} is not {expected}");
    }
}

#[test]
fn arrows_down_are_allowed() {
    let tree = layers(&[]);
    finds(&rules::check_layers(&tree, TABLE), &[]);
    finds(&rules::check_circles(&tree), &[]);
    assert!(tree.arrows().len() > 5);
}

#[test]
fn an_arrow_up_is_found_with_its_place() {
    for (text, written) in [
        ("use crate::high::High;", "crate::high::High"),
        ("use crate::{low, high::{self, High}};", "crate::high::High"),
        ("use super::super::high::*;", "super::super::high"),
        ("fn f(_: crate::high::High) {}", "crate::high::High"),
        ("fn f() { let _ = vec![1, super::super::high::run(2)]; }", "super::super::high::run"),
        ("fn f() { use crate::high as top; top::run() }", "top::run"),
        ("impl crate::high::Trait for () {}", "crate::high::Trait"),
        ("mod inner { use crate::high::High; }", "crate::high::High"),
    ] {
        let tree = layers(&[("middle/part.rs", &format!("\npub struct Part;\n{text}\n"))]);
        let found = rules::check_layers(&tree, TABLE);
        let place = "src/middle/part.rs:3: middle::part";
        assert!(found.iter().all(|breach| breach.contains(place)), "{text}: {found:#?}");
        assert!(found.iter().any(|breach| breach.ends_with(written)), "{text}: {found:#?}");
    }
}

#[test]
fn a_re_export_hides_no_arrow() {
    // Named at a higher layer, though the item is of a lower one.
    let tree = layers(&[("middle/part.rs", "use crate::high::Low; pub struct Part;")]);
    finds(&rules::check_layers(&tree, TABLE), &["crate::high::Low"]);
    // Named at the root, and of a higher layer.
    let tree = layers(&[
        ("lib.rs", "pub mod high; mod low; mod middle; pub use high::High;"),
        ("low.rs", "use crate::High; pub struct Item; pub fn run() {}"),
        ("middle/part.rs", "pub struct Part;"),
    ]);
    finds(&rules::check_layers(&tree, TABLE), &["low -> high: crate::High"]);
    // Defined at the root itself.
    let tree = layers(&[
        ("lib.rs", "pub mod high; mod low; mod middle; pub fn connect() {} pub struct Item;"),
        ("high.rs", "fn f() { crate::connect() }"),
        ("middle/part.rs", "pub struct Part;"),
    ]);
    finds(&rules::check_layers(&tree, TABLE), &["high -> the root: crate::connect"]);
}

#[test]
fn tests_may_use_anything() {
    for text in [
        "#[cfg(test)] mod tests { use crate::high::High; }",
        "#[cfg(test)] use crate::high::High;",
        "impl Part { #[cfg(test)] fn f() { crate::high::run() } }",
        "/// Of [`crate::high::High`].\npub(in crate::middle) struct Other;",
    ] {
        let tree = layers(&[("middle/part.rs", &format!("pub struct Part; {text}"))]);
        finds(&rules::check_layers(&tree, TABLE), &[]);
    }
}

#[test]
fn every_module_has_a_row() {
    let tree = layers(&[
        ("lib.rs", "declare! { #[cfg(x)] new, low, middle, } mod high; pub use low::Item;"),
        ("new.rs", ""),
    ]);
    finds(&rules::check_layers(&tree, TABLE), &["the module new has no row"]);
    let table = [TABLE, &[("new", &[&["newer"]]), ("newer", &[])]].concat();
    let found = rules::check_layers(&tree, &table);
    finds(&found, &["lets new use newer", "a row for newer"]);
}

#[test]
fn a_circle_is_found() {
    let direct = Crate::new(
        &files(&[
            ("lib.rs", "mod folder;"),
            ("folder.rs", "mod one; mod three; mod two;"),
            ("folder/one.rs", "use super::two;"),
            ("folder/two.rs", "mod part;"),
            ("folder/two/part.rs", "use super::super::three::Item;"),
            ("folder/three.rs", "pub struct Item; fn f() { crate::folder::one::run() }"),
        ]),
        "lib.rs",
    );
    finds(&rules::check_circles(&direct), &["in folder, a circle of one, three, two"]);
    let found = rules::check_circles(&direct).concat();
    assert!(found.contains("src/folder/two/part.rs:1: folder::two::part -> folder::three"));

    let re_exported = Crate::new(
        &files(&[
            ("lib.rs", "mod one; mod two; pub use one::One; pub use two::*;"),
            ("one.rs", "use crate::Two; pub struct One;"),
            ("two.rs", "use crate::One; pub struct Two;"),
        ]),
        "lib.rs",
    );
    finds(&rules::check_circles(&re_exported), &["in the root, a circle of one, two"]);
}

#[test]
fn files_have_their_rules() {
    let text = "#[path = \"x.rs\"] mod x; #[doc(hidden)] fn private() {}\n#[doc(hidden)] pub mod y;\n\
                impl X { #[doc(hidden)] pub fn f() {} }";
    let files = files(&[("a.rs", text), ("b.rs", "\n")]);
    finds(
        &style::check_attributes("src", &files),
        &["src/a.rs:1: `#[path]`", "src/a.rs:2: ", "src/a.rs:3: "],
    );
    finds(
        &style::check_length(&files, 2, &[("b.rs", "it is long")]),
        &["a.rs has 3", "b.rs needs"],
    );
    finds(&style::check_length(&files, 2, &[("a.rs", "it is long")]), &[]);
}
