//! Traffic control: `TCA_*` (`linux/rtnetlink.h`), and the options of kinds (`linux/pkt_sched.h`,
//! `linux/pkt_cls.h`, `linux/tc_act/`), with the keys of `tc`. Times are in microseconds and rates in
//! bytes a second, as the kernel has them.

use serde_json::Value;

use super::{Context, Form, Place, Table, filter, form::number32, table};
use crate::show::{
    fields::{Fields, Put},
    kernel_name::{self, Named as _},
};
use Form::{Array, By, HexBytes, I32, Omitted, Text, U8, U32, U64, With};
use netlink_remote::nlmsg::{Attributes, read_u32};

/// Of qdiscs, classes, filters and chains.
pub(crate) static TRAFFIC: Table = table!("TCA_":
    KIND = 1, "kind", Text(kernel_name::LINK);
    CHAIN = 11, "chain", U32;
    OPTIONS = 2, "options", With(options);
    INGRESS_BLOCK = 13, "ingress_block", U32;
    EGRESS_BLOCK = 14, "egress_block", U32;
    HW_OFFLOAD = 12, "offloaded", Form::TrueIfSet;
    RATE = 5, "rate_estimator", HexBytes;
    STAB = 8, "stab", HexBytes;
    DUMP_INVISIBLE = 10, "invisible", Form::Present;
    DUMP_FLAGS = 15, "dump_flags", HexBytes;
    EXT_WARN_MSG = 16, "warning", Text(4096);
    FCNT = 6, "", Omitted("a counter that no kernel sends");
    STATS = 3, "", Omitted("statistics");
    XSTATS = 4, "", Omitted("statistics");
    STATS2 = 7, "", Omitted("statistics");
    PAD = 9, "", Omitted("padding");
);

static FQ_CODEL: Table = table!("TCA_FQ_CODEL_":
    LIMIT = 2, "limit", U32;
    FLOWS = 5, "flows", U32;
    QUANTUM = 6, "quantum", U32;
    TARGET = 1, "target", U32;
    CE_THRESHOLD = 7, "ce_threshold", U32;
    CE_THRESHOLD_SELECTOR = 10, "ce_threshold_selector", U8;
    CE_THRESHOLD_MASK = 11, "ce_threshold_mask", U8;
    INTERVAL = 3, "interval", U32;
    MEMORY_LIMIT = 9, "memory_limit", U32;
    ECN = 4, "ecn", By(on_off32);
    DROP_BATCH_SIZE = 8, "drop_batch", U32;
);

static CODEL: Table = table!("TCA_CODEL_":
    LIMIT = 2, "limit", U32;
    TARGET = 1, "target", U32;
    CE_THRESHOLD = 5, "ce_threshold", U32;
    INTERVAL = 3, "interval", U32;
    ECN = 4, "ecn", By(on_off32);
);

static FQ: Table = table!("TCA_FQ_":
    PLIMIT = 1, "limit", U32;
    FLOW_PLIMIT = 2, "flow_limit", U32;
    BUCKETS_LOG = 8, "buckets_log", U32;
    ORPHAN_MASK = 10, "orphan_mask", U32;
    QUANTUM = 3, "quantum", U32;
    INITIAL_QUANTUM = 4, "initial_quantum", U32;
    RATE_ENABLE = 5, "pacing", By(on_off32);
    FLOW_DEFAULT_RATE = 6, "defrate", U32;
    FLOW_MAX_RATE = 7, "maxrate", U32;
    LOW_RATE_THRESHOLD = 11, "low_rate_threshold", U32;
    FLOW_REFILL_DELAY = 9, "refill_delay", U32;
    CE_THRESHOLD = 12, "ce_threshold", U32;
    TIMER_SLACK = 13, "timer_slack", U32;
    HORIZON = 14, "horizon", U32;
    HORIZON_DROP = 15, "horizon_drop", Form::OnOff;
    PRIOMAP = 16, "priomap", HexBytes;
    WEIGHTS = 17, "weights", Array(4, &I32);
    OFFLOAD_HORIZON = 18, "offload_horizon", U32;
);

static HTB: Table = table!("TCA_HTB_":
    PARMS = 1, "prio", With(htb_class);
    INIT = 2, "default", With(htb_root);
    DIRECT_QLEN = 5, "direct_qlen", U32;
    RATE64 = 6, "rate64", U64;
    CEIL64 = 7, "ceil64", U64;
    OFFLOAD = 10, "offload", Form::Present;
    CTAB = 3, "", Omitted("of requests: a table made of the rate");
    RTAB = 4, "", Omitted("of requests: a table made of the rate");
    PAD = 8, "", Omitted("padding");
);

static TBF: Table = table!("TCA_TBF_":
    PARMS = 1, "limit", With(tbf);
    RATE64 = 4, "rate64", U64;
    PRATE64 = 5, "peakrate64", U64;
    BURST = 6, "burst", U32;
    PBURST = 7, "peak_burst", U32;
    RTAB = 2, "", Omitted("of requests: a table made of the rate");
    PTAB = 3, "", Omitted("of requests: a table made of the rate");
    PAD = 8, "", Omitted("padding");
);

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    vec![&TRAFFIC, &FQ_CODEL, &CODEL, &FQ, &HTB, &TBF]
}

/// The table of a kind's options, where they are attributes.
fn table_of(kind: &str) -> Option<&'static Table> {
    Some(match kind {
        "fq_codel" => &FQ_CODEL,
        "codel" => &CODEL,
        "fq" => &FQ,
        "htb" => &HTB,
        "tbf" => &TBF,
        _ => return filter::table_of(kind),
    })
}

/// Puts the options of a kind; those of a kind without a table are unknown.
fn options(place: Place<'_>, fields: &mut Fields) -> bool {
    const KIND: u16 = 1;
    let Some(value) = place.value else { return true };
    let kind = place.siblings.name(KIND, kernel_name::LINK).unwrap_or_default();
    let options = match (table_of(&kind), kind.as_str()) {
        (Some(table), _) => table.object(Attributes(value), place.context),
        (None, "pfifo" | "bfifo") if value.len() == 4 => {
            let mut options = Fields::new();
            options.put_some("limit", read_u32(value, 0));
            options
        }
        (None, "prio" | "pfifo_fast") if value.len() == 20 => {
            let mut options = Fields::new();
            options.put_some("bands", read_u32(value, 0));
            options.put("priomap", value.get(4..).unwrap_or_default().to_vec());
            options
        }
        (None, _) if value.is_empty() => return true,
        (None, _) => return false,
    };
    if !options.is_empty() {
        fields.put("options", options);
    }
    true
}

/// `struct tc_htb_opt`: the rates and buffers of a class. Above 4 GB/s the rate is in `RATE64`.
fn htb_class(place: Place<'_>, fields: &mut Fields) -> bool {
    const LENGTH: usize = 44;
    let Some(value) = place.value else { return true };
    if value.len() != LENGTH {
        return false;
    }
    fields.put_some("prio", read_u32(value, 40));
    fields.put_some("rate", read_u32(value, 8));
    fields.put_some("ceil", read_u32(value, 20));
    fields.put_some("buffer", read_u32(value, 24));
    fields.put_some("cbuffer", read_u32(value, 28));
    fields.put_some("quantum", read_u32(value, 32));
    fields.put_some("level", read_u32(value, 36));
    true
}

/// `struct tc_htb_glob`.
fn htb_root(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let (Some(quantum), Some(default)) = (read_u32(value, 4), read_u32(value, 8)) else {
        return false;
    };
    fields.put("r2q", quantum);
    fields.put("default", format!("{default:#x}"));
    fields.put_some("direct_packets_stat", read_u32(value, 16));
    true
}

/// `struct tc_tbf_qopt`.
fn tbf(place: Place<'_>, fields: &mut Fields) -> bool {
    const LENGTH: usize = 36;
    let Some(value) = place.value else { return true };
    if value.len() != LENGTH {
        return false;
    }
    fields.put_some("rate", read_u32(value, 8));
    fields.put_some("peakrate", read_u32(value, 20).filter(|rate| *rate != 0));
    fields.put_some("limit", read_u32(value, 24));
    fields.put_some("buffer", read_u32(value, 28));
    fields.put_some("mtu", read_u32(value, 32).filter(|mtu| *mtu != 0));
    true
}

fn on_off32(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some((number32(value)? != 0).into())
}
