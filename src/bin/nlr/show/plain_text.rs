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
        Value::Object(fields) => match fields.get("lock").and_then(Value::as_array) {
            Some(locked) => with_locks(fields, locked),
            None => details(fields, &[]).join(" "),
        },
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Metrics, those that are locked with the word: `mtu lock 1300`.
fn with_locks(metrics: &Fields, locked: &[Value]) -> String {
    let mut words = Vec::new();
    for (key, value) in metrics.iter().filter(|(key, _)| *key != "lock") {
        let mut one = Fields::new();
        let is_locked = locked.iter().any(|name| name.as_str() == Some(key));
        let name = if is_locked { format!("{key} lock") } else { key.clone() };
        one.insert(name, value.clone());
        words.extend(details(&one, &[]));
    }
    words.join(" ")
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
        // The kind of an encapsulation, which its key names already.
        value if key == "encap_type" => Some(self::value(value)),
        value => Some(format!("{key} {}", self::value(value))),
    });
    words.collect()
}
