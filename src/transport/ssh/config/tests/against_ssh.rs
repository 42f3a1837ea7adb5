//! Compares resolved settings with those of `ssh -G`.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use proptest::prelude::*;

use super::{ConfigSource, SshHost, StrictChecking, here, resolve_for};
use crate::transport::ssh::{algorithms::AlgorithmList, host::AddressFamily};

/// The output of `ssh -G`, by keyword; `None` where it fails.
fn resolved_by_ssh(file: &Path, extra: &[&str], host: &str) -> Option<HashMap<String, String>> {
    let output = Command::new("ssh")
        .args(["-T", "-G", "-F"])
        .arg(file)
        .args(extra)
        .arg(host)
        .env("SSH_AUTH_SOCK", "/agent")
        .env("OTHER", "/other")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    output.status.success().then(|| pairs.collect())
}

/// Whether ssh knows the keyword `Tag`, of OpenSSH 9.4.
fn has_tags() -> bool {
    let tagged = Command::new("ssh").args(["-F", "none", "-G", "-o", "Tag=t", "a"]).output();
    tagged.is_ok_and(|output| output.status.success())
}

fn has_ssh() -> bool {
    let there = Command::new("ssh").arg("-V").output().is_ok();
    if !there {
        eprintln!("skipped: ssh is not installed");
    }
    there
}

/// The settings in the form of `ssh -G`'s output.
fn in_ssh_words(host: &SshHost) -> Vec<(&'static str, Option<String>)> {
    let yes = |flag: bool| Some(if flag { "yes" } else { "no" }.to_owned());
    let seconds = |time: Option<Duration>, none: &str| {
        Some(time.map_or(none.to_owned(), |time| time.as_secs().to_string()))
    };
    let paths = |paths: &[PathBuf]| {
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        Some(paths.join(" ")).filter(|paths| !paths.is_empty())
    };
    let strict = match host.strict {
        StrictChecking::Ask => "ask",
        StrictChecking::Yes => "true",
        StrictChecking::AcceptNew => "accept-new",
        StrictChecking::No => "false",
    };
    let jumps = host.jumps.join(",");
    let family = match host.family {
        None => "any",
        Some(AddressFamily::Inet) => "inet",
        Some(AddressFamily::Inet6) => "inet6",
    };
    let list = |list: &Option<AlgorithmList>| match list {
        Some(AlgorithmList::Only(names)) => Some(names.join(",")),
        _ => None,
    };
    let method = |name| yes(host.methods.contains(&name));
    let last = |paths: &[PathBuf]| paths.last().map(|path| path.display().to_string());
    let mut words = vec![
        ("addressfamily", Some(family.to_owned())),
        ("bindaddress", host.bind_address.map(|address| address.to_string())),
        ("bindinterface", host.bind_interface.clone()),
        ("requiredrsasize", Some(host.required_rsa_bits.to_string())),
        ("nohostauthenticationforlocalhost", yes(host.trusts_localhost)),
        ("certificatefile", host.certificates.as_deref().and_then(last)),
        ("passwordauthentication", method("password")),
        ("kbdinteractiveauthentication", method("keyboard-interactive")),
        ("proxycommand", host.proxy_command.clone()),
        ("hostname", Some(host.host_name.clone())),
        ("user", Some(host.user.clone())),
        ("port", Some(host.port.to_string())),
        ("hostkeyalias", host.host_key_alias.clone()),
        ("identitiesonly", yes(host.identities_only)),
        ("userknownhostsfile", paths(&host.user_known_hosts)),
        ("globalknownhostsfile", paths(&host.global_known_hosts)),
        ("hashknownhosts", yes(host.hash_known_hosts)),
        ("stricthostkeychecking", Some(strict.to_owned())),
        ("connecttimeout", seconds(host.connect_timeout, "none")),
        ("serveraliveinterval", seconds(host.alive_interval, "0")),
        ("serveralivecountmax", Some(host.alive_count.to_string())),
        ("numberofpasswordprompts", Some(host.password_prompts.to_string())),
        ("batchmode", yes(host.batch_mode)),
        ("compression", yes(host.compression)),
        ("proxyjump", Some(jumps).filter(|jumps| !jumps.is_empty())),
    ];
    // ssh shows its own list where there is none, or where it starts from that.
    let lists = &host.algorithms;
    for (name, list) in [
        ("ciphers", list(&lists.ciphers)),
        ("macs", list(&lists.macs)),
        ("kexalgorithms", list(&lists.key_exchanges)),
        ("hostkeyalgorithms", list(&lists.host_keys)),
        ("pubkeyacceptedalgorithms", list(&lists.user_keys)),
    ] {
        words.extend(list.map(|list| (name, Some(list))));
    }
    words
}

#[test]
fn example_files_give_the_same_as_ssh() {
    if !has_ssh() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let more = folder.path().join("more.conf");
    fs::write(&more, "User more\nHost b\n Port 77\nMatch host a\n Port 78\n").unwrap();
    fs::set_permissions(&more, fs::Permissions::from_mode(0o644)).unwrap();
    let include = format!("Include {0}/m*.conf {0}/none*\n", folder.path().display());
    let texts = [
        String::new(),
        "User u\nPort 2222\nHostName h.example.com\n".to_owned(),
        "Match final\n HostName real\nMatch exec \"test %h = real\"\n User u1\n".to_owned(),
        "HostName real\nMatch final exec \"test %h = real\"\n User u1\n".to_owned(),
        "HostName %h.REAL\nMatch final exec \"test %h = a.real\"\n User u1\n".to_owned(),
        "Host a\n User ua\nHost b\n User ub\nHost *\n User rest\n Port 7\n".to_owned(),
        "Host a b !c\n User ab\nHost !a *\n User others\n".to_owned(),
        "Host !a\n User never\n".to_owned(),
        "Host ?\n User one\nHost ??*\n User more\n".to_owned(),
        "Host A\n User upper\nHost *.example.com\n Port 9\n".to_owned(),
        "Port = 22\nuSER=\"quoted\" # why\nCompression yes\n".to_owned(),
        "  \"User\" x\n\n#Port 9\n\t# Port 10\nport\t11\r\n".to_owned(),
        "Port 1\nPort 2\nUser a\nUser b\n".to_owned(),
        "HostName %h.Example.COM\nUserKnownHostsFile ~/kh-%h-%n-%p-%r-%u-%%-%d-%i ${OTHER}/x\n"
            .to_owned(),
        "HostName 0::1\n".to_owned(),
        "HostName %h.%%.x\n".to_owned(),
        "HostKeyAlias ALias\nUserKnownHostsFile /x/%k \"/with blank\"\n".to_owned(),
        "UserKnownHostsFile /one\nUserKnownHostsFile /two\nGlobalKnownHostsFile /a /b\n".to_owned(),
        "StrictHostKeyChecking off\nHashKnownHosts YES\n".to_owned(),
        "StrictHostKeyChecking accept-new\nConnectTimeout 1h30m\n".to_owned(),
        "StrictHostKeyChecking true\nConnectTimeout none\nIdentitiesOnly true\n".to_owned(),
        "ServerAliveInterval 2m5\nServerAliveCountMax 0\n".to_owned(),
        "ProxyJump u@j:23\n".to_owned(),
        "ProxyJump j1,u@[::1]:23,ssh://v@j3:4\n".to_owned(),
        "ProxyJump none\nProxyJump j\n".to_owned(),
        "ProxyCommand none\nProxyJump j\n".to_owned(),
        "Host a\n ProxyJump none\nHost *\n ProxyJump gate\n".to_owned(),
        "Match all\n User all\n".to_owned(),
        "Match host a,b\n User ab\nMatch host !a,*\n User other\n".to_owned(),
        "HostName real\nMatch host real\n Port 5\nMatch originalhost a\n User orig\n".to_owned(),
        "User deploy\nMatch user deploy\n Port 6\nMatch user given\n Port 8\n".to_owned(),
        "Match !host a user *\n Port 12\nMatch localuser *\n User local\n".to_owned(),
        "Match host=a user=root\n Port 13\n".to_owned(),
        "Match Host A\n Port 14\n".to_owned(),
        "Match final host real\n Port 15\nHost real\n User second\nHost a\n HostName REAL\n"
            .to_owned(),
        "Match canonical\n Port 16\nMatch !final\n User first\n".to_owned(),
        "Match final all\n Port 17\nMatch canonical all\n User c\n".to_owned(),
        "Match host other exec false\n Port 18\n".to_owned(),
        "IgnoreUnknown Foo*,bar\nFooBar x y\nBar z\nPort 19\n".to_owned(),
        include.clone(),
        format!("Host b\n {include}Port 20\n"),
        format!("Host a\n {include}Port 20\n"),
        "Match host nope exec \"test a=b\"\n Port 23\n".to_owned(),
        "Match host a exec \"test a = a\"\n Port 24\nMatch exec false\n Port 25\n".to_owned(),
        "Match !exec \"test %h = a\"\n Port 26\n".to_owned(),
        "Match exec \"test %n-%p-%r = a-22-root\"\n Port 27\n".to_owned(),
        "Match host = a\n Port 28\n".to_owned(),
        "Match host=\"a,b\" originalhost=b\n Port 29\n".to_owned(),
        "UserKnownHostsFile /x/%C\n".to_owned(),
        "HostName 127.1\n".to_owned(),
        "HostName 0x7f000001\n".to_owned(),
        "HostName 1.2.3.4.5\n".to_owned(),
        "Ciphers aes128-ctr,aes256-gcm@openssh.com\nMACs hmac-sha2-256\n".to_owned(),
        "Ciphers +aes128-cbc\nKexAlgorithms -*sha1*\nMACs ^hmac-sha2-512\n".to_owned(),
        "KexAlgorithms curve25519-sha256\nHostKeyAlgorithms ssh-ed25519,rsa-sha2-256\n".to_owned(),
        "PubkeyAcceptedAlgorithms ssh-ed25519\nRequiredRSASize 2048\n".to_owned(),
        "PubkeyAcceptedKeyTypes +ssh-rsa\n".to_owned(),
        "AddressFamily inet6\nBindAddress 127.0.0.1\n".to_owned(),
        "BindInterface lo\nAddressFamily INET\n".to_owned(),
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n".to_owned(),
        "ChallengeResponseAuthentication no\nPubkeyAuthentication unbound\n".to_owned(),
        "NoHostAuthenticationForLocalhost yes\nHostbasedAuthentication yes\n".to_owned(),
        "CertificateFile none\nCertificateFile /etc/passwd\n".to_owned(),
        "ProxyCommand /bin/nc -X \"5\" 'a b'\n".to_owned(),
        "ProxyCommand=nc x\nProxyJump j\n".to_owned(),
        "Host a\n ProxyJump j\nHost *\n ProxyCommand nc x\n".to_owned(),
        "RemoteCommand tmux attach\nRequestTTY yes\n".to_owned(),
        "SessionType none\nVerifyHostKeyDNS ask\n".to_owned(),
        "Tag t\nMatch tagged t\n Port 30\n".to_owned(),
        "ForwardAgent yes\nSendEnv LANG LC_*\nGSSAPIAuthentication yes\nControlMaster auto\n"
            .to_owned(),
        "PubkeyAuthentication yes\nCheckHostIP no\nAddressFamily any\n".to_owned(),
        "Host *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n".to_owned(),
        // Refused by ssh itself.
        "Port 0\n".to_owned(),
        "Port 65536\n".to_owned(),
        "Port 1 2\n".to_owned(),
        "Port\n".to_owned(),
        "Nonsense yes\n".to_owned(),
        "Compression maybe\n".to_owned(),
        "StrictHostKeyChecking perhaps\n".to_owned(),
        "ConnectTimeout 5x\n".to_owned(),
        "ConnectTimeout -5\n".to_owned(),
        "User \"a\n".to_owned(),
        "UserKnownHostsFile none /x\n".to_owned(),
        "UserKnownHostsFile /%z\n".to_owned(),
        "UserKnownHostsFile ${UNSET_HERE}\n".to_owned(),
        "HostName %p\n".to_owned(),
        "Match\n Port 1\n".to_owned(),
        "Match host\n Port 1\n".to_owned(),
        "Match all host a\n Port 1\n".to_owned(),
        "ProxyJump @x\n".to_owned(),
        "ProxyJump x:0\n".to_owned(),
        "Host \"\"\n Port 1\n".to_owned(),
    ];
    let file = folder.path().join("config");
    // Keywords that the program here may be too old for.
    let is_known = |text: &&String| !text.starts_with("Tag ") || has_tags();
    for text in texts.iter().filter(is_known) {
        fs::write(&file, text).unwrap();
        for (host, user, port) in [
            ("a", None, None),
            ("b", None, None),
            ("c", Some("given"), Some(99)),
            ("A", None, None),
            ("x.example.com", None, None),
            ("::1", None, None),
        ] {
            let compared = compare(&file, user, host, port);
            let compared = compared.or_else(|_| compare(&file, user, host, port));
            compared.unwrap_or_else(|why| panic!("by {text:?}: {why}"));
        }
    }
}

/// Compares the settings by a file with those of ssh.
fn compare(file: &Path, user: Option<&str>, host: &str, port: Option<u16>) -> Result<(), String> {
    let mut extra = Vec::new();
    let shown = port.map(|port: u16| port.to_string());
    extra.extend(user.iter().flat_map(|user| ["-l", *user]));
    extra.extend(shown.iter().flat_map(|port| ["-p", port]));
    let theirs = resolved_by_ssh(file, &extra, host);
    let source = ConfigSource::File(file.to_owned());
    let ours = resolve_for(&here(None), "ssh://hop", user, host, port, &source);
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) => {
            for (name, value) in in_ssh_words(&ours) {
                let theirs = theirs.get(name).cloned();
                // ssh prints `none` for an empty value, or leaves it out.
                let none = matches!(theirs.as_deref(), None | Some("none"));
                if theirs != value && !(none && value.is_none()) {
                    return Err(format!("{name} of {host}: {value:?}, ssh has {theirs:?}"));
                }
            }
            Ok(())
        }
        (Err(_), None) => Ok(()),
        // The target's own user is taken, and that of the file not even checked.
        (Ok(_), None) if user.is_some() => Ok(()),
        (ours, theirs) => Err(format!("{host}: {ours:?}, ssh has {theirs:?}")),
    }
}

fn block() -> impl Strategy<Value = String> {
    let pattern =
        || prop::sample::select(vec!["a", "b", "*", "?", "!a", "!b", "a*", "real", "*.x"]);
    let condition = prop::sample::select(vec![
        "all",
        "final",
        "canonical",
        "!final",
        "host a",
        "host real",
        "!host real,b",
        "originalhost a,b",
        "user u1",
        "!user u1",
        "user root host *",
        "host *,!a user *",
        "localuser nobody",
        "exec true",
        "host a exec \"test a=b\"",
        "exec \"test %h = real\"",
        "!exec false user *",
    ]);
    let setting = prop::sample::select(vec![
        "User u1",
        "User u2",
        "Port 1",
        "Port=2",
        "HostName real",
        "HostName %h.x",
        "ProxyJump j1,u@j2:3",
        "ProxyJump none",
        "ProxyCommand none",
        "Compression yes",
        "Compression no",
        "HashKnownHosts yes",
        "ConnectTimeout 1m",
        "ConnectTimeout none",
        "HostKeyAlias k",
        "UserKnownHostsFile /%h-%n-%r-%p-%k",
        "UserKnownHostsFile none",
        "StrictHostKeyChecking no",
        "StrictHostKeyChecking yes",
        "ServerAliveInterval 3",
        "IdentitiesOnly yes",
        "NumberOfPasswordPrompts 1",
        "IgnoreUnknown Zz*",
        "ForwardAgent yes",
        "Include INC",
        "AddressFamily inet",
        "BindAddress ::1",
        "Ciphers aes128-ctr",
        "Ciphers +aes128-cbc",
        "MACs hmac-sha2-512,hmac-sha2-256",
        "KexAlgorithms curve25519-sha256",
        "HostKeyAlgorithms ssh-ed25519",
        "PubkeyAcceptedAlgorithms -ssh-rsa",
        "RequiredRSASize 3072",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PubkeyAuthentication no",
        "NoHostAuthenticationForLocalhost yes",
        "ProxyCommand nc x 1",
        "RemoteCommand top",
        "UserKnownHostsFile ~/k ~/%h",
    ]);
    let head = prop_oneof![
        prop::collection::vec(pattern(), 1..4)
            .prop_map(|names| format!("Host {}", names.join(" "))),
        condition.prop_map(|condition| format!("Match {condition}")),
    ];
    (head, prop::collection::vec(setting, 0..5))
        .prop_map(|(head, settings)| format!("{head}\n {}\n", settings.join("\n ")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 350, ..Default::default() })]

    #[test]
    fn random_blocks_give_the_same_as_ssh(
        blocks in prop::collection::vec(block(), 0..6),
        included in prop::collection::vec(block(), 0..3),
    ) {
        if has_ssh() {
            let folder = tempfile::tempdir().unwrap();
            let (file, inner) = (folder.path().join("config"), folder.path().join("inner"));
            fs::write(&inner, included.concat().replace(" Include INC\n", "")).unwrap();
            fs::set_permissions(&inner, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&file, blocks.concat().replace("INC", inner.to_str().unwrap())).unwrap();
            for (user, host) in [(None, "a"), (None, "b"), (Some("u1"), "a")] {
                // Another test may give root another home in between.
                let compared = compare(&file, user, host, None);
                let compared = compared.or_else(|_| compare(&file, user, host, None));
                compared.map_err(TestCaseError::fail)?;
            }
        }
    }
}
