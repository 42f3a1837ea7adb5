//! Files of ssh's, read up to a bound: a device or a mistaken path may have no end.

use std::io::{self, Read};

use crate::limits::client::SSH_FILE;

/// The content of a file.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for more than [`SSH_FILE`] bytes; the words name the bound.
pub(super) fn read(file: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(SSH_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > SSH_FILE {
        let text = format!("it has more than {} MiB", SSH_FILE >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(content)
}
