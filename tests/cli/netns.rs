//! `nlr netns` and `ip netns`: the same namespaces.

use serde_json::Value;
use testing::{
    Namespace, run,
    tool::{elements, nlr_words},
    unique,
};

/// The entries of `nlr netns list` for a name.
fn listed(name: &str) -> Option<Value> {
    let list = elements(&nlr_words("netns list --json").printed());
    list.into_iter().find(|entry| entry["name"] == *name)
}

fn ip_lists(name: &str) -> bool {
    run("ip", &["netns", "list"]).lines().any(|line| line.split(' ').next() == Some(name))
}

#[test]
fn what_is_added_here_ip_sees() {
    let name = unique("added");
    assert_eq!(nlr_words(&format!("netns add {name}")).printed(), "");
    assert!(ip_lists(&name));
    run("ip", &["-n", &name, "link", "set", "lo", "up"]);
    nlr_words(&format!("netns add {name}")).failed(1, &[&name, "exists already"]);
    assert_eq!(nlr_words(&format!("netns del {name}")).printed(), "");
    assert!(!ip_lists(&name));
    nlr_words(&format!("netns del {name}")).failed(1, &[&name, "there is no namespace"]);
    nlr_words("netns add a/b").failed(1, &["a/b", "cannot be"]);
}

#[test]
fn what_ip_adds_is_seen_here() {
    let namespace = Namespace::new();
    let entry = listed(&namespace.0).unwrap();
    let inode = namespace.sh("stat -L -c %i /proc/self/ns/net");
    assert_eq!(entry["inode"].to_string(), inode.trim());
    let text = nlr_words("netns list").printed();
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["NAME", "INODE"]);
    assert!(lines.any(|line| line == [namespace.0.as_str(), inode.trim()]), "{text}");
    let name = namespace.0.clone();
    drop(namespace);
    assert_eq!(listed(&name), None);
}

#[test]
fn names_that_are_no_utf8_stay_different() {
    use std::os::unix::ffi::OsStrExt;
    let namespace = Namespace::new();
    // Files of such names are namespaces too, where one was bound to them.
    let path =
        |name: &[u8]| std::path::Path::new("/run/netns").join(std::ffi::OsStr::from_bytes(name));
    for name in [&b"odd-\xff"[..], b"odd-\xfe"] {
        std::fs::write(path(name), "").unwrap();
    }
    for words in ["netns list", "netns list --json"] {
        let text = nlr_words(words).printed();
        let json = if words.ends_with("json") { r"\" } else { "" };
        for name in ["xff", "xfe"] {
            assert!(text.contains(&format!(r"odd-{json}\{name}")), "{text}");
        }
        assert!(text.contains(&namespace.0));
    }
    for name in [&b"odd-\xff"[..], b"odd-\xfe"] {
        std::fs::remove_file(path(name)).unwrap();
    }
}
