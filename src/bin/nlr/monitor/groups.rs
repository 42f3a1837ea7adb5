//! The multicast groups of rtnetlink and their names.

/// The numbers of the groups of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups(pub(super) Vec<u32>);

/// `enum rtnetlink_groups` of linux/rtnetlink.h.
const NAMES: &[(&str, u32)] = &[
    ("link", 1),
    ("notify", 2),
    ("neigh", 3),
    ("tc", 4),
    ("ipv4-ifaddr", 5),
    ("ipv4-mroute", 6),
    ("ipv4-route", 7),
    ("ipv4-rule", 8),
    ("ipv6-ifaddr", 9),
    ("ipv6-mroute", 10),
    ("ipv6-route", 11),
    ("ipv6-ifinfo", 12),
    // 13 to 17 are those of DECnet, which is gone, and two unused numbers.
    ("ipv6-prefix", 18),
    ("ipv6-rule", 19),
    ("nd-useropt", 20),
    ("phonet-ifaddr", 21),
    ("phonet-route", 22),
    ("dcb", 23),
    ("ipv4-netconf", 24),
    ("ipv6-netconf", 25),
    ("mdb", 26),
    ("mpls-route", 27),
    ("nsid", 28),
    ("mpls-netconf", 29),
    ("ipv4-mroute-r", 30),
    ("ipv6-mroute-r", 31),
    ("nexthop", 32),
    ("brvlan", 33),
    ("mctp-ifaddr", 34),
    ("tunnel", 35),
    ("stats", 36),
    ("ipv4-mcaddr", 37),
    ("ipv6-mcaddr", 38),
    ("ipv6-acaddr", 39),
];

/// The objects of `ip monitor` that are no group, or more than the group of that name.
const OBJECTS: &[(&str, &[u32])] = &[
    ("addr", &[5, 9]),
    ("address", &[5, 9]),
    ("route", &[7, 11, 27]),
    ("rule", &[8, 19]),
    ("mroute", &[6, 10]),
    ("netconf", &[24, 25, 29]),
    ("prefix", &[18]),
    ("maddr", &[37, 38]),
    ("vlan", &[33]),
];

/// All groups with a name.
pub(super) fn all() -> impl Iterator<Item = u32> {
    NAMES.iter().map(|(_, number)| *number)
}

/// The name of a group; the number of one without a name.
pub(super) fn name(group: u32) -> String {
    let found = NAMES.iter().find(|(_, number)| *number == group);
    found.map_or_else(|| group.to_string(), |(name, _)| (*name).to_owned())
}

/// Parses the name or number of a group, or an object.
pub(super) fn parse(text: &str) -> Result<Groups, String> {
    let wanted = text.to_ascii_lowercase().replace('_', "-");
    let wanted = wanted.strip_prefix("rtnlgrp-").unwrap_or(&wanted);
    if let Some((_, numbers)) = OBJECTS.iter().find(|(name, _)| *name == wanted) {
        return Ok(Groups(numbers.to_vec()));
    }
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == wanted) {
        return Ok(Groups(vec![*number]));
    }
    match wanted.parse() {
        Ok(number @ 1..) => Ok(Groups(vec![number])),
        _ => {
            let objects = OBJECTS.iter().map(|(name, _)| *name);
            let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).chain(objects).collect();
            Err(format!("expected a group: {}, or a number", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_objects_and_numbers() {
        let groups = |text| parse(text).map(|groups| groups.0);
        assert_eq!(groups("link"), Ok(vec![1]));
        assert_eq!(groups("ipv6-route"), Ok(vec![11]));
        assert_eq!(groups("RTNLGRP_IPV6_ROUTE"), Ok(vec![11]));
        assert_eq!(groups("route"), Ok(vec![7, 11, 27]));
        assert_eq!(groups("35"), Ok(vec![35]));
        assert_eq!(groups("400"), Ok(vec![400]));
        for wrong in ["", "0", "-1", "nosuch", "link,addr"] {
            let error = groups(wrong).unwrap_err();
            assert!(error.contains("ipv4-ifaddr") && error.contains("addr"), "{error}");
        }
        assert_eq!((name(7), name(400)), ("ipv4-route".to_owned(), "400".to_owned()));
    }

    #[test]
    fn the_numbers_are_those_of_the_header() {
        // Some machines have no kernel headers.
        let Ok(header) = std::fs::read_to_string("/usr/include/linux/rtnetlink.h") else { return };
        let begin = header.find("enum rtnetlink_groups").unwrap();
        let end = header[begin..].find("__RTNLGRP_MAX").unwrap() + begin;
        let words = header[begin..end].lines().filter_map(|line| {
            let word = line.trim().strip_suffix(',')?;
            word.starts_with("RTNLGRP_").then_some(word)
        });
        for (number, word) in words.enumerate() {
            let named = NAMES.iter().find(|(_, known)| *known as usize == number);
            match named {
                Some((name, _)) => assert_eq!(
                    *name,
                    word.trim_start_matches("RTNLGRP_").to_ascii_lowercase().replace('_', "-")
                ),
                None => assert!(
                    ["NONE", "NOP", "DECnet"].iter().any(|kind| word.contains(kind)),
                    "{word} has no name"
                ),
            }
        }
    }
}
