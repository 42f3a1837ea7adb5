//! Appends a key to a known_hosts file.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Mutex,
};

use super::line::{SALT_LEN, format, hashed};
use crate::sync::lock;

/// Held by the one thread of this process that looks and appends, so that each key is appended once.
static APPENDING: Mutex<()> = Mutex::new(());

/// Runs `work` while no other thread of this process appends.
pub(super) fn exclusively<T>(work: impl FnOnce() -> T) -> T {
    let _guard = lock(&APPENDING);
    work()
}

/// Appends a line in a single write, so that lines of other processes never mix with it. Creates
/// the file and its folders, for their owner alone.
pub(super) fn append(path: &Path, name: &str, key: &[u8], is_hashed: bool) -> io::Result<()> {
    let not_a_key = || io::Error::new(io::ErrorKind::InvalidData, "not a key");
    let name = if is_hashed {
        let mut salt = [0; SALT_LEN];
        File::open("/dev/urandom")?.read_exact(&mut salt)?;
        hashed(&salt, name).ok_or_else(not_a_key)?
    } else {
        name.to_owned()
    };
    let mut line = format(&name, key).ok_or_else(not_a_key)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if !is_at_line_start(&mut file)? {
        line.insert(0, '\n');
    }
    match file.write(line.as_bytes())? {
        written if written == line.len() => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::WriteZero, "no more space")),
    }
}

/// Whether appended text begins a line of its own.
fn is_at_line_start(file: &mut File) -> io::Result<bool> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
