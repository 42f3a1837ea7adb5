//! The keys in an agent.
//!
//! What the agent holds is asked for here, so that one that hangs is noticed; the signing is
//! libssh2's, on a thread, since it blocks.

use std::{io, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::keys::take_string;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;

/// As much as OpenSSH reads.
const LONGEST: usize = 256 << 10;

/// The public keys, as blobs.
pub(super) async fn keys(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut agent = UnixStream::connect(path).await?;
    agent.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).await?;
    let length = usize::try_from(agent.read_u32().await?).unwrap_or(usize::MAX);
    if length > LONGEST {
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
    fn answers_are_read_as_far_as_they_go() {
        let answer = [12, 0, 0, 0, 1, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, b'c'];
        assert_eq!(parse(&answer), Some(vec![b"ab".to_vec()]));
        for length in 0..answer.len() {
            assert_eq!(parse(&answer[..length]), None, "{length}");
        }
        assert_eq!(parse(&[5]), None);
        assert_eq!(parse(&[12, 255, 255, 255, 255]), None);
    }
}
