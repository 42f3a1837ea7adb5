//! JSON values as plain text.

use serde_json::Value;

use super::fields::Fields;

/// A value without quotes; the elements of an array separated by commas, an object as its
/// [`details`].
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(self::value).collect::<Vec<_>>().join(","),
        Value::Object(fields) => details(fields, &[]).join(" "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// All keys but those of `shown`, each with its value. `true` and null are the key alone.
pub(crate) fn details(fields: &Fields, shown: &[&str]) -> Vec<String> {
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
