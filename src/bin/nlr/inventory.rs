//! Inventories: files of targets.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::failure::Failure;
use netlink_remote::{
    errno::words,
    fleet::{Entry, Inventory},
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
