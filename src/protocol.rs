//! Netlink protocols and multicast groups, by the kernel's names.

#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

/// A netlink protocol: the kernel subsystem at the other end of a socket (`NETLINK_*` of
/// `linux/netlink.h`).
///
/// Displays as the kernel names it, or as its number where this crate knows no name.
///
/// Conversions take the integer types in which libc, netlink-sys and other crates declare these
/// constants. A number that is negative or too large becomes `u32::MAX`: no kernel has that
/// protocol, and opening the socket fails with EPROTONOSUPPORT.
///
/// ```
/// use netlink_remote::Protocol;
///
/// assert_eq!(Protocol::from(netlink_sys::protocols::NETLINK_GENERIC), Protocol::GENERIC);
/// assert_eq!(Protocol::GENERIC.to_string(), "NETLINK_GENERIC");
/// assert_eq!(Protocol::new(29).to_string(), "29");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(u32);

/// A multicast group of a netlink protocol: an events' channel that a socket joins.
///
/// The same number is another group in another protocol, so [`name`](Self::name) takes the
/// protocol, and `{}` prints the number. The constants follow the kernel's:
///
/// | protocol | the kernel's name | here |
/// |---|---|---|
/// | [`ROUTE`](Protocol::ROUTE) | `RTNLGRP_LINK` | [`Group::LINK`] |
/// | [`NETFILTER`](Protocol::NETFILTER) | `NFNLGRP_NFTABLES` | [`Group::NFNL_NFTABLES`] |
/// | [`XFRM`](Protocol::XFRM) | `XFRMNLGRP_SA` | [`Group::XFRM_SA`] |
/// | [`SOCK_DIAG`](Protocol::SOCK_DIAG) | `SKNLGRP_INET_TCP_DESTROY` | [`Group::SK_INET_TCP_DESTROY`] |
/// | [`AUDIT`](Protocol::AUDIT) | `AUDIT_NLGRP_READLOG` | [`Group::AUDIT_READLOG`] |
/// | [`SELINUX`](Protocol::SELINUX) | `SELNLGRP_AVC` | [`Group::SELINUX_AVC`] |
/// | [`CONNECTOR`](Protocol::CONNECTOR) | `CN_IDX_PROC` | [`Group::CONNECTOR_PROC`] |
/// | [`KOBJECT_UEVENT`](Protocol::KOBJECT_UEVENT) | none | [`Group::KOBJECT_UEVENT`] |
///
/// Families of [`GENERIC`](Protocol::GENERIC) get their groups' numbers from the running kernel:
/// ask its controller (`CTRL_CMD_GETFAMILY`) and pass the number to [`Group::new`].
///
/// Conversions take any integer type of such constants. A number that is negative or too large
/// becomes `u32::MAX`: no protocol has that group, and joining it fails with EINVAL.
///
/// ```
/// use netlink_remote::{Group, Protocol};
///
/// assert_eq!(Group::from(1_u8), Group::LINK);
/// assert_eq!(Group::LINK.name(Protocol::ROUTE), Some("RTNLGRP_LINK"));
/// assert_eq!(Group::LINK.name(Protocol::NETFILTER), Some("NFNLGRP_CONNTRACK_NEW"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(u32);

/// Declares the constants of a type, and a table of their names.
macro_rules! constants {
    ($type:ident, $table:ident: $($constant:ident = $number:literal $name:literal $doc:literal;)*) => {
        impl $type {
            $(
                #[doc = concat!("`", $name, "`", $doc)]
                pub const $constant: Self = Self($number);
            )*
        }

        const $table: &[($type, &str)] = &[$(($type($number), $name)),*];
    };
}

constants! { Protocol, PROTOCOLS:
    ROUTE = 0 "NETLINK_ROUTE" ": links, addresses, routes, rules, neighbours, queueing disciplines; rtnetlink(7).";
    UNUSED = 1 "NETLINK_UNUSED" ", which no subsystem has.";
    USERSOCK = 2 "NETLINK_USERSOCK" ": between processes of one network namespace.";
    FIREWALL = 3 "NETLINK_FIREWALL" ": formerly ip_queue.";
    SOCK_DIAG = 4 "NETLINK_SOCK_DIAG" ": sockets; sock_diag(7). Also called `NETLINK_INET_DIAG`.";
    NFLOG = 5 "NETLINK_NFLOG" ": formerly ULOG.";
    XFRM = 6 "NETLINK_XFRM" ": IPsec's states and policies.";
    SELINUX = 7 "NETLINK_SELINUX" ": events of SELinux.";
    ISCSI = 8 "NETLINK_ISCSI" ": Open-iSCSI.";
    AUDIT = 9 "NETLINK_AUDIT" ": auditing.";
    FIB_LOOKUP = 10 "NETLINK_FIB_LOOKUP" ": look-ups in the IPv4 routing tables.";
    CONNECTOR = 11 "NETLINK_CONNECTOR" ": the kernel connector, with process events.";
    NETFILTER = 12 "NETLINK_NETFILTER" ": nf_tables, connection tracking, queues and logs.";
    IP6_FW = 13 "NETLINK_IP6_FW" ": formerly ip6_queue.";
    DNRTMSG = 14 "NETLINK_DNRTMSG" ": formerly DECnet's routing.";
    KOBJECT_UEVENT = 15 "NETLINK_KOBJECT_UEVENT" ": devices that come and go.";
    GENERIC = 16 "NETLINK_GENERIC" ": generic netlink, with families such as ethtool, nl80211 and wireguard.";
    SCSITRANSPORT = 18 "NETLINK_SCSITRANSPORT" ": SCSI transports.";
    ECRYPTFS = 19 "NETLINK_ECRYPTFS" ": eCryptfs.";
    RDMA = 20 "NETLINK_RDMA" ": RDMA devices.";
    CRYPTO = 21 "NETLINK_CRYPTO" ": the kernel's algorithms.";
    SMC = 22 "NETLINK_SMC" ": SMC sockets.";
}

constants! { Group, RTNL:
    LINK = 1 "RTNLGRP_LINK" ".";
    NOTIFY = 2 "RTNLGRP_NOTIFY" ".";
    NEIGH = 3 "RTNLGRP_NEIGH" ".";
    TC = 4 "RTNLGRP_TC" ".";
    IPV4_IFADDR = 5 "RTNLGRP_IPV4_IFADDR" ".";
    IPV4_MROUTE = 6 "RTNLGRP_IPV4_MROUTE" ".";
    IPV4_ROUTE = 7 "RTNLGRP_IPV4_ROUTE" ".";
    IPV4_RULE = 8 "RTNLGRP_IPV4_RULE" ".";
    IPV6_IFADDR = 9 "RTNLGRP_IPV6_IFADDR" ".";
    IPV6_MROUTE = 10 "RTNLGRP_IPV6_MROUTE" ".";
    IPV6_ROUTE = 11 "RTNLGRP_IPV6_ROUTE" ".";
    IPV6_IFINFO = 12 "RTNLGRP_IPV6_IFINFO" ".";
    DECNET_IFADDR = 13 "RTNLGRP_DECnet_IFADDR" ", without events since Linux 6.1.";
    NOP2 = 14 "RTNLGRP_NOP2" ", without events.";
    DECNET_ROUTE = 15 "RTNLGRP_DECnet_ROUTE" ", without events since Linux 6.1.";
    DECNET_RULE = 16 "RTNLGRP_DECnet_RULE" ", without events since Linux 6.1.";
    NOP4 = 17 "RTNLGRP_NOP4" ", without events.";
    IPV6_PREFIX = 18 "RTNLGRP_IPV6_PREFIX" ".";
    IPV6_RULE = 19 "RTNLGRP_IPV6_RULE" ".";
    ND_USEROPT = 20 "RTNLGRP_ND_USEROPT" ".";
    PHONET_IFADDR = 21 "RTNLGRP_PHONET_IFADDR" ".";
    PHONET_ROUTE = 22 "RTNLGRP_PHONET_ROUTE" ".";
    DCB = 23 "RTNLGRP_DCB" ".";
    IPV4_NETCONF = 24 "RTNLGRP_IPV4_NETCONF" ".";
    IPV6_NETCONF = 25 "RTNLGRP_IPV6_NETCONF" ".";
    MDB = 26 "RTNLGRP_MDB" ".";
    MPLS_ROUTE = 27 "RTNLGRP_MPLS_ROUTE" ".";
    NSID = 28 "RTNLGRP_NSID" ".";
    MPLS_NETCONF = 29 "RTNLGRP_MPLS_NETCONF" ".";
    IPV4_MROUTE_R = 30 "RTNLGRP_IPV4_MROUTE_R" ". To join it takes CAP_NET_ADMIN.";
    IPV6_MROUTE_R = 31 "RTNLGRP_IPV6_MROUTE_R" ". To join it takes CAP_NET_ADMIN.";
    NEXTHOP = 32 "RTNLGRP_NEXTHOP" ".";
    BRVLAN = 33 "RTNLGRP_BRVLAN" ".";
    MCTP_IFADDR = 34 "RTNLGRP_MCTP_IFADDR" ".";
    TUNNEL = 35 "RTNLGRP_TUNNEL" ".";
    STATS = 36 "RTNLGRP_STATS" ".";
    IPV4_MCADDR = 37 "RTNLGRP_IPV4_MCADDR" ".";
    IPV6_MCADDR = 38 "RTNLGRP_IPV6_MCADDR" ".";
    IPV6_ACADDR = 39 "RTNLGRP_IPV6_ACADDR" ".";
}

constants! { Group, NFNL:
    NFNL_CONNTRACK_NEW = 1 "NFNLGRP_CONNTRACK_NEW" ", of [`Protocol::NETFILTER`].";
    NFNL_CONNTRACK_UPDATE = 2 "NFNLGRP_CONNTRACK_UPDATE" ", of [`Protocol::NETFILTER`].";
    NFNL_CONNTRACK_DESTROY = 3 "NFNLGRP_CONNTRACK_DESTROY" ", of [`Protocol::NETFILTER`].";
    NFNL_CONNTRACK_EXP_NEW = 4 "NFNLGRP_CONNTRACK_EXP_NEW" ", of [`Protocol::NETFILTER`].";
    NFNL_CONNTRACK_EXP_UPDATE = 5 "NFNLGRP_CONNTRACK_EXP_UPDATE" ", of [`Protocol::NETFILTER`].";
    NFNL_CONNTRACK_EXP_DESTROY = 6 "NFNLGRP_CONNTRACK_EXP_DESTROY" ", of [`Protocol::NETFILTER`].";
    NFNL_NFTABLES = 7 "NFNLGRP_NFTABLES" ", of [`Protocol::NETFILTER`].";
    NFNL_ACCT_QUOTA = 8 "NFNLGRP_ACCT_QUOTA" ", of [`Protocol::NETFILTER`].";
    NFNL_NFTRACE = 9 "NFNLGRP_NFTRACE" ", of [`Protocol::NETFILTER`].";
}

constants! { Group, XFRM:
    XFRM_ACQUIRE = 1 "XFRMNLGRP_ACQUIRE" ", of [`Protocol::XFRM`].";
    XFRM_EXPIRE = 2 "XFRMNLGRP_EXPIRE" ", of [`Protocol::XFRM`].";
    XFRM_SA = 3 "XFRMNLGRP_SA" ", of [`Protocol::XFRM`].";
    XFRM_POLICY = 4 "XFRMNLGRP_POLICY" ", of [`Protocol::XFRM`].";
    XFRM_AEVENTS = 5 "XFRMNLGRP_AEVENTS" ", of [`Protocol::XFRM`].";
    XFRM_REPORT = 6 "XFRMNLGRP_REPORT" ", of [`Protocol::XFRM`].";
    XFRM_MIGRATE = 7 "XFRMNLGRP_MIGRATE" ", of [`Protocol::XFRM`].";
    XFRM_MAPPING = 8 "XFRMNLGRP_MAPPING" ", of [`Protocol::XFRM`].";
}

constants! { Group, SOCK_DIAG:
    SK_INET_TCP_DESTROY = 1 "SKNLGRP_INET_TCP_DESTROY" ", of [`Protocol::SOCK_DIAG`].";
    SK_INET_UDP_DESTROY = 2 "SKNLGRP_INET_UDP_DESTROY" ", of [`Protocol::SOCK_DIAG`].";
    SK_INET6_TCP_DESTROY = 3 "SKNLGRP_INET6_TCP_DESTROY" ", of [`Protocol::SOCK_DIAG`].";
    SK_INET6_UDP_DESTROY = 4 "SKNLGRP_INET6_UDP_DESTROY" ", of [`Protocol::SOCK_DIAG`].";
}

constants! { Group, AUDIT:
    AUDIT_READLOG = 1 "AUDIT_NLGRP_READLOG" ", of [`Protocol::AUDIT`].";
}

constants! { Group, SELINUX:
    SELINUX_AVC = 1 "SELNLGRP_AVC" ", of [`Protocol::SELINUX`].";
}

constants! { Group, CONNECTOR:
    CONNECTOR_PROC = 1 "CN_IDX_PROC" ", of [`Protocol::CONNECTOR`].";
}

impl Protocol {
    /// The protocol of a number, known to this crate or not.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, as socket(2) takes it.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The kernel's name, such as `NETLINK_ROUTE`.
    pub fn name(self) -> Option<&'static str> {
        PROTOCOLS.iter().find(|(known, _)| *known == self).map(|(_, name)| *name)
    }

    /// The groups whose numbers the kernel's headers fix, with the kernel's names; none for other
    /// protocols.
    pub const fn groups(self) -> &'static [(Group, &'static str)] {
        match self {
            Self::ROUTE => RTNL,
            Self::NETFILTER => NFNL,
            Self::XFRM => XFRM,
            Self::SOCK_DIAG => SOCK_DIAG,
            Self::AUDIT => AUDIT,
            Self::SELINUX => SELINUX,
            Self::CONNECTOR => CONNECTOR,
            _ => &[],
        }
    }
}

/// The error of a text that names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the name of a netlink protocol, such as `route` or `NETLINK_SOCK_DIAG`, or its number"
)]
pub struct UnknownProtocol;

/// The kernel's name, with or without `NETLINK_`, in either case; or a number.
impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let is_it = |name: &str| {
            let short = name.strip_prefix("NETLINK_").unwrap_or(name);
            name.eq_ignore_ascii_case(text) || short.eq_ignore_ascii_case(text)
        };
        let named = PROTOCOLS.iter().find(|(_, name)| is_it(name)).map(|(known, _)| *known);
        named.or_else(|| text.parse().ok().map(Self)).ok_or(UnknownProtocol)
    }
}

impl Group {
    /// The kernel's own events of [`Protocol::KOBJECT_UEVENT`]; udev sends to group 2.
    pub const KOBJECT_UEVENT: Self = Self(1);

    /// The group of a number, which is at least 1.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, as `NETLINK_ADD_MEMBERSHIP` takes it: not a bit of `sockaddr_nl`'s mask.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The kernel's name for this group of a protocol, such as `RTNLGRP_LINK`.
    pub fn name(self, protocol: Protocol) -> Option<&'static str> {
        protocol.groups().iter().find(|(known, _)| *known == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol({self})")
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({self})")
    }
}

/// Conversions from the integer types that declare such constants.
macro_rules! conversions {
    ($type:ident: $($lossless:ident)* | $($checked:ident)*) => {
        $(
            impl From<$lossless> for $type {
                fn from(number: $lossless) -> Self {
                    Self(number.into())
                }
            }
        )*
        $(
            impl From<$checked> for $type {
                /// A number that is negative or too large becomes `u32::MAX`.
                fn from(number: $checked) -> Self {
                    Self(u32::try_from(number).unwrap_or(u32::MAX))
                }
            }
        )*

        impl From<$type> for u32 {
            fn from(value: $type) -> Self {
                value.0
            }
        }
    };
}

conversions! { Protocol: u8 u16 u32 | i32 i64 isize }
conversions! { Group: u8 u16 u32 | i32 i64 isize }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_fit_are_no_other_protocol() {
        assert_eq!(Protocol::from(0_u32), Protocol::ROUTE);
        assert_eq!(Protocol::from(16_isize), Protocol::GENERIC);
        assert_eq!(Protocol::from(12_i32), Protocol::NETFILTER);
        // All of these would be NETLINK_ROUTE or so if they wrapped.
        for number in [-1, i64::from(i32::MIN), 1 << 32, -(1 << 32), i64::MIN] {
            assert_eq!(Protocol::from(number).number(), u32::MAX, "{number}");
            assert_eq!(Group::from(number).number(), u32::MAX, "{number}");
        }
        assert_eq!(Protocol::from(-1_i32).number(), u32::MAX);
        assert_eq!(u32::from(Group::from(7_u16)), 7);
    }

    #[test]
    fn names_and_numbers_are_parsed() {
        for text in ["route", "NETLINK_ROUTE", "Route", "0"] {
            assert_eq!(text.parse(), Ok(Protocol::ROUTE), "{text}");
        }
        assert_eq!("sock_diag".parse(), Ok(Protocol::SOCK_DIAG));
        assert_eq!("77".parse(), Ok(Protocol::new(77)));
        for wrong in ["", "routes", "-1", "NETLINK_", "4294967296"] {
            assert_eq!(wrong.parse::<Protocol>(), Err(UnknownProtocol), "{wrong:?}");
        }
    }

    #[cfg(all(feature = "stub", feature = "rust-netlink"))]
    #[test]
    fn the_constants_of_other_crates_convert() {
        assert_eq!(Protocol::from(libc::NETLINK_KOBJECT_UEVENT), Protocol::KOBJECT_UEVENT);
        assert_eq!(Protocol::from(netlink_sys::protocols::NETLINK_XFRM), Protocol::XFRM);
        assert_eq!(Group::from(libc::NFNLGRP_NFTABLES), Group::NFNL_NFTABLES);
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(Protocol::ROUTE.to_string(), "NETLINK_ROUTE");
        assert_eq!(format!("{:?}", Protocol::new(77)), "Protocol(77)");
        assert_eq!(format!("{:>15}", Protocol::XFRM), "   NETLINK_XFRM");
        assert_eq!(Group::IPV6_ACADDR.name(Protocol::ROUTE), Some("RTNLGRP_IPV6_ACADDR"));
        assert_eq!(Group::new(40).name(Protocol::ROUTE), None);
        assert_eq!(Group::LINK.name(Protocol::GENERIC), None);
        assert_eq!(Group::XFRM_SA.name(Protocol::XFRM), Some("XFRMNLGRP_SA"));
        assert_eq!(
            (Group::LINK.to_string(), format!("{:?}", Group::LINK)),
            ("1".into(), "Group(1)".into())
        );
    }

    /// The words of a header's enum that begin so, in order and without the first, which is none.
    fn enumerated<'a>(header: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let words =
            header.lines().filter_map(|line| line.trim().split([',', ' ', '\t', '/']).next());
        words.filter(move |word| word.starts_with(prefix) && !word.ends_with("NONE"))
    }

    #[test]
    fn numbers_are_those_of_the_headers() {
        for (file, prefix, protocol) in [
            ("rtnetlink.h", "RTNLGRP_", Protocol::ROUTE),
            ("netfilter/nfnetlink.h", "NFNLGRP_", Protocol::NETFILTER),
            ("xfrm.h", "XFRMNLGRP_", Protocol::XFRM),
            ("sock_diag.h", "SKNLGRP_", Protocol::SOCK_DIAG),
            ("audit.h", "AUDIT_NLGRP_", Protocol::AUDIT),
            ("selinux_netlink.h", "SELNLGRP_", Protocol::SELINUX),
        ] {
            // A machine without the kernel's headers has nothing to compare with.
            let path = format!("/usr/include/linux/{file}");
            let Ok(header) = std::fs::read_to_string(path) else { continue };
            let words: Vec<&str> = enumerated(&header, prefix).collect();
            // An older header ends earlier.
            let known = protocol.groups().get(..words.len()).unwrap();
            for (number, ((group, name), word)) in known.iter().zip(words).enumerate() {
                assert_eq!((group.number() as usize, *name), (number + 1, word));
            }
        }
        let Ok(header) = std::fs::read_to_string("/usr/include/linux/netlink.h") else { return };
        for (protocol, name) in PROTOCOLS {
            let defined = header.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some("#define") && words.next() == Some(name))
                    .then(|| words.next())
            });
            assert_eq!(defined.flatten().unwrap().parse(), Ok(protocol.number()), "{name}");
        }
    }
}
