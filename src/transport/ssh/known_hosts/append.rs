//! Writes a new key down.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::line::{SALT, hashed, written};

/// Only one thread of this process looks and writes at a time, so that each key is written once.
static WRITING: Mutex<()> = Mutex::new(());

/// Does something while no other thread of this process writes.
pub(super) fn alone<T>(work: impl FnOnce() -> T) -> T {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Appends a line, in a single write: what other processes append is before or behind it.
pub(super) fn append(path: &Path, name: &str, key: &[u8], hash: bool) -> io::Result<()> {
    let not_a_key = || io::Error::new(io::ErrorKind::InvalidData, "not a key");
    let name = if hash {
        let mut salt = [0; SALT];
        File::open("/dev/urandom")?.read_exact(&mut salt)?;
        hashed(&salt, name).ok_or_else(not_a_key)?
    } else {
        name.to_owned()
    };
    let mut line = written(&name, key).ok_or_else(not_a_key)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if !ends_a_line(&mut file)? {
        line.insert(0, '\n');
    }
    match file.write(line.as_bytes())? {
        written if written == line.len() => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::WriteZero, "no more space")),
    }
}

/// Whether what is appended begins a line of its own.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
