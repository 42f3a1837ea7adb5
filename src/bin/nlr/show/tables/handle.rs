//! Handles of traffic control.

use serde_json::Value;

use super::{Context, form::number32};

/// The class that an attribute names.
pub(super) fn class(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(handle(number32(value)?).into())
}

/// The handle of a qdisc or class, `major:minor`, in the notation of `tc`.
pub(crate) fn handle(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        (0, 0) => "none".to_owned(),
        (major, 0) => format!("{major:x}:"),
        (0, minor) => format!(":{minor:x}"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

/// The handle of a filter in the notation of its kind: `800::800` of a table, a bucket and a node for
/// u32, a number for the others.
pub(crate) fn filter_handle(kind: &str, handle: u32) -> String {
    match kind {
        "u32" => hash_handle(handle),
        _ => format!("{handle:#x}"),
    }
}

pub(super) fn hash_handle(handle: u32) -> String {
    let (table, bucket, node) = (handle >> 20, (handle >> 12) & 0xff, handle & 0xfff);
    let hexadecimal = |number| match number {
        0 => String::new(),
        number => format!("{number:x}"),
    };
    format!("{table:x}:{}:{}", hexadecimal(bucket), hexadecimal(node))
        .trim_end_matches(':')
        .to_owned()
        + if bucket == 0 && node == 0 { ":" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_as_tc_writes_them() {
        for (kind, number, text) in [
            ("u32", 0x8000_0800, "800::800"),
            ("u32", 0x8000_0000, "800:"),
            ("u32", 0x8010_5001, "801:5:1"),
            ("flower", 1, "0x1"),
            ("fw", 0x10, "0x10"),
        ] {
            assert_eq!(filter_handle(kind, number), text);
        }
        for (number, text) in [(0, "none"), (0x1_0000, "1:"), (0x1_0001, "1:1"), (1, ":1")] {
            assert_eq!(handle(number), text);
        }
    }
}
