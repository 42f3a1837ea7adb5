//! Lists the stubs in `bin` as Rust source.

#![allow(missing_docs, reason = "a build script has no documentation")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

const HOW_TO_BUILD: &str = "build them in the source of netlink-remote, by \
                            `./build-stubs --out stubs/bin musl aarch64`";

fn main() -> ExitCode {
    match list() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("cargo::error={text}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<(), String> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set"));
    let bin = variable("CARGO_MANIFEST_DIR")?.join("bin");
    println!("cargo::rerun-if-changed={}", bin.display());
    let mut source = String::from("&[\n");
    for (target, path) in stubs(&bin)? {
        check(&path)?;
        source += &format!(
            "    Stub {{ target: {target:?}, bytes: include_bytes!({:?}) }},\n",
            path.to_string_lossy()
        );
    }
    source += "]\n";
    let out = variable("OUT_DIR")?.join("stubs.rs");
    fs::write(&out, source).map_err(|error| format!("writing {}: {error}", out.display()))
}

/// The target triple and the file of each stub: one for each architecture, that for musl if there
/// is one, since it is the smaller.
fn stubs(bin: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let missing = || format!("no stubs in {}: {HOW_TO_BUILD}", bin.display());
    let mut stubs: Vec<(String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(bin).map_err(|_| missing())? {
        let path = entry.map_err(|error| format!("reading {}: {error}", bin.display()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some(target) = name.as_deref().and_then(|name| name.strip_prefix("nlr-stub-")) {
            stubs.push((target.to_owned(), path));
        }
    }
    let arch = |target: &str| target.split('-').next().map(str::to_owned);
    stubs.sort_by_key(|(target, _)| (arch(target), !target.contains("musl"), target.clone()));
    stubs.dedup_by_key(|(target, _)| arch(target));
    if stubs.is_empty() { Err(missing()) } else { Ok(stubs) }
}

/// Refuses a stub of another version, which no host would start.
fn check(path: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", path.display());
    let version = concat!("nlr-stub ", env!("CARGO_PKG_VERSION")).as_bytes();
    let bytes = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    match bytes.windows(version.len()).any(|window| window == version) {
        true => Ok(()),
        false => Err(format!(
            "{} is not of version {}: {HOW_TO_BUILD}",
            path.display(),
            env!("CARGO_PKG_VERSION")
        )),
    }
}
