mod against_ssh;
mod stock;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{ErrorKind, transport::ssh::host::StrictChecking};

/// This machine's account, or one with a home and `/etc/ssh` of its own.
fn here(folder: Option<&Path>) -> LocalAccount {
    let uid = nix::unistd::Uid::current();
    let entry = nix::unistd::User::from_uid(uid).unwrap().unwrap();
    LocalAccount {
        home: folder.map_or(entry.dir, |folder| folder.join("home")),
        user: Some(entry.name),
        uid: uid.as_raw(),
        etc: folder.map_or(PathBuf::from("/etc/ssh"), |folder| folder.join("etc")),
        env: |name| match name {
            "SSH_AUTH_SOCK" => Some("/agent".to_owned()),
            "OTHER" => Some("/other".to_owned()),
            _ => None,
        },
        run: command::succeeds,
    }
}

/// A home and an `/etc/ssh`, with these files in them.
fn world(files: &[(&str, &str)]) -> (TempDir, LocalAccount) {
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

fn of(here: &LocalAccount, host: &str) -> Result<SshHost, Error> {
    resolve_for(here, &format!("ssh://{host}"), None, host, None, &ConfigSource::Default)
}

/// The settings by one file, as by `-F`.
fn by_file(text: &[u8], host: &str) -> Result<SshHost, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    fs::write(&file, text).unwrap();
    let hop = format!("ssh://{host}");
    resolve_for(&here(None), &hop, None, host, None, &ConfigSource::File(file))
}

#[test]
fn without_files() {
    let host = resolve("ssh://h", Some("u"), "H", None, &ConfigSource::None).unwrap();
    assert_eq!((&*host.hop, &*host.host_name, &*host.user, host.port), ("ssh://h", "h", "u", 22));
    assert_eq!((host.strict, host.alive_count), (StrictChecking::Ask, 3));
    assert!(host.user_known_hosts[0].ends_with(".ssh/known_hosts"));
    resolve("ssh://h", None, "h", Some(1), &ConfigSource::None).unwrap();
}

#[test]
fn an_unsupported_setting_is_an_error_where_it_applies() {
    for line in [
        "KnownHostsCommand /bin/x",
        "AddressFamily inet5",
        "BindAddress router",
        "CheckHostIP yes",
        "CanonicalizeHostname yes",
        "RevokedHostKeys /x",
        "RefuseConnection \"try b\"",
        "RequiredRSASize many",
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
    let text = "CheckHostIP no\nCheckHostIP yes\n";
    by_file(text.as_bytes(), "a").expect("the first value wins");
}

#[test]
fn the_first_of_proxy_jump_and_proxy_command_counts() {
    let text = "Host a\nProxyJump j\nHost *\nProxyCommand nc \"%h\" %p # %%\n";
    let (a, b) = (by_file(text.as_bytes(), "a").unwrap(), by_file(text.as_bytes(), "b").unwrap());
    assert_eq!((&*a.jumps, a.proxy_command), (&["j".to_owned()][..], None));
    assert_eq!((&*b.jumps, b.proxy_command.as_deref()), (&[][..], Some("nc \"b\" 22 # %")));
}

#[test]
fn methods_of_authentication() {
    let (keys, asked, password) = ("publickey", "keyboard-interactive", "password");
    for (text, expected) in [
        ("", &[keys, asked, password][..]),
        ("PubkeyAuthentication no\n", &[asked, password]),
        ("PubkeyAuthentication host-bound\nPasswordAuthentication no\n", &[keys, asked]),
        ("ChallengeResponseAuthentication no\n", &[keys, password]),
        ("PreferredAuthentications password,publickey\n", &[password, keys]),
        ("PreferredAuthentications gssapi-with-mic,password\nPasswordAuthentication no\n", &[]),
    ] {
        assert_eq!(by_file(text.as_bytes(), "a").unwrap().methods, expected, "{text:?}");
    }
}

#[test]
fn settings_that_make_no_difference_to_a_session() {
    for line in [
        "RemoteCommand tmux attach",
        "RequestTTY force",
        "SessionType none",
        "VerifyHostKeyDNS ask",
        "HostbasedAuthentication yes",
        "PKCS11Provider /usr/lib/x.so",
    ] {
        by_file(format!("{line}\n").as_bytes(), "a").expect(line);
    }
}

#[test]
fn files_that_ssh_passes_over() {
    let (folder, here) = world(&[
        ("home/.ssh/config", "Include config.d/*\nPort 5\n"),
        ("home/.ssh/config.d/a", "User root\n"),
    ]);
    fs::create_dir(folder.path().join("home/.ssh/config.d/folder")).unwrap();
    let host = of(&here, "a").unwrap();
    assert_eq!((host.port, &*host.user), (5, "root"));
    // The user's own file as a folder is no file.
    let (folder, here) = world(&[("etc/ssh_config", "Port 6\n")]);
    fs::create_dir(folder.path().join("home/.ssh/config")).unwrap();
    assert_eq!(of(&here, "a").unwrap().port, 6);
}

#[test]
fn unsupported_conditions() {
    let text = b"Match host a version *\n Port 9\n";
    let error = by_file(text, "a").unwrap_err().to_string();
    assert!(error.contains("config:1: Match: `version` is not supported"), "{error}");
    assert_eq!(by_file(text, "b").unwrap().port, 22);
    let text = b"Match host a exec \"echo %z\"\n Port 9\n";
    assert!(by_file(text, "a").is_err() && by_file(text, "b").is_ok());
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
fn missing_files() {
    let (folder, here) = world(&[]);
    assert_eq!(of(&here, "a").unwrap().port, 22);
    let none = folder.path().join("none-such");
    let source = ConfigSource::File(none);
    let error = resolve_for(&here, "ssh://a", None, "a", None, &source).unwrap_err();
    assert!(format!("{error:#}").contains("none-such: No such file"), "{error:#}");
    let (_folder, here) = world(&[("home/.ssh/config", "Port x\n")]);
    for source in [ConfigSource::None, ConfigSource::File("none".into())] {
        assert_eq!(resolve_for(&here, "", None, "a", None, &source).unwrap().port, 22);
    }
}

#[test]
fn a_file_that_others_can_write_to() {
    let (folder, here) =
        world(&[("home/.ssh/config", "Include config.d/*\n"), ("home/.ssh/config.d/a", "")]);
    for name in ["home/.ssh/config", "home/.ssh/config.d/a"] {
        let path = folder.path().join(name);
        for mode in [0o662, 0o646] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = of(&here, "a").unwrap_err().to_string();
            assert!(error.contains(&format!("chmod go-w {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        of(&here, "a").unwrap();
    }
    // As for ssh, a file named by -F may be writable to others.
    let file = folder.path().join("home/.ssh/config");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    resolve_for(&here, "", None, "a", None, &ConfigSource::File(file)).unwrap();
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
fn existing_keys() {
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
fn batch_mode_does_not_ask() {
    assert_eq!(by_file(b"BatchMode yes\n", "a").unwrap().strict, StrictChecking::Yes);
    let text = b"BatchMode yes\nStrictHostKeyChecking accept-new\n";
    assert_eq!(by_file(text, "a").unwrap().strict, StrictChecking::AcceptNew);
}

#[test]
fn a_host_that_is_reached_through_itself() {
    let text = b"ProxyJump Gate\n";
    let error = by_file(text, "gate").unwrap_err().to_string();
    assert!(error.contains("config:1: ProxyJump: "), "{error}");
    assert_eq!(by_file(text, "a").unwrap().jumps, ["Gate"]);
}

#[test]
fn invalid_targets() {
    for (user, host) in
        [(None, "-x"), (Some("-x"), "h"), (None, ""), (None, "a b"), (Some(""), "h")]
    {
        let source = ConfigSource::None;
        assert!(resolve_for(&here(None), "ssh://x", user, host, None, &source).is_err());
    }
}

#[test]
fn invalid_utf8() {
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
