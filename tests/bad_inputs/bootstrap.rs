//! What a far shell says in place of what the script says there.

use std::process::Command;

use testing::{finish, programs, temporary};

use crate::{
    case::{self, Case, case},
    run::Place,
};

/// The input is a shell's script: the far end. `$n` is the nonce of this side's script, which it reads
/// from its input.
pub(crate) const CASES: &[Case] = &[
    case(
        "an end without a word",
        "exit 0",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 0 before a stub was started; check that its account may run commands",
    ),
    case(
        "an end with a code",
        "exit 3",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 3 before a stub was started; check that its account may run commands",
    ),
    case(
        "a program that was not found",
        "exit 127",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 127 (`sh`, or the program of a hop, was not found) before a stub was started",
    ),
    case(
        "a program that may not run",
        "exit 126",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 126 (`sh`, or the program of a hop, may not be executed) before a stub was started",
    ),
    case(
        "an end by a signal",
        "kill -KILL $$",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 137 before a stub was started; it said: Killed",
    ),
    case(
        "an end with a word",
        "echo 'no luck today' >&2; exit 1",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 1 before a stub was started; it said: no luck today",
    ),
    case(
        "an end with a word of control characters",
        "printf 'a\\033[2Jb\\xe2\\x80\\xaec\\n'; exit 1",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 1 before a stub was started; it said: a�[2Jb�c",
    ),
    case(
        "silence",
        "sleep 1000",
        3,
        "exec:TMP/bin/far: bootstrap: no stub was started there within 2s; check the network to it, and whether a startup file of the shell there waits for input",
    ),
    case(
        "a question",
        "printf 'What is your name? '; sleep 1000",
        3,
        "exec:TMP/bin/far: bootstrap: no stub was started there within 2s; it said: What is your name?",
    ),
    case(
        "noise without end",
        "exec yes 1 | tr -d '\\n'",
        3,
        "exec:TMP/bin/far: bootstrap: more than 262144 bytes of text came before a stub was started; silence the startup files of the shell there; it said: * ... *",
    ),
    case(
        "noise without end on stderr",
        "exec yes 1 | tr -d '\\n' >&2",
        3,
        "exec:TMP/bin/far: bootstrap: no stub was started there within 2s; it said: * ... *",
    ),
    case(
        "a stub of no digest",
        "echo \"nlr-boot $n need\"",
        3,
        "exec:TMP/bin/far: bootstrap: the far end sent an unknown line: need",
    ),
    case(
        "a stub of another digest",
        "echo \"nlr-boot $n need 00ff /tmp\"",
        3,
        "exec:TMP/bin/far: bootstrap: the far end sent an unknown line: need 00ff /tmp",
    ),
    case(
        "an unknown architecture",
        "echo \"nlr-boot $n fail arch riscv64\"",
        3,
        "exec:TMP/bin/far: bootstrap: no stub for that host's architecture, riscv64: …",
    ),
    case(
        "no architecture",
        "echo \"nlr-boot $n fail arch\"",
        3,
        "exec:TMP/bin/far: bootstrap: the architecture there is unknown: `uname -m` printed nothing; check the PATH there",
    ),
    case(
        "no folder",
        "echo \"nlr-boot $n fail folder  noexec=/a: room=/b:\"",
        3,
        "exec:TMP/bin/far: bootstrap: no folder there can take the stub and run it: /a runs no programs (noexec), /b has no room for it; free some space, or set XDG_CACHE_HOME there to a folder that is not mounted noexec, or install nlr-stub there and end the target with its stub:PATH",
    ),
    case(
        "a stub that came damaged",
        "echo \"nlr-boot $n fail sum 1 2\"",
        3,
        "exec:TMP/bin/far: bootstrap: the stub arrived damaged: something in between alters bytes, as a terminal does",
    ),
    case(
        "a stub that could not be checked",
        "echo \"nlr-boot $n fail sum\"",
        3,
        "exec:TMP/bin/far: bootstrap: no program there can check the stub: install sha256sum, shasum, openssl or cksum there",
    ),
    case(
        "a stub that does not run",
        "echo \"nlr-boot $n fail run Killed\"",
        3,
        "exec:TMP/bin/far: bootstrap: the stub does not run there: Killed; a security policy there may forbid it",
    ),
    case(
        "a stub of another version",
        "echo \"nlr-boot $n fail run nlr-stub 9.9.9\"",
        3,
        "exec:TMP/bin/far: bootstrap: the stub does not run there: it is of version 9.9.9, and this program needs *.*.*",
    ),
    case(
        "a failure of no known kind",
        "echo \"nlr-boot $n fail weather rain\"",
        3,
        "exec:TMP/bin/far: bootstrap: the far end could not start a stub: weather: rain",
    ),
    case(
        "a failure with control characters",
        "printf 'nlr-boot %s fail io \\033]0;x\\007\\n' $n",
        3,
        "exec:TMP/bin/far: bootstrap: receiving the stub failed there: �]0;x�",
    ),
    case(
        "a failure of a megabyte",
        "printf 'nlr-boot %s fail io ' $n; head -c 1000000 /dev/zero | tr '\\0' 1; echo; sleep 1000",
        3,
        "exec:TMP/bin/far: bootstrap: more than 262144 bytes of text came before a stub was started; silence the startup files of the shell there; it said: * ... *",
    ),
    case(
        "an unknown line",
        "echo \"nlr-boot $n dance\"",
        3,
        "exec:TMP/bin/far: bootstrap: the far end sent an unknown line: dance",
    ),
    case(
        "a line without end",
        "printf 'nlr-boot %s ' $n; exec yes 1 | tr -d '\\n'",
        3,
        "exec:TMP/bin/far: bootstrap: more than 262144 bytes of text came before a stub was started; silence the startup files of the shell there; it said: * ... *",
    ),
    case(
        "a line of another nonce",
        "echo 'nlr-boot 0 need 00ff /tmp'; sleep 1000",
        3,
        "exec:TMP/bin/far: bootstrap: no stub was started there within 2s; it said: nlr-boot 0 need 00ff /tmp",
    ),
    case(
        "a hello of 0 bytes",
        "printf 'M\\0\\0\\0\\0\\0\\0\\0\\0'; sleep 1000",
        3,
        "exec:TMP/bin/far: hello: the far end does not speak netlink-remote's protocol: hello of 0 bytes (4 to 65536 are allowed)",
    ),
    case(
        "a hello of 4 GiB",
        "printf 'M\\xff\\xff\\xff\\xff'; sleep 1000",
        3,
        "exec:TMP/bin/far: hello: the far end does not speak netlink-remote's protocol: hello of 4294967295 bytes (4 to 65536 are allowed)",
    ),
    case(
        "a hello that is cut",
        "printf 'M\\x20\\0\\0\\0\\1\\0'",
        3,
        "exec:TMP/bin/far: hello: the far end ended before it spoke the protocol",
    ),
    case(
        "a hello of another version",
        "printf 'M\\4\\0\\0\\0\\x9\\0\\x9\\0'; sleep 1000",
        3,
        "exec:TMP/bin/far: hello: the far end does not speak netlink-remote's protocol: no common protocol version: the peer speaks 9 to 9, this side 1 to 1; use the same version on both sides",
    ),
    case(
        "an upload that nobody takes",
        "echo \"nlr-boot $n need $x /tmp\"; sleep 1000",
        3,
        "exec:TMP/bin/far: bootstrap: sending the stub has stalled: * of * bytes, and no more within 2s",
    ),
    case(
        "an upload into an end",
        "echo \"nlr-boot $n need $x /tmp\"; exit 0",
        3,
        "exec:TMP/bin/far: bootstrap: the far end ended with exit code 0 before a stub was started; build a static one by `cargo install netlink-remote@*.*.* --no-default-features --features stub --bin nlr-stub --profile stub --target x86_64-unknown-linux-musl --root DIR`, or by `./build-stubs` in the source of netlink-remote, and set NLR_STUBS to DIR/bin, or to a folder of files named nlr-stub-<target triple>",
    ),
    case(
        "an upload into a closed input",
        "exec <&-; echo \"nlr-boot $n need $x /tmp\"; sleep 1000",
        3,
        "exec:TMP/bin/far: bootstrap: sending the stub has stalled: * of * bytes, and no more within 2s",
    ),
];

/// The marker before a hello, for printf.
const MARKER: &str = "\\376nlr-hello\\000\\r\\n\\032\\377\\000";

#[test]
fn each_is_told_in_a_line() {
    testing::world::require();
    let stub = temporary("stub");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&stub).arg(programs::stub());
    assert_eq!(finish(strip).code(), 0);
    case::all(
        CASES,
        |case| case.name,
        |case| format!("{} {}", case.code, case.error),
        |case| {
            let place = Place::new();
            let script = case.input.replace("'M\\", &format!("'{MARKER}\\"));
            let script = format!(
                "#!/bin/bash\nIFS= read -r -n 2500 line\nn=${{line#*n=}}; n=${{n%% *}}\n\
                 x=${{line#*x=}}; x=${{x%% *}}\n{script}\n"
            );
            programs::write(place.path("bin/far"), script);
            let stub = stub.display();
            // On a busy machine, an answer may take longer than a script that waits needs to show.
            let limit = if case.error.contains("within 2s") { 2 } else { 60 };
            place.run(&format!(
                "nlr --stubs {stub} --connect-timeout {limit} show link exec:TMP/bin/far"
            ))
        },
    );
    std::fs::remove_file(&stub).unwrap();
}
