//! The lists of `Ciphers`, `MACs`, `KexAlgorithms`, `HostKeyAlgorithms` and
//! `PubkeyAcceptedAlgorithms`; see ssh_config(5).

use super::pattern;

/// A list of algorithms' names, and what it does to the names there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum AlgorithmList {
    /// These, in this order.
    Only(Vec<String>),
    /// `+`: these too, after the usual ones.
    Append(Vec<String>),
    /// `-`: the usual ones, without those that match a pattern.
    Remove(Vec<String>),
    /// `^`: these first, then the usual ones.
    Prefer(Vec<String>),
}

impl AlgorithmList {
    /// Reads a list. Names of algorithms that do not exist are no error: a later ssh may have them.
    pub(super) fn parse(text: &str) -> Self {
        let names = |text: &str| text.split(',').map(str::to_owned).collect();
        match (text.get(..1), text.get(1..)) {
            (Some("+"), Some(rest)) => Self::Append(names(rest)),
            (Some("-"), Some(rest)) => Self::Remove(names(rest)),
            (Some("^"), Some(rest)) => Self::Prefer(names(rest)),
            _ => Self::Only(names(text)),
        }
    }

    /// Whether the list states the whole order, so that no other consideration changes it.
    pub(crate) fn is_order(&self) -> bool {
        !matches!(self, Self::Append(_) | Self::Remove(_))
    }

    /// The names to offer, of the `usual` ones in their order and of all that are `supported`.
    pub(crate) fn apply<'a>(&self, usual: &[&'a str], supported: &[&'a str]) -> Vec<&'a str> {
        let of = |names: &[String]| -> Vec<&'a str> {
            let find = |name: &String| supported.iter().find(|known| *known == name).copied();
            names.iter().filter_map(find).collect()
        };
        let mut offered = match self {
            Self::Only(names) => of(names),
            Self::Append(names) => [usual, &of(names)].concat(),
            Self::Prefer(names) => [&of(names), usual].concat(),
            Self::Remove(patterns) => {
                let is_removed =
                    |name: &str| patterns.iter().any(|pattern| pattern::matches(name, pattern));
                usual.iter().copied().filter(|name| !is_removed(name)).collect()
            }
        };
        let mut seen = Vec::new();
        offered.retain(|name| !seen.contains(name) && (seen.push(*name), true).1);
        offered
    }

    /// Whether a name is in the list, with `usual` ones where it starts from them.
    pub(crate) fn has(&self, name: &str, usual: &[&str]) -> bool {
        self.apply(usual, &[usual, &[name]].concat()).contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let usual = ["a", "b"];
        let supported = ["a", "b", "c", "d"];
        for (text, expected) in [
            ("b,x,a,b", &["b", "a"][..]),
            ("+c,x,a", &["a", "b", "c"]),
            ("-a", &["b"]),
            ("-?", &[]),
            ("^d,b", &["d", "b", "a"]),
            ("x", &[]),
            ("", &[]),
        ] {
            assert_eq!(AlgorithmList::parse(text).apply(&usual, &supported), expected, "{text}");
        }
        assert!(AlgorithmList::parse("+c").has("c", &usual));
        assert!(!AlgorithmList::parse("-a*").has("a", &usual));
    }
}
