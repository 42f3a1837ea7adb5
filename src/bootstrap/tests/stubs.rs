//! The choice of stubs.

use std::fs;

use super::super::stubs::{OwnStub, Search, how_to_build};
use super::*;
use crate::bootstrap::StubSource;

/// The beginning of a program for an architecture of 64 bits, low byte first.
fn elf(machine: u16, is_dynamic: bool) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64 + 56, 0);
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[32] = 64;
    file[54] = 56;
    file[56] = 1;
    file[64] = if is_dynamic { 3 } else { 1 };
    file
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

struct Shelf(tempfile::TempDir);

impl Shelf {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn own(&self, name: &str, arguments: &[&str]) -> OwnStub {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        OwnStub { program: self.folder(name), arguments }
    }

    /// The folders that are searched.
    fn search(&self) -> Search {
        let data = vec![self.folder("data"), self.folder("usr")];
        Search { beside: Some(self.folder("bin")), data, ..Search::default() }
    }

    /// The stubs that are found, as architectures and paths.
    fn found(&self, search: &Search) -> Vec<(&'static str, String)> {
        let one = |stub: &Stub| {
            let path = stub.content.to_string();
            let path = path.strip_prefix(&format!("{}/", self.0.path().display()));
            (stub.arch.name, path.unwrap().to_owned())
        };
        search.run().unwrap().stubs().iter().map(one).collect()
    }
}

#[test]
fn places_have_an_order_and_musl_comes_before_gnu() {
    let shelf = Shelf::new();
    let found = |search: &Search| shelf.found(search);
    shelf.put("bin/nlr", &elf(X86_64, false));
    let mut search = Search { own: vec![shelf.own("bin/nlr", &["stub"])], ..shelf.search() };
    assert_eq!(found(&search), [("x86_64", "bin/nlr".into())]);
    shelf.put("bin/nlr-stub", &elf(X86_64, false));
    assert_eq!(found(&search), [("x86_64", "bin/nlr-stub".into())]);
    shelf.put("usr/nlr-stub-aarch64", &elf(AARCH64, false));
    shelf.put("data/nlr-stub-x86_64-unknown-linux-gnu", &elf(X86_64, false));
    shelf.put("data/nlr-stub-x86_64-unknown-linux-musl", &elf(X86_64, false));
    shelf.put("data/nlr-stub-x86_64-unknown-linux-musl.sig", b"not looked at");
    shelf.put("data/nlr-stub-readme", b"not looked at");
    let rest = ("aarch64", "usr/nlr-stub-aarch64".to_owned());
    let musl = "data/nlr-stub-x86_64-unknown-linux-musl".to_owned();
    assert_eq!(found(&search), [("x86_64", musl), rest.clone()]);
    shelf.put("bin/nlr-stub-x86_64", &elf(X86_64, false));
    assert_eq!(found(&search)[0].1, "bin/nlr-stub-x86_64");
    shelf.put("named/nlr-stub-x86_64", &elf(X86_64, false));
    search.named = Some(shelf.folder("named"));
    assert_eq!(found(&search)[0].1, "named/nlr-stub-x86_64");
    search.sources.push(shelf.put("mine", &elf(X86_64, true)).into());
    assert_eq!(found(&search), [("x86_64", "mine".into()), rest]);
}

/// As `cargo install --root` leaves it.
#[test]
fn a_folder_that_is_named_may_hold_one_without_its_triple() {
    let shelf = Shelf::new();
    shelf.put("root/bin/nlr-stub", &elf(AARCH64, false));
    let named = Search { named: Some(shelf.folder("root/bin")), ..Search::default() };
    let given = Search { sources: vec![shelf.folder("root/bin").into()], ..Search::default() };
    for search in [named, given] {
        assert_eq!(shelf.found(&search), [("aarch64", "root/bin/nlr-stub".into())]);
    }
}

#[test]
fn a_program_that_needs_libraries_is_the_last_resort() {
    let shelf = Shelf::new();
    shelf.put("bin/nlr-stub-x86_64", &elf(X86_64, true));
    let stubs = shelf.search().run().unwrap();
    assert!(stubs.stubs()[0].is_dynamic);
    let text = stubs.inventory();
    assert!(text.contains("bin/nlr-stub-x86_64, needs shared libraries)"), "{text}");
    shelf.put("usr/nlr-stub-x86_64", &elf(X86_64, false));
    assert_eq!(shelf.found(&shelf.search())[0].1, "usr/nlr-stub-x86_64");
}

#[test]
fn the_running_program_needs_its_argument() {
    let shelf = Shelf::new();
    shelf.put("bin/nlr", &elf(X86_64, true));
    let search = Search { own: vec![shelf.own("bin/nlr", &["stub"])], ..shelf.search() };
    let stubs = search.run().unwrap();
    assert_eq!(stubs.stubs()[0].arguments, ["stub"]);
    assert!(!stubs.inventory().contains("serve_if_asked"));
    for argument in ["a b", "$x", "\"", "'", ""] {
        let search = Search { own: vec![shelf.own("bin/nlr", &[argument])], ..shelf.search() };
        let stubs = search.run().unwrap();
        assert!(stubs.stubs().is_empty());
        assert!(stubs.inventory().contains("that a shell interprets"), "{}", stubs.inventory());
    }
}

#[test]
fn stubs_in_memory() {
    let program: &'static [u8] = fs::read("/proc/self/exe").unwrap().leak();
    let here = Arch::named(std::env::consts::ARCH).unwrap();
    let sources = vec![elf(AARCH64, false).into(), program.into(), elf(X86_64, true).into()];
    let stubs = Search { sources, ..Search::default() }.run().unwrap();
    let one = |stub: &Stub| (stub.arch.name, stub.content.to_string());
    let all: Vec<_> = stubs.stubs().iter().map(one).collect();
    let named = |length: usize| format!("the stub of {length} bytes in memory");
    assert!(all.contains(&("aarch64", named(120))), "{all:?}");
    assert!(all.contains(&(here.name, named(program.len()))), "{all:?}");
    let error = Search { sources: vec![b"text".into()], ..Search::default() }.run().unwrap_err();
    assert_eq!(error.to_string(), "the stub of 4 bytes in memory is not a program for Linux");
    // Its bytes are no part of the options' `Debug`.
    let source = StubSource::from(program);
    assert_eq!(format!("{source:?}"), format!("StubSource(Memory({} bytes))", program.len()));
}

#[test]
fn a_wrong_name_is_an_error_for_a_given_file_and_a_remark_for_others() {
    let shelf = Shelf::new();
    let wrong = shelf.put("data/nlr-stub-aarch64", &elf(X86_64, false));
    let given = |path: PathBuf| Search { sources: vec![path.into()], ..Search::default() };
    let error = given(wrong).run().unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    assert!(
        error.to_string().ends_with("nlr-stub-aarch64 is for x86_64, and its name says aarch64"),
        "{error}"
    );
    let named = Search { named: Some(shelf.folder("data")), ..Search::default() };
    assert!(named.run().unwrap_err().to_string().starts_with("NLR_STUBS: "));
    for (name, content, expected) in [
        ("nlr-stub-x86_64", &b"#!/bin/sh"[..], "is not a program for Linux"),
        ("nlr-stub-x86_64", &elf(4711, false), "is for an unknown architecture"),
    ] {
        let error = given(shelf.put(name, content)).run().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = given(shelf.folder("nowhere")).run().unwrap_err().to_string();
    assert!(error.ends_with("nowhere cannot be read: No such file or directory"), "{error}");
    shelf.put("empty/nlr-stub.txt", b"");
    let error = given(shelf.folder("empty")).run().unwrap_err().to_string();
    assert!(error.contains("no file named nlr-stub-<target triple> in it"), "{error}");
}

#[tokio::test]
async fn without_a_stub_the_error_names_folders_files_and_a_command() {
    let shelf = Shelf::new();
    shelf.put("data/nlr-stub-aarch64", &elf(X86_64, false));
    shelf.put("data/nlr-stub-readme", b"");
    shelf.put("usr/nlr-stub-x86_64", b"#!/bin/sh");
    shelf.put("usr/nlr-stub-riscv64.sha256", b"not a stub's name");
    let stubs = shelf.search().run().unwrap();
    let error = BootScript::new(&stubs).await.unwrap_err();
    assert_eq!(error.step(), Some(crate::Step::Bootstrap));
    let top = shelf.0.path().display();
    let expected = format!(
        "bootstrap: no stub was found; folders searched: {top}/bin, {top}/data, \
         {top}/usr; passed over: {top}/data/nlr-stub-readme names no known architecture, \
         {top}/data/nlr-stub-aarch64 is for x86_64, and its name says aarch64, \
         {top}/usr/nlr-stub-x86_64 is not a program for Linux; this program is not its own stub, \
         which netlink_remote::stub::serve_if_asked() in its main makes it; {}",
        how_to_build(None)
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_file_is_read_once_and_again_after_a_change() {
    let shelf = Shelf::new();
    let path = shelf.put("nlr-stub-x86_64", &elf(X86_64, false));
    let search = Search { sources: vec![path.clone().into()], ..Search::default() };
    let all: Vec<_> = (0..200).map(|_| search.run().unwrap()).collect();
    let images = all.iter().map(|stubs| stubs.stubs()[0].image());
    let images = futures_util::future::try_join_all(images).await.unwrap();
    assert!(images.iter().all(|image| Arc::ptr_eq(image, &images[0])));
    let mut other = elf(X86_64, false);
    other.push(1);
    fs::write(&path, &other).unwrap();
    let image = search.run().unwrap().stubs()[0].image().await.unwrap();
    assert_eq!(image.bytes, other);
    assert_ne!(image.sha256, images[0].sha256);
    fs::remove_file(&path).unwrap();
    let error = all[0].stubs()[0].image().await.unwrap_err();
    assert!(error.to_string().contains("reading the stub"), "{error}");
}

#[tokio::test]
async fn checksums_of_a_stub_in_memory_are_computed_once_for_all_connectors() {
    let source = StubSource::from(elf(X86_64, false));
    let search = || Search { sources: vec![source.clone()], ..Search::default() }.run().unwrap();
    let (first, second) = (search(), search());
    let image = first.stubs()[0].image().await.unwrap();
    assert!(Arc::ptr_eq(&image, &second.stubs()[0].image().await.unwrap()));
    assert_eq!(image.bytes, elf(X86_64, false));
}
