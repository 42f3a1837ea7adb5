//! `Host` and `Match`: whether the lines that follow apply.

use super::{
    account::LocalAccount,
    expand::expand,
    network::is_in_network,
    setting::{Setting, Settings},
    tokens::Tokens,
};
use crate::{Error, authority::parse_port, transport::ssh::pattern};

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
    /// The port that the target names.
    pub(super) port: Option<u16>,
    /// The second pass, because of a `Match final`.
    pub(super) is_final_pass: bool,
}

impl MatchSubject<'_> {
    /// The host to connect to, by the settings so far. Nothing in the final pass changes the name.
    fn host_now(&self, settings: &Settings) -> Result<String, String> {
        match settings.first.get("hostname").filter(|_| !self.is_final_pass) {
            Some(name) => expand_host_name(name.value(), self.original),
            None => Ok(self.host.clone()),
        }
    }

    /// The tokens of a `Match exec`, by the settings so far.
    fn tokens(&self, settings: &Settings) -> Result<Tokens<'_>, String> {
        let first = |name| settings.first.get(name).map(Setting::value);
        let port = first("port").and_then(parse_port);
        let user = self.user.or_else(|| first("user")).or(self.local.user.as_deref());
        Ok(Tokens {
            local: self.local,
            original: self.original,
            host: self.host_now(settings)?,
            port: self.port.or(port).unwrap_or(22),
            user: user.unwrap_or_default().to_owned(),
            alias: first("hostkeyalias").map(str::to_owned),
            jump: String::new(),
        })
    }
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
    let mut words = setting.arguments.iter().map(String::as_str);
    let mut all_hold = true;
    let mut unsupported = None;
    let mut is_only_criterion = true;
    while let Some(word) = words.next() {
        // `host=a`: of the words of a criterion only the name is split.
        let (word, mut attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
            None => (word, None),
        };
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
                let value = attached.take().or_else(|| words.next());
                // `host = a` and `host =a`.
                let value = match value.map(|value| value.strip_prefix('=').unwrap_or(value)) {
                    Some("") => words.next(),
                    value => value,
                };
                let value =
                    value.ok_or_else(|| setting.error(format_args!("`{name}` needs a value")))?;
                // A command is not started for what does not apply in any case.
                if name == "exec" && !(all_hold && is_reachable) {
                    continue;
                }
                match criterion_holds(&name, value, setting, subject, settings)? {
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
    setting: &Setting,
    subject: &MatchSubject<'_>,
    settings: &Settings,
) -> Result<Option<bool>, Error> {
    let MatchSubject { local, original, .. } = subject;
    let first = |name| settings.first.get(name).map(Setting::value);
    let user_matches =
        |user: Option<&str>| user.is_some_and(|user| pattern::list_matches(user, value.split(',')));
    Ok(Some(match name {
        "host" => {
            let host = subject.host_now(settings).map_err(|reason| setting.error(reason))?;
            pattern::names_match(&host, value)
        }
        "originalhost" => pattern::names_match(original, value),
        "user" => user_matches(subject.user.or_else(|| first("user")).or(local.user.as_deref())),
        "localuser" => user_matches(local.user.as_deref()),
        "tagged" => pattern::list_matches(first("tag").unwrap_or_default(), value.split(',')),
        // A session runs one command.
        "sessiontype" => pattern::names_match("exec", value),
        "localnetwork" => is_in_network(value).map_err(|reason| setting.error(reason))?,
        "exec" => {
            let tokens = subject.tokens(settings).map_err(|reason| setting.error(reason))?;
            let command = expand(value, |letter| tokens.value(letter), None)
                .map_err(|reason| setting.error(reason))?;
            (subject.local.run)(&command).map_err(|reason| setting.error(reason))?
        }
        _ => return Ok(None),
    }))
}

/// `HostName` with its tokens replaced.
pub(super) fn expand_host_name(name: &str, original: &str) -> Result<String, String> {
    expand(name, |letter| (letter == 'h').then(|| original.to_owned()), None)
}
