//! Bonds and their ports: `IFLA_BOND_*`, `IFLA_BOND_SLAVE_*` (`linux/if_link.h`).

use serde_json::Value;

use super::{
    Context, Form, Place, Table,
    form::{flags, number32},
    table,
};
use crate::show::fields::{Fields, Put};
use Form::{
    By, Hardware, I32, Ipv4, Ipv6, Link, List, Named8, Named32, Nested, OnOff, U8, U16, U32,
    Unless0, With,
};

/// Times are in milliseconds.
pub(super) static BOND: Table = table!("IFLA_BOND_":
    MODE = 1, "mode", Named8(&[
        "balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb",
    ]);
    ACTIVE_SLAVE = 2, "active_slave", Unless0(&Link);
    MIIMON = 3, "miimon", U32;
    UPDELAY = 4, "updelay", U32;
    DOWNDELAY = 5, "downdelay", U32;
    PEER_NOTIF_DELAY = 28, "peer_notify_delay", U32;
    USE_CARRIER = 6, "use_carrier", U8;
    ARP_INTERVAL = 7, "arp_interval", U32;
    MISSED_MAX = 30, "arp_missed_max", U8;
    ARP_IP_TARGET = 8, "arp_ip_target", List(&Ipv4);
    NS_IP6_TARGET = 31, "ns_ip6_target", List(&Ipv6);
    ARP_VALIDATE = 9, "arp_validate", By(validation);
    ARP_ALL_TARGETS = 10, "arp_all_targets", Named32(&["any", "all"]);
    PRIMARY = 11, "primary", Unless0(&Link);
    PRIMARY_RESELECT = 12, "primary_reselect", Named8(&["always", "better", "failure"]);
    FAIL_OVER_MAC = 13, "fail_over_mac", Named8(&["none", "active", "follow"]);
    XMIT_HASH_POLICY = 14, "xmit_hash_policy", Named8(&[
        "layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac",
    ]);
    RESEND_IGMP = 15, "resend_igmp", U32;
    NUM_PEER_NOTIF = 16, "num_peer_notif", U8;
    ALL_SLAVES_ACTIVE = 17, "all_slaves_active", U8;
    MIN_LINKS = 18, "min_links", U32;
    LP_INTERVAL = 19, "lp_interval", U32;
    PACKETS_PER_SLAVE = 20, "packets_per_slave", U32;
    AD_LACP_ACTIVE = 29, "ad_lacp_active", Named8(&["off", "on"]);
    AD_LACP_RATE = 21, "ad_lacp_rate", Named8(&["slow", "fast"]);
    COUPLED_CONTROL = 32, "coupled_control", OnOff;
    BROADCAST_NEIGH = 33, "broadcast_neighbor", OnOff;
    LACP_STRICT = 34, "lacp_strict", OnOff;
    AD_SELECT = 22, "ad_select", Named8(&["stable", "bandwidth", "count", "actor_port_prio"]);
    AD_INFO = 23, "ad_info", Nested(&AD_INFO);
    AD_ACTOR_SYS_PRIO = 24, "ad_actor_sys_prio", U16;
    AD_USER_PORT_KEY = 25, "ad_user_port_key", U16;
    AD_ACTOR_SYSTEM = 26, "ad_actor_system", Hardware;
    TLB_DYNAMIC_LB = 27, "tlb_dynamic_lb", U8;
);

pub(super) static AD_INFO: Table = table!("IFLA_BOND_AD_INFO_":
    AGGREGATOR = 1, "aggregator", U16;
    NUM_PORTS = 2, "num_ports", U16;
    ACTOR_KEY = 3, "actor_key", U16;
    PARTNER_KEY = 4, "partner_key", U16;
    PARTNER_MAC = 5, "partner_mac", Hardware;
);

pub(super) static PORT: Table = table!("IFLA_BOND_SLAVE_":
    STATE = 1, "state", With(state);
    MII_STATUS = 2, "mii_status", With(link_state);
    LINK_FAILURE_COUNT = 3, "link_failure_count", U32;
    PERM_HWADDR = 4, "perm_hwaddr", Hardware;
    QUEUE_ID = 5, "queue_id", U16;
    PRIO = 9, "prio", I32;
    AD_AGGREGATOR_ID = 6, "ad_aggregator_id", U16;
    AD_ACTOR_OPER_PORT_STATE = 7, "ad_actor_oper_port_state", With(actor_state);
    AD_PARTNER_OPER_PORT_STATE = 8, "ad_partner_oper_port_state", With(partner_state);
    AD_CHURN_ACTOR_STATE = 11, "churn_actor_state", Named8(&["MONITOR", "CHURN", "NO_CHURN"]);
    AD_CHURN_PARTNER_STATE = 12, "churn_partner_state", Named8(&["MONITOR", "CHURN", "NO_CHURN"]);
    ACTOR_PORT_PRIO = 10, "actor_port_prio", U16;
);

/// `arp_validate`; null for none, as `ip` has it.
fn validation(value: &[u8], _: Context<'_>) -> Option<Value> {
    const NAMES: [&str; 7] =
        ["none", "active", "backup", "all", "filter", "filter_active", "filter_backup"];
    Some(match number32(value)? {
        0 => Value::Null,
        number => {
            let name = usize::try_from(number).ok().and_then(|number| NAMES.get(number));
            name.map_or_else(|| number.into(), |name| Value::from(*name))
        }
    })
}

fn state(place: Place<'_>, fields: &mut Fields) -> bool {
    indexed(place, fields, "state", &["ACTIVE", "BACKUP"])
}

fn link_state(place: Place<'_>, fields: &mut Fields) -> bool {
    indexed(place, fields, "mii_status", &["UP", "GOING_DOWN", "DOWN", "GOING_BACK"])
}

/// A `u8` by its name, or under `KEY_index` by the number without one.
fn indexed(place: Place<'_>, fields: &mut Fields, key: &str, names: &[&str]) -> bool {
    match place.value {
        None => {}
        Some(&[number]) => match names.get(usize::from(number)) {
            Some(name) => fields.put(key, *name),
            None => fields.put(&format!("{key}_index"), number),
        },
        Some(_) => return false,
    }
    true
}

fn actor_state(place: Place<'_>, fields: &mut Fields) -> bool {
    lacp_state(place, fields, "ad_actor_oper_port_state")
}

fn partner_state(place: Place<'_>, fields: &mut Fields) -> bool {
    lacp_state(place, fields, "ad_partner_oper_port_state")
}

/// The state of a port by LACP (IEEE 802.1AX): the number, and the names of its bits. The kernel has
/// the actor's as a `u8` and the partner's as a `u16`.
fn lacp_state(place: Place<'_>, fields: &mut Fields, key: &str) -> bool {
    const NAMES: [(u32, &str); 8] = [
        (0x01, "active"),
        (0x02, "short_timeout"),
        (0x04, "aggregating"),
        (0x08, "in_sync"),
        (0x10, "collecting"),
        (0x20, "distributing"),
        (0x40, "defaulted"),
        (0x80, "expired"),
    ];
    let state = match place.value {
        None => return true,
        Some(&[state]) => u16::from(state),
        Some(&[low, high]) => u16::from_ne_bytes([low, high]),
        Some(_) => return false,
    };
    fields.put(key, state);
    fields.put(&format!("{key}_str"), flags(state.into(), &NAMES));
    true
}
