//! The notation of addresses, link types and numbers: character for character that of `ip`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::kernel_name;

/// `AF_INET`.
pub(crate) const AF_INET: u8 = 2;
/// `AF_BRIDGE`.
pub(crate) const AF_BRIDGE: u8 = 7;
/// `AF_INET6`.
pub(crate) const AF_INET6: u8 = 10;
/// `AF_PACKET`.
const AF_PACKET: u8 = 17;
/// `AF_MPLS`.
pub(crate) const AF_MPLS: u8 = 28;
/// `RTNL_FAMILY_IPMR`: IPv4 multicast routes.
const FAMILY_IPMR: u8 = 128;
/// `RTNL_FAMILY_IP6MR`: IPv6 multicast routes.
const FAMILY_IP6MR: u8 = 129;

/// A host address of a family.
pub(crate) fn host(family: u8, bytes: &[u8]) -> String {
    match family {
        AF_INET | FAMILY_IPMR => {
            bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).to_string())
        }
        AF_INET6 | FAMILY_IP6MR => {
            bytes.first_chunk::<16>().map(|octets| ipv6(Ipv6Addr::from(*octets)))
        }
        AF_MPLS => Some(mpls(bytes)),
        AF_PACKET => Some(hexadecimal(bytes, ":")),
        _ => None,
    }
    .unwrap_or_else(|| "???".to_owned())
}

/// An IPv6 address as glibc's `inet_ntop` writes it: other than by Rust, the last 32 bits of an
/// IPv4-compatible address have dots.
fn ipv6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = address.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => address.to_string(),
    }
}

/// A stack of MPLS labels, `100/200`.
pub(crate) fn mpls(bytes: &[u8]) -> String {
    let mut labels = Vec::new();
    for entry in bytes.as_chunks::<4>().0 {
        let entry = u32::from_be_bytes(*entry);
        labels.push((entry >> 12).to_string());
        if entry & 0x100 != 0 {
            break;
        }
    }
    labels.join("/")
}

/// The bits of a complete address of a family, -1 for a family without one.
pub(crate) fn host_bits(family: u8) -> i32 {
    match family {
        AF_INET | FAMILY_IPMR => 32,
        AF_INET6 | FAMILY_IP6MR => 128,
        AF_MPLS => 20,
        _ => -1,
    }
}

/// The name of an address family, `???` for one without a name in `ip`.
pub(crate) fn family(family: u8) -> &'static str {
    match family {
        AF_INET => "inet",
        AF_INET6 => "inet6",
        AF_PACKET => "link",
        AF_MPLS => "mpls",
        AF_BRIDGE => "bridge",
        _ => "???",
    }
}

/// A link-layer address. That of a tunnel is the IP address of its end.
pub(crate) fn link_address(bytes: &[u8], link_type: u16) -> String {
    match (bytes.len(), link_type) {
        (4, 768 | 776 | 778) => host(AF_INET, bytes),
        (16, 769 | 823) => host(AF_INET6, bytes),
        _ => hexadecimal(bytes, ":"),
    }
}

/// Bytes of a link-layer address or of the id of a port, at most (`MAX_ADDR_LEN`,
/// `MAX_PHYS_ITEM_ID_LEN`).
const LONGEST_ADDRESS: usize = 32;

/// The bytes of an address or id as hexadecimal pairs.
pub(crate) fn hexadecimal(bytes: &[u8], separator: &str) -> String {
    let pairs = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    kernel_name::cut(bytes, LONGEST_ADDRESS, |bytes| pairs(bytes).join(separator))
}

/// A number in C's `%#x`: zero has no `0x`.
pub(crate) fn prefixed_hexadecimal(number: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("{number:#x}") }
}

/// The name of a VLAN's Ethernet protocol.
pub(crate) fn vlan_protocol(protocol: u16) -> String {
    match protocol {
        0x8100 => "802.1Q".to_owned(),
        0x88a8 => "802.1ad".to_owned(),
        other => format!("[{other}]"),
    }
}

/// The name of a route type (`RTN_*`), or of a rule's action.
pub(crate) fn route_type(number: u8) -> String {
    const NAMES: [&str; 12] = [
        "none",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
        "xresolve",
    ];
    NAMES.get(usize::from(number)).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// The name of a hardware type (`ARPHRD_*`), `[N]` of one without a name.
pub(crate) fn link_type(number: u16) -> String {
    let name = match number {
        0 => "netrom",
        1 => "ether",
        2 => "eether",
        3 => "ax25",
        4 => "pronet",
        5 => "chaos",
        6 => "ieee802",
        7 => "arcnet",
        8 => "atalk",
        15 => "dlci",
        19 => "atm",
        23 => "metricom",
        24 => "ieee1394",
        32 => "infiniband",
        256 => "slip",
        257 => "cslip",
        258 => "slip6",
        259 => "cslip6",
        260 => "rsrvd",
        264 => "adapt",
        270 => "rose",
        271 => "x25",
        272 => "hwx25",
        280 => "can",
        512 => "ppp",
        513 => "hdlc",
        516 => "lapb",
        517 => "ddcmp",
        518 => "rawhdlc",
        768 => "ipip",
        769 => "tunnel6",
        770 => "frad",
        771 => "skip",
        772 => "loopback",
        773 => "ltalk",
        774 => "fddi",
        775 => "bif",
        776 => "sit",
        777 => "ip/ddp",
        778 => "gre",
        779 => "pimreg",
        780 => "hippi",
        781 => "ash",
        782 => "econet",
        783 => "irda",
        784 => "fcpp",
        785 => "fcal",
        786 => "fcpl",
        787..=799 => return format!("fcfb{}", number - 787),
        800 => "tr",
        801 => "ieee802.11",
        802 => "ieee802.11/prism",
        803 => "ieee802.11/radiotap",
        804 => "ieee802.15.4",
        805 => "ieee802.15.4/monitor",
        820 => "phonet",
        821 => "phonet_pipe",
        822 => "caif",
        823 => "gre6",
        824 => "netlink",
        825 => "6lowpan",
        0xfffe => "none",
        0xffff => "void",
        other => return format!("[{other}]"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{AF_INET6, AF_MPLS, host, prefixed_hexadecimal};
    use std::net::Ipv6Addr;

    #[test]
    fn ipv6_is_written_as_inet_ntop_does() {
        let cases =
            ["::", "::1", "::ffff", "::1.2.3.4", "::ffff:1.2.3.4", "2001:db8::1:0:0:1", "fe80::1"];
        for case in cases {
            let address: Ipv6Addr = case.parse().unwrap();
            assert_eq!(host(AF_INET6, &address.octets()), case);
        }
        assert_eq!(host(AF_INET6, &[1, 2]), "???");
    }

    #[test]
    fn labels_and_numbers() {
        assert_eq!(host(AF_MPLS, &[0, 6, 0x40, 0, 0, 0xc, 0x81, 0]), "100/200");
        assert_eq!(
            (prefixed_hexadecimal(0), prefixed_hexadecimal(255)),
            ("0".to_owned(), "0xff".to_owned())
        );
    }
}
