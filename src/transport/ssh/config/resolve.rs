//! From the settings' text to the values of an [`SshHost`].

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::{
    account::LocalAccount,
    destination::parse_destination,
    expand::{expand, tilde},
    setting::{Setting, Settings},
    tokens::Tokens,
};
use crate::{
    Error,
    authority::{check_user, parse_port},
    text::escaped,
    transport::ssh::{
        algorithms::AlgorithmList,
        host::{AddressFamily, AlgorithmLists, SshHost, StrictChecking},
    },
};

/// The files of ssh's default keys, in the order in which it tries them.
const DEFAULT_KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// Resolves the settings of one host.
pub(super) struct Resolver<'a> {
    pub(super) local: &'a LocalAccount,
    pub(super) settings: &'a Settings,
    pub(super) original: &'a str,
    pub(super) host_name: String,
}

impl Resolver<'_> {
    /// Resolves all settings.
    pub(super) fn resolve(
        &self,
        hop: &str,
        user: Option<&str>,
        port: Option<u16>,
    ) -> Result<SshHost, Error> {
        if let Some(setting) = self.get("refuseconnection") {
            return Err(setting.error(escaped(setting.value())));
        }
        let tokens = Tokens {
            local: self.local,
            original: self.original,
            host: self.host_name.clone(),
            user: self.user(hop, user)?,
            port: self.port(port)?,
            alias: self.get("hostkeyalias").map(|alias| alias.value().to_ascii_lowercase()),
            jump: self.get("proxyjump").map(|jump| jump.value().to_owned()).unwrap_or_default(),
        };
        Ok(SshHost {
            hop: hop.to_owned(),
            host_name: self.host_name.clone(),
            identity_files: self.identity_files(&tokens)?,
            key_folder: self.settings.identities.is_empty().then(|| self.local.user_folder()),
            identities_only: self.flag("identitiesonly")?.unwrap_or(false),
            certificates: self.certificates(&tokens)?,
            agent: self.agent(&tokens)?,
            methods: self.methods()?,
            algorithms: self.algorithms(),
            required_rsa_bits: self.number("requiredrsasize")?.unwrap_or(1024),
            password_prompts: self.number("numberofpasswordprompts")?.unwrap_or(3),
            batch_mode: self.flag("batchmode")?.unwrap_or(false),
            user_known_hosts: self.known_hosts(
                "userknownhostsfile",
                ["known_hosts", "known_hosts2"].map(|file| self.local.user_folder().join(file)),
                Some(&tokens),
            )?,
            global_known_hosts: self.known_hosts(
                "globalknownhostsfile",
                ["ssh_known_hosts", "ssh_known_hosts2"].map(|file| self.local.etc.join(file)),
                None,
            )?,
            hash_known_hosts: self.flag("hashknownhosts")?.unwrap_or(false),
            strict: self.strict()?,
            trusts_localhost: self.flag("nohostauthenticationforlocalhost")?.unwrap_or(false),
            family: self.family()?,
            bind_address: self.bind_address()?,
            bind_interface: self.get("bindinterface").map(|setting| setting.value().to_owned()),
            proxy_command: self.proxy_command(&tokens)?,
            connect_timeout: self.time("connecttimeout")?,
            alive_interval: self.time("serveraliveinterval")?,
            alive_count: self.number("serveralivecountmax")?.unwrap_or(3),
            compression: self.flag("compression")?.unwrap_or(false),
            jumps: self.jumps(&tokens)?,
            host_key_alias: tokens.alias,
            port: tokens.port,
            user: tokens.user,
        })
    }

    fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.first.get(name)
    }

    fn user(&self, hop: &str, given: Option<&str>) -> Result<String, Error> {
        if let Some(user) = given {
            return Ok(user.to_owned());
        }
        if let Some(setting) = self.get("user") {
            check_user(setting.value()).map_err(|reason| setting.error(reason))?;
            return Ok(setting.value().to_owned());
        }
        self.local.user.clone().ok_or_else(|| {
            let uid = self.local.uid;
            Error::invalid(format!("{hop}: uid {uid} has no name; write user@ before the host"))
        })
    }

    fn port(&self, given: Option<u16>) -> Result<u16, Error> {
        match (given, self.get("port")) {
            (Some(port), _) => Ok(port),
            (None, Some(setting)) => parse_port(setting.value())
                .ok_or_else(|| setting.error("a port is a number from 1 to 65535")),
            (None, None) => Ok(22),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        let Some(setting) = self.get(name) else { return Ok(None) };
        match &*setting.value().to_ascii_lowercase() {
            "yes" | "true" => Ok(Some(true)),
            "no" | "false" => Ok(Some(false)),
            _ => Err(setting.error("it is yes or no")),
        }
    }

    fn strict(&self) -> Result<StrictChecking, Error> {
        let batch = self.flag("batchmode")?.unwrap_or(false);
        let strict = match self.get("stricthostkeychecking") {
            None => StrictChecking::Ask,
            Some(setting) => match &*setting.value().to_ascii_lowercase() {
                "yes" | "true" => StrictChecking::Yes,
                "ask" => StrictChecking::Ask,
                "accept-new" => StrictChecking::AcceptNew,
                "no" | "off" | "false" => StrictChecking::No,
                _ => return Err(setting.error("it is yes, ask, accept-new or no")),
            },
        };
        Ok(match strict {
            StrictChecking::Ask if batch => StrictChecking::Yes,
            strict => strict,
        })
    }

    /// A time; `None` for zero too.
    fn time(&self, name: &str) -> Result<Option<Duration>, Error> {
        let Some(setting) = self.get(name) else { return Ok(None) };
        let seconds = parse_time(setting.value())
            .ok_or_else(|| setting.error("a time is like 30, 90s or 1h30m"))?;
        Ok(Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero()))
    }

    /// A number that fits into ssh's `int`.
    fn number(&self, name: &str) -> Result<Option<u32>, Error> {
        let Some(setting) = self.get(name) else { return Ok(None) };
        let number = setting.value().parse().ok().filter(|number| i32::try_from(*number).is_ok());
        number.map(Some).ok_or_else(|| setting.error("it is a number"))
    }

    fn identity_files(&self, tokens: &Tokens<'_>) -> Result<Vec<PathBuf>, Error> {
        if self.settings.identities.is_empty() {
            let folder = self.local.user_folder();
            let keys = DEFAULT_KEYS.map(|key| folder.join(key));
            return Ok(keys.into_iter().filter(|key| key.exists()).collect());
        }
        let mut files = Vec::new();
        for setting in &self.settings.identities {
            if setting.value().eq_ignore_ascii_case("none") {
                continue;
            }
            let path = self.path(setting, setting.value(), Some(tokens))?;
            // A public half alone names a key of the agent.
            let public = format!("{path}.pub");
            let path = PathBuf::from(path);
            if (path.exists() || PathBuf::from(public).exists()) && !files.contains(&path) {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// The certificates that exist, where the files name any. `none` stands for no file.
    fn certificates(&self, tokens: &Tokens<'_>) -> Result<Option<Vec<PathBuf>>, Error> {
        if self.settings.certificates.is_empty() {
            return Ok(None);
        }
        let mut files = Vec::new();
        for setting in &self.settings.certificates {
            if setting.value().eq_ignore_ascii_case("none") {
                continue;
            }
            let path = PathBuf::from(self.path(setting, setting.value(), Some(tokens))?);
            if path.exists() {
                files.push(path);
            }
        }
        Ok(Some(files))
    }

    /// The methods to log in by.
    fn methods(&self) -> Result<Vec<&'static str>, Error> {
        const METHODS: [(&str, &str); 3] = [
            ("publickey", "pubkeyauthentication"),
            ("keyboard-interactive", "kbdinteractiveauthentication"),
            ("password", "passwordauthentication"),
        ];
        let mut allowed = Vec::new();
        for (method, keyword) in METHODS {
            // Of a key's two bindings to the session, each is a yes.
            let setting = self.get(keyword).map(Setting::value).unwrap_or("yes");
            if matches!(setting, "unbound" | "host-bound") || self.flag(keyword)?.unwrap_or(true) {
                allowed.push(method);
            }
        }
        let Some(setting) = self.get("preferredauthentications") else { return Ok(allowed) };
        let names = setting.value().split(',');
        let known = |name: &str| allowed.iter().find(|method| **method == name).copied();
        Ok(names.filter_map(known).collect())
    }

    fn algorithms(&self) -> AlgorithmLists {
        let list = |name| self.get(name).map(|setting| AlgorithmList::parse(setting.value()));
        AlgorithmLists {
            ciphers: list("ciphers"),
            macs: list("macs"),
            key_exchanges: list("kexalgorithms"),
            host_keys: list("hostkeyalgorithms"),
            user_keys: list("pubkeyacceptedalgorithms"),
        }
    }

    fn family(&self) -> Result<Option<AddressFamily>, Error> {
        let Some(setting) = self.get("addressfamily") else { return Ok(None) };
        match &*setting.value().to_ascii_lowercase() {
            "any" => Ok(None),
            "inet" => Ok(Some(AddressFamily::Inet)),
            "inet6" => Ok(Some(AddressFamily::Inet6)),
            _ => Err(setting.error("it is any, inet or inet6")),
        }
    }

    fn bind_address(&self) -> Result<Option<IpAddr>, Error> {
        let Some(setting) = self.get("bindaddress") else { return Ok(None) };
        let address = setting.value().parse();
        address.map(Some).map_err(|_| setting.error("it is an address of this machine"))
    }

    /// The command, with its tokens replaced; as ssh's, `exec` makes the shell become it.
    fn proxy_command(&self, tokens: &Tokens<'_>) -> Result<Option<String>, Error> {
        let Some(setting) = self.get("proxycommand") else { return Ok(None) };
        if setting.value().eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        let token = |letter: char| tokens.value(letter).filter(|_| "hnpr".contains(letter));
        let command = expand(&setting.rest, token, None).map_err(|reason| setting.error(reason))?;
        Ok(Some(command))
    }

    fn agent(&self, tokens: &Tokens<'_>) -> Result<Option<PathBuf>, Error> {
        let env = |name: &str| (self.local.env)(name).filter(|value| !value.is_empty());
        let socket = "SSH_AUTH_SOCK";
        let Some(setting) = self.get("identityagent") else {
            return Ok(env(socket).map(PathBuf::from));
        };
        match setting.value() {
            "none" => Ok(None),
            word if word == socket => Ok(env(socket).map(PathBuf::from)),
            word => {
                if let Some(name) = word.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                    return Ok(env(name).map(PathBuf::from));
                }
                Ok(Some(PathBuf::from(self.path(setting, word, Some(tokens))?)))
            }
        }
    }

    fn known_hosts(
        &self,
        name: &str,
        usual: [PathBuf; 2],
        tokens: Option<&Tokens<'_>>,
    ) -> Result<Vec<PathBuf>, Error> {
        let Some(setting) = self.get(name) else { return Ok(usual.into()) };
        if setting.arguments.iter().any(|word| word.eq_ignore_ascii_case("none")) {
            return match &*setting.arguments {
                [_] => Ok(Vec::new()),
                _ => Err(setting.error("`none` stands alone")),
            };
        }
        let paths = setting.arguments.iter().map(|word| self.path(setting, word, tokens));
        paths.map(|path| path.map(PathBuf::from)).collect()
    }

    /// A path with `~` expanded, and with tokens and variables where these are allowed.
    fn path(
        &self,
        setting: &Setting,
        word: &str,
        tokens: Option<&Tokens<'_>>,
    ) -> Result<String, Error> {
        let path = tilde(word, &self.local.home);
        let path = match tokens {
            Some(tokens) => path.and_then(|path| {
                expand(&path, |letter| tokens.value(letter), Some(&self.local.env))
            }),
            None => path,
        };
        path.map_err(|reason| setting.error(reason))
    }

    fn jumps(&self, tokens: &Tokens<'_>) -> Result<Vec<String>, Error> {
        let Some(setting) = self.get("proxyjump") else { return Ok(Vec::new()) };
        if setting.value().eq_ignore_ascii_case("none") {
            return Ok(Vec::new());
        }
        let token = |letter: char| tokens.value(letter).filter(|_| "hnpr".contains(letter));
        let mut jumps = Vec::new();
        for jump in setting.value().split(',') {
            let jump = expand(jump, token, None).map_err(|reason| setting.error(reason))?;
            let (user, host, port) =
                parse_destination(&jump).map_err(|error| setting.error(error))?;
            let host_name = host.to_ascii_lowercase();
            // ssh would resolve the host again, and jump through it for ever.
            if host_name == self.host_name
                && port.unwrap_or(22) == tokens.port
                && user.as_deref().is_none_or(|user| user == tokens.user)
            {
                return Err(setting.error(format_args!(
                    "ProxyJump of {host} names {host} itself; put a `Host {host}` block with \
                     `ProxyJump none` above this line"
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

/// Parses a time in sshd_config(5)'s TIME FORMATS, into seconds: `90`, `1h30m`.
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
