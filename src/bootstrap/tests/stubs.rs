//! Which stub is taken from where.

use std::fs;

use super::super::stubs::{HOW_TO_BUILD, Places, StubOptions, Stubs};
use super::*;

/// The beginning of a program for such a machine: 64 bits, low byte first.
fn elf(machine: u16, dynamic: bool) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64 + 56, 0);
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[32] = 64;
    file[54] = 56;
    file[56] = 1;
    file[64] = if dynamic { 3 } else { 1 };
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
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn places(&self) -> Places {
        Places {
            named: None,
            beside: Some(self.folder("bin")),
            data: vec![self.folder("data"), self.folder("usr")],
        }
    }

    /// What is found, as machines and paths.
    fn found(&self, options: &StubOptions, places: &Places) -> Vec<(&'static str, String)> {
        let stubs = Stubs::find_in(options, places).unwrap();
        let one = |payload: &Payload| {
            let path = payload.path.strip_prefix(self.0.path()).unwrap();
            (payload.machine.name, path.display().to_string())
        };
        stubs.payloads().iter().map(one).collect()
    }
}

#[test]
fn places_go_in_order_and_musl_before_gnu() {
    let shelf = Shelf::new();
    let found = |options: &StubOptions, places: &Places| shelf.found(options, places);
    let own = (shelf.put("bin/nlr", &elf(X86_64, false)), vec!["stub".to_owned()]);
    let mut options = StubOptions { own: Some(own), ..Default::default() };
    let mut places = shelf.places();
    assert_eq!(found(&options, &places), [("x86_64", "bin/nlr".into())]);
    shelf.put("bin/nlr-stub", &elf(X86_64, false));
    assert_eq!(found(&options, &places), [("x86_64", "bin/nlr-stub".into())]);
    shelf.put("usr/nlr-stub-aarch64", &elf(AARCH64, false));
    shelf.put("data/nlr-stub-x86_64-unknown-linux-gnu", &elf(X86_64, false));
    shelf.put("data/nlr-stub-x86_64-unknown-linux-musl", &elf(X86_64, false));
    shelf.put("data/nlr-stub-x86_64-unknown-linux-musl.sig", b"not looked at");
    shelf.put("data/nlr-stub-readme", b"not looked at");
    let rest = ("aarch64", "usr/nlr-stub-aarch64".to_owned());
    let musl = "data/nlr-stub-x86_64-unknown-linux-musl".to_owned();
    assert_eq!(found(&options, &places), [("x86_64", musl), rest.clone()]);
    shelf.put("bin/nlr-stub-x86_64", &elf(X86_64, false));
    assert_eq!(found(&options, &places)[0].1, "bin/nlr-stub-x86_64");
    shelf.put("named/nlr-stub-x86_64", &elf(X86_64, false));
    places.named = Some(shelf.folder("named"));
    assert_eq!(found(&options, &places)[0].1, "named/nlr-stub-x86_64");
    options.files.push(shelf.put("mine", &elf(X86_64, true)));
    assert_eq!(found(&options, &places), [("x86_64", "mine".into()), rest]);
}

#[test]
fn what_needs_libraries_is_the_last_resort() {
    let shelf = Shelf::new();
    shelf.put("bin/nlr-stub-x86_64", &elf(X86_64, true));
    let options = StubOptions::default();
    let stubs = Stubs::find_in(&options, &shelf.places()).unwrap();
    assert!(stubs.payloads()[0].dynamic);
    shelf.put("usr/nlr-stub-x86_64", &elf(X86_64, false));
    assert_eq!(shelf.found(&options, &shelf.places())[0].1, "usr/nlr-stub-x86_64");
}

#[test]
fn the_own_program_brings_its_words() {
    let shelf = Shelf::new();
    let own = (shelf.put("bin/nlr", &elf(X86_64, true)), vec!["stub".to_owned()]);
    let options = StubOptions { own: Some(own), ..Default::default() };
    let stubs = Stubs::find_in(&options, &shelf.places()).unwrap();
    assert_eq!(stubs.payloads()[0].words, ["stub"]);
}

#[test]
fn a_wrong_name_is_an_error_where_it_was_asked_for_and_a_remark_elsewhere() {
    let shelf = Shelf::new();
    let wrong = shelf.put("data/nlr-stub-aarch64", &elf(X86_64, false));
    let options = StubOptions { files: vec![wrong.clone()], own: None };
    let error = Stubs::find_in(&options, &shelf.places()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    assert!(
        error.to_string().ends_with("nlr-stub-aarch64 is for x86_64, and its name says aarch64"),
        "{error}"
    );
    let named = Places { named: Some(shelf.folder("data")), ..Places::default() };
    assert!(Stubs::find_in(&StubOptions::default(), &named).is_err());
    let stubs = Stubs::find_in(&StubOptions::default(), &shelf.places()).unwrap();
    let text = stubs.summary();
    assert!(
        text.starts_with("there are no stubs here; ") && text.contains("its name says aarch64"),
        "{text}"
    );
    for (name, content, expected) in [
        ("nlr-stub-x86_64", &b"#!/bin/sh"[..], "is no program for Linux"),
        ("nlr-stub-x86_64", &elf(4711, false), "is for an unknown machine"),
    ] {
        let options = StubOptions { files: vec![shelf.put(name, content)], own: None };
        let error = Stubs::find_in(&options, &Places::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for path in ["nowhere", "bin"] {
        let options = StubOptions { files: vec![shelf.folder(path)], own: None };
        assert!(Stubs::find_in(&options, &Places::default()).is_err());
    }
}

#[tokio::test]
async fn without_any_the_error_says_how_to_come_by_one() {
    let stubs = Stubs::find_in(&StubOptions::default(), &Places::default()).unwrap();
    let error = Boot::new(&stubs).await.unwrap_err();
    assert!(error.to_string().contains(HOW_TO_BUILD), "{error}");
    assert_eq!(error.step(), Some(crate::Step::Bootstrap));
}

#[tokio::test]
async fn a_file_is_read_once_for_all_and_again_when_it_is_another() {
    let shelf = Shelf::new();
    let path = shelf.put("nlr-stub-x86_64", &elf(X86_64, false));
    let options = StubOptions { files: vec![path.clone()], own: None };
    let find = || Stubs::find_in(&options, &Places::default()).unwrap();
    let all: Vec<_> = (0..200).map(|_| find()).collect();
    let images = all.iter().map(|stubs| stubs.payloads()[0].image());
    let images = futures_util::future::try_join_all(images).await.unwrap();
    assert!(images.iter().all(|image| Arc::ptr_eq(image, &images[0])));
    let mut other = elf(X86_64, false);
    other.push(1);
    fs::write(&path, &other).unwrap();
    let image = find().payloads()[0].image().await.unwrap();
    assert_eq!(image.bytes, other);
    assert_ne!(image.sha256, images[0].sha256);
    fs::remove_file(&path).unwrap();
    assert!(
        all[0].payloads()[0].image().await.unwrap_err().to_string().contains("reading the stub")
    );
}
