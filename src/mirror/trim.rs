//! Messages without what changes by itself: counters, timers, and what no event tells.

use std::borrow::Cow;

use crate::nlmsg::{Attributes, aligned};

/// What does not count in a list of attributes.
pub(super) struct Trim {
    /// Types whose attributes do not count.
    pub(super) without: &'static [u16],
    /// Types with attributes inside of which some do not count.
    pub(super) inside: &'static [(u16, Trim)],
}

impl Trim {
    /// The attributes that count.
    fn put(&self, attributes: Attributes<'_>, out: &mut Vec<u8>) {
        for (kind, value) in attributes.iter() {
            if self.without.contains(&kind) {
                continue;
            }
            out.extend(kind.to_ne_bytes());
            match self.inside.iter().find(|(inside, _)| *inside == kind) {
                Some((_, trim)) => trim.put(Attributes(value), out),
                None => {
                    // With its length, so that no value reads as the next attribute.
                    out.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_ne_bytes());
                    out.extend(value);
                }
            }
        }
    }

    /// The payload of a message that counts: the header of `header` bytes, as `mask` leaves it, and
    /// attributes. Fit to be compared, and for nothing else.
    pub(super) fn payload<'a>(
        &self,
        payload: &'a [u8],
        header: usize,
        mask: impl FnOnce(&mut [u8]),
    ) -> Cow<'a, [u8]> {
        let Some((fixed, _)) = payload.split_at_checked(header) else {
            return Cow::Borrowed(payload);
        };
        let attributes = Attributes(payload.get(aligned(header)..).unwrap_or_default());
        let mut masked = fixed.to_vec();
        mask(&mut masked);
        self.put(attributes, &mut masked);
        Cow::Owned(masked)
    }
}
