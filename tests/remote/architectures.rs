//! A host of another architecture: the stub for aarch64 runs here under qemu's user emulation.

use std::path::PathBuf;

use testing::{lab::Lab, programs, remote::*, world};

/// The static stub for aarch64; the test is skipped where it is not built.
fn stub() -> Option<PathBuf> {
    let stub = programs::static_stub("aarch64-unknown-linux-gnu");
    if stub.is_none() {
        world::skip("there is no stub for aarch64; `build-stubs aarch64` builds it");
    }
    stub
}

#[test]
fn the_stub_for_aarch64_opens_sockets_in_namespaces_and_dumps() {
    let (true, Some(stub)) = (Lab::available(), stub()) else { return };
    let lab = Lab::new();
    let host = lab.host("arm").sudoers("ci ALL=NOPASSWD: ALL").start();
    host.netns("blue");
    host.file("/opt/nlr-stub", "", 0o755);
    testing::programs::copy(&stub, host.outside("/opt/nlr-stub"));
    let wrapper = "#!/bin/sh\nexec /usr/bin/qemu-aarch64-static /opt/nlr-stub\n";
    host.file("/opt/nlr-stub-by-qemu", wrapper, 0o755);
    let target = "ssh://arm,sudo:,stub:/opt/nlr-stub-by-qemu";
    let shown = nlr_ok(&lab, &["show", "link", "--json", target]);
    assert_eq!(link_names(&shown), links_of(&host));
    let shown = nlr_ok(&lab, &["show", "link", "--json", target, "-n", "blue"]);
    assert_eq!(link_names(&shown), ["lo"]);
    nlr_ok(&lab, &["netns", "add", "green", target]);
    assert!(host.run("ip netns list").contains("green"));
    let shown = nlr_ok(&lab, &["show", "addr", "--json", target, "-n", "green"]);
    assert!(shown.contains("\"ifname\":\"lo\""), "{shown}");
    host.assert_idle();
}

#[test]
fn the_stub_for_a_host_s_architecture_is_the_one_that_is_sent() {
    let (true, Some(stub)) = (Lab::available(), stub()) else { return };
    let lab = Lab::new();
    let host = lab.host("arm").start();
    // Its uname names another architecture, whose stub does not run there.
    host.file("/usr/local/bin/uname", "#!/bin/sh\necho aarch64\n", 0o755);
    lab.client().file("/home/me/nlr-stub-aarch64", "", 0o755);
    testing::programs::copy(&stub, lab.client().outside("/home/me/nlr-stub-aarch64"));
    let arguments = ["--stubs", "/home/me/nlr-stub-aarch64", "show", "link", "ssh://arm"];
    nlr_fails(&lab, &arguments, 3, &["bootstrap: ", "does not run there"]);
    host.assert_idle();
}
