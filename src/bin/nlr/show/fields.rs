//! JSON objects, filled key by key.

use serde_json::{Map, Value};

/// A JSON object. Its keys keep the order of insertion.
pub(crate) type Fields = Map<String, Value>;

/// Methods that fill [`Fields`].
pub(crate) trait Put {
    /// Puts a value.
    fn put(&mut self, key: &str, value: impl Into<Value>);

    /// Puts a value, or nothing for `None`.
    fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Puts null, with which `ip` writes a word without a value; or nothing.
    fn put_word(&mut self, key: &str, present: bool) {
        if present {
            self.put(key, Value::Null);
        }
    }

    /// Puts `true`, or nothing.
    fn put_true(&mut self, key: &str, present: bool) {
        if present {
            self.put(key, true);
        }
    }
}

impl Put for Fields {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.insert(key.to_owned(), value.into());
    }
}

/// The names of the set bits, in the order of the list.
pub(crate) fn flag_names(bits: u32, names: &[(u32, &str)]) -> Vec<Value> {
    names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| Value::from(*name)).collect()
}
