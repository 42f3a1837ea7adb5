//! `Host` and `Match`: whether the lines that follow apply.

use super::{
    expand::expand,
    files::{Reader, Setting},
    pattern,
};
use crate::Error;

/// Whom the configuration is looked up for.
#[derive(Debug, Clone)]
pub(super) struct Subject<'a> {
    /// The host as the target has it.
    pub(super) original: &'a str,
    /// What `Host` is compared with: the same, and in the last pass what it became.
    pub(super) host: String,
    /// The user that the target names.
    pub(super) user: Option<&'a str>,
    /// Reading once more because of `Match final`.
    pub(super) last_pass: bool,
}

/// Whether a `Host` line is about the host.
pub(super) fn host_applies(setting: &Setting, subject: &Subject<'_>) -> bool {
    pattern::list_matches(&subject.host, setting.words.iter().map(String::as_str))
}

/// Whether a `Match` line holds. Criteria that are not supported are an error, unless another one
/// fails: then they make no difference.
pub(super) fn match_applies(
    setting: &Setting,
    reader: &mut Reader<'_>,
    reachable: bool,
) -> Result<bool, Error> {
    let mut words = setting
        .words
        .iter()
        .flat_map(|word| match word.split_once('=') {
            Some((left, right)) => [Some(left), Some(right)],
            None => [Some(word.as_str()), None],
        })
        .flatten()
        .filter(|word| !word.is_empty());
    let mut holds = true;
    let mut unsupported = None;
    let mut alone = true;
    while let Some(word) = words.next() {
        let (negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word),
        };
        let name = name.to_ascii_lowercase();
        let result = match &*name {
            "all" => {
                if !alone || words.next().is_some() {
                    return Err(setting.wrong("`all` goes with no other condition"));
                }
                true
            }
            "final" => {
                reader.found.wants_final = true;
                reader.subject.last_pass
            }
            // Nothing is made canonical but by the last pass, as ssh sees it.
            "canonical" => reader.subject.last_pass,
            _ => {
                alone = false;
                let value = words
                    .next()
                    .ok_or_else(|| setting.wrong(format_args!("`{name}` needs a value")))?;
                match holds_for(&name, value, reader) {
                    Some(result) => result,
                    None => {
                        unsupported.get_or_insert(name);
                        continue;
                    }
                }
            }
        };
        holds &= result != negated;
    }
    match unsupported {
        Some(name) if holds && reachable => {
            let host = reader.subject.original;
            Err(setting.wrong(format_args!(
                "`{name}` is not supported, and may apply to {host}; use openssh:// for it, which is ssh itself, or -F none"
            )))
        }
        _ => Ok(holds && reachable),
    }
}

fn holds_for(name: &str, value: &str, reader: &Reader<'_>) -> Option<bool> {
    let Reader { here, subject, found } = reader;
    let first = |name| found.first.get(name).map(Setting::word);
    let users =
        |user: Option<&str>| user.is_some_and(|user| pattern::list_matches(user, value.split(',')));
    Some(match name {
        "host" => {
            let named = first("hostname").filter(|_| !subject.last_pass);
            let host = match named {
                Some(name) => expand_host_name(name, subject.original).ok()?,
                None => subject.host.clone(),
            };
            pattern::names_match(&host, value)
        }
        "originalhost" => pattern::names_match(subject.original, value),
        "user" => users(subject.user.or_else(|| first("user")).or(here.user.as_deref())),
        "localuser" => users(here.user.as_deref()),
        _ => return None,
    })
}

/// `HostName` with its tokens replaced.
pub(super) fn expand_host_name(name: &str, original: &str) -> Result<String, String> {
    expand(name, |letter| (letter == 'h').then(|| original.to_owned()), None)
}
