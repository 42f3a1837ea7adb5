//! `nlr -v` and `-vv` while passwords are asked for and a stub is sent.

use std::time::Duration;

use testing::{
    finish_with,
    lab::{Lab, Pty},
    remote::*,
};

const SOON: Duration = Duration::from_secs(30);

/// Spellings of a secret in a log: text, escaped, bytes in decimal and hexadecimal, base64.
fn spellings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let list = |byte: fn(&u8) -> String, gap| bytes.iter().map(byte).collect::<Vec<_>>().join(gap);
    let hexadecimal = |byte: &u8| format!("{byte:02x}");
    vec![
        secret.to_owned(),
        secret.escape_debug().to_string(),
        list(u8::to_string, ", "),
        list(hexadecimal, ""),
        list(hexadecimal, " "),
        list(|byte| format!("0x{byte:02x}"), ", "),
        "cmlnaHQgb25l".to_owned(),
    ]
}

#[test]
fn no_secret_is_in_the_log() {
    if !Lab::available() {
        return;
    }
    let secret = "right one";
    let lab = Lab::new();
    let host = lab.host("test01").password(secret).sudoers("ci ALL=ALL").start();
    // The password is asked for by ssh, and again by sudo.
    lab.client().run("mv ~/.ssh/id_ed25519 ~/hidden");
    let words = ["--stubs", stub(), "show", "link", "--json", "ssh://test01,sudo:"];
    for verbosity in ["-v", "-vv"] {
        let mut command = lab.nlr(&words);
        command.args(["--password-fd", "0", verbosity]);
        let ended = finish_with(command, &format!("ssh://test01\t{secret}\n{secret}\n"));
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert_eq!(link_names(&ended.stdout), links_of(&host));
        for step in ["ssh://test01", "authenticated", "connected"] {
            assert!(ended.stderr.contains(step), "no {step}: {}", ended.stderr);
        }
        assert_eq!(ended.stderr.contains("s frames] "), verbosity == "-vv", "{}", ended.stderr);
        for spelling in spellings(secret) {
            assert!(!ended.stderr.contains(&spelling), "{spelling:?}: {}", ended.stderr);
        }
    }
    host.assert_idle();
}

#[test]
fn questions_and_the_progress_work_beside_the_log() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("slow").password("quince").start();
    lab.client().run("mv ~/.ssh/id_ed25519 ~/hidden");
    let size = std::fs::metadata(stub()).unwrap().len();
    // Sending takes about four seconds.
    host.shape(&format!("tbf rate {}bit burst 64k latency 400ms", size * 8 / 4));
    let command = lab.nlr(&["--stubs", stub(), "-vv", "show", "link", "ssh://ci@slow"]);
    let mut pty = Pty::start(&command);
    pty.expect("connecting by TCP", SOON);
    pty.expect("assword for ci@", SOON);
    pty.send("wrong\n");
    pty.expect("please try again", SOON);
    pty.expect("assword for ci@", SOON);
    pty.send("quince\n");
    pty.expect("ssh://ci@slow: sending the stub, ", SOON);
    pty.expect("s frames]", SOON);
    assert!(pty.wait().success(), "{}", pty.transcript());
    let screen = pty.screen();
    assert!(screen.contains("eth0") && screen.contains("s frames] "), "{screen}");
    assert!(!screen.contains("ssh://ci@slow: sending the stub, "), "{screen}");
    assert!(!pty.transcript().contains("quince"), "{}", pty.transcript());
    host.assert_idle();
}
