//! JSON objects whose keys keep the order in which they were put.

use serde_json::{Map, Value};

/// A JSON object under construction.
pub(crate) type Fields = Map<String, Value>;

/// Short ways to fill [`Fields`].
pub(crate) trait Put {
    /// Puts a value.
    fn put(&mut self, key: &str, value: impl Into<Value>);

    /// Puts a value if there is one.
    fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Puts `null`, which is how `ip` writes a word that stands alone.
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

/// The names of the bits that are set, in the order of the list.
pub(crate) fn flag_names(bits: u32, names: &[(u32, &str)]) -> Vec<Value> {
    names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| Value::from(*name)).collect()
}
