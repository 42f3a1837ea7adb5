//! Every keyword of `ssh_config`, and its treatment.
//!
//! A keyword about terminals, forwarding, multiplexing or appearance is ignored. A keyword about the
//! destination or the safety of a connection is either followed or refused, never ignored.

/// The treatment of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeywordClass {
    /// Followed, under its canonical name.
    Followed(&'static str),
    /// Of no effect here.
    Ignored,
    /// Refused, unless its value is one of these, which ask for the behaviour there is.
    Refused(&'static str, &'static [&'static str]),
}

/// The treatment of a keyword in lower case; `None` for one that ssh does not know either.
pub(super) fn classify(keyword: &str) -> Option<KeywordClass> {
    let keyword = match keyword {
        "challengeresponseauthentication" | "skeyauthentication" | "tisauthentication" => {
            "kbdinteractiveauthentication"
        }
        "dsaauthentication" => "pubkeyauthentication",
        "identityfile2" => "identityfile",
        "pubkeyacceptedkeytypes" => "pubkeyacceptedalgorithms",
        "smartcarddevice" => "pkcs11provider",
        // Debian's names.
        "protocolkeepalives" | "setuptimeout" => "serveraliveinterval",
        other => other,
    };
    if let Some(name) = FOLLOWED.iter().find(|name| **name == keyword) {
        return Some(KeywordClass::Followed(name));
    }
    if let Some((name, harmless)) = REFUSED.iter().find(|(name, _)| *name == keyword) {
        return Some(KeywordClass::Refused(name, harmless));
    }
    let ignored = keyword.starts_with("gssapi") || IGNORED.contains(&keyword);
    ignored.then_some(KeywordClass::Ignored)
}

const FOLLOWED: &[&str] = &[
    "addressfamily",
    "batchmode",
    "bindaddress",
    "bindinterface",
    "certificatefile",
    "ciphers",
    "compression",
    "connecttimeout",
    "globalknownhostsfile",
    "hashknownhosts",
    "hostkeyalgorithms",
    "hostkeyalias",
    "hostname",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "ignoreunknown",
    "kbdinteractiveauthentication",
    "kexalgorithms",
    "macs",
    "nohostauthenticationforlocalhost",
    "numberofpasswordprompts",
    "passwordauthentication",
    "port",
    "preferredauthentications",
    "proxycommand",
    "proxyjump",
    "pubkeyacceptedalgorithms",
    "pubkeyauthentication",
    "refuseconnection",
    "requiredrsasize",
    "serveralivecountmax",
    "serveraliveinterval",
    "stricthostkeychecking",
    "tag",
    "user",
    "userknownhostsfile",
];

const REFUSED: &[(&str, &[&str])] = &[
    ("canonicalizehostname", &["no", "false"]),
    ("checkhostip", &["no", "false"]),
    ("knownhostscommand", &["none"]),
    ("proxyusefdpass", &["no", "false"]),
    ("revokedhostkeys", &["none"]),
];

const IGNORED: &[&str] = &[
    // A method that is not known here; a refused login names it.
    "hostbasedauthentication",
    // Keys of hardware that an agent does not hold.
    "pkcs11provider",
    "securitykeyprovider",
    // A session of this crate's has a command of its own.
    "remotecommand",
    "sessiontype",
    // Makes ssh trust more keys, never fewer.
    "verifyhostkeydns",
    "addkeystoagent",
    "afstokenpassing",
    // Of no effect without CanonicalizeHostname.
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    // Host certificates are not offered.
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
        assert_eq!(classify("port"), Some(KeywordClass::Followed("port")));
        assert_eq!(classify("identityfile2"), Some(KeywordClass::Followed("identityfile")));
        assert_eq!(classify("gssapitrustdns"), Some(KeywordClass::Ignored));
        assert_eq!(classify("sendenv"), Some(KeywordClass::Ignored));
        assert_eq!(classify("ciphers"), Some(KeywordClass::Followed("ciphers")));
        let refused = KeywordClass::Refused("revokedhostkeys", &["none"]);
        assert_eq!(classify("revokedhostkeys"), Some(refused));
        assert_eq!(classify("prot"), None);
    }
}
