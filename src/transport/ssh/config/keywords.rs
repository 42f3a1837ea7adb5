//! Every keyword of `ssh_config`, and what becomes of it here.
//!
//! What only concerns terminals, forwarding, multiplexing or how things look is ignored. What says
//! how safely or which way to connect must not be ignored: it is either followed or refused.

/// What becomes of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Followed, under its one name.
    Followed(&'static str),
    /// Makes no difference here.
    Ignored,
    /// Refused, unless its value is one of these: they ask for what is done anyway.
    Refused(&'static str, &'static [&'static str]),
}

/// What becomes of a keyword, which is in lower case; `None` where ssh does not know it either.
pub(super) fn class(keyword: &str) -> Option<Class> {
    let keyword = match keyword {
        "challengeresponseauthentication" | "skeyauthentication" | "tisauthentication" => {
            "kbdinteractiveauthentication"
        }
        "dsaauthentication" => "pubkeyauthentication",
        "identityfile2" => "identityfile",
        "pubkeyacceptedkeytypes" => "pubkeyacceptedalgorithms",
        "smartcarddevice" => "pkcs11provider",
        // Debian's.
        "protocolkeepalives" | "setuptimeout" => "serveraliveinterval",
        other => other,
    };
    if let Some(name) = FOLLOWED.iter().find(|name| **name == keyword) {
        return Some(Class::Followed(name));
    }
    if let Some((name, harmless)) = REFUSED.iter().find(|(name, _)| *name == keyword) {
        return Some(Class::Refused(name, harmless));
    }
    let ignored = keyword.starts_with("gssapi") || IGNORED.contains(&keyword);
    ignored.then_some(Class::Ignored)
}

const FOLLOWED: &[&str] = &[
    "batchmode",
    "compression",
    "connecttimeout",
    "globalknownhostsfile",
    "hashknownhosts",
    "hostkeyalias",
    "hostname",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "ignoreunknown",
    "port",
    "proxycommand",
    "proxyjump",
    "serveralivecountmax",
    "serveraliveinterval",
    "stricthostkeychecking",
    "user",
    "userknownhostsfile",
];

const REFUSED: &[(&str, &[&str])] = &[
    ("addressfamily", &["any"]),
    ("bindaddress", &[]),
    ("bindinterface", &[]),
    ("canonicalizehostname", &["no", "false"]),
    ("certificatefile", &["none"]),
    ("checkhostip", &["no", "false"]),
    ("ciphers", &[]),
    ("hostbasedauthentication", &["no", "false"]),
    ("hostkeyalgorithms", &[]),
    ("kbdinteractiveauthentication", &["yes", "true"]),
    ("kexalgorithms", &[]),
    ("knownhostscommand", &["none"]),
    ("macs", &[]),
    ("nohostauthenticationforlocalhost", &["no", "false"]),
    ("passwordauthentication", &["yes", "true"]),
    ("pkcs11provider", &["none"]),
    ("preferredauthentications", &[]),
    ("proxyusefdpass", &["no", "false"]),
    ("pubkeyacceptedalgorithms", &[]),
    ("pubkeyauthentication", &["yes", "true", "unbound", "host-bound"]),
    ("refuseconnection", &[]),
    ("remotecommand", &["none"]),
    ("requiredrsasize", &[]),
    ("revokedhostkeys", &["none"]),
    ("securitykeyprovider", &["internal"]),
    ("sessiontype", &["default"]),
    ("verifyhostkeydns", &["no", "false"]),
];

const IGNORED: &[&str] = &[
    "addkeystoagent",
    "afstokenpassing",
    // Nothing is made canonical, so how it would be does not matter.
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    // Host certificates are not asked for.
    "casignaturealgorithms",
    "channeltimeout",
    "cipher",
    "clearallforwardings",
    "compressionlevel",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fallbacktorsh",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "globalknownhostsfile2",
    "hostbasedacceptedalgorithms",
    "hostbasedkeytypes",
    "ipqos",
    "kbdinteractivedevices",
    "keepalive",
    "kerberosauthentication",
    "kerberostgtpassing",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "permitlocalcommand",
    "permitremoteopen",
    "protocol",
    "rekeylimit",
    "remoteforward",
    "requesttty",
    "rhostsauthentication",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "sendenv",
    "setenv",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tag",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "useprivilegedport",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
    "versionaddendum",
    "visualhostkey",
    "warnweakcrypto",
    "xauthlocation",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_has_one_class() {
        let refused = REFUSED.iter().map(|(name, _)| name);
        let mut all: Vec<_> = FOLLOWED.iter().chain(refused).chain(IGNORED).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|name| **name == name.to_lowercase()));
    }

    #[test]
    fn classes() {
        assert_eq!(class("port"), Some(Class::Followed("port")));
        assert_eq!(class("identityfile2"), Some(Class::Followed("identityfile")));
        assert_eq!(class("gssapitrustdns"), Some(Class::Ignored));
        assert_eq!(class("sendenv"), Some(Class::Ignored));
        assert_eq!(class("ciphers"), Some(Class::Refused("ciphers", &[])));
        assert_eq!(class("prot"), None);
    }
}
