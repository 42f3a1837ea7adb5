//! Targets of any text, for the fuzzers.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how these functions say that they have found something"
)]

use std::ffi::OsString;

use super::{
    argv::{self, Parameters},
    hop::Hop,
    target::Target,
};
use crate::text::is_harmful;

/// Reads a target, writes it, and makes the command line of its hops.
///
/// The written text stands for the same target, an error is harmless to show, and nothing of the
/// program behind the hops is lost.
pub(crate) fn target(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let target = match text.parse::<Target>() {
        Ok(target) => target,
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.contains(is_harmful), "{shown:?}");
            return;
        }
    };
    let written = target.to_string();
    let again: Target = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
    assert_eq!(again, target, "{written}");
    assert_eq!(again.to_string(), written);
    let built = target.hops().iter().cloned().fold(Target::builder(), |built, hop| built.hop(hop));
    assert_eq!(built.build().unwrap(), target, "{written}");

    let hops: Vec<Hop> = target.far_hops().to_vec();
    let near = hops.iter().take_while(|hop| matches!(hop, Hop::Ssh(_))).count();
    let (before, hops) = hops.split_at(near);
    let hops = match hops {
        [hops @ .., Hop::Stub(_)] => hops,
        [Hop::Unix(_)] => return,
        hops => hops,
    };
    for has_secrets in [false, true] {
        let nonce = || "0123456789abcdef".to_owned();
        let parameters =
            Parameters { has_secrets, ssh_asks: has_secrets, nonce, ssh_config: None, before };
        let inner = vec![OsString::from("nlr-stub"), OsString::from("it's")];
        let Ok(line) = argv::wrap(hops, inner.clone(), &parameters) else { continue };
        assert!(!line.argv.is_empty());
        assert_eq!(line.typed.is_some(), hops.iter().any(|hop| matches!(hop, Hop::Exec(_))));
        if hops.is_empty() {
            assert_eq!(line.argv, inner);
        }
        let asking = hops.iter().filter(|hop| matches!(hop, Hop::Sudo(_) | Hop::Su(_)));
        assert!(line.prompts.len() <= asking.count());
        // A shell gets every word quoted.
        if let Ok(quoted) = argv::quote(&line.argv) {
            assert!(quoted.contains("nlr-stub") || line.typed.is_some(), "{quoted}");
        }
    }
}
