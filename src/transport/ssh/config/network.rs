//! Addresses: of this machine, and in their short forms.

use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::getifaddrs;

use crate::text::escaped;

/// An IPv4 address in one of the forms of inet_aton(3) that are no dotted quad: `127.1`,
/// `0x7f000001`, `010.0.0.1`. ssh has it in the usual form in all that it looks up.
pub(super) fn short_ipv4(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| -> Option<u32> {
        let lower = part.to_ascii_lowercase();
        let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) if !digits.is_empty() => (digits, 8),
            _ => (lower.as_str(), 10),
        };
        let is_number = digits.bytes().all(|byte| char::from(byte).is_digit(radix));
        u32::from_str_radix(digits, radix).ok().filter(|_| is_number)
    };
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    // The last part fills all bytes that are left.
    let bits = 32 - 8 * u32::try_from(bytes.len()).ok()?;
    if bits < 32 && *last >> bits != 0 {
        return None;
    }
    let high = bytes.iter().zip([24, 16, 8]).fold(0, |high, (byte, shift)| high | byte << shift);
    Some(Ipv4Addr::from_bits(high | last))
}

/// Whether this machine has an address in one of the networks of a list, as `Match localnetwork`
/// asks: `192.0.2.0/24,2001:db8::/32`. An address counts while its interface is up, and outside of
/// loopback.
pub(super) fn is_in_network(list: &str) -> Result<bool, String> {
    let networks = list.split(',').map(parse_network).collect::<Result<Vec<_>, _>>()?;
    let addresses = getifaddrs().map_err(|errno| format!("this machine's addresses: {errno}"))?;
    let up = addresses.filter(|entry| {
        use nix::net::if_::InterfaceFlags as Flags;
        entry.flags.contains(Flags::IFF_UP) && !entry.flags.contains(Flags::IFF_LOOPBACK)
    });
    let mut own = up.filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    Ok(own.any(|address| networks.iter().any(|network| contains(*network, address))))
}

fn parse_network(text: &str) -> Result<(IpAddr, u32), String> {
    let invalid = || format!("{} is no network: write 192.0.2.0/24", escaped(text));
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(most), str::parse).map_err(|_| invalid())?;
    if length > most { Err(invalid()) } else { Ok((address, length)) }
}

fn contains((network, length): (IpAddr, u32), address: IpAddr) -> bool {
    let same = |left: u128, right: u128, bits: u32| {
        (left ^ right).checked_shr(bits - length).unwrap_or(0) == 0
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            same(network.to_bits().into(), address.to_bits().into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            same(network.to_bits(), address.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_of_addresses() {
        for (text, expected) in [
            ("127.1", Some([127, 0, 0, 1])),
            ("0x7f.1", Some([127, 0, 0, 1])),
            ("2130706433", Some([127, 0, 0, 1])),
            ("1.2.3", Some([1, 2, 0, 3])),
            ("1.2.772", Some([1, 2, 3, 4])),
            ("0", Some([0, 0, 0, 0])),
            ("010.0.0.1", Some([8, 0, 0, 1])),
            ("4294967295", Some([255, 255, 255, 255])),
            ("4294967296", None),
            ("1.2.3.4.5", None),
            ("256.1.1.1", None),
            ("1.2.3.256", None),
            ("1.2.65536", None),
            ("09.1", None),
            ("0x", None),
            ("127.0.0.1.", None),
            ("1..2", None),
            ("+1", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(short_ipv4(text), expected.map(Ipv4Addr::from), "{text}");
        }
    }

    #[test]
    fn networks() {
        let holds = |network: &str, address: &str| {
            contains(parse_network(network).unwrap(), address.parse().unwrap())
        };
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && holds("::/0", "::1") && !holds("::/0", "1.2.3.4"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::1", "2001:db8::2"));
        for text in ["", "a", "1.2.3.4/33", "1.2.3/8", "::/129", "1.2.3.4/-1", "1.2.3.4/"] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
