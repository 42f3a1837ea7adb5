//! A unix socket on which `nlr serve` listens.

#![forbid(unsafe_code)]

use std::{io::ErrorKind as IoErrorKind, path::Path};

use tokio::net::UnixStream;

use crate::{Error, ErrorKind};

/// Connects to a listening stub.
///
/// # Errors
/// [`ErrorKind::Connect`] with the errno: ENOENT or ECONNREFUSED where nobody listens, EACCES
/// where the file's mode does not allow it.
pub async fn connect(path: &Path) -> Result<UnixStream, Error> {
    UnixStream::connect(path).await.map_err(|error| {
        let path = path.display();
        let remedy = match error.kind() {
            IoErrorKind::NotFound | IoErrorKind::ConnectionRefused => {
                format!("; start `nlr serve unix:{path}` there")
            }
            IoErrorKind::PermissionDenied => "; only its owner may connect".to_owned(),
            _ => String::new(),
        };
        let error = Error::io(ErrorKind::Connect, format_args!("connecting to {path}"), &error);
        error.followed_by(&remedy)
    })
}
