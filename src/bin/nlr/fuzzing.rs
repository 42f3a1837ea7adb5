//! The function behind the fuzzer `render`, which the tests run, too: a kernel's bytes, which a hostile
//! far end may have written, through every renderer of `show` and `monitor`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how these functions say that they have found something"
)]

use crate::{monitor, show};
use netlink_remote::{nlmsg::Builder, text::is_harmful};
use serde_json::Value;

/// Renders messages as each kind of list and as events. The first byte chooses the list; what follows
/// is a datagram if that byte is odd, and otherwise messages: a type, two bytes of length, a payload.
///
/// Whatever the bytes are, JSON is JSON, and no line commands a terminal.
pub(crate) fn render(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let datagram = if choice % 2 == 1 { rest.to_vec() } else { datagram(rest) };
    for is_json in [false, true] {
        let text = show::fuzzing::list(choice / 2, is_json, &datagram);
        assert_harmless(&text);
        if is_json {
            serde_json::from_str::<Vec<Value>>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        }
    }
    for (line, json) in monitor::fuzzing::events(&datagram) {
        assert!(!line.contains('\n') && !json.contains('\n'), "{line:?} {json:?}");
        assert_harmless(&line);
        assert_harmless(&json);
        serde_json::from_str::<Value>(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
    }
}

fn assert_harmless(text: &str) {
    assert!(!text.contains(|letter| letter != '\n' && is_harmful(letter)), "{text:?}");
}

fn datagram(mut bytes: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        datagram.extend(Builder::new(kind.into(), 0).put(payload).finish());
        bytes = rest;
    }
    datagram
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;
    use crate::show::tests::recorded;

    /// With `NLR_WRITE_SEEDS` set it writes the seeds first: the recorded messages, as every list.
    #[test]
    fn the_corpus_finds_nothing() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/render");
        if env::var_os("NLR_WRITE_SEEDS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            let messages = recorded();
            for (index, (_, kind, payload)) in messages.iter().enumerate() {
                let length = u16::try_from(payload.len()).unwrap().to_le_bytes();
                let choice = u8::try_from(index * 2).unwrap();
                let kind = u8::try_from(*kind).unwrap();
                let seed = [&[choice, kind], length.as_slice(), payload].concat();
                fs::write(folder.join(format!("recorded-{index:02}")), seed).unwrap();
            }
        }
        let mut inputs = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            render(&fs::read(path).unwrap());
            inputs += 1;
        }
        assert!(inputs >= recorded().len(), "{inputs} inputs");
    }
}
