//! The checksums of a stub.

use sha2::{Digest, Sha256};

/// SHA-256, as `sha256sum` prints it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The CRC of POSIX `cksum`, for a host without a program for SHA-256.
pub(crate) fn cksum(bytes: &[u8]) -> u32 {
    let table = table();
    let step = |crc: u32, byte: u8| -> u32 {
        let [first, ..] = crc.to_be_bytes();
        crc << 8 ^ table.get(usize::from(first ^ byte)).copied().unwrap_or_default()
    };
    let mut crc = bytes.iter().fold(0, |crc, byte| step(crc, *byte));
    // The length follows, low byte first, without its high zero bytes.
    let mut length = bytes.len();
    while length > 0 {
        crc = step(crc, length.to_le_bytes().first().copied().unwrap_or_default());
        length >>= 8;
    }
    !crc
}

/// The CRC of gzip (RFC 1952, section 8), bit by bit: a stub is packed once.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL }
        })
    })
}

fn table() -> [u32; 256] {
    let mut table = [0; 256];
    for (entry, byte) in table.iter_mut().zip(0_u32..) {
        *entry = (0..8).fold(byte << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
        });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_to_those_of_the_tools() {
        // printf '' | cksum, printf 123456789 | cksum, and 70,000 times "a".
        assert_eq!(cksum(b""), 4_294_967_295);
        // The check value of CRC-32.
        assert_eq!((crc32(b"123456789"), crc32(b"")), (0xcbf4_3926, 0));
        assert_eq!(cksum(b"123456789"), 930_766_865);
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), sum);
        let large = vec![b'a'; 70_000];
        use std::io::Write;
        let mut child = std::process::Command::new("cksum");
        child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&large).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(said.trim(), format!("{} 70000", cksum(&large)));
    }
}
