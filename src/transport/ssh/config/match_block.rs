//! `Host` and `Match`: whether the lines that follow apply.

use super::{
    expand::expand,
    local::LocalAccount,
    pattern,
    setting::{Setting, Settings},
};
use crate::Error;

/// The host and users that conditions are compared with.
#[derive(Clone)]
pub(super) struct MatchSubject<'a> {
    pub(super) local: &'a LocalAccount,
    /// The host as the target has it.
    pub(super) original: &'a str,
    /// The host that `Host` matches: `original`, and in the final pass the resolved name.
    pub(super) host: String,
    /// The user that the target names.
    pub(super) user: Option<&'a str>,
    /// The second pass, because of a `Match final`.
    pub(super) is_final_pass: bool,
}

/// Whether a `Host` line matches.
pub(super) fn host_applies(setting: &Setting, subject: &MatchSubject<'_>) -> bool {
    pattern::list_matches(&subject.host, setting.arguments.iter().map(String::as_str))
}

/// Whether a `Match` line matches. An unsupported criterion is an error, unless another one fails:
/// then it makes no difference.
pub(super) fn match_applies(
    setting: &Setting,
    subject: &MatchSubject<'_>,
    settings: &mut Settings,
    is_reachable: bool,
) -> Result<bool, Error> {
    let mut words = setting
        .arguments
        .iter()
        .flat_map(|word| match word.split_once('=') {
            Some((left, right)) => [Some(left), Some(right)],
            None => [Some(word.as_str()), None],
        })
        .flatten()
        .filter(|word| !word.is_empty());
    let mut all_hold = true;
    let mut unsupported = None;
    let mut is_only_criterion = true;
    while let Some(word) = words.next() {
        let (is_negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word),
        };
        let name = name.to_ascii_lowercase();
        let holds = match &*name {
            "all" => {
                if !is_only_criterion || words.next().is_some() {
                    return Err(setting.error("`all` goes with no other condition"));
                }
                true
            }
            "final" => {
                settings.wants_final = true;
                subject.is_final_pass
            }
            // As for ssh without CanonicalizeHostname: only the final pass counts as canonical.
            "canonical" => subject.is_final_pass,
            _ => {
                is_only_criterion = false;
                let value = words
                    .next()
                    .ok_or_else(|| setting.error(format_args!("`{name}` needs a value")))?;
                match criterion_holds(&name, value, subject, settings) {
                    Some(holds) => holds,
                    None => {
                        unsupported.get_or_insert(name);
                        continue;
                    }
                }
            }
        };
        all_hold &= holds != is_negated;
    }
    match unsupported {
        Some(name) if all_hold && is_reachable => {
            let host = subject.original;
            Err(setting.error(format_args!(
                "`{name}` is not supported, and may apply to {host}; use openssh:// for it, which is ssh itself, or -F none"
            )))
        }
        _ => Ok(all_hold && is_reachable),
    }
}

/// Whether a criterion with a value holds; `None` for an unsupported one.
fn criterion_holds(
    name: &str,
    value: &str,
    subject: &MatchSubject<'_>,
    settings: &Settings,
) -> Option<bool> {
    let MatchSubject { local, original, .. } = subject;
    let first = |name| settings.first.get(name).map(Setting::value);
    let user_matches =
        |user: Option<&str>| user.is_some_and(|user| pattern::list_matches(user, value.split(',')));
    Some(match name {
        "host" => {
            let host_name = first("hostname").filter(|_| !subject.is_final_pass);
            let host = match host_name {
                Some(name) => expand_host_name(name, original).ok()?,
                None => subject.host.clone(),
            };
            pattern::names_match(&host, value)
        }
        "originalhost" => pattern::names_match(original, value),
        "user" => user_matches(subject.user.or_else(|| first("user")).or(local.user.as_deref())),
        "localuser" => user_matches(local.user.as_deref()),
        _ => return None,
    })
}

/// `HostName` with its tokens replaced.
pub(super) fn expand_host_name(name: &str, original: &str) -> Result<String, String> {
    expand(name, |letter| (letter == 'h').then(|| original.to_owned()), None)
}
