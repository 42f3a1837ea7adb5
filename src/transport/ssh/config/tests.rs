use std::{
    collections::HashMap, fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration,
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{ErrorKind, transport::ssh::host::Strict};

/// As on this machine, or with a home and `/etc/ssh` of its own.
fn here(folder: Option<&Path>) -> Here {
    let uid = nix::unistd::Uid::current();
    let entry = nix::unistd::User::from_uid(uid).unwrap().unwrap();
    Here {
        home: folder.map_or(entry.dir, |folder| folder.join("home")),
        user: Some(entry.name),
        uid: uid.as_raw(),
        etc: folder.map_or(PathBuf::from("/etc/ssh"), |folder| folder.join("etc")),
        env: |name| match name {
            "SSH_AUTH_SOCK" => Some("/agent".to_owned()),
            "OTHER" => Some("/other".to_owned()),
            _ => None,
        },
    }
}

/// A home and an `/etc/ssh`, with these files in them.
fn world(files: &[(&str, &str)]) -> (TempDir, Here) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("home/.ssh/config.d")).unwrap();
    fs::create_dir_all(folder.path().join("etc/ssh_config.d")).unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let here = here(Some(folder.path()));
    (folder, here)
}

fn of(here: &Here, host: &str) -> Result<SshHost, Error> {
    resolve_here(here, &format!("ssh://{host}"), None, host, None, &ConfigSource::Default)
}

/// What one file, `-F`, says.
fn by_file(text: &[u8], host: &str) -> Result<SshHost, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    fs::write(&file, text).unwrap();
    let hop = format!("ssh://{host}");
    resolve_here(&here(None), &hop, None, host, None, &ConfigSource::File(file))
}

/// What `ssh -G` says, by keyword; `None` where it fails.
fn by_ssh(file: &Path, extra: &[&str], host: &str) -> Option<HashMap<String, String>> {
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

fn ssh_is_there() -> bool {
    let there = Command::new("ssh").arg("-V").output().is_ok();
    if !there {
        eprintln!("skipped: there is no ssh to compare with");
    }
    there
}

/// The same in `ssh -G`'s words.
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
        Strict::Ask => "ask",
        Strict::Yes => "true",
        Strict::AcceptNew => "accept-new",
        Strict::No => "false",
    };
    let jumps = host.jumps.join(",");
    vec![
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
        ("compression", yes(host.compression)),
        ("proxyjump", Some(jumps).filter(|jumps| !jumps.is_empty())),
    ]
}

#[test]
fn the_same_as_ssh() {
    if !ssh_is_there() {
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
        "ForwardAgent yes\nSendEnv LANG LC_*\nGSSAPIAuthentication yes\nControlMaster auto\n"
            .to_owned(),
        "PubkeyAuthentication yes\nCheckHostIP no\nAddressFamily any\n".to_owned(),
        "Host *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n".to_owned(),
        // What ssh itself refuses.
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
    for text in &texts {
        fs::write(&file, text).unwrap();
        for (host, user, port) in [
            ("a", None, None),
            ("b", None, None),
            ("c", Some("given"), Some(99)),
            ("A", None, None),
            ("x.example.com", None, None),
            ("::1", None, None),
        ] {
            compare(&file, user, host, port).unwrap_or_else(|why| panic!("by {text:?}: {why}"));
        }
    }
}

/// Whether ssh makes the same of a file.
fn compare(file: &Path, user: Option<&str>, host: &str, port: Option<u16>) -> Result<(), String> {
    let mut extra = Vec::new();
    let shown = port.map(|port: u16| port.to_string());
    extra.extend(user.iter().flat_map(|user| ["-l", *user]));
    extra.extend(shown.iter().flat_map(|port| ["-p", port]));
    let theirs = by_ssh(file, &extra, host);
    let source = ConfigSource::File(file.to_owned());
    let ours = resolve_here(&here(None), "ssh://hop", user, host, port, &source);
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) => {
            for (name, value) in in_ssh_words(&ours) {
                let theirs = theirs.get(name).cloned();
                // Where there are none, ssh says so or leaves it out.
                let none = matches!(theirs.as_deref(), None | Some("none"));
                if theirs != value && !(none && value.is_none()) {
                    return Err(format!("{name} of {host}: {value:?}, ssh has {theirs:?}"));
                }
            }
            Ok(())
        }
        (Err(_), None) => Ok(()),
        // What the target itself says is not looked for in the files.
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
        "IgnoreUnknown Zz*",
        "ForwardAgent yes",
        "Include INC",
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
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..Default::default() })]

    #[test]
    fn whatever_the_blocks_the_same_as_ssh(
        blocks in prop::collection::vec(block(), 0..6),
        included in prop::collection::vec(block(), 0..3),
    ) {
        if ssh_is_there() {
            let folder = tempfile::tempdir().unwrap();
            let (file, inner) = (folder.path().join("config"), folder.path().join("inner"));
            fs::write(&inner, included.concat().replace(" Include INC\n", "")).unwrap();
            fs::set_permissions(&inner, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&file, blocks.concat().replace("INC", inner.to_str().unwrap())).unwrap();
            for (user, host) in [(None, "a"), (None, "b"), (Some("u1"), "a")] {
                compare(&file, user, host, None).map_err(TestCaseError::fail)?;
            }
        }
    }
}

#[test]
fn without_files() {
    let host = resolve("ssh://h", Some("u"), "H", None, &ConfigSource::None).unwrap();
    assert_eq!((&*host.hop, &*host.host_name, &*host.user, host.port), ("ssh://h", "h", "u", 22));
    assert_eq!((host.strict, host.alive_count), (Strict::Ask, 3));
    assert!(host.user_known_hosts[0].ends_with(".ssh/known_hosts"));
    resolve("ssh://h", None, "h", Some(1), &ConfigSource::None).unwrap();
}

#[test]
fn what_is_not_supported_is_told_where_it_applies() {
    for line in [
        "ProxyCommand nc %h %p",
        "KnownHostsCommand /bin/x",
        "CertificateFile ~/.ssh/cert",
        "BindAddress 127.0.0.1",
        "AddressFamily inet6",
        "Ciphers aes128-ctr",
        "PreferredAuthentications publickey",
        "PubkeyAuthentication no",
        "PasswordAuthentication no",
        "ChallengeResponseAuthentication no",
        "CheckHostIP yes",
        "VerifyHostKeyDNS ask",
        "CanonicalizeHostname yes",
        "RevokedHostKeys /x",
        "RemoteCommand top",
        "NoHostAuthenticationForLocalhost yes",
        "NoSuchThing x",
    ] {
        let text = format!("# one\nHost a\n  {line}\n");
        let error = by_file(text.as_bytes(), "a").expect_err(line);
        let keyword = line.split(' ').next().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(&format!("config:3: {keyword}: ")), "{error}");
        assert!(!error.to_string().contains('\n'));
        by_file(text.as_bytes(), "b").expect(line);
    }
    let text = "Host a\nProxyJump j\nHost *\nProxyCommand nc\n";
    assert_eq!(by_file(text.as_bytes(), "a").unwrap().jumps, ["j"]);
    assert!(by_file(text.as_bytes(), "b").unwrap_err().to_string().contains("openssh://"));
    let text = "PasswordAuthentication yes\nPasswordAuthentication no\n";
    by_file(text.as_bytes(), "a").expect("the first value wins");
}

#[test]
fn conditions_that_are_not_supported() {
    let text = b"Match host a exec \"test -f /x\"\n Port 9\n";
    let error = by_file(text, "a").unwrap_err().to_string();
    assert!(error.contains("config:1: Match: `exec` is not supported"), "{error}");
    assert_eq!(by_file(text, "b").unwrap().port, 22);
}

#[test]
fn the_users_file_comes_first() {
    let (_folder, here) = world(&[
        ("home/.ssh/config", "Include config.d/*.conf\nHost a\n User mine\n"),
        ("home/.ssh/config.d/1.conf", "Host a\n Port 1\n"),
        ("home/.ssh/config.d/2.conf", "Host *\n Port 2\n"),
        ("home/.ssh/config.d/.3.conf", "Compression yes\n"),
        (
            "etc/ssh_config",
            "Include ssh_config.d/*.conf\nHost *\n User system\n HashKnownHosts yes\n",
        ),
        ("etc/ssh_config.d/x.conf", "ServerAliveInterval 5\n"),
    ]);
    let a = of(&here, "a").unwrap();
    assert_eq!((&*a.user, a.port, a.hash_known_hosts, a.compression), ("mine", 1, true, false));
    assert_eq!(a.alive_interval, Some(Duration::from_secs(5)));
    let b = of(&here, "b").unwrap();
    assert_eq!((&*b.user, b.port), ("system", 2));
    assert_eq!(b.user_known_hosts[0], here.home.join(".ssh/known_hosts"));
    assert_eq!(b.global_known_hosts[0], here.etc.join("ssh_known_hosts"));
}

#[test]
fn files_that_are_not_there() {
    let (folder, here) = world(&[]);
    assert_eq!(of(&here, "a").unwrap().port, 22);
    let none = folder.path().join("none-such");
    let source = ConfigSource::File(none);
    let error = resolve_here(&here, "ssh://a", None, "a", None, &source).unwrap_err();
    assert!(error.to_string().contains("none-such: No such file"), "{error}");
    let (_folder, here) = world(&[("home/.ssh/config", "Port x\n")]);
    for source in [ConfigSource::None, ConfigSource::File("none".into())] {
        assert_eq!(resolve_here(&here, "", None, "a", None, &source).unwrap().port, 22);
    }
}

#[test]
fn a_file_that_others_can_write_to() {
    let (folder, here) =
        world(&[("home/.ssh/config", "Include config.d/*\n"), ("home/.ssh/config.d/a", "")]);
    for name in ["home/.ssh/config", "home/.ssh/config.d/a"] {
        let path = folder.path().join(name);
        for mode in [0o664, 0o646] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = of(&here, "a").unwrap_err().to_string();
            assert!(error.contains(&format!("chmod go-w {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        of(&here, "a").unwrap();
    }
    // One that is named was chosen, whoever may write to it: as with ssh.
    let file = folder.path().join("home/.ssh/config");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    resolve_here(&here, "", None, "a", None, &ConfigSource::File(file)).unwrap();
}

#[test]
fn files_that_include_each_other() {
    let (_folder, here) = world(&[("home/.ssh/config", "Include config\n")]);
    let error = of(&here, "a").unwrap_err().to_string();
    assert!(error.contains("config:1: Include: files include each other"), "{error}");
    let (_folder, here) = world(&[("etc/ssh_config", "Include ~/x\n")]);
    assert!(of(&here, "a").unwrap_err().to_string().contains("ssh_config:1: Include"));
}

#[test]
fn keys_that_are_there() {
    let (folder, here) = world(&[
        ("home/.ssh/id_ed25519", ""),
        ("home/.ssh/id_rsa", ""),
        ("home/.ssh/a-root-key", ""),
        ("home/.ssh/hidden.pub", ""),
        (
            "home/.ssh/config",
            "Host a\n IdentityFile ~/.ssh/%h-%r-key\n User root\n IdentityFile ~/.ssh/none\n\
             IdentityFile %d/.ssh/hidden\nHost n\n IdentityFile none\nHost a\n\
             IdentityFile ~/.ssh/id_rsa\nIdentityFile ~/.ssh/id_rsa\n",
        ),
    ]);
    let ssh = folder.path().join("home/.ssh");
    assert_eq!(
        of(&here, "x").unwrap().identity_files,
        [ssh.join("id_rsa"), ssh.join("id_ed25519")]
    );
    assert_eq!(
        of(&here, "a").unwrap().identity_files,
        [ssh.join("a-root-key"), ssh.join("hidden"), ssh.join("id_rsa")]
    );
    assert_eq!(of(&here, "n").unwrap().identity_files, Vec::<PathBuf>::new());
}

#[test]
fn agents() {
    for (text, agent) in [
        ("", Some("/agent")),
        ("IdentityAgent none\n", None),
        ("IdentityAgent SSH_AUTH_SOCK\n", Some("/agent")),
        ("IdentityAgent $OTHER\n", Some("/other")),
        ("IdentityAgent $UNSET\n", None),
        ("IdentityAgent ${OTHER}/%h\n", Some("/other/a")),
        ("IdentityAgent \"/a b\"\n", Some("/a b")),
    ] {
        let found = by_file(text.as_bytes(), "a").unwrap().agent;
        assert_eq!(found, agent.map(PathBuf::from), "{text:?}");
    }
}

#[test]
fn batches_are_not_asked() {
    assert_eq!(by_file(b"BatchMode yes\n", "a").unwrap().strict, Strict::Yes);
    let text = b"BatchMode yes\nStrictHostKeyChecking accept-new\n";
    assert_eq!(by_file(text, "a").unwrap().strict, Strict::AcceptNew);
}

#[test]
fn a_host_that_is_reached_through_itself() {
    let text = b"ProxyJump Gate\n";
    let error = by_file(text, "gate").unwrap_err().to_string();
    assert!(error.contains("config:1: ProxyJump: "), "{error}");
    assert_eq!(by_file(text, "a").unwrap().jumps, ["Gate"]);
}

#[test]
fn targets_that_are_none() {
    for (user, host) in
        [(None, "-x"), (Some("-x"), "h"), (None, ""), (None, "a b"), (Some(""), "h")]
    {
        let source = ConfigSource::None;
        assert!(resolve_here(&here(None), "ssh://x", user, host, None, &source).is_err());
    }
}

#[test]
fn bytes_that_are_no_text() {
    by_file(b"# \xff\nHost b\n User \xff\n", "a").unwrap();
    let error = by_file(b"User \xff\n", "a").unwrap_err().to_string();
    assert!(error.contains("config:1: User: it is not UTF-8"), "{error}");
}

fn line() -> impl Strategy<Value = String> {
    let keyword = prop::sample::select(vec![
        "Host",
        "Match",
        "Include",
        "HostName",
        "Port",
        "IdentityFile",
        "ProxyJump",
        "ConnectTimeout",
        "UserKnownHostsFile",
        "IdentityAgent",
        "IgnoreUnknown",
        "\"User\"",
        "#",
        "=",
    ]);
    let word = "[ -~é\t]{0,12}|[%$~*?!{}\\[\\],:@\"'h]{0,8}|host a|all|final|[0-9]{1,12}[smhdw]?";
    (keyword, prop::collection::vec(word, 0..4))
        .prop_map(|(keyword, words)| format!("{keyword} {}\n", words.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = by_file(&bytes, "a");
    }

    #[test]
    fn no_lines_make_it_panic(lines in prop::collection::vec(line(), 0..12)) {
        let _ = by_file(lines.concat().as_bytes(), "a");
    }

    #[test]
    fn no_destination_makes_it_panic(text in "(ssh://)?\\PC{0,20}|[a@:\\[\\]%-]{0,10}") {
        if let Ok((user, host, _)) = parse_destination(&text) {
            prop_assert!(!host.is_empty() && !host.starts_with('-'));
            prop_assert!(user.is_none_or(|user| !user.is_empty() && !user.starts_with('-')));
        }
    }
}

#[test]
fn a_place_names_file_and_line() {
    let (_folder, here) = world(&[("home/.ssh/config", "\n\nPort x\n")]);
    let error = of(&here, "a").unwrap_err().to_string();
    let file = here.home.join(".ssh/config");
    assert_eq!(error, format!("{}:3: Port: a port is a number from 1 to 65535", file.display()));
}
