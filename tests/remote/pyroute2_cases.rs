//! The four cases on the page of RemoteIPRoute in pyroute2's documentation: a host, a host behind a
//! gateway, with privileges, and in a namespace; by the tool and by the library.

use netlink_remote::{Client, NetlinkSocket, Netns};
use rtnetlink::LinkBridge;
use testing::{
    lab::{Host, Lab},
    remote::*,
};

/// A gateway, and a host that the client reaches through it alone.
fn hosts(lab: &Lab) -> (Host, Host) {
    let gateway = lab.host("gateway").on("public").on("inner").start();
    let test01 = lab.host("test01").on("inner").sudoers("ci ALL=NOPASSWD: ALL").start();
    test01.netns("test-netns");
    (gateway, test01)
}

#[test]
fn by_the_tool() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let (gateway, test01) = hosts(&lab);
    let shown = |target: &str| link_names(&nlr_ok(&lab, &["show", "link", "--json", target]));
    // Direct.
    assert_eq!(shown("ssh://ci@gateway"), links_of(&gateway));
    assert_eq!(shown("openssh://ci@gateway"), links_of(&gateway));
    // Through a gateway.
    assert_eq!(shown("ssh://ci@gateway,ssh://ci@test01"), links_of(&test01));
    assert_eq!(shown("openssh://ci@gateway,openssh://ci@test01"), links_of(&test01));
    // With privileges.
    let user = "ssh://ci@gateway,ssh://ci@test01";
    nlr_fails(&lab, &["netns", "add", "blue", user], 4, &["test01", "run it as root"]);
    nlr_ok(&lab, &["netns", "add", "blue", &format!("{user},sudo:")]);
    assert!(test01.run("ip netns list").contains("blue"));
    // In a namespace of the host.
    let target = format!("{user},sudo:");
    let shown = nlr_ok(&lab, &["show", "link", "--json", &target, "-n", "test-netns"]);
    assert_eq!(link_names(&shown), ["lo"]);
    let target = "openssh://ci@gateway,openssh://ci@test01,sudo:";
    let shown = nlr_ok(&lab, &["show", "link", "--json", target, "-n", "test-netns"]);
    assert_eq!(link_names(&shown), ["lo"]);
    gateway.assert_idle();
    test01.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_the_library() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let (gateway, test01) = hosts(&lab);
    let options = options(&lab);
    let direct = connect("ssh://ci@gateway", &options).await.unwrap();
    assert_eq!(dump_links(&direct, Netns::Current).await, links_of(&gateway));
    assert_eq!(direct.host().host_name, "gateway");
    assert_eq!(direct.host().uid, 1000);

    let behind = connect("ssh://ci@gateway,ssh://ci@test01", &options).await.unwrap();
    assert_eq!(dump_links(&behind, Netns::Current).await, links_of(&test01));

    let root = connect("ssh://ci@gateway,ssh://ci@test01,sudo:", &options).await.unwrap();
    assert_eq!(root.host().uid, 0);
    add_bridge(&root, Netns::Current).await;
    assert!(links_of(&test01).contains(&"br0".to_owned()));

    let blue = Netns::Name("test-netns".into());
    add_bridge(&root, blue.clone()).await;
    assert_eq!(dump_links(&root, blue).await, ["lo", "br0"]);
    for client in [direct, behind, root] {
        client.close().await;
    }
    gateway.assert_idle();
    test01.assert_idle();
}

/// The examples of the page, by rtnetlink unmodified.
async fn add_bridge(client: &Client, netns: Netns) {
    let socket = client.socket(0).netns(netns).open().await.unwrap();
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    let connection = tokio::spawn(connection);
    handle.link().add(LinkBridge::new("br0").build()).execute().await.unwrap();
    drop(handle);
    within(connection).await.unwrap();
}
