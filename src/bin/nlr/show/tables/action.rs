//! Actions of traffic control: `TCA_ACT_*` (`linux/pkt_cls.h`), and the options of kinds
//! (`linux/tc_act/`), with the keys of `tc`.

use serde_json::{Value, json};

use super::{Context, Form, Place, Table, handle::class, table};
use crate::show::{
    fields::{Fields, Put},
    kernel_name::{self, Named as _},
};
use Form::{
    Be16, Be32, By, Bytes, EtherType, Hardware, Hex32, HexBytes, Ipv4, Ipv6, Omitted, Text, U8,
    U16, U32, Unsigned, With,
};
use netlink_remote::nlmsg::{Attributes, read_u32};

/// Of a message about actions.
pub(crate) static ACTIONS: Table = table!("TCA_ROOT_":
    TAB = 1, "actions", By(actions);
    FLAGS = 2, "flags", HexBytes;
    COUNT = 3, "count", U32;
    TIME_DELTA = 4, "time_delta", U32;
    EXT_WARN_MSG = 5, "warning", Text(4096);
);

/// Of one action.
static ACTION: Table = table!("TCA_ACT_":
    KIND = 1, "kind", Text(kernel_name::LINK);
    OPTIONS = 2, "options", With(action_options);
    INDEX = 3, "index", U32;
    COOKIE = 6, "cookie", Bytes;
    FLAGS = 7, "flags", HexBytes;
    HW_STATS = 8, "hw_stats", HexBytes;
    USED_HW_STATS = 9, "used_hw_stats", HexBytes;
    IN_HW_COUNT = 10, "in_hw_count", U32;
    STATS = 4, "", Omitted("statistics");
    PAD = 5, "", Omitted("padding");
);

static GACT: Table = table!("TCA_GACT_":
    PARMS = 2, "control_action", With(generic_action);
    PROB = 3, "prob", HexBytes;
    TM = 1, "", Omitted("statistics");
    PAD = 4, "", Omitted("padding");
);

static MIRRED: Table = table!("TCA_MIRRED_":
    PARMS = 2, "mirred_action", With(mirred);
    BLOCKID = 4, "to_block", U32;
    TM = 1, "", Omitted("statistics");
    PAD = 3, "", Omitted("padding");
);

static VLAN: Table = table!("TCA_VLAN_":
    PARMS = 2, "vlan_action", With(vlan);
    PUSH_VLAN_ID = 3, "id", U16;
    PUSH_VLAN_PROTOCOL = 4, "protocol", EtherType;
    PUSH_VLAN_PRIORITY = 6, "priority", U8;
    PUSH_ETH_DST = 7, "dst_mac", Hardware;
    PUSH_ETH_SRC = 8, "src_mac", Hardware;
    TM = 1, "", Omitted("statistics");
    PAD = 5, "", Omitted("padding");
);

static SKBEDIT: Table = table!("TCA_SKBEDIT_":
    PARMS = 2, "control_action", With(generic_action);
    PRIORITY = 3, "priority", By(class);
    QUEUE_MAPPING = 4, "queue_mapping", U16;
    MARK = 5, "mark", U32;
    PTYPE = 7, "ptype", U16;
    MASK = 8, "mask", Hex32;
    FLAGS = 9, "flags", Unsigned;
    QUEUE_MAPPING_MAX = 10, "queue_mapping_max", U16;
    TM = 1, "", Omitted("statistics");
    PAD = 6, "", Omitted("padding");
);

static TUNNEL_KEY: Table = table!("TCA_TUNNEL_KEY_":
    PARMS = 2, "tunnel_key", With(tunnel_key);
    ENC_IPV4_SRC = 3, "src_ip", Ipv4;
    ENC_IPV4_DST = 4, "dst_ip", Ipv4;
    ENC_IPV6_SRC = 5, "src_ip6", Ipv6;
    ENC_IPV6_DST = 6, "dst_ip6", Ipv6;
    ENC_KEY_ID = 7, "key_id", Be32;
    ENC_DST_PORT = 9, "dst_port", Be16;
    NO_CSUM = 10, "no_csum", Form::OnOff;
    ENC_OPTS = 11, "options", HexBytes;
    ENC_TOS = 12, "tos", U8;
    ENC_TTL = 13, "ttl", U8;
    NO_FRAG = 14, "no_frag", Form::Present;
    TM = 1, "", Omitted("statistics");
    PAD = 8, "", Omitted("padding");
);

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    vec![&ACTIONS, &ACTION, &GACT, &MIRRED, &VLAN, &SKBEDIT, &TUNNEL_KEY]
}

/// The actions of a filter or a message, in their order.
pub(super) fn actions(value: &[u8], context: Context<'_>) -> Option<Value> {
    let actions = Attributes(value).iter().map(|(order, action)| {
        let mut fields = Fields::new();
        fields.put("order", order);
        fields.extend(ACTION.object(Attributes(action), context));
        Value::from(fields)
    });
    Some(actions.collect::<Vec<_>>().into())
}

/// Puts the options of an action among its keys, as `tc` does.
fn action_options(place: Place<'_>, fields: &mut Fields) -> bool {
    const KIND: u16 = 1;
    let Some(value) = place.value else { return true };
    let kind = place.siblings.name(KIND, kernel_name::LINK).unwrap_or_default();
    let table = match kind.as_str() {
        "gact" => &GACT,
        "mirred" => &MIRRED,
        "vlan" => &VLAN,
        "skbedit" => &SKBEDIT,
        "tunnel_key" => &TUNNEL_KEY,
        _ => return false,
    };
    fields.extend(table.object(Attributes(value), place.context));
    true
}

/// `struct tc_gact` and what begins like it: `tc_gen`.
fn generic_action(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let numbers: Option<Vec<_>> = [0, 4, 8, 12, 16].iter().map(|at| read_u32(value, *at)).collect();
    let Some([index, _capabilities, action, references, bindings]) = numbers.as_deref() else {
        return false;
    };
    fields.put("control_action", json!({ "type": control(*action) }));
    fields.put("index", *index);
    fields.put("ref", *references);
    fields.put("bind", *bindings);
    true
}

/// The name of what is done with a packet (`TC_ACT_*`).
fn control(action: u32) -> Value {
    const NAMES: [&str; 9] =
        ["pass", "reclassify", "drop", "pipe", "stolen", "queued", "repeat", "redirect", "trap"];
    match (action, action >> 28) {
        (u32::MAX, _) => "continue".into(),
        (_, 1) => format!("jump {}", action & 0x0fff_ffff).into(),
        (_, 2) => format!("goto chain {}", action & 0x0fff_ffff).into(),
        (number, _) => match usize::try_from(number).ok().and_then(|at| NAMES.get(at)) {
            Some(name) => (*name).into(),
            None => number.into(),
        },
    }
}

/// `struct tc_mirred`.
fn mirred(place: Place<'_>, fields: &mut Fields) -> bool {
    const NAMES: [(&str, &str); 4] = [
        ("redirect", "egress"),
        ("mirror", "egress"),
        ("redirect", "ingress"),
        ("mirror", "ingress"),
    ];
    let Some(value) = place.value else { return true };
    let (Some(action), Some(index)) = (read_u32(value, 20), read_u32(value, 24)) else {
        return false;
    };
    let name = action.checked_sub(1).and_then(|at| NAMES.get(usize::try_from(at).ok()?));
    match name {
        Some((action, direction)) => {
            fields.put("mirred_action", *action);
            fields.put("direction", *direction);
        }
        None => fields.put("mirred_action", action),
    }
    fields.put_some("to_dev", (index != 0).then(|| place.context.names.link(index)));
    generic_action(place, fields)
}

/// `struct tc_vlan`.
fn vlan(place: Place<'_>, fields: &mut Fields) -> bool {
    const NAMES: [&str; 5] = ["pop", "push", "modify", "pop_eth", "push_eth"];
    let Some(value) = place.value else { return true };
    let Some(action) = read_u32(value, 20) else { return false };
    let name = action.checked_sub(1).and_then(|at| NAMES.get(usize::try_from(at).ok()?));
    fields.put("vlan_action", name.map_or_else(|| Value::from(action), |name| (*name).into()));
    generic_action(place, fields)
}

/// `struct tc_tunnel_key`.
fn tunnel_key(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let name = match read_u32(value, 20) {
        Some(1) => Value::from("set"),
        Some(2) => "unset".into(),
        Some(other) => other.into(),
        None => return false,
    };
    fields.put("tunnel_key", name);
    generic_action(place, fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_a_packet() {
        for (action, name) in [
            (0, json!("pass")),
            (2, json!("drop")),
            (u32::MAX, json!("continue")),
            (0x1000_0002, json!("jump 2")),
            (0x2000_0003, json!("goto chain 3")),
            (99, json!(99)),
        ] {
            assert_eq!(control(action), name);
        }
    }
}
