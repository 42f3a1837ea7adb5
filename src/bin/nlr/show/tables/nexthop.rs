//! Next hop objects, and the buckets of their resilient groups: `NHA_*` (`linux/nexthop.h`), in the order
//! of `ip nexthop`.

use serde_json::Value;

use super::{
    Context, Form, Place, Table, encapsulation,
    form::number32,
    put_all,
    route::{self, address},
    table,
};
use crate::show::{
    fields::{Fields, Put, flag_names},
    names::Names,
};
use Form::{By, Named16, Nested, Omitted, PartOf, U16, U32, Unless0, With, Word};
use netlink_remote::nlmsg::Message;

pub(super) static NEXT_HOP: Table = table!("NHA_":
    ID = 1, "id", U32;
    GROUP = 2, "group", By(members);
    GROUP_TYPE = 3, "type", Unless0(&Named16(&["mpath", "resilient"]));
    RES_GROUP = 12, "resilient_args", Nested(&GROUP);
    RES_BUCKET = 13, "bucket", Nested(&BUCKET);
    ENCAP = 8, "encap", With(encap);
    ENCAP_TYPE = 7, "encap", PartOf("ENCAP");
    GATEWAY = 6, "gateway", By(address);
    OIF = 5, "dev", Form::Link;
    BLACKHOLE = 4, "blackhole", With(scope_and_blackhole);
    FDB = 11, "fdb", With(origin_and_flags);
    GROUPS = 9, "", Omitted("of requests");
    MASTER = 10, "", Omitted("of requests");
    OP_FLAGS = 14, "", Omitted("of requests; in an answer it says that weights have 16 bits, which are read in any case");
    GROUP_STATS = 15, "", Omitted("statistics");
    HW_STATS_ENABLE = 16, "hw_stats_enabled", By(switch);
    HW_STATS_USED = 17, "hw_stats_used", By(switch);
);

/// Times are in USER_HZ, hundredths of a second.
pub(super) static GROUP: Table = table!("NHA_RES_GROUP_":
    BUCKETS = 1, "buckets", U16;
    IDLE_TIMER = 2, "idle_timer", By(seconds);
    UNBALANCED_TIMER = 3, "unbalanced_timer", By(seconds);
    UNBALANCED_TIME = 4, "unbalanced_time", By(seconds);
);

pub(super) static BUCKET: Table = table!("NHA_RES_BUCKET_":
    INDEX = 1, "index", U16;
    IDLE_TIME = 2, "idle_time", By(seconds);
    NH_ID = 3, "nhid", U32;
);

/// Bytes of `struct nhmsg`.
const HEADER: usize = 8;

/// A next hop, a group of them, or a bucket of one, with the keys of `ip`.
pub(crate) fn json(message: &Message<'_>, names: &Names) -> Option<Fields> {
    message.u32(4)?;
    let mut fields = Fields::new();
    let context = Context { names, message };
    put_all(&mut fields, message.attributes(HEADER), context, &[&NEXT_HOP], &[]);
    Some(fields)
}

/// `struct nexthop_grp`: ids and weights, of which a kernel from 6.12 on has 16 bits.
fn members(value: &[u8], _: Context<'_>) -> Option<Value> {
    let (members, rest) = value.as_chunks::<8>();
    let members = members.iter().map(|[a, b, c, d, low, high, ..]| {
        let mut member = Fields::new();
        member.put("id", u32::from_ne_bytes([*a, *b, *c, *d]));
        let weight = u32::from(u16::from_le_bytes([*low, *high])) + 1;
        member.put_some("weight", (weight != 1).then_some(weight));
        Value::from(member)
    });
    rest.is_empty().then(|| members.collect::<Vec<_>>().into())
}

fn encap(place: Place<'_>, fields: &mut Fields) -> bool {
    const TYPE: u16 = 7;
    let Some(value) = place.value else { return true };
    let kind = place.siblings.u16(TYPE);
    fields.put("encap", encapsulation::object(kind, value, place.context));
    true
}

fn scope_and_blackhole(place: Place<'_>, fields: &mut Fields) -> bool {
    let scope = place.context.message.u8(1).unwrap_or_default();
    fields.put_some("scope", (scope != 0).then(|| place.context.names.scope(scope)));
    Word.put(fields, "blackhole", place)
}

fn origin_and_flags(place: Place<'_>, fields: &mut Fields) -> bool {
    let message = place.context.message;
    let protocol = message.u8(2).unwrap_or_default();
    let name = (protocol != 0).then(|| place.context.names.protocol(protocol));
    fields.put_some("protocol", name);
    fields.put("flags", flag_names(message.u32(4).unwrap_or_default(), &route::FLAGS));
    Word.put(fields, "fdb", place)
}

/// Hundredths of a second of 32 or 64 bits, as seconds.
fn seconds(value: &[u8], context: Context<'_>) -> Option<Value> {
    match number32(value) {
        Some(ticks) => Some((f64::from(ticks) / 100.0).into()),
        None => Form::Centiseconds.value(value, context),
    }
}

fn switch(value: &[u8], _: Context<'_>) -> Option<Value> {
    number32(value).map(|on| (on != 0).into())
}
