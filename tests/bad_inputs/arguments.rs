//! Command lines.

use crate::{
    case::{self, Case, case},
    run::Place,
};

pub(crate) const CASES: &[Case] = &[
    case("nothing", "nlr", 2, "a subcommand is missing; see `nlr --help`"),
    case(
        "an unknown subcommand",
        "nlr nosuch",
        2,
        "unrecognized subcommand 'nosuch'; a similar subcommand exists: 'bench'; see `nlr --help`",
    ),
    case(
        "an unknown object",
        "nlr show lnk",
        2,
        "invalid value 'lnk' for '<OBJECT>' [possible values: link, addr, route, neigh, rule]; a similar value exists: 'link'; see `nlr show --help`",
    ),
    case(
        "no object",
        "nlr show",
        2,
        "the following required arguments were not provided: <OBJECT>; see `nlr show --help`",
    ),
    case(
        "a misspelt option",
        "nlr show link --jsn",
        2,
        "unexpected argument '--jsn' found; a similar argument exists: '--json'; see `nlr show --help`",
    ),
    case(
        "both families",
        "nlr show link -4 -6",
        2,
        "the argument '-4' cannot be used with '-6'; see `nlr show --help`",
    ),
    case(
        "an unknown scheme",
        "nlr show link carrier-pigeon:",
        2,
        "target `carrier-pigeon:` is not known; expected local:, ssh://, openssh://, sudo:, doas:, su:, docker:, podman:, kubectl:, lxc:, incus:, machinectl:, exec:, unix: or stub:; see `nlr show --help`",
    ),
    case(
        "a target without a scheme",
        "nlr show link test01",
        2,
        "target `test01`: no such hop; for a host write `ssh://test01`; see `nlr show --help`",
    ),
    case(
        "an empty target",
        "nlr show link ''",
        2,
        "target ``: a hop is empty; hops are separated by single commas; see `nlr show --help`",
    ),
    case(
        "a target of a comma",
        "nlr show link ,",
        2,
        "target `,`: a hop is empty; hops are separated by single commas; see `nlr show --help`",
    ),
    case(
        "a unix hop without a path",
        "nlr show link unix:",
        2,
        "target `unix:`: it needs a path, as in `unix:/run/nlr.sock`; see `nlr show --help`",
    ),
    case(
        "a hop behind a unix hop",
        "nlr show link unix:/x,sudo:",
        2,
        "target: hop 1, `unix:/x`, has to be alone: its stub listens already, and nothing is started; see `nlr show --help`",
    ),
    case(
        "a local hop behind another",
        "nlr show link ssh://a,local:",
        2,
        "target: hop 2, `local:`, can only come first: after other hops the stub runs on the last one's host anyway; see `nlr show --help`",
    ),
    case(
        "ssh without a host",
        "nlr show link ssh://",
        2,
        "target `ssh://`: the host is missing; see `nlr show --help`",
    ),
    case(
        "ssh with a port that is none",
        "nlr show link ssh://a:b",
        2,
        "target `ssh://a:b`: a port is a number from 1 to 65535; see `nlr show --help`",
    ),
    case(
        "ssh with port 0",
        "nlr show link ssh://a:0",
        2,
        "target `ssh://a:0`: a port is a number from 1 to 65535; see `nlr show --help`",
    ),
    case(
        "ssh with a port too large",
        "nlr show link ssh://a:65536",
        2,
        "target `ssh://a:65536`: a port is a number from 1 to 65535; see `nlr show --help`",
    ),
    case(
        "ssh with a host that is an option",
        "nlr show link ssh://-oProxyCommand=x",
        2,
        "target `ssh://-oProxyCommand=x`: a host cannot begin with `-`; see `nlr show --help`",
    ),
    case(
        "ssh with a password",
        "nlr show link ssh://me:secret@a",
        2,
        "target: must not contain a password; the hop that needs one asks for it; see `nlr show --help`",
    ),
    case(
        "ssh with a path",
        "nlr show link ssh://a/b",
        2,
        "target `ssh://a/b`: a host cannot hold '/'; hops are separated by commas; see `nlr show --help`",
    ),
    case(
        "an unclosed bracket",
        "nlr show link 'ssh://[::1'",
        2,
        "target `ssh://[::1`: `]` is missing; see `nlr show --help`",
    ),
    case(
        "a container name that is an option",
        "nlr show link docker:--rm",
        2,
        "target `docker:--rm`: a name cannot begin with `-`; see `nlr show --help`",
    ),
    case(
        "a pod without a namespace",
        "nlr show link kubectl:web",
        2,
        "target `kubectl:web`: expected `NAMESPACE/POD` or `[CONTEXT]/NAMESPACE/POD/[CONTAINER]`; see `nlr show --help`",
    ),
    case(
        "a user that is an option",
        "nlr show link sudo:-u",
        2,
        "target `sudo:-u`: a user cannot begin with `-`; see `nlr show --help`",
    ),
    case(
        "an exec hop without a command",
        "nlr show link exec:",
        2,
        "target `exec:`: it needs a command, as in `exec:chroot /srv/image sh`; see `nlr show --help`",
    ),
    case(
        "a stub hop that is not the last",
        "nlr show link stub:/x,sudo:",
        2,
        "target: hop 1, `stub:/x`, has to come last: it is the program to start; see `nlr show --help`",
    ),
    case(
        "too many hops",
        "nlr show link $(printf 'sudo:,%.0s' {1..16})sudo:",
        2,
        "invalid value 'sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:,sudo:' for '[TARGET]': a target has 16 hops at most; see `nlr show --help`",
    ),
    case(
        "a line break in a target",
        "nlr show link $'unix:/a\\nb'",
        3,
        "unix:/a b: connect: connecting to /a b: No such file or directory; start `nlr serve unix:/a b` there",
    ),
    case(
        "bytes that are no UTF-8",
        "nlr show link $'unix:/\\xff'",
        2,
        "invalid UTF-8 was detected in one or more arguments; see `nlr show --help`",
    ),
    case(
        "an escape in an unknown word",
        "nlr show $'\\e[31mred'",
        2,
        "invalid value 'red' for '<OBJECT>' [possible values: link, addr, route, neigh, rule]; see `nlr show --help`",
    ),
    case(
        "one target too many",
        "nlr show link local: more",
        2,
        "unexpected argument 'more' found; see `nlr show --help`",
    ),
    case(
        "an unknown table",
        "nlr show route --table nosuch",
        2,
        "unknown table \"nosuch\": expected a number, `all`, or a name in iproute2's rt_tables",
    ),
    case(
        "a table of addresses",
        "nlr show addr --table 7",
        2,
        "--table applies to routes and rules, not addresses",
    ),
    case(
        "a time-out in words",
        "nlr show link --connect-timeout soon",
        2,
        "invalid value 'soon' for '--connect-timeout <SECONDS>': expected a number of seconds, such as 5 or 0.2; see `nlr show --help`",
    ),
    case(
        "a time-out below zero",
        "nlr show link --connect-timeout -1",
        2,
        "invalid value '-1' for '--connect-timeout <SECONDS>': expected a number of seconds, such as 5 or 0.2; see `nlr show --help`",
    ),
    case(
        "an endless time-out",
        "nlr show link --connect-timeout inf",
        2,
        "invalid value 'inf' for '--connect-timeout <SECONDS>': expected a number of seconds, such as 5 or 0.2; see `nlr show --help`",
    ),
    case(
        "a keepalive that is no number",
        "nlr show link --keepalive nan",
        2,
        "invalid value 'nan' for '--keepalive <SECONDS>': expected a number of seconds, such as 5 or 0.2; see `nlr show --help`",
    ),
    case(
        "an unknown multicast group",
        "nlr monitor --group nosuch",
        2,
        "invalid value 'nosuch' for '--group <GROUP>': expected a group: link, …",
    ),
    case(
        "a count of 0",
        "nlr monitor --count 0",
        2,
        "invalid value '0' for '--count <N>': expected a number from 1 on; see `nlr monitor --help`",
    ),
    case(
        "a count too large",
        "nlr ping --count 99999999999999999999",
        2,
        "invalid value '99999999999999999999' for '--count <N>': expected a number from 1 on; see `nlr ping --help`",
    ),
    case(
        "a server that is no socket",
        "nlr serve local:",
        2,
        "invalid value 'local:' for '[unix:PATH]': expected `unix:PATH`; see `nlr serve --help`",
    ),
    case(
        "a server for no client",
        "nlr serve unix:/x --max-clients 0",
        2,
        "invalid value '0' for '--max-clients <N>': expected a number of at least 1; see `nlr serve --help`",
    ),
    case(
        "a user that is a name",
        "nlr serve unix:/x --allow-uid root",
        2,
        "invalid value 'root' for '--allow-uid <UID>': expected a user's number, as `id -u NAME` prints it; see `nlr serve --help`",
    ),
    case(
        "an unknown shell",
        "nlr completion tcsh",
        2,
        "invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]; a similar value exists: 'zsh'; see `nlr completion --help`",
    ),
    case(
        "a stub with an option",
        "nlr stub --now",
        2,
        "unexpected argument '--now' found; see `nlr stub --help`",
    ),
    case(
        "a stub that is no program",
        "nlr show link --stub TMP/nosuch",
        3,
        "local: connect: starting TMP/nosuch: No such file or directory; install it, or give its path (NLR_STUB or TargetOptions::stub names a stub's path, and netlink_remote::stub::serve_if_asked() makes a program its own stub)",
    ),
    case(
        "a stub that is a folder",
        "nlr show link --stub TMP",
        4,
        "local: connect: starting TMP: Permission denied; make it executable with chmod +x (NLR_STUB or TargetOptions::stub names a stub's path, and netlink_remote::stub::serve_if_asked() makes a program its own stub)",
    ),
    case(
        "a stub without permission",
        "echo >TMP/x; nlr show link --stub TMP/x",
        4,
        "local: connect: starting TMP/x: Permission denied; make it executable with chmod +x (NLR_STUB or TargetOptions::stub names a stub's path, and netlink_remote::stub::serve_if_asked() makes a program its own stub)",
    ),
    case(
        "a stub that is text",
        "echo '#!/nosuch' >TMP/x; chmod +x TMP/x; nlr show link --stub TMP/x",
        3,
        "local: connect: starting TMP/x: No such file or directory; install it, or give its path (NLR_STUB or TargetOptions::stub names a stub's path, and netlink_remote::stub::serve_if_asked() makes a program its own stub)",
    ),
    case(
        "a socket that is a file",
        "echo >TMP/x; nlr show link unix:TMP/x",
        3,
        "unix:TMP/x: connect: connecting to TMP/x: Connection refused; it is no socket",
    ),
    case(
        "a socket that is a folder",
        "nlr show link unix:TMP",
        3,
        "unix:TMP: connect: connecting to TMP: Connection refused; it is no socket",
    ),
    case(
        "a path too long for a socket",
        "nlr show link unix:$(printf '1%.0s' {1..200})",
        3,
        "unix:*: connect: connecting to *: path must be shorter than SUN_LEN",
    ),
    case(
        "stubs that are not there",
        "nlr show link --stubs TMP/nosuch exec:sh",
        2,
        "exec:sh: TMP/nosuch cannot be read: No such file or directory",
    ),
    case(
        "stubs from a device",
        "nlr --connect-timeout 5 show link --stubs /dev/zero exec:sh",
        2,
        "exec:sh: /dev/zero is not a program for Linux",
    ),
];

#[test]
fn each_is_told_in_a_line() {
    testing::world::require();
    case::all(
        CASES,
        |case| case.name,
        |case| format!("{} {}", case.code, case.error),
        |case| Place::new().run(case.input),
    );
}
