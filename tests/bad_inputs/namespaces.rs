//! Namespaces that are named wrongly, or are none.

use crate::{
    case::{self, Case, case},
    run::Place,
};

pub(crate) const CASES: &[Case] = &[
    case(
        "a name that is not there",
        "nlr show link -n absent",
        1,
        "opening namespace \"absent\": No such file or directory; `nlr netns list` lists the namespaces",
    ),
    case(
        "an empty name",
        "nlr show link -n ''",
        2,
        "invalid value '' for '--netns <NETNS>': the name of a namespace cannot be empty; see `nlr show --help`",
    ),
    case(
        "a name of a dot",
        "nlr show link -n .",
        1,
        "namespace \".\": \".\" cannot be a namespace's name",
    ),
    case(
        "a name of two dots",
        "nlr show link -n ..",
        1,
        "namespace \"..\": \"..\" cannot be a namespace's name",
    ),
    case(
        "a name too long for a file",
        "nlr show link -n $(printf '1%.0s' {1..256})",
        1,
        "namespace \"*\": \"*\" cannot be a namespace's name",
    ),
    case(
        "a name with a line break",
        "nlr show link -n $'a\\nb'",
        1,
        "opening namespace \"a\\nb\": No such file or directory; `nlr netns list` lists the namespaces",
    ),
    case(
        "a name with an escape",
        "nlr show link -n $'a\\e[2J'",
        1,
        "opening namespace \"a\\u{1b}[2J\": No such file or directory; `nlr netns list` lists the namespaces",
    ),
    case(
        "a name that is no UTF-8",
        "nlr show link -n $'a\\xff'",
        2,
        "invalid UTF-8 was detected in one or more arguments; see `nlr show --help`",
    ),
    case(
        "pid 0",
        "nlr show link -n pid:0",
        2,
        "invalid value 'pid:0' for '--netns <NETNS>': expected a process id, as in `pid:4242`; see `nlr show --help`",
    ),
    case(
        "a pid below zero",
        "nlr show link -n pid:-1",
        2,
        "invalid value 'pid:-1' for '--netns <NETNS>': expected a process id, as in `pid:4242`; see `nlr show --help`",
    ),
    case(
        "a pid that is no number",
        "nlr show link -n pid:x",
        2,
        "invalid value 'pid:x' for '--netns <NETNS>': expected a process id, as in `pid:4242`; see `nlr show --help`",
    ),
    case(
        "a pid beyond all",
        "nlr show link -n pid:4294967296",
        2,
        "invalid value 'pid:4294967296' for '--netns <NETNS>': expected a process id, as in `pid:4242`; see `nlr show --help`",
    ),
    case(
        "a pid of no process",
        "nlr show link -n pid:4194304",
        1,
        "opening the namespace of process 4194304: No such file or directory; is that process running?",
    ),
    case(
        "a pid of a process that ends",
        "nlr show link -n pid:4194303",
        1,
        "opening the namespace of process 4194303: No such file or directory; is that process running?",
    ),
    case(
        "a path to nothing",
        "nlr show link -n TMP/absent",
        1,
        "namespace file \"TMP/absent\": no network namespace that the stub can reach is there",
    ),
    case(
        "a path to a file",
        "echo >TMP/x; nlr show link -n TMP/x",
        1,
        "namespace file \"TMP/x\": no network namespace that the stub can reach is there",
    ),
    case(
        "a path to a folder",
        "nlr show link -n TMP/tmp/",
        1,
        "namespace file \"TMP/tmp/\": no network namespace that the stub can reach is there",
    ),
    case(
        "a path to a FIFO",
        "mkfifo TMP/x; nlr show link -n TMP/x",
        1,
        "namespace file \"TMP/x\": no network namespace that the stub can reach is there",
    ),
    case(
        "a path to a device",
        "nlr show link -n /dev/zero",
        1,
        "namespace file \"/dev/zero\": no network namespace that the stub can reach is there",
    ),
    case(
        "a path through a file",
        "echo >TMP/x; nlr show link -n TMP/x/y",
        1,
        "namespace file \"TMP/x/y\": no network namespace that the stub can reach is there",
    ),
    case(
        "a path of a link to itself",
        "ln -s x TMP/x; nlr show link -n TMP/x",
        1,
        "namespace file \"TMP/x\": no network namespace that the stub can reach is there",
    ),
    case(
        "a path too long",
        "nlr show link -n /$(printf '1%.0s' {1..5000})",
        1,
        "namespace file \"/*…",
    ),
    case(
        "a mount namespace",
        "nlr show link -n /proc/self/ns/mnt",
        1,
        "namespace file \"/proc/self/ns/mnt\" is a mount namespace, not a network namespace; expected a file such as /proc/PID/ns/net",
    ),
    case(
        "a user namespace",
        "nlr show link -n /proc/self/ns/user",
        1,
        "namespace file \"/proc/self/ns/user\" is a user namespace, not a network namespace; expected a file such as /proc/PID/ns/net",
    ),
    case(
        "a pid namespace",
        "nlr show link -n /proc/self/ns/pid",
        1,
        "namespace file \"/proc/self/ns/pid\" is a pid namespace, not a network namespace; expected a file such as /proc/PID/ns/net",
    ),
    case(
        "a container without a name",
        "nlr show link -n docker:",
        2,
        "invalid value 'docker:' for '--netns <NETNS>': expected the name or id of a container, as in `docker:web`; see `nlr show --help`",
    ),
    case(
        "a container that is an option",
        "nlr show link -n docker:--help",
        2,
        "invalid value 'docker:--help' for '--netns <NETNS>': expected the name or id of a container, as in `docker:web`; see `nlr show --help`",
    ),
    case(
        "an engine that fails",
        "printf '#!/bin/sh\\necho no such object >&2; exit 1' >TMP/bin/docker; chmod +x TMP/bin/docker; nlr show link -n docker:web",
        1,
        "docker container \"web\": docker inspect: no such object; `docker ps --all` lists all containers",
    ),
    case(
        "an engine that answers nonsense",
        "printf '#!/bin/sh\\necho nonsense' >TMP/bin/docker; chmod +x TMP/bin/docker; nlr show link -n docker:web",
        1,
        "docker container \"web\": docker inspect gave no process, but \"nonsense\"",
    ),
    case(
        "an engine that talks on and on",
        "printf '#!/bin/sh\\nexec yes' >TMP/bin/docker; chmod +x TMP/bin/docker; nlr show link -n docker:web",
        1,
        "docker container \"web\": docker did not answer within 10 s; try `docker ps` on that host",
    ),
    case(
        "an engine whose pid is another's",
        "printf '#!/bin/sh\\necho 4194303' >TMP/bin/docker; chmod +x TMP/bin/docker; nlr show link -n docker:web",
        1,
        "docker container \"web\": docker inspect gave no process, but \"4194303\"",
    ),
    case(
        "to add a name with a slash",
        "nlr netns add a/b",
        1,
        "\"a/b\" cannot be a namespace's name",
    ),
    case("to add a name of two dots", "nlr netns add ..", 1, "\"..\" cannot be a namespace's name"),
    case(
        "to add a name that is there",
        "(nlr netns add bad-twice); (nlr netns add bad-twice); code=$?; (nlr netns del bad-twice); exit $code",
        1,
        "namespace \"bad-twice\" exists already",
    ),
    case(
        "to delete a name that is not there",
        "nlr netns del absent",
        1,
        "there is no namespace \"absent\"",
    ),
    case("to delete a path", "nlr netns del ../x", 1, "\"../x\" cannot be a namespace's name"),
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
