//! Inventories: files of targets.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use super::{
    args::netns_text,
    failure::{Failure, message, warn},
    json,
};
use netlink_remote::{
    Netns,
    errno::words,
    fleet::{Entry, Inventory},
    monitor::Source,
};

/// Bytes that are read of a file, at most: more is refused by the library.
const MOST: u64 = (16 << 20) + 1;

/// The targets of a file; `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Vec<Entry>, Failure> {
    let name =
        if file == Path::new("-") { "standard input".into() } else { file.to_string_lossy() };
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => io::stdin().take(MOST).read_to_string(&mut text),
        false => File::open(file).and_then(|file| file.take(MOST).read_to_string(&mut text)),
    };
    read.map_err(|error| {
        Failure::usage(format_args!("reading the inventory {name}: {}", words(&error)))
    })?;
    let inventory: Inventory =
        text.parse().map_err(|error| Failure::usage(format_args!("inventory {name}: {error}")))?;
    match inventory.entries.is_empty() {
        true => Err(Failure::usage(format_args!("the inventory {name} has no target"))),
        false => Ok(inventory.entries),
    }
}

/// The targets of a file, one entry for each namespace; those without have the one of the command line.
pub(crate) fn read_with(file: &Path, netns: Option<&Netns>) -> Result<Vec<Entry>, Failure> {
    let mut single = Vec::new();
    for mut entry in read(file)? {
        if entry.netns.is_empty() {
            entry.netns.extend(netns.cloned());
            single.push(entry);
            continue;
        }
        for netns in std::mem::take(&mut entry.netns) {
            let mut of_netns = entry.clone();
            of_netns.netns.push(netns);
            single.push(of_netns);
        }
    }
    Ok(single)
}

/// The output of a target, below its name or as an object; a failure goes to standard error or into the
/// object.
pub(crate) fn labelled(
    entry: &Entry,
    result: Result<Vec<u8>, Failure>,
    is_json: bool,
    key: &str,
) -> Vec<u8> {
    let netns = entry.netns.first().filter(|netns| **netns != Netns::Current);
    let source = Source::new(Arc::clone(&entry.name), netns.cloned());
    if !is_json {
        return match result {
            Ok(text) => {
                [format!("== {}\n", message(&source.to_string())).into_bytes(), text].concat()
            }
            Err(failure) => {
                warn(&format!("{source}: {}", failure.into_text()));
                Vec::new()
            }
        };
    }
    let mut line = serde_json::Map::new();
    line.insert("target".to_owned(), (*entry.name).into());
    if let Some(netns) = netns {
        line.insert("netns".to_owned(), netns_text(netns).into());
    }
    match result {
        Ok(text) => {
            // It is JSON that this program has made.
            let value = serde_json::from_slice(&text).unwrap_or_default();
            line.insert(key.to_owned(), value);
        }
        Err(failure) => {
            line.insert("error".to_owned(), failure.into_text().into());
        }
    }
    (json::text(&line.into()) + "\n").into_bytes()
}
