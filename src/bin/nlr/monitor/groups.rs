//! Multicast groups, as the command line names them.

use netlink_remote::{Group, Protocol, monitor::Subscription};

/// The groups of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups(pub(super) Subscription);

#[cfg(feature = "nats")]
impl Groups {
    pub(crate) fn subscription(&self) -> Subscription {
        self.0.clone()
    }
}

/// The objects of `ip monitor` that are no group, or more than the group of that name.
const OBJECTS: &[(&str, &[Group])] = &[
    ("addr", &[Group::IPV4_IFADDR, Group::IPV6_IFADDR]),
    ("address", &[Group::IPV4_IFADDR, Group::IPV6_IFADDR]),
    ("route", &[Group::IPV4_ROUTE, Group::IPV6_ROUTE, Group::MPLS_ROUTE]),
    ("rule", &[Group::IPV4_RULE, Group::IPV6_RULE]),
    ("mroute", &[Group::IPV4_MROUTE, Group::IPV6_MROUTE]),
    ("netconf", &[Group::IPV4_NETCONF, Group::IPV6_NETCONF, Group::MPLS_NETCONF]),
    ("prefix", &[Group::IPV6_PREFIX]),
    ("maddr", &[Group::IPV4_MCADDR, Group::IPV6_MCADDR]),
    ("vlan", &[Group::BRVLAN]),
];

/// Protocols by the names of the command line, with what the kernel's names of their groups begin with.
const PROTOCOLS: &[(&str, Protocol, &str)] = &[
    ("route", Protocol::ROUTE, "RTNLGRP_"),
    ("netfilter", Protocol::NETFILTER, "NFNLGRP_"),
    ("xfrm", Protocol::XFRM, "XFRMNLGRP_"),
    ("audit", Protocol::AUDIT, "AUDIT_NLGRP_"),
    ("sock-diag", Protocol::SOCK_DIAG, "SKNLGRP_"),
    ("selinux", Protocol::SELINUX, "SELNLGRP_"),
    ("connector", Protocol::CONNECTOR, "CN_IDX_"),
    ("uevent", Protocol::KOBJECT_UEVENT, "KOBJECT_"),
    ("generic", Protocol::GENERIC, ""),
];

/// The name of a protocol on the command line and in events; the kernel's, or its number, for others.
pub(super) fn protocol_name(protocol: Protocol) -> String {
    let known = PROTOCOLS.iter().find(|(_, known, _)| *known == protocol);
    known.map_or_else(|| protocol.to_string(), |(name, ..)| (*name).to_owned())
}

/// The groups of a protocol that have a name and, in current kernels, events.
fn named(protocol: Protocol, prefix: &str) -> impl Iterator<Item = (Group, String)> {
    protocol.groups().iter().filter_map(move |(group, name)| {
        let name = name.strip_prefix(prefix)?;
        let has_events = !name.starts_with("DECnet") && !name.starts_with("NOP");
        has_events.then(|| (*group, name.to_ascii_lowercase().replace('_', "-")))
    })
}

/// The groups of rtnetlink.
fn of_route() -> impl Iterator<Item = (Group, String)> {
    named(Protocol::ROUTE, "RTNLGRP_")
}

/// Every group of rtnetlink that the kernel has and permits.
pub(crate) fn all() -> Subscription {
    Subscription::new(Protocol::ROUTE).groups(of_route().map(|(group, _)| group)).lenient()
}

/// The name of a group of a protocol; its number where it has none.
pub(super) fn name(protocol: Protocol, group: Group) -> String {
    let prefix = PROTOCOLS.iter().find(|(_, known, _)| *known == protocol);
    let mut found = prefix.into_iter().flat_map(|(_, protocol, prefix)| named(*protocol, prefix));
    let found = found.find(|(named, _)| *named == group);
    found.map_or_else(|| group.to_string(), |(_, name)| name)
}

/// Parses a group: of rtnetlink its name or number or an object of ip, of other protocols
/// `PROTOCOL[:GROUP]`, and of generic netlink `generic:FAMILY[:GROUP]`.
pub(crate) fn parse(text: &str) -> Result<Groups, String> {
    let wanted = text.to_ascii_lowercase().replace('_', "-");
    if let Some(rest) = text.strip_prefix("generic:") {
        let (family, group) = match rest.split_once(':') {
            Some((family, group)) => (family, Some(group)),
            None => (rest, None),
        };
        return match (family, group) {
            ("", _) | (_, Some("")) => {
                Err("expected generic:FAMILY or generic:FAMILY:GROUP".into())
            }
            (family, group) => Ok(Groups(Subscription::generic(family, group))),
        };
    }
    let (protocol, group) = match wanted.split_once(':') {
        Some((protocol, group)) => (protocol, Some(group)),
        None => (wanted.as_str(), None),
    };
    let protocol = protocol.strip_prefix("netlink-").unwrap_or(protocol);
    let known = PROTOCOLS.iter().find(|(name, ..)| *name == protocol);
    match (known, group) {
        // The objects of ip have names of their own.
        (Some(("route", ..)), None) | (None, None) => route(&wanted),
        (Some(("route", ..)), Some(group)) => route(group),
        (Some(("generic", ..)), _) => Err("expected generic:FAMILY or generic:FAMILY:GROUP".into()),
        // Its one group, which has no name.
        (Some(("uevent", protocol, _)), None) => {
            Ok(Groups(Subscription::new(*protocol).group(Group::KOBJECT_UEVENT)))
        }
        (Some((_, protocol, _)), None) => Ok(Groups(Subscription::every_group(*protocol))),
        (Some((name, protocol, prefix)), Some(group)) => {
            let wanted = group.strip_prefix(&prefix.to_ascii_lowercase().replace('_', "-"));
            let wanted = wanted.unwrap_or(group);
            let found = named(*protocol, prefix).find(|(_, name)| name == wanted);
            let found = found.map(|(group, _)| group).or_else(|| number(wanted));
            let found = found.ok_or_else(|| {
                let known: Vec<_> = named(*protocol, prefix).map(|(_, name)| name).collect();
                format!("expected a group of {name}: {}, or a number", known.join(", "))
            })?;
            Ok(Groups(Subscription::new(*protocol).group(found)))
        }
        (None, Some(group)) => match (protocol.parse::<u32>(), number(group)) {
            (Ok(protocol), Some(group)) => Ok(Groups(Subscription::new(protocol).group(group))),
            _ => {
                let known: Vec<_> = PROTOCOLS.iter().map(|(name, ..)| *name).collect();
                Err(format!(
                    "expected PROTOCOL:GROUP with one of the protocols {}, or two numbers",
                    known.join(", ")
                ))
            }
        },
    }
}

fn number(text: &str) -> Option<Group> {
    text.parse().ok().filter(|number| *number > 0_u32).map(Group::new)
}

/// A group of rtnetlink, or an object.
fn route(wanted: &str) -> Result<Groups, String> {
    let subscription = Subscription::new(Protocol::ROUTE);
    let wanted = wanted.strip_prefix("rtnlgrp-").unwrap_or(wanted);
    if let Some((_, groups)) = OBJECTS.iter().find(|(name, _)| *name == wanted) {
        return Ok(Groups(subscription.groups(groups.iter().copied())));
    }
    let found = of_route().find(|(_, name)| name == wanted).map(|(group, _)| group);
    if let Some(group) = found.or_else(|| number(wanted)) {
        return Ok(Groups(subscription.group(group)));
    }
    let objects = OBJECTS.iter().map(|(name, _)| (*name).to_owned());
    let known: Vec<_> = of_route().map(|(_, name)| name).chain(objects).collect();
    let protocols: Vec<_> = PROTOCOLS.iter().skip(1).map(|(name, ..)| *name).collect();
    Err(format!(
        "expected a group: {}, or a number; or one of another protocol, as in netfilter:nftables: {}",
        known.join(", "),
        protocols.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_objects_and_numbers() {
        let groups = |text| {
            let numbers = |groups: Groups| groups.0.groups.into_iter().map(Group::number).collect();
            parse(text).map(numbers)
        };
        assert_eq!(groups("link"), Ok(vec![1]));
        assert_eq!(groups("ipv6-route"), Ok(vec![11]));
        assert_eq!(groups("RTNLGRP_IPV6_ROUTE"), Ok(vec![11]));
        assert_eq!(groups("route"), Ok(vec![7, 11, 27]));
        assert_eq!(groups("route:link"), Ok(vec![1]));
        assert_eq!(groups("35"), Ok(vec![35]));
        assert_eq!(groups("400"), Ok(vec![400]));
        for wrong in ["", "0", "-1", "nosuch", "link,addr", "decnet-route", "nop2"] {
            let error = groups(wrong).unwrap_err();
            assert!(error.contains("ipv4-ifaddr") && error.contains("addr"), "{error}");
        }
        assert_eq!(name(Protocol::ROUTE, Group::IPV4_ROUTE), "ipv4-route");
        assert_eq!(name(Protocol::ROUTE, Group::new(400)), "400");
        assert_eq!(all().groups.len(), 34);
    }

    #[test]
    fn other_protocols_are_named() {
        let of = |text: &str| {
            let Groups(subscription) = parse(text).unwrap();
            let groups: Vec<_> = subscription.groups.iter().map(|group| group.number()).collect();
            (subscription.protocol, groups, subscription.is_lenient)
        };
        assert_eq!(of("netfilter:nftables"), (Protocol::NETFILTER, vec![7], false));
        assert_eq!(of("netfilter:conntrack-new"), (Protocol::NETFILTER, vec![1], false));
        assert_eq!(of("netfilter:NFNLGRP_NFTABLES"), (Protocol::NETFILTER, vec![7], false));
        assert_eq!(of("xfrm:sa"), (Protocol::XFRM, vec![3], false));
        assert_eq!(of("uevent").0, Protocol::KOBJECT_UEVENT);
        assert!(of("xfrm").1.len() > 3 && of("xfrm").2);
        assert_eq!(of("16:5"), (Protocol::GENERIC, vec![5], false));
        let Groups(generic) = parse("generic:nlctrl:notify").unwrap();
        assert_eq!(generic.generic, [("nlctrl".to_owned(), Some("notify".to_owned()))]);
        for wrong in ["generic", "generic:", "generic:x:", "netfilter:nosuch", "nosuch:1", "16:0"] {
            assert!(parse(wrong).unwrap_err().starts_with("expected"), "{wrong}");
        }
        assert_eq!(protocol_name(Protocol::KOBJECT_UEVENT), "uevent");
        assert_eq!(name(Protocol::NETFILTER, Group::NFNL_NFTABLES), "nftables");
    }
}
