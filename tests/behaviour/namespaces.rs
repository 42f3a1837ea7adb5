//! Network namespaces: found, created, entered, and a link moved into one.

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use netlink_remote::{ErrorKind, NetlinkSocket, Netns, client::NetnsMode, kernel, transport};

use crate::support::*;

over_every_transport!(
    a_socket_is_in_the_namespace_it_was_asked_for,
    modes_of_opening,
    made_here_seen_by_ip_and_the_other_way_round,
    a_veth_is_moved_through_a_handle,
    handles_are_closed_with_their_last_clone,
    names_that_cannot_be,
);

async fn a_socket_is_in_the_namespace_it_was_asked_for(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    netns.ip("link add marker type veth peer name peer");
    // A process inside, for its pid.
    let mut inside = std::process::Command::new("ip")
        .args(["netns", "exec", &netns.0, "sleep", "1000"])
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/ns/net", inside.id());
    let wanted = std::fs::canonicalize(format!("/run/netns/{}", netns.0)).unwrap();
    let id = |path: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map(|m| m.ino()).ok()
    };
    eventually("the process is inside", || id(path.as_ref()) == id(&wanted)).await;
    let handle = far.client.netns().open(netns.netns(), NetnsMode::Existing).await.unwrap();
    assert_eq!(Some(handle.id().inode), id(&wanted));
    let places = [
        netns.netns(),
        Netns::Path(wanted.to_str().unwrap().to_owned()),
        Netns::Pid(inside.id()),
        Netns::Handle(handle.fd()),
    ];
    for place in places {
        let socket = far.client.socket(NETLINK_ROUTE).netns(place.clone()).open().await.unwrap();
        assert!(link_names(&socket).await.contains(&"marker".to_owned()), "{place}");
    }
    let by_handle = far.client.socket(NETLINK_ROUTE).netns_handle(&handle).open().await.unwrap();
    assert!(link_names(&by_handle).await.contains(&"marker".to_owned()));
    let outside = far.route().await;
    assert!(!link_names(&outside).await.contains(&"marker".to_owned()));
    inside.kill().unwrap();
    inside.wait().unwrap();
    far.end().await;
}

async fn modes_of_opening(transport: Transport) {
    let far = Far::new(transport).await;
    let name = unique("nlr");
    let netns = Netns::Name(name.clone());
    let builder = || far.client.socket(NETLINK_ROUTE).netns(netns.clone());
    let open = |mode| builder().netns_mode(mode).open();
    assert_eq!(open(NetnsMode::Existing).await.unwrap_err().errno(), Some(ENOENT));
    let socket = open(NetnsMode::CreateExclusive).await.unwrap();
    assert_eq!(link_names(&socket).await[0], "lo");
    assert_eq!(open(NetnsMode::CreateExclusive).await.unwrap_err().errno(), Some(EEXIST));
    open(NetnsMode::Create).await.unwrap();
    open(NetnsMode::Existing).await.unwrap();
    far.client.netns().delete(&name).await.unwrap();
    open(NetnsMode::Create).await.unwrap();
    far.client.netns().delete(&name).await.unwrap();
    let path = Netns::Path("/run/netns/x".to_owned());
    let made = far.client.netns().open(path, NetnsMode::Create).await;
    assert_eq!(made.unwrap_err().errno(), Some(EINVAL), "only a name can be created");
    far.end().await;
}

async fn made_here_seen_by_ip_and_the_other_way_round(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = far.client.netns();
    let (ours, theirs) = (unique("nlr"), unique("nlr"));
    netns.add(&ours).await.unwrap();
    ip(&format!("netns add {theirs}"));
    assert!(ip("netns list").lines().any(|line| line.split_whitespace().next() == Some(&ours)));
    ip(&format!("-n {ours} link show lo"));
    let listed = netns.list().await.unwrap();
    let entry = |name: &str| listed.iter().find(|entry| entry.name == *name).cloned().unwrap();
    assert_ne!(entry(&ours).id, entry(&theirs).id);
    assert_ne!(entry(&theirs).id.inode, 0);
    assert_eq!(netns.add(&theirs).await.unwrap_err().errno(), Some(EEXIST));
    netns.delete(&theirs).await.unwrap();
    ip(&format!("netns delete {ours}"));
    for name in [&ours, &theirs] {
        let error = netns.delete(name).await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Namespace, Some(ENOENT)));
    }
    far.end().await;
}

pub(crate) fn move_link(index: u32, fd: i32) -> Vec<u8> {
    use netlink_packet_core::{Emitable, NetlinkHeader};
    // The message that rtnetlink's builder makes of a RawFd.
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes.push(LinkAttribute::NetNsFd(fd));
    let _ = (link.buffer_len(), NetlinkHeader::default());
    request(RouteNetlinkMessage::SetLink(link), NLM_F_ACK, 1)
}

async fn a_veth_is_moved_through_a_handle(transport: Transport) {
    use futures_util::TryStreamExt;
    let far = Far::new(transport).await;
    let (from, to) = (Namespace::empty(), Namespace::empty());
    from.ip("link add mover type veth peer name stays");
    let handle = far.client.netns().open(to.netns(), NetnsMode::Existing).await.unwrap();
    assert!(handle.fd() >= 256, "{} is a low number", handle.fd());
    let socket = far.client.socket(NETLINK_ROUTE).netns(from.netns()).open().await.unwrap();
    let (connection, rtnl, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    let running = tokio::spawn(connection);
    let links = rtnl.link().get().match_name("mover".to_owned()).execute();
    let link = links.try_collect::<Vec<_>>().await.unwrap().remove(0);
    let change = rtnetlink::LinkUnspec::new_with_index(link.header.index)
        .setns_by_fd(i32::try_from(handle.fd()).unwrap())
        .build();
    rtnl.link().set(change).execute().await.unwrap();
    assert!(to.ip("link show").contains("mover"));
    assert!(!from.ip("link show").contains("mover@"));
    // No made-up number is a descriptor of the stub's own.
    if transport == Transport::Process {
        let raw = far.client.socket(NETLINK_ROUTE).netns(from.netns()).open().await.unwrap();
        raw.send(&link_by_name("stays")).await.unwrap();
        let stays = link_index(&datagram(&raw).await.data);
        for stray in [3, 4, 5, 9, 20, 100, 999, 4000] {
            raw.send(&move_link(stays, stray)).await.unwrap();
            assert_eq!(error_code(&datagram(&raw).await.data), Some(EBADF), "descriptor {stray}");
        }
    }
    drop(rtnl);
    running.abort();
    far.end().await;
}

fn link_by_name(name: &str) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    request(RouteNetlinkMessage::GetLink(link), 0, 1)
}

fn link_index(datagram: &[u8]) -> u32 {
    u32::from_ne_bytes(datagram[20..24].try_into().unwrap())
}

async fn handles_are_closed_with_their_last_clone(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let handle = far.client.netns().open(netns.netns(), NetnsMode::Existing).await.unwrap();
    let (fd, clone) = (handle.fd(), handle.clone());
    let open = || far.client.socket(NETLINK_ROUTE).netns(Netns::Handle(fd)).open();
    drop(handle);
    open().await.unwrap();
    drop(clone);
    assert_eq!(open().await.unwrap_err().errno(), Some(EBADF));
    far.end().await;
}

async fn names_that_cannot_be(transport: Transport) {
    let far = Far::new(transport).await;
    for name in ["", ".", "..", "a/b", "/etc", "../x", &"x".repeat(256)] {
        let netns = far.client.netns();
        assert_eq!(netns.add(name).await.unwrap_err().errno(), Some(EINVAL), "{name:?}");
        assert_eq!(netns.delete(name).await.unwrap_err().errno(), Some(EINVAL), "{name:?}");
    }
    assert!(
        kernel::netns::list(&kernel::Cancel::default())
            .unwrap()
            .iter()
            .all(|entry| entry.name != "x")
    );
    far.end().await;
}

/// A process in a user namespace of its own may create network namespaces. It may not enter or
/// change those of the user namespace outside.
#[tokio::test]
async fn what_is_not_permitted_gives_eperm() {
    world::require();
    let netns = Namespace::empty();
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", programs::stub()]);
    let running = transport::process::spawn(command).unwrap();
    let mut options = netlink_remote::client::ClientOptions::default();
    options.exit_report =
        Some(transport::ExitReport::of_command("the stub", running.stderr, running.end));
    let client = netlink_remote::Client::handshake_with(running.stdio, options).await.unwrap();
    let error = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(EPERM)), "{error}");
    assert!(error.to_string().contains("CAP_SYS_ADMIN"), "{error}");
    assert_eq!(client.netns().add("nlr-mine").await.unwrap_err().errno(), Some(EPERM));
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    let mut link = LinkMessage::default();
    link.header.index = 1;
    link.attributes.push(LinkAttribute::Mtu(1400));
    socket.send(&ack_of(RouteNetlinkMessage::SetLink(link), 1)).await.unwrap();
    assert_eq!(error_code(&datagram(&socket).await.data), Some(EPERM));
    // Requests without a need for privileges work.
    assert!(link_names(&socket).await.contains(&"lo".to_owned()));
    let error = client.socket(NETLINK_NETFILTER).group(1).open().await.unwrap_err();
    assert_eq!(error.errno(), Some(EPERM));
    client.close().await;
}
