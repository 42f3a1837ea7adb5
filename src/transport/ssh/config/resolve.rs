//! From the words in the files to what they mean.

use std::{path::PathBuf, time::Duration};

use super::{
    Found, Here, Setting,
    destination::parse_destination,
    expand::{expand, tilde},
};
use crate::{
    Error,
    authority::{check_user, parse_port},
    transport::ssh::host::{SshHost, Strict},
};

/// ssh's own keys, in the order in which it tries them.
const KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

pub(super) struct Values<'a> {
    pub(super) here: &'a Here,
    pub(super) found: &'a Found,
    pub(super) original: &'a str,
    pub(super) host_name: String,
}

/// What tokens stand for, besides those that [`Values`] knows.
struct Login {
    user: String,
    port: u16,
    alias: Option<String>,
}

impl Values<'_> {
    /// All of it.
    pub(super) fn host(
        &self,
        hop: &str,
        user: Option<&str>,
        port: Option<u16>,
    ) -> Result<SshHost, Error> {
        let login = Login {
            user: self.user(hop, user)?,
            port: self.port(port)?,
            alias: self.get("hostkeyalias").map(|alias| alias.word().to_ascii_lowercase()),
        };
        Ok(SshHost {
            hop: hop.to_owned(),
            host_name: self.host_name.clone(),
            identity_files: self.identity_files(&login)?,
            identities_only: self.flag("identitiesonly")?.unwrap_or(false),
            agent: self.agent(&login)?,
            user_known_hosts: self.known_hosts(
                "userknownhostsfile",
                ["known_hosts", "known_hosts2"].map(|file| self.here.folder(true).join(file)),
                Some(&login),
            )?,
            global_known_hosts: self.known_hosts(
                "globalknownhostsfile",
                ["ssh_known_hosts", "ssh_known_hosts2"]
                    .map(|file| self.here.folder(false).join(file)),
                None,
            )?,
            hash_known_hosts: self.flag("hashknownhosts")?.unwrap_or(false),
            strict: self.strict()?,
            connect_timeout: self.time("connecttimeout")?,
            alive_interval: self.time("serveraliveinterval")?,
            alive_count: self.alive_count()?,
            compression: self.flag("compression")?.unwrap_or(false),
            jumps: self.jumps(&login)?,
            host_key_alias: login.alias,
            port: login.port,
            user: login.user,
        })
    }

    fn get(&self, name: &str) -> Option<&Setting> {
        self.found.first.get(name)
    }

    fn user(&self, hop: &str, given: Option<&str>) -> Result<String, Error> {
        if let Some(user) = given {
            return Ok(user.to_owned());
        }
        if let Some(setting) = self.get("user") {
            check_user(setting.word()).map_err(|why| setting.wrong(why))?;
            return Ok(setting.word().to_owned());
        }
        self.here.user.clone().ok_or_else(|| {
            let uid = self.here.uid;
            Error::invalid(format!("{hop}: uid {uid} has no name; write user@ before the host"))
        })
    }

    fn port(&self, given: Option<u16>) -> Result<u16, Error> {
        match (given, self.get("port")) {
            (Some(port), _) => Ok(port),
            (None, Some(setting)) => parse_port(setting.word())
                .ok_or_else(|| setting.wrong("a port is a number from 1 to 65535")),
            (None, None) => Ok(22),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        let Some(setting) = self.get(name) else { return Ok(None) };
        match &*setting.word().to_ascii_lowercase() {
            "yes" | "true" => Ok(Some(true)),
            "no" | "false" => Ok(Some(false)),
            _ => Err(setting.wrong("it is yes or no")),
        }
    }

    fn strict(&self) -> Result<Strict, Error> {
        let batch = self.flag("batchmode")?.unwrap_or(false);
        let strict = match self.get("stricthostkeychecking") {
            None => Strict::Ask,
            Some(setting) => match &*setting.word().to_ascii_lowercase() {
                "yes" | "true" => Strict::Yes,
                "ask" => Strict::Ask,
                "accept-new" => Strict::AcceptNew,
                "no" | "off" | "false" => Strict::No,
                _ => return Err(setting.wrong("it is yes, ask, accept-new or no")),
            },
        };
        Ok(match strict {
            Strict::Ask if batch => Strict::Yes,
            strict => strict,
        })
    }

    /// A time that is not zero.
    fn time(&self, name: &str) -> Result<Option<Duration>, Error> {
        let Some(setting) = self.get(name) else { return Ok(None) };
        let seconds = parse_time(setting.word())
            .ok_or_else(|| setting.wrong("a time is like 30, 90s or 1h30m"))?;
        Ok(Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero()))
    }

    fn alive_count(&self) -> Result<u32, Error> {
        let Some(setting) = self.get("serveralivecountmax") else { return Ok(3) };
        let count = setting.word().parse().ok().filter(|count| i32::try_from(*count).is_ok());
        count.ok_or_else(|| setting.wrong("it is a number"))
    }

    fn identity_files(&self, login: &Login) -> Result<Vec<PathBuf>, Error> {
        if self.found.identities.is_empty() {
            let folder = self.here.folder(true);
            let keys = KEYS.map(|key| folder.join(key));
            return Ok(keys.into_iter().filter(|key| key.exists()).collect());
        }
        let mut files = Vec::new();
        for setting in &self.found.identities {
            if setting.word().eq_ignore_ascii_case("none") {
                continue;
            }
            let path = self.path(setting, setting.word(), Some(login))?;
            // With the public half alone, it says which of the agent's keys is meant.
            let public = format!("{path}.pub");
            let path = PathBuf::from(path);
            if (path.exists() || PathBuf::from(public).exists()) && !files.contains(&path) {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn agent(&self, login: &Login) -> Result<Option<PathBuf>, Error> {
        let env = |name: &str| (self.here.env)(name).filter(|value| !value.is_empty());
        let socket = "SSH_AUTH_SOCK";
        let Some(setting) = self.get("identityagent") else {
            return Ok(env(socket).map(PathBuf::from));
        };
        match setting.word() {
            "none" => Ok(None),
            word if word == socket => Ok(env(socket).map(PathBuf::from)),
            word => {
                if let Some(name) = word.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                    return Ok(env(name).map(PathBuf::from));
                }
                Ok(Some(PathBuf::from(self.path(setting, word, Some(login))?)))
            }
        }
    }

    fn known_hosts(
        &self,
        name: &str,
        usual: [PathBuf; 2],
        login: Option<&Login>,
    ) -> Result<Vec<PathBuf>, Error> {
        let Some(setting) = self.get(name) else { return Ok(usual.into()) };
        if setting.words.iter().any(|word| word.eq_ignore_ascii_case("none")) {
            return match &*setting.words {
                [_] => Ok(Vec::new()),
                _ => Err(setting.wrong("`none` stands alone")),
            };
        }
        let paths = setting.words.iter().map(|word| self.path(setting, word, login));
        paths.map(|path| path.map(PathBuf::from)).collect()
    }

    /// A path with `~`, and for a login's also with tokens and variables.
    fn path(&self, setting: &Setting, word: &str, login: Option<&Login>) -> Result<String, Error> {
        let path = tilde(word, &self.here.home);
        let path = match login {
            Some(login) => path.and_then(|path| {
                expand(&path, |letter| self.token(letter, login), Some(&self.here.env))
            }),
            None => path,
        };
        path.map_err(|why| setting.wrong(why))
    }

    fn token(&self, letter: char, login: &Login) -> Option<String> {
        Some(match letter {
            'd' => self.here.home.display().to_string(),
            'h' => self.host_name.clone(),
            'i' => self.here.uid.to_string(),
            'k' => login.alias.clone().unwrap_or_else(|| self.original.to_owned()),
            'L' => {
                let name = local_name()?;
                name.split('.').next().unwrap_or_default().to_owned()
            }
            'l' => local_name()?,
            'n' => self.original.to_owned(),
            'p' => login.port.to_string(),
            'r' => login.user.clone(),
            'u' => self.here.user.clone()?,
            _ => return None,
        })
    }

    fn jumps(&self, login: &Login) -> Result<Vec<String>, Error> {
        let Some(setting) = self.get("proxyjump") else { return Ok(Vec::new()) };
        if setting.word().eq_ignore_ascii_case("none") {
            return Ok(Vec::new());
        }
        let token = |letter| self.token(letter, login).filter(|_| "hnpr".contains(letter));
        let mut jumps = Vec::new();
        for jump in setting.word().split(',') {
            let jump = expand(jump, token, None).map_err(|why| setting.wrong(why))?;
            let (user, host, port) =
                parse_destination(&jump).map_err(|error| setting.wrong(error))?;
            let host_name = host.to_ascii_lowercase();
            // ssh would look the host up again and jump through it for ever.
            if host_name == self.host_name
                && port.unwrap_or(22) == login.port
                && user.as_deref().is_none_or(|user| user == login.user)
            {
                return Err(setting.wrong(format_args!(
                    "{host} is reached through itself; give it a `ProxyJump none` before"
                )));
            }
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            jumps.push(format!("{user}{host}{port}"));
        }
        Ok(jumps)
    }
}

fn local_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// Seconds in `sshd_config`'s time format: `90`, `1h30m`.
fn parse_time(text: &str) -> Option<u64> {
    let mut total: i32 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let mut letters = after.chars();
        let unit = match letters.next().map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.parse::<i32>().ok()?.checked_mul(unit)?)?;
        rest = letters.as_str();
    }
    u64::try_from(total).ok()
}
