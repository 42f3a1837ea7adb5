//! The forms of values.

use serde_json::{Value, json};

use super::{Context, Place, Table, digits};
use crate::show::{
    fields::{Fields, Put, flag_names},
    kernel_name,
    notation::{AF_INET, AF_INET6, hexadecimal, host, prefixed_hexadecimal, vlan_protocol},
};
use netlink_remote::nlmsg::Attributes;

/// How the value of an attribute is read and shown. A number has exactly its length.
pub(in super::super) enum Form {
    /// Numbers in the order of the host.
    U8,
    U16,
    U32,
    U64,
    I32,
    /// A number that the kernel sends in 4 bytes, or in 8 where it needs them (`nla_put_uint`).
    Unsigned,
    /// Numbers in the order of the network.
    Be16,
    Be32,
    Be64,
    /// Numbers as hexadecimal text.
    Hex8,
    Hex16,
    Hex32,
    HexBe32,
    HexBe64,
    /// A `u8` as a boolean.
    OnOff,
    /// A `u8`: `true`, or nothing for 0.
    TrueIfSet,
    /// An attribute whose presence says it: `true`, whatever its value.
    Present,
    /// The same, as the key alone, with null in JSON.
    Word,
    /// The name of a number of so many bytes, by its place in a list, from 0 on. A number without a
    /// name is shown as such.
    Named8(&'static [&'static str]),
    Named16(&'static [&'static str]),
    Named32(&'static [&'static str]),
    /// The name of a `u32`.
    OneOf32(&'static [(u32, &'static str)]),
    /// A name of up to so many bytes.
    Text(usize),
    /// A link-layer address.
    Hardware,
    /// Bytes without separators.
    Bytes,
    /// The same, of any length.
    HexBytes,
    Ipv4,
    Ipv6,
    /// An IP address of a family, by its length; `any` for zeros.
    Endpoint,
    /// A link by its index.
    Link,
    /// Hundredths of a second, as seconds: of 8 bytes, and of 4.
    Centiseconds,
    Centiseconds32,
    /// An Ethernet protocol.
    EtherType,
    /// Another form, but nothing for a value of zeros.
    Unless0(&'static Form),
    /// The attributes of a table.
    Nested(&'static Table),
    /// An array of the attributes inside, whatever their numbers, of another form.
    List(&'static Form),
    /// An array of successive values of so many bytes.
    Array(usize, &'static Form),
    /// A value that a function reads; `None` where it has another form.
    By(fn(&[u8], Context<'_>) -> Option<Value>),
    /// A function that puts keys, be the attribute there or not; false where it has another form.
    With(fn(Place<'_>, &mut Fields) -> bool),
    /// A part of what another attribute of the table, named here, is shown as.
    PartOf(
        #[cfg_attr(not(test), expect(dead_code, reason = "for readers and tests"))] &'static str,
    ),
    /// Left out, for this reason.
    Omitted(
        #[cfg_attr(not(test), expect(dead_code, reason = "for readers and tests"))] &'static str,
    ),
}

impl Form {
    /// Puts the value of an attribute; false where it does not have this form.
    pub(super) fn put(&self, fields: &mut Fields, key: &str, place: Place<'_>) -> bool {
        match (self, place.value) {
            (Self::With(put), _) => put(place, fields),
            (Self::Omitted(_) | Self::PartOf(_), _) | (_, None) => true,
            (Self::TrueIfSet, Some([0])) => true,
            (Self::Unless0(_), Some(value)) if value.iter().all(|byte| *byte == 0) => true,
            (_, Some(value)) => match self.value(value, place.context) {
                Some(value) => {
                    fields.put(key, value);
                    true
                }
                None => false,
            },
        }
    }

    /// Whether the key is there for every value that has the form.
    #[cfg(test)]
    pub(super) fn shows_all(&self) -> bool {
        !matches!(self, Self::TrueIfSet | Self::Unless0(_) | Self::PartOf(_) | Self::With(_))
    }

    pub(super) fn value(&self, value: &[u8], context: Context<'_>) -> Option<Value> {
        Some(match self {
            Self::U8 => number8(value)?.into(),
            Self::U16 => number16(value)?.into(),
            Self::U32 => number32(value)?.into(),
            Self::U64 => number64(value)?.into(),
            Self::I32 => number32(value)?.cast_signed().into(),
            Self::Unsigned => match number32(value) {
                Some(number) => number.into(),
                None => number64(value)?.into(),
            },
            Self::Be16 => u16::from_be(number16(value)?).into(),
            Self::Be32 => u32::from_be(number32(value)?).into(),
            Self::Be64 => u64::from_be(number64(value)?).into(),
            Self::Hex8 => prefixed_hexadecimal(number8(value)?.into()).into(),
            Self::Hex16 => prefixed_hexadecimal(number16(value)?.into()).into(),
            Self::Hex32 => prefixed_hexadecimal(number32(value)?.into()).into(),
            Self::HexBe32 => prefixed_hexadecimal(u32::from_be(number32(value)?).into()).into(),
            Self::HexBe64 => prefixed_hexadecimal(u64::from_be(number64(value)?)).into(),
            Self::OnOff => (number8(value)? != 0).into(),
            Self::TrueIfSet => number8(value).map(|_| true)?.into(),
            Self::Present => true.into(),
            Self::Word => Value::Null,
            Self::Named8(names) => named(number8(value)?.into(), names),
            Self::Named16(names) => named(number16(value)?.into(), names),
            Self::Named32(names) => named(number32(value)?, names),
            Self::OneOf32(names) => {
                let number = number32(value)?;
                let name = names.iter().find(|(one, _)| *one == number);
                name.map_or_else(|| number.into(), |(_, name)| Value::from(*name))
            }
            Self::Text(longest) => kernel_name::name(value, *longest).into(),
            Self::Hardware => hexadecimal(value, ":").into(),
            Self::Bytes => hexadecimal(value, "").into(),
            Self::HexBytes => digits(value).into(),
            Self::Ipv4 => {
                host(AF_INET, value.first_chunk::<4>().filter(|_| value.len() == 4)?).into()
            }
            Self::Ipv6 => {
                host(AF_INET6, value.first_chunk::<16>().filter(|_| value.len() == 16)?).into()
            }
            Self::Endpoint => match value.len() {
                4 | 16 if value.iter().all(|byte| *byte == 0) => "any".into(),
                4 => host(AF_INET, value).into(),
                16 => host(AF_INET6, value).into(),
                _ => return None,
            },
            Self::Link => context.names.link(number32(value)?).into(),
            #[expect(clippy::cast_precision_loss, reason = "timers are far below 2^52")]
            Self::Centiseconds => (number64(value)? as f64 / 100.0).into(),
            Self::Centiseconds32 => (f64::from(number32(value)?) / 100.0).into(),
            Self::EtherType => vlan_protocol(u16::from_be(number16(value)?)).into(),
            Self::Unless0(form) => form.value(value, context)?,
            Self::Nested(table) => table.object(Attributes(value), context).into(),
            Self::List(form) => {
                let items = Attributes(value).iter().map(|(_, item)| form.value(item, context));
                items.collect::<Option<Vec<_>>>()?.into()
            }
            Self::Array(size, form) => {
                if !value.len().is_multiple_of(*size) {
                    return None;
                }
                let items = value.chunks(*size).map(|item| form.value(item, context));
                items.collect::<Option<Vec<_>>>()?.into()
            }
            Self::By(read) => read(value, context)?,
            Self::With(_) | Self::PartOf(_) | Self::Omitted(_) => return None,
        })
    }
}

/// The names of bits, and one hexadecimal number for those without.
pub(super) fn flags(bits: u32, names: &[(u32, &str)]) -> Vec<Value> {
    let mut list = flag_names(bits, names);
    let unnamed = names.iter().fold(bits, |left, (bit, _)| left & !bit);
    if unnamed != 0 {
        list.push(format!("{unnamed:x}").into());
    }
    list
}

fn named(number: u32, names: &[&str]) -> Value {
    let name = usize::try_from(number).ok().and_then(|number| names.get(number));
    name.map_or_else(|| json!(number), |name| json!(name))
}

pub(super) fn number8(value: &[u8]) -> Option<u8> {
    <[u8; 1]>::try_from(value).ok().map(|[number]| number)
}

pub(super) fn number16(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_ne_bytes)
}

pub(super) fn number32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

pub(super) fn number64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_ne_bytes)
}
