//! The multicast groups of rtnetlink, as the command line names them.

use netlink_remote::{Group, Protocol};

/// The groups of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups(pub(super) Vec<Group>);

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

/// All groups that have a name and, in current kernels, events.
pub(super) fn all() -> impl Iterator<Item = Group> {
    named().map(|(group, _)| group)
}

/// The groups of [`all`] with their names, such as `ipv4-route` of `RTNLGRP_IPV4_ROUTE`.
fn named() -> impl Iterator<Item = (Group, String)> {
    Protocol::ROUTE.groups().iter().filter_map(|(group, name)| {
        let name = name.strip_prefix("RTNLGRP_")?;
        let has_events = !name.starts_with("DECnet") && !name.starts_with("NOP");
        has_events.then(|| (*group, name.to_ascii_lowercase().replace('_', "-")))
    })
}

/// The name of a group; the number of one without a name.
pub(super) fn name(group: Group) -> String {
    let found = named().find(|(named, _)| *named == group);
    found.map_or_else(|| group.to_string(), |(_, name)| name)
}

/// Parses the name or number of a group, or an object.
pub(super) fn parse(text: &str) -> Result<Groups, String> {
    let wanted = text.to_ascii_lowercase().replace('_', "-");
    let wanted = wanted.strip_prefix("rtnlgrp-").unwrap_or(&wanted);
    if let Some((_, groups)) = OBJECTS.iter().find(|(name, _)| *name == wanted) {
        return Ok(Groups(groups.to_vec()));
    }
    if let Some((group, _)) = named().find(|(_, name)| name == wanted) {
        return Ok(Groups(vec![group]));
    }
    match wanted.parse() {
        Ok(number @ 1..) => Ok(Groups(vec![Group::new(number)])),
        _ => {
            let objects = OBJECTS.iter().map(|(name, _)| (*name).to_owned());
            let known: Vec<_> = named().map(|(_, name)| name).chain(objects).collect();
            Err(format!("expected a group: {}, or a number", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_objects_and_numbers() {
        let groups = |text| {
            let numbers = |groups: Groups| groups.0.into_iter().map(Group::number).collect();
            parse(text).map(numbers)
        };
        assert_eq!(groups("link"), Ok(vec![1]));
        assert_eq!(groups("ipv6-route"), Ok(vec![11]));
        assert_eq!(groups("RTNLGRP_IPV6_ROUTE"), Ok(vec![11]));
        assert_eq!(groups("route"), Ok(vec![7, 11, 27]));
        assert_eq!(groups("35"), Ok(vec![35]));
        assert_eq!(groups("400"), Ok(vec![400]));
        for wrong in ["", "0", "-1", "nosuch", "link,addr", "decnet-route", "nop2"] {
            let error = groups(wrong).unwrap_err();
            assert!(error.contains("ipv4-ifaddr") && error.contains("addr"), "{error}");
        }
        assert_eq!(name(Group::IPV4_ROUTE), "ipv4-route");
        assert_eq!(name(Group::new(400)), "400");
        assert_eq!(all().count(), 34);
    }
}
