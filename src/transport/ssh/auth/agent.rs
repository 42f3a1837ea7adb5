//! The keys that an ssh agent holds (draft-miller-ssh-agent).
//!
//! The list of keys is requested here, so that an agent that hangs meets the step's deadline; libssh2
//! signs by the agent, on a thread, since it blocks.

use std::{io, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::transport::ssh::key_blob::take_string;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;

/// The most bytes read of an answer, as in OpenSSH.
const MAX_ANSWER: usize = 256 << 10;

/// The blobs of the agent's public keys.
pub(super) async fn keys(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut agent = UnixStream::connect(path).await?;
    agent.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).await?;
    let length = usize::try_from(agent.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_ANSWER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    agent.read_exact(&mut answer).await?;
    parse(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(answer: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (IDENTITIES_ANSWER, mut rest) = answer.split_first().map(|(kind, rest)| (*kind, rest))?
    else {
        return None;
    };
    let (count, after) = rest.split_first_chunk::<4>()?;
    rest = after;
    let mut keys = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        keys.push(take_string(&mut rest)?.to_vec());
        let _comment = take_string(&mut rest)?;
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_answer_is_refused() {
        let answer = [12, 0, 0, 0, 1, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, b'c'];
        assert_eq!(parse(&answer), Some(vec![b"ab".to_vec()]));
        for length in 0..answer.len() {
            assert_eq!(parse(&answer[..length]), None, "{length}");
        }
        assert_eq!(parse(&[5]), None);
        assert_eq!(parse(&[12, 255, 255, 255, 255]), None);
    }
}
