//! Declared tables of attributes, from which JSON and text are made: one line for an attribute, with
//! the name and the number that the kernel's header gives it, its key in JSON, and its form.
//!
//! An attribute that is in no table, and one whose value does not have its form, are shown under the
//! key `unknown`, by name and as hexadecimal bytes: no attribute is left out but those that a table
//! leaves out, with its reason.
//!
//! | module | tables |
//! |---|---|
//! | `form` | the forms of values |
//! | `handle` | handles of traffic control |
//! | `link`, `addr`, `neigh`, `route`, `rule`, `nexthop` | those of the objects |
//! | `encapsulation` | lightweight tunnels of routes and next hops |
//! | `traffic`, `filter`, `action`, `others` | objects of events: traffic control, VLANs, groups, configurations |
//! | `bridge`, `bond`, `tunnel`, `can`, `kinds` | the kinds of links |

pub(crate) mod action;
pub(super) mod addr;
mod bond;
mod bridge;
mod can;
mod encapsulation;
mod filter;
mod form;
pub(crate) mod handle;
mod kinds;
pub(super) mod link;
pub(super) mod neigh;
pub(crate) mod nexthop;
pub(crate) mod others;
pub(super) mod route;
pub(super) mod rule;
pub(crate) mod traffic;
mod tunnel;

use super::{
    fields::{Fields, Put},
    names::Names,
};
use netlink_remote::nlmsg::{Attributes, Message};

pub(super) use form::Form;
pub(super) use kinds::{data, port_data};

/// An attribute.
pub(crate) struct Attribute {
    number: u16,
    /// Its name without the prefix of the table.
    name: &'static str,
    /// Its key in JSON. A form of several keys has its own.
    key: &'static str,
    form: Form,
}

/// The attributes of a message or of a nest, in the order of `ip`.
pub(crate) struct Table {
    /// What the names begin with: `IFLA_BR_`.
    pub(super) prefix: &'static str,
    pub(super) attributes: &'static [Attribute],
}

/// A [`Table`]: `table!("IFLA_BR_": FORWARD_DELAY = 1, "forward_delay", U32; ...)`. The unit of a number
/// is that of the kernel, unless its form says another.
macro_rules! table {
    ($prefix:literal: $($name:ident = $number:literal, $key:literal, $form:expr;)*) => {
        $crate::show::tables::Table {
            prefix: $prefix,
            attributes: &[$($crate::show::tables::Attribute {
                number: $number,
                name: stringify!($name),
                key: $key,
                form: $form,
            }),*],
        }
    };
}
use table;

/// What the attributes of a message are shown with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) names: &'a Names,
    pub(crate) message: &'a Message<'a>,
}

/// A value and its surroundings, for a form that is a function.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The value of the attribute, if it is there.
    pub(super) value: Option<&'a [u8]>,
    /// The attributes beside it, and itself.
    pub(super) siblings: Attributes<'a>,
    pub(super) context: Context<'a>,
}

impl Table {
    fn has(&self, number: u16) -> bool {
        self.attributes.iter().any(|attribute| attribute.number == number)
    }

    /// The name of an attribute, `PREFIX_61` of one that is in no table.
    fn name(&self, number: u16) -> String {
        let known = self.attributes.iter().find(|attribute| attribute.number == number);
        match known {
            Some(attribute) => self.full_name(attribute),
            None => format!("{}{number}", self.prefix),
        }
    }

    /// As the kernel's header has it: `IFLA_IPTUN_6RD_PREFIX`, which here begins with `_`.
    fn full_name(&self, attribute: &Attribute) -> String {
        format!("{}{}", self.prefix, attribute.name.trim_start_matches('_'))
    }

    /// The object of these attributes.
    pub(crate) fn object(&self, attributes: Attributes<'_>, context: Context<'_>) -> Fields {
        let mut fields = Fields::new();
        put_all(&mut fields, attributes, context, &[self], &[]);
        fields
    }
}

/// Puts the attributes of the tables that are shown, and behind them those that are in no table.
pub(crate) fn put_all(
    fields: &mut Fields,
    attributes: Attributes<'_>,
    context: Context<'_>,
    shown: &[&Table],
    hidden: &[&Table],
) {
    let mut unknown = Fields::new();
    for table in shown {
        for attribute in table.attributes {
            let value = attributes.bytes(attribute.number);
            let place = Place { value, siblings: attributes, context };
            if !attribute.form.put(fields, attribute.key, place) {
                unknown.put(&table.full_name(attribute), digits(value.unwrap_or_default()));
            }
        }
    }
    let tables = || shown.iter().chain(hidden);
    for (number, value) in attributes.iter() {
        // Padding, where the kernel's header has no other number for it (`NHA_RES_GROUP_PAD`).
        if number == 0 && value.is_empty() {
            continue;
        }
        if !tables().any(|table| table.has(number))
            && let Some(table) = tables().next()
        {
            unknown.put(&table.name(number), digits(value));
        }
    }
    if !unknown.is_empty() {
        fields.put("unknown", unknown);
    }
}

/// All attributes as unknown ones.
pub(super) fn unknown(prefix: &'static str, attributes: Attributes<'_>) -> Option<Fields> {
    let table = Table { prefix, attributes: &[] };
    let mut unknown = Fields::new();
    attributes.iter().for_each(|(number, value)| unknown.put(&table.name(number), digits(value)));
    let mut fields = Fields::new();
    fields.put("unknown", unknown);
    attributes.iter().next().map(|_| fields)
}

/// The bytes of a value.
pub(crate) fn digits(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use netlink_remote::nlmsg::{Builder, messages};
    use serde_json::{Value, json};

    /// The tables, each by its prefix.
    fn tables() -> Vec<&'static Table> {
        let mut all = kinds::all();
        all.extend(route::all());
        all.extend(encapsulation::all());
        all.extend(traffic::all());
        all.extend(action::all());
        all.extend(filter::all());
        all.extend(others::all());
        all.extend([
            &link::LINK,
            &link::DETAILS,
            &link::NAMES,
            &link::PORT,
            &addr::ADDRESS,
            &neigh::NEIGH,
        ]);
        all.extend([&rule::RULE, &nexthop::NEXT_HOP, &nexthop::GROUP, &nexthop::BUCKET]);
        all
    }

    pub(in super::super) fn object(table: &Table, attributes: &[(u16, &[u8])]) -> Value {
        let nest =
            attributes.iter().fold(Builder::new(16, 0).put(&[0; 16]), |nest, (kind, value)| {
                nest.attribute(*kind, value)
            });
        let bytes = nest.finish();
        let message = messages(&bytes).next().unwrap();
        let names = Names::local();
        let context = Context { names: &names, message: &message };
        Value::from(table.object(message.attributes(16), context))
    }

    static SOME: Table = table!("IFLA_X_":
        ONE = 1, "one", Form::U32;
        TWO = 2, "two", Form::OnOff;
        PAD = 3, "", Form::Omitted("padding");
    );

    #[test]
    fn what_is_in_no_table_or_not_of_its_form_is_unknown() {
        let one = 7_u32.to_ne_bytes();
        assert_eq!(
            object(&SOME, &[(1, &one), (2, &[1]), (3, &[])]),
            json!({"one": 7, "two": true})
        );
        assert_eq!(
            object(&SOME, &[(1, &[1, 2]), (61, &[0x0a, 0]), (2, &[0])]),
            json!({"two": false, "unknown": {"IFLA_X_ONE": "0102", "IFLA_X_61": "0a00"}})
        );
        assert_eq!(object(&SOME, &[]), json!({}));
    }

    #[test]
    fn tables_name_each_attribute_once_and_leave_none_out_without_a_reason() {
        for table in tables() {
            for (at, attribute) in table.attributes.iter().enumerate() {
                let name = table.full_name(attribute);
                let before = table.attributes.iter().take(at);
                assert!(before.clone().all(|other| other.number != attribute.number), "{name}");
                assert!(attribute.number > 0, "{name}");
                match attribute.form {
                    Form::Omitted(reason) => assert!(!reason.is_empty(), "{name}"),
                    Form::PartOf(other) => {
                        let whole = table.attributes.iter().find(|whole| whole.name == other);
                        let is_whole = whole.is_some_and(|it| matches!(it.form, Form::With(_)));
                        assert!(is_whole, "{name}");
                    }
                    _ => assert!(!attribute.key.is_empty(), "{name}"),
                }
            }
        }
    }

    /// Any value, of any length, is shown or is unknown, and no value brings a panic.
    #[test]
    fn every_attribute_of_any_length_is_shown() {
        let names = Names::local();
        for table in tables() {
            for attribute in table.attributes {
                if matches!(attribute.form, Form::Omitted(_) | Form::With(_)) {
                    continue;
                }
                for length in 0..40 {
                    let bytes = Builder::new(16, 0)
                        .put(&[0; 16])
                        .attribute(attribute.number, &[0xff; 40][..length])
                        .finish();
                    let message = messages(&bytes).next().unwrap();
                    let attributes = message.attributes(16);
                    let context = Context { names: &names, message: &message };
                    let fields = table.object(attributes, context);
                    let name = table.full_name(attribute);
                    let is_shown =
                        fields.contains_key(attribute.key) || !attribute.form.shows_all();
                    let unknown = fields.get("unknown").and_then(|it| it.get(&name));
                    assert!(is_shown || unknown.is_some(), "{name}, {length} bytes: {fields:?}");
                }
            }
        }
    }
}
