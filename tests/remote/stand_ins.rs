//! Hops whose engines do not run in the lab. Stand-ins of the same command line show the arguments,
//! and not that the real engine accepts them.

use testing::{lab::Lab, remote::*};

/// A script that checks its first `skip` arguments and runs the others.
fn stand_in(expected: &str, skip: usize) -> String {
    format!(
        "#!/bin/sh\nname=${{0##*/}} seen=\ni=0\nwhile [ $i -lt {skip} ]; do\n  \
         seen=\"$seen $1\"; shift; i=$((i+1))\ndone\n\
         [ \"$seen\" = ' {expected}' ] || {{ echo \"$name: called with$seen\" >&2; exit 2; }}\n\
         exec \"$@\"\n"
    )
}

#[test]
fn each_engine_is_called_as_its_manual_says() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").start();
    for (program, hop, expected, skip) in [
        ("docker", "docker:web", "exec -i web", 3),
        ("podman", "podman:web", "exec -i web", 3),
        ("kubectl", "kubectl:ns/web", "exec -i -n ns web --", 6),
        ("kubectl", "kubectl:kind/ns/web/app", "--context=kind exec -i -n ns web -c app --", 9),
        ("lxc-attach", "lxc:web", "-n web --", 3),
        ("incus", "incus:web", "exec -T web --", 4),
        ("systemd-run", "machinectl:web", "--machine=web --pipe --wait --collect --quiet --", 6),
    ] {
        let path = format!("/usr/local/bin/{program}");
        host.file(&path, &stand_in(expected, skip), 0o755);
        let target = format!("ssh://test01,{hop}");
        let shown = nlr_ok(&lab, &["show", "link", "--json", &target]);
        assert_eq!(link_names(&shown), links_of(&host), "{target}");
        // The error has the engine's own words.
        host.file(&path, "#!/bin/sh\necho \"Error: no such thing as web\" >&2; exit 1\n", 0o755);
        nlr_fails(&lab, &["show", "link", &target], 3, &["bootstrap: ", "no such thing as web"]);
        host.run(&format!("rm {path}"));
    }
    host.assert_idle();
}

#[test]
fn whatever_leads_to_a_shell_does() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").sudoers("ci ALL=NOPASSWD: ALL").start();
    host.netns("blue");
    for target in [
        "ssh://test01,sudo:,exec:ip netns exec blue sh",
        "ssh://test01,exec:sudo ip netns exec blue bash",
        "ssh://test01,exec:exec sh,sudo:,exec2:",
    ] {
        if target.ends_with("exec2:") {
            nlr_fails(&lab, &["show", "link", target], 2, &["`exec2:` is not known"]);
            continue;
        }
        assert_eq!(link_names(&nlr_ok(&lab, &["show", "link", "--json", target])), ["lo"]);
    }
    let behind = "ssh://test01,exec:sh,sudo:";
    let shown = nlr_ok(&lab, &["show", "link", "--json", behind, "-n", "blue"]);
    assert_eq!(link_names(&shown), ["lo"]);
    host.assert_idle();
}
