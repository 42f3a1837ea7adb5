//! Secrets that cannot be had, or are wrong.

use testing::programs;

use crate::{
    case::{self, Case, case},
    run::Place,
};

/// The input is a shell's command line. There `sudo` is a stand-in that asks as sudo does, and takes
/// the password `right`.
pub(crate) const CASES: &[Case] = &[
    case(
        "a descriptor that is none",
        "nlr ping --password-fd x",
        2,
        "invalid value 'x' for '--password-fd <FD>': expected the number of a file descriptor, such as 0 or 3; see `nlr ping --help`",
    ),
    case(
        "a descriptor below zero",
        "nlr ping --password-fd -1",
        2,
        "invalid value '-1' for '--password-fd <FD>': expected the number of a file descriptor, such as 0 or 3; see `nlr ping --help`",
    ),
    case(
        "a descriptor that is closed",
        "nlr ping --password-fd 99",
        2,
        "--password-fd 99: no descriptor of this number is open for reading",
    ),
    case(
        "a descriptor that cannot be read",
        "nlr ping --password-fd 3 3>TMP/x",
        2,
        "--password-fd 3: no descriptor of this number is open for reading",
    ),
    case(
        "a descriptor of a folder",
        "nlr ping --password-fd 3 3<TMP",
        2,
        "--password-fd 3: Is a directory",
    ),
    case(
        "too many secrets",
        "head -c 70000 /dev/zero | nlr ping --password-fd 0",
        2,
        "--password-fd 0: more than 64 KiB",
    ),
    case(
        "secrets without end",
        "nlr ping --password-fd 3 3</dev/zero",
        2,
        "--password-fd 3: more than 64 KiB",
    ),
    case(
        "bytes that are no UTF-8",
        "printf '\\xff\\n' | nlr ping --password-fd 0",
        2,
        "--password-fd 0: stream did not contain valid UTF-8",
    ),
    case(
        "a descriptor and a program",
        "nlr ping --password-fd 0 --askpass /bin/true",
        2,
        "the argument '--password-fd <FD>' cannot be used with '--askpass <PROGRAM>'; see `nlr ping --help`",
    ),
    case(
        "a program and no questions",
        "nlr ping --batch --askpass /bin/true",
        2,
        "the argument '--batch' cannot be used with '--askpass <PROGRAM>'; see `nlr ping --help`",
    ),
    case(
        "a descriptor without a line",
        "nlr show link --password-fd 3 sudo: 3</dev/null",
        4,
        "sudo: privilege: sudo: needs a password, and none was given; --password-fd has no line for it: a line is for sudo:, or has the hop or the key file that it is for before it, and a tab between",
    ),
    case(
        "an empty line",
        "echo | nlr show link --password-fd 0 sudo:",
        4,
        "sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a wrong line",
        "echo wrong | nlr show link --password-fd 0 sudo:",
        4,
        "sudo: privilege: wrong password for sudo:; the line of --password-fd was refused",
    ),
    case(
        "two wrong lines",
        "printf 'wrong\\nright\\n' | nlr show link --password-fd 0 sudo:",
        4,
        "sudo: privilege: wrong password for sudo:; the line of --password-fd was refused",
    ),
    case(
        "nobody to ask",
        "nlr show link --batch sudo: </dev/null",
        4,
        "sudo: privilege: sudo: a password is required; give a password (on a terminal, or by --password-fd, --askpass or the program's callback), or permit it without one by NOPASSWD in the sudoers file",
    ),
    case(
        "no terminal",
        "setsid -w bash -c 'nlr show link sudo:' </dev/null",
        4,
        "sudo: privilege: sudo: a password is required; give a password (on a terminal, or by --password-fd, --askpass or the program's callback), or permit it without one by NOPASSWD in the sudoers file",
    ),
    case(
        "a program that is not there",
        "nlr show link --askpass TMP/absent sudo:",
        4,
        "TMP/absent: No such file or directory\nnlr: sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a program that is a folder",
        "nlr show link --askpass TMP sudo:",
        4,
        "TMP: Permission denied\nnlr: sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a program that may not run",
        "echo >TMP/x; nlr show link --askpass TMP/x sudo:",
        4,
        "TMP/x: Permission denied\nnlr: sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a program that gives up",
        "nlr show link --askpass /bin/false sudo:",
        4,
        "sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a program that says nothing",
        "nlr show link --askpass /bin/true sudo:",
        4,
        "sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a program that is killed",
        "printf '#!/bin/sh\\nkill -KILL $$' >TMP/x; chmod +x TMP/x; nlr show link --askpass TMP/x sudo:",
        4,
        "sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a program that talks on and on",
        "printf '#!/bin/sh\\nexec yes' >TMP/x; chmod +x TMP/x; nlr show link --askpass TMP/x sudo:",
        4,
        "sudo: privilege: sudo: needs a password, and none was given",
    ),
    case(
        "a program with a wrong answer",
        "printf '#!/bin/sh\\necho wrong' >TMP/x; chmod +x TMP/x; nlr show link --askpass TMP/x sudo:",
        4,
        "sudo: privilege: Sorry, try again. Sorry, try again. Sorry, try again. sudo: 3 incorrect password attempts; the password was wrong",
    ),
];

/// As sudo asks: the prompt of `-p` on stderr, three times at most.
const SUDO: &str = r#"#!/bin/bash
while [[ $1 == -* && $1 != -- ]]; do
    case $1 in
    -n) echo 'sudo: a password is required' >&2; exit 1 ;;
    -p) prompt=${2//%%/%}; shift ;;
    -u) shift ;;
    esac
    shift
done
[[ $1 != -- ]] || shift
for try in 1 2 3; do
    printf %s "$prompt" >&2
    IFS= read -r line || { echo 'sudo: no password was provided' >&2; exit 1; }
    [[ $line != right ]] || exec "$@"
    echo 'Sorry, try again.' >&2
done
echo 'sudo: 3 incorrect password attempts' >&2
exit 1
"#;

#[test]
fn each_is_told_in_a_line() {
    testing::world::require();
    case::all(
        CASES,
        |case| case.name,
        |case| format!("{} {}", case.code, case.error),
        |case| {
            let place = Place::new();
            programs::write(place.path("bin/sudo"), SUDO);
            place.run(case.input)
        },
    );
}
