//! CAN controllers: `IFLA_CAN_*` (`linux/can/netlink.h`).

use serde_json::{Value, json};

use super::{
    Context, Form, Place, Table,
    form::{flags, number32},
    table,
};
use crate::show::{
    fields::{Fields, Put},
    kernel_name,
};
use Form::{Array, By, Named32, Nested, U16, U32, With};
use netlink_remote::nlmsg::read_u32;

/// Rates are in bits a second, times in nanoseconds, the restart delay in milliseconds.
pub(super) static CAN: Table = table!("IFLA_CAN_":
    CTRLMODE = 5, "ctrlmode", With(modes);
    CTRLMODE_EXT = 17, "ctrlmode_supported", Nested(&MODE_EXT);
    STATE = 4, "state", Named32(&[
        "ERROR-ACTIVE", "ERROR-WARNING", "ERROR-PASSIVE", "BUS-OFF", "STOPPED", "SLEEPING",
    ]);
    BERR_COUNTER = 8, "berr_counter", By(error_counters);
    RESTART_MS = 6, "restart_ms", U32;
    BITTIMING = 1, "bittiming", By(timing);
    BITTIMING_CONST = 2, "bittiming_const", By(timing_limits);
    BITRATE_CONST = 13, "bitrate_const", Array(4, &U32);
    DATA_BITTIMING = 9, "data_bittiming", By(timing);
    DATA_BITTIMING_CONST = 10, "data_bittiming_const", By(timing_limits);
    DATA_BITRATE_CONST = 14, "data_bitrate_const", Array(4, &U32);
    TDC = 16, "tdc", Nested(&TDC);
    XL_DATA_BITTIMING = 18, "xl_data_bittiming", By(timing);
    XL_DATA_BITTIMING_CONST = 19, "xl_data_bittiming_const", By(timing_limits);
    XL_DATA_BITRATE_CONST = 20, "xl_data_bitrate_const", Array(4, &U32);
    XL_TDC = 21, "xl_tdc", Nested(&TDC);
    TERMINATION = 11, "termination", U16;
    TERMINATION_CONST = 12, "termination_const", Array(2, &U16);
    CLOCK = 3, "clock", U32;
    RESTART = 7, "restart", U32;
    BITRATE_MAX = 15, "bitrate_max", U32;
);

/// Transmitter delay compensation.
static TDC: Table = table!("IFLA_CAN_TDC_":
    TDCV_MIN = 1, "tdcv_min", U32;
    TDCV_MAX = 2, "tdcv_max", U32;
    TDCO_MIN = 3, "tdco_min", U32;
    TDCO_MAX = 4, "tdco_max", U32;
    TDCF_MIN = 5, "tdcf_min", U32;
    TDCF_MAX = 6, "tdcf_max", U32;
    TDCV = 7, "tdcv", U32;
    TDCO = 8, "tdco", U32;
    TDCF = 9, "tdcf", U32;
);

static MODE_EXT: Table = table!("IFLA_CAN_CTRLMODE_":
    SUPPORTED = 1, "supported", By(mode_names);
);

/// `CAN_CTRLMODE_*`.
const MODES: [(u32, &str); 16] = [
    (0x1, "LOOPBACK"),
    (0x2, "LISTEN-ONLY"),
    (0x4, "TRIPLE-SAMPLING"),
    (0x8, "ONE-SHOT"),
    (0x10, "BERR-REPORTING"),
    (0x20, "FD"),
    (0x80, "FD-NON-ISO"),
    (0x40, "PRESUME-ACK"),
    (0x100, "CC-LEN8-DLC"),
    (0x200, "TDC-AUTO"),
    (0x400, "TDC-MANUAL"),
    (0x800, "RESTRICTED"),
    (0x1000, "XL"),
    (0x2000, "XL-TDC-AUTO"),
    (0x4000, "XL-TDC-MANUAL"),
    (0x8000, "TMS"),
];

/// `struct can_ctrlmode`: mask and flags. Nothing where none is set.
fn modes(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let Some(modes) = value.get(4..).and_then(number32) else { return false };
    if modes != 0 {
        fields.put("ctrlmode", flags(modes, &MODES));
    }
    true
}

fn mode_names(value: &[u8], _: Context<'_>) -> Option<Value> {
    number32(value).map(|modes| flags(modes, &MODES).into())
}

/// `struct can_berr_counter`.
fn error_counters(value: &[u8], _: Context<'_>) -> Option<Value> {
    let [a, b, c, d] = <[u8; 4]>::try_from(value).ok()?;
    Some(json!({ "tx": u16::from_ne_bytes([a, b]), "rx": u16::from_ne_bytes([c, d]) }))
}

/// `struct can_bittiming`. The sample point is in thousandths of a bit.
fn timing(value: &[u8], _: Context<'_>) -> Option<Value> {
    if value.len() != 32 {
        return None;
    }
    let field = |at: usize| read_u32(value, at * 4);
    let point = field(1)?;
    Some(json!({
        "bitrate": field(0)?,
        "sample_point": format!("{}.{:03}", point / 1000, point % 1000),
        "tq": field(2)?,
        "prop_seg": field(3)?,
        "phase_seg1": field(4)?,
        "phase_seg2": field(5)?,
        "sjw": field(6)?,
        "brp": field(7)?,
    }))
}

/// `struct can_bittiming_const`.
fn timing_limits(value: &[u8], _: Context<'_>) -> Option<Value> {
    const NAME: usize = 16;
    if value.len() != NAME + 32 {
        return None;
    }
    let field = |at: usize| read_u32(value, NAME + at * 4);
    let range = |min: u32, max: u32| json!({ "min": min, "max": max });
    Some(json!({
        "name": kernel_name::name(value.get(..NAME)?, NAME),
        "tseg1": range(field(0)?, field(1)?),
        "tseg2": range(field(2)?, field(3)?),
        "sjw": range(1, field(4)?),
        "brp": range(field(5)?, field(6)?),
        "brp_inc": field(7)?,
    }))
}
