//! JSON values as words for people.

use super::fields::Fields;
use serde_json::Value;

/// A value with no quotes around it; a list with commas, an object as its words.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(self::value).collect::<Vec<_>>().join(","),
        Value::Object(fields) => others(fields, &[]).join(" "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// The keys that are not shown elsewhere, each with its value; the key alone where it says everything.
pub(crate) fn others(fields: &Fields, shown: &[&str]) -> Vec<String> {
    let others = fields.iter().filter(|(key, _)| !shown.contains(&key.as_str()));
    let words = others.filter_map(|(key, value)| match value {
        Value::Null | Value::Bool(true) => Some(key.clone()),
        Value::Array(list) if list.is_empty() => None,
        Value::Array(list) if key == "flags" || key == "metrics" => {
            Some(list.iter().map(self::value).collect::<Vec<_>>().join(" "))
        }
        value => Some(format!("{key} {}", self::value(value))),
    });
    words.collect()
}
