//! Files of ssh: configuration, known hosts, keys.

use std::fs;

use crate::{
    case::{self, Case, case},
    run::Place,
};

/// The input is the configuration; its last line may be a shell's, with `!` before it, which prepares
/// other files.
pub(crate) const CASES: &[Case] = &[
    case(
        "a port in words",
        "Port ssh",
        2,
        "TMP/config:1: Port: a port is a number from 1 to 65535",
    ),
    case("port 0", "Port 0", 2, "TMP/config:1: Port: a port is a number from 1 to 65535"),
    case(
        "a port too large",
        "Port 65536",
        2,
        "TMP/config:1: Port: a port is a number from 1 to 65535",
    ),
    case("a port without a value", "Port", 2, "TMP/config:1: Port needs a value"),
    case("two ports", "Port 22 23", 2, "TMP/config:1: Port: it takes one value"),
    case(
        "a time in words",
        "ConnectTimeout soon",
        2,
        "TMP/config:1: ConnectTimeout: a time is like 30, 90s or 1h30m",
    ),
    case(
        "a time too large",
        "ConnectTimeout 99999999999999999999",
        2,
        "TMP/config:1: ConnectTimeout: a time is like 30, 90s or 1h30m",
    ),
    case(
        "yes or no in other words",
        "BatchMode maybe",
        2,
        "TMP/config:1: BatchMode: it is yes or no",
    ),
    case(
        "an unknown strictness",
        "StrictHostKeyChecking sometimes",
        2,
        "TMP/config:1: StrictHostKeyChecking: it is yes, ask, accept-new or no",
    ),
    case(
        "a number of questions in words",
        "NumberOfPasswordPrompts many",
        2,
        "TMP/config:1: NumberOfPasswordPrompts: it is a number",
    ),
    case(
        "a host name that is an option",
        "HostName -oProxyCommand=x",
        2,
        "TMP/config:1: HostName: a host cannot begin with `-`",
    ),
    case(
        "a host name with a blank",
        "HostName \"a b\"",
        2,
        "TMP/config:1: HostName: a host cannot hold ' '",
    ),
    case(
        "a user that is an option",
        "User -x",
        2,
        "TMP/config:1: User: a user cannot begin with `-`",
    ),
    case("a user with a quote", "User a'b\"c", 2, "TMP/config:1: a quote is not closed"),
    case("an unclosed quote", "HostName \"x", 2, "TMP/config:1: a quote is not closed"),
    case(
        "an unknown token",
        "IdentityFile %q",
        2,
        "TMP/config:1: IdentityFile: the token %q is not supported here",
    ),
    case(
        "a percent sign at the end",
        "IdentityFile x%",
        2,
        "TMP/config:1: IdentityFile: a % at the end",
    ),
    case(
        "none among key files",
        "UserKnownHostsFile none /x",
        2,
        "TMP/config:1: UserKnownHostsFile: `none` stands alone",
    ),
    case(
        "an unknown condition",
        "Match weather rain",
        2,
        "TMP/config:1: Match: `weather` is not supported, and may apply to 127.0.0.1; use openssh:// for it, which is ssh itself, or -F none",
    ),
    case(
        "all beside another condition",
        "Match all host x",
        2,
        "TMP/config:1: Match: `all` goes with no other condition",
    ),
    case(
        "a condition without a value",
        "Match host",
        2,
        "TMP/config:1: Match: `host` needs a value",
    ),
    case(
        "a jump that is no destination",
        "ProxyJump ssh://",
        2,
        "TMP/config:1: ProxyJump: `ssh://` is no ssh destination: the host is missing; write [user@]host[:port], and IPv6 as [::1]",
    ),
    case(
        "a jump that is an option",
        "ProxyJump -x",
        2,
        "TMP/config:1: ProxyJump: `-x` is no ssh destination: a host cannot begin with `-`; write [user@]host[:port], and IPv6 as [::1]",
    ),
    case(
        "a command for a proxy",
        "ProxyCommand sh -c 'echo no way to %h >&2'\nUserKnownHostsFile none",
        3,
        "ssh://127.0.0.1: host key: 127.0.0.1 port 22 closed the connection before it greeted as an ssh server does: it is none, or it ends, or has too many connections; check the port, and the server's log (MaxStartups?); its ProxyCommand says: no way to 127.0.0.1",
    ),
    case(
        "a command for a proxy with a token that it has not",
        "ProxyCommand nc %x",
        2,
        "TMP/config:1: ProxyCommand: the token %x is not supported here",
    ),
    case(
        "a file that includes itself",
        "Include TMP/config",
        2,
        "TMP/config:1: Include: files include each other 16 deep",
    ),
    case("an include without a value", "Include", 2, "TMP/config:1: Include needs a value"),
    case(
        "an include of a user that is not there",
        "Include ~nosuch/x",
        2,
        "TMP/config:1: Include: there is no user nosuch",
    ),
    case(
        "an include of a pattern that is none",
        "Include [",
        2,
        "TMP/config:1: Include: Pattern syntax error near position *: invalid range pattern",
    ),
    case(
        "bytes that are no UTF-8",
        "HostName a\u{fffd}\n!printf 'HostName a\\xff\\n' >TMP/config",
        2,
        "TMP/config:1: HostName: it is not UTF-8",
    ),
    case(
        "zero bytes",
        "x\n!printf 'HostName a\\0b\\n' >TMP/config",
        2,
        "TMP/config:1: HostName: a host cannot hold '\\0'",
    ),
    case(
        "a configuration that is not there",
        "x\n!rm TMP/config",
        2,
        "reading TMP/config: No such file or directory",
    ),
    case(
        "a configuration that is a folder",
        "x\n!rm TMP/config; mkdir TMP/config",
        3,
        "ssh://127.0.0.1: connect: 127.0.0.1:22: Connection refused; is sshd running there, and on this port?",
    ),
    case(
        "a configuration without end",
        "x\n!ln -sf /dev/zero TMP/config",
        2,
        "reading TMP/config: it has more than 16 MiB",
    ),
    case(
        "a line of a megabyte",
        "x\n!(printf 'HostName '; head -c 1000000 /dev/zero | tr '\\0' a) >TMP/config",
        2,
        "TMP/config:1: HostName: a host has 255 bytes at most",
    ),
];

/// As [`CASES`], in front of the settings that lead to a real sshd.
pub(crate) const LIVE: &[Case] = &[
    case(
        "known hosts that are a folder",
        "UserKnownHostsFile TMP/tmp",
        3,
        "ssh://root@127.0.0.1: host key: reading TMP/tmp: Is a directory",
    ),
    case(
        "known hosts without end",
        "UserKnownHostsFile /dev/zero",
        3,
        "ssh://root@127.0.0.1: host key: reading /dev/zero: it has more than 16 MiB",
    ),
    case(
        "known hosts of nonsense",
        "UserKnownHostsFile TMP/known\n!printf 'a b c\\n\\0\\xff' >TMP/known",
        3,
        "ssh://root@127.0.0.1: host key: [127.0.0.1]:PORT is not known; its key is ssh-ed25519 SHA256:…",
    ),
    case(
        "no known hosts",
        "UserKnownHostsFile none",
        3,
        "ssh://root@127.0.0.1: host key: [127.0.0.1]:PORT is not known; its key is ssh-ed25519 SHA256:…",
    ),
    case(
        "a known host of another key",
        "UserKnownHostsFile TMP/known\n!ssh-keygen -q -t ed25519 -N '' -f TMP/key; echo \"[127.0.0.1]:PORT $(cut -d' ' -f1,2 TMP/key.pub)\" >TMP/known; rm TMP/key*",
        3,
        "ssh://root@127.0.0.1: host key: the host key of [127.0.0.1]:PORT has CHANGED: it now shows ssh-ed25519 SHA256:…",
    ),
    case(
        "a known host that is revoked",
        "UserKnownHostsFile TMP/known\n!sed 's/^/@revoked /' /run/sshd-of-tests/known >TMP/known",
        3,
        "ssh://root@127.0.0.1: host key: the host key of [127.0.0.1]:PORT, SHA256:…",
    ),
    case(
        "a key that is no key",
        "IdentityFile TMP/key\n!echo nonsense >TMP/key; chmod 600 TMP/key",
        4,
        "ssh://root@127.0.0.1: authentication: the server accepts publickey,password,keyboard-interactive; tried TMP/key (not readable as a key), keyboard-interactive (nobody to ask), password (nobody to ask); the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, or set IdentityFile",
    ),
    case(
        "a key that is a folder",
        "IdentityFile TMP/tmp",
        4,
        "ssh://root@127.0.0.1: authentication: the server accepts publickey,password,keyboard-interactive; tried TMP/tmp (Is a directory), keyboard-interactive (nobody to ask), password (nobody to ask); the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, or set IdentityFile",
    ),
    case(
        "a key without end",
        "IdentityFile /dev/zero",
        4,
        "ssh://root@127.0.0.1: authentication: the server accepts publickey,password,keyboard-interactive; tried /dev/zero (others may read it, so it is not used: chmod 600 it), keyboard-interactive (nobody to ask), password (nobody to ask); the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, or set IdentityFile",
    ),
    case(
        "a key that is not there",
        "IdentityFile TMP/absent",
        4,
        "ssh://root@127.0.0.1: authentication: the server accepts publickey,password,keyboard-interactive; tried keyboard-interactive (nobody to ask), password (nobody to ask); the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, or set IdentityFile",
    ),
    case(
        "a key with a passphrase",
        "IdentityFile TMP/key\n!ssh-keygen -q -t ed25519 -N secret -f TMP/key",
        4,
        "ssh://root@127.0.0.1: authentication: the server accepts publickey,password,keyboard-interactive; tried TMP/key, keyboard-interactive (nobody to ask), password (nobody to ask); the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, or set IdentityFile",
    ),
    case(
        "a user that is not there",
        "User nosuch",
        4,
        "ssh://127.0.0.1: authentication: the server accepts publickey,password,keyboard-interactive; tried /run/sshd-of-tests/user, keyboard-interactive (nobody to ask), password (nobody to ask); the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, or set IdentityFile",
    ),
];

#[test]
fn each_is_told_in_a_line_with_an_sshd() {
    if !testing::world::has_real_root("sshd") {
        return;
    }
    let sshd = testing::sshd::sshd();
    let (_, port) = sshd.destination.rsplit_once(':').unwrap();
    // A setting of the case takes the place of the same one here.
    let rest = fs::read_to_string(&sshd.config).unwrap();
    case::all(
        LIVE,
        |case| case.name,
        |case| format!("{} {}", case.code, case.error),
        |case| {
            let place = Place::new();
            let (text, script) = case.input.split_once("\n!").unwrap_or((case.input, ":"));
            let text = text.replace("TMP", &place.folder.display().to_string());
            let keyword = text.split(' ').next().unwrap();
            let rest = rest.lines().filter(|line| line.split(' ').next() != Some(keyword));
            let rest = rest.collect::<Vec<_>>().join("\n");
            fs::write(place.path("config"), format!("{text}\nPort {port}\n{rest}\n")).unwrap();
            let script = script.replace("PORT", port);
            let user = if text.starts_with("User nosuch") { "" } else { "root@" };
            ping(&place, &script, &format!("ssh://{user}127.0.0.1")).replace(port, "PORT")
        },
    );
}

#[test]
fn each_is_told_in_a_line() {
    testing::world::require();
    case::all(
        CASES,
        |case| case.name,
        |case| format!("{} {}", case.code, case.error),
        |case| {
            let place = Place::new();
            let (text, script) = case.input.split_once("\n!").unwrap_or((case.input, ":"));
            let text = text.replace("TMP", &place.folder.display().to_string());
            fs::write(place.path("config"), text + "\n").unwrap();
            ping(&place, script, "ssh://127.0.0.1")
        },
    );
}

pub(crate) fn names() -> Vec<&'static str> {
    CASES.iter().chain(LIVE).map(|case| case.name).collect()
}

/// Pings a target by the configuration. It ends with a stub there, so that no stub is looked for here;
/// the error is that of the hop.
fn ping(place: &Place, script: &str, target: &str) -> String {
    let target = format!("{target},stub:/absent");
    let words = "-F TMP/config --batch --connect-timeout 5 ping";
    place.run(&format!("{script}\nnlr {words} {target}")).replace(&format!("{target}: "), "")
}
