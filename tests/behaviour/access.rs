//! What a client may do: clients that only look, and lists of protocols and namespaces.

use std::process::{Child, Command};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use netlink_remote::{
    Client, Error, Netns, Protocol, RemoteSocket,
    client::{ClientOptions, NetnsMode},
    stub::{Access, Config, ListenConfig, Listener, Shutdown},
    transport::unix,
};

use crate::support::*;

over_every_transport!(
    the_kernel_refuses_what_a_client_that_looks_would_change,
    a_client_that_looks_enters_no_namespace_that_its_user_owns,
);

const EACCES: i32 = 13;
const NETLINK_AUDIT: u32 = 9;
const NETLINK_XFRM: u32 = 6;
const NETLINK_KOBJECT_UEVENT: u32 = 15;

/// A request of this type that asks for an acknowledgement.
fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]];
    [&header.concat(), payload].concat()
}

pub(crate) fn set_mtu(mtu: u32) -> Vec<u8> {
    let mut link = LinkMessage::default();
    // lo's, in every namespace.
    link.header.index = 1;
    link.attributes.push(LinkAttribute::Mtu(mtu));
    ack_of(RouteNetlinkMessage::SetLink(link), 1)
}

fn add_dummy() -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName("nlr-new".to_owned()));
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    request(RouteNetlinkMessage::NewLink(link), flags, 1)
}

/// The error code of the kernel's answer; 0 is success.
async fn answer(socket: &RemoteSocket, request: &[u8]) -> i32 {
    socket.send(request).await.unwrap();
    error_code(&datagram(socket).await.data).unwrap()
}

async fn the_kernel_refuses_what_a_client_that_looks_would_change(transport: Transport) {
    let far = Far::read_only(transport).await;
    let netns = Namespace::empty();
    netns.ip("link add marker type veth peer name peer");
    let inside = far.client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    assert!(link_names(&inside).await.contains(&"marker".to_owned()));
    let outside = far.route().await;
    assert!(link_names(&outside).await.contains(&"lo".to_owned()));
    for socket in [&inside, &outside] {
        for change in [set_mtu(1400), add_dummy()] {
            assert_eq!(answer(socket, &change).await, EPERM);
        }
    }
    assert!(netns.ip("link show lo").contains("mtu 65536"));

    let ipsec = far.client.socket(NETLINK_XFRM).open().await.unwrap();
    // XFRM_MSG_FLUSHSA, of struct xfrm_usersa_flush.
    assert_eq!(answer(&ipsec, &message(0x1c, &[0; 4])).await, EPERM);
    let group = far.client.socket(NETLINK_NETFILTER).group(1).open().await.unwrap_err();
    assert_eq!(group.errno(), Some(EPERM), "{group}");
    // A uevent takes CAP_SYS_ADMIN, which entering a namespace takes, too.
    let uevents = far.client.socket(NETLINK_KOBJECT_UEVENT).netns(netns.netns()).open().await;
    let uevent = message(16, b"add@/devices/nlr\0ACTION=add\0DEVPATH=/devices/nlr\0");
    assert_eq!(answer(&uevents.unwrap(), &uevent).await, EPERM);

    let (netns_of, name) = (far.client.netns(), unique("nlr"));
    let refused = |error: Error| {
        assert_eq!(error.errno(), Some(EPERM), "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
    };
    refused(netns_of.add(&name).await.unwrap_err());
    refused(netns_of.delete(&netns.0).await.unwrap_err());
    let created = Netns::Name(name.clone());
    refused(netns_of.open(created.clone(), NetnsMode::Create).await.unwrap_err());
    let open = far.client.socket(NETLINK_ROUTE).netns(created);
    refused(open.netns_mode(NetnsMode::CreateExclusive).open().await.unwrap_err());
    assert!(netns_of.list().await.unwrap().iter().any(|entry| entry.name == netns.0));
    let handle = netns_of.open(netns.netns(), NetnsMode::Existing).await.unwrap();
    let by_handle = far.client.socket(NETLINK_ROUTE).netns_handle(&handle).open().await.unwrap();
    assert_eq!(answer(&by_handle, &set_mtu(1400)).await, EPERM);

    // Other clients of the same process keep their rights.
    let other = Far::new(transport).await;
    let socket = other.client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    assert_eq!(answer(&socket, &set_mtu(1500)).await, 0);
    let uevents = other.client.socket(NETLINK_KOBJECT_UEVENT).netns(netns.netns()).open().await;
    assert_eq!(answer(&uevents.unwrap(), &uevent).await, 0);
    other.end().await;
    far.end().await;
}

/// A process in a network namespace whose user namespace another command makes.
struct Inside(Child);

impl Inside {
    async fn new(command: &[&str]) -> Self {
        let child = Command::new(command[0]).args(&command[1..]).args(["sleep", "1000"]).spawn();
        let child = Self(child.unwrap());
        let comm = format!("/proc/{}/comm", child.0.id());
        eventually("sleep runs", || {
            std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep")
        })
        .await;
        child
    }

    fn netns(&self) -> Netns {
        Netns::Pid(self.0.id())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// An owner of a user namespace has all capabilities in it, dropped or not: user_namespaces(7).
async fn a_client_that_looks_enters_no_namespace_that_its_user_owns(transport: Transport) {
    let own = Inside::new(&["unshare", "--user", "--net"]).await;
    let nested = ["unshare", "--user", "--map-root-user", "unshare", "--user", "--net"];
    let nested = Inside::new(&nested).await;
    // The rule is the kernel's, and without the refusal its consequence would be this.
    let far = Far::new(transport).await;
    let socket = far.client.socket(NETLINK_ROUTE).netns(own.netns()).open().await.unwrap();
    assert_eq!(answer(&socket, &set_mtu(1500)).await, 0);
    far.end().await;
    let far = Far::read_only(transport).await;
    for inside in [&own, &nested] {
        let open = far.client.socket(NETLINK_ROUTE).netns(inside.netns()).open().await;
        let error = open.unwrap_err();
        assert_eq!(error.errno(), Some(EPERM), "{error}");
        assert!(error.to_string().contains("owns the namespace's user namespace"), "{error}");
        let handle = far.client.netns().open(inside.netns(), NetnsMode::Existing).await.unwrap();
        let open = far.client.socket(NETLINK_ROUTE).netns_handle(&handle).open().await;
        assert_eq!(open.unwrap_err().errno(), Some(EPERM));
    }
    if !world::is_user() {
        // Another user's can be looked into, and is not changed either.
        let other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let other = Inside::new(&[&other[..], &["unshare", "--user", "--net"]].concat()).await;
        let socket = far.client.socket(NETLINK_ROUTE).netns(other.netns()).open().await.unwrap();
        assert!(link_names(&socket).await.contains(&"lo".to_owned()));
        assert_eq!(answer(&socket, &set_mtu(1500)).await, EPERM);
    }
    far.end().await;
}

/// Threads inherit capabilities from those that start them, and the tasks of all clients of a server
/// wait in one queue.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_look_and_others_share_a_server() {
    world::require();
    let path = temporary("shared");
    let shutdown = Shutdown::new().unwrap();
    let bound = Listener::bind(&path, ListenConfig::default()).unwrap();
    let theirs = shutdown.clone();
    let server = std::thread::spawn(move || bound.run(&theirs, |_| {}).unwrap());
    let mut options = ClientOptions::default();
    options.read_only = true;
    let stream = unix::dial(&path).await.unwrap();
    let looks = Client::handshake_with(stream, options).await.unwrap();
    let changes = Client::handshake(unix::dial(&path).await.unwrap()).await.unwrap();
    let netns = Namespace::empty();
    let open = |client: &Client| client.socket(NETLINK_ROUTE).netns(netns.netns()).open();
    for _ in 0..3 {
        let opens = (0..64).map(|_| async {
            let (looked, changed) = tokio::join!(open(&looks), open(&changes));
            assert_eq!(answer(&looked.unwrap(), &set_mtu(1400)).await, EPERM);
            assert_eq!(answer(&changed.unwrap(), &set_mtu(1500)).await, 0);
        });
        futures_util::future::join_all(opens).await;
    }
    looks.close().await;
    changes.close().await;
    shutdown.trigger();
    server.join().unwrap();
}

async fn client_with(access: Access) -> Client {
    world::require();
    let mut config = Config::default();
    config.access = access;
    Client::handshake(in_memory_stub_with(config)).await.unwrap()
}

#[track_caller]
fn refused(error: &Error, words: &[&str]) {
    assert_eq!(error.errno(), Some(EACCES), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?}: {error}");
    }
}

#[tokio::test]
async fn a_stub_may_be_read_only_for_all_its_clients() {
    let mut access = Access::default();
    access.read_only = true;
    let client = client_with(access).await;
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    assert_eq!(answer(&socket, &set_mtu(1500)).await, EPERM);
    let admin = 1 << 12;
    assert_eq!(client.host().capabilities & admin, 0);
    client.close().await;
}

#[tokio::test]
async fn protocols_that_are_not_listed_are_refused() {
    let mut access = Access::default();
    access.protocols = Some(vec![Protocol::ROUTE, Protocol::GENERIC]);
    let client = client_with(access).await;
    for allowed in [NETLINK_ROUTE, NETLINK_GENERIC] {
        client.socket(allowed).open().await.unwrap();
    }
    for other in [NETLINK_AUDIT, NETLINK_USERSOCK, 31, u32::MAX] {
        let error = client.socket(other).open().await.unwrap_err();
        refused(&error, &["list of protocols (NETLINK_ROUTE, NETLINK_GENERIC)"]);
    }
    client.close().await;
}

#[tokio::test]
async fn namespaces_that_are_not_listed_are_refused_and_not_told_of() {
    let (allowed, other) = (Namespace::empty(), Namespace::empty());
    let mine = unique("nlr-mine");
    let mut access = Access::default();
    access.netns = Some(vec![allowed.0.parse().unwrap(), "nlr-mine*".parse().unwrap()]);
    let client = client_with(access).await;
    let inside = client.socket(NETLINK_ROUTE).netns(allowed.netns()).open().await.unwrap();
    assert!(link_names(&inside).await.contains(&"lo".to_owned()));
    let pid = std::process::id();
    for netns in [
        Netns::Current,
        other.netns(),
        Netns::Name("nlr-there-is-none".to_owned()),
        Netns::Path(format!("/run/netns/{}", allowed.0)),
        Netns::Path("/proc/self/ns/mnt".to_owned()),
        Netns::Pid(pid),
        Netns::Pid(u32::MAX),
        Netns::docker("web"),
    ] {
        let error = client.socket(NETLINK_ROUTE).netns(netns.clone()).open().await.unwrap_err();
        let list = format!("list of namespaces ({}, nlr-mine*)", allowed.0);
        refused(&error, &[&list]);
        refused(&client.netns().open(netns, NetnsMode::Existing).await.unwrap_err(), &[&list]);
    }
    // Names that match are created and deleted, and no others.
    let netns = client.netns();
    netns.add(&mine).await.unwrap();
    netns.delete(&mine).await.unwrap();
    refused(&netns.add(&unique("nlr-other")).await.unwrap_err(), &[]);
    refused(&netns.delete(&other.0).await.unwrap_err(), &[]);
    let listed: Vec<_> = netns.list().await.unwrap();
    assert!(listed.iter().any(|entry| entry.name == allowed.0));
    assert!(listed.iter().all(|entry| entry.name != other.0), "{listed:?}");
    // What is open stays open to use.
    let handle = netns.open(allowed.netns(), NetnsMode::Existing).await.unwrap();
    client.socket(NETLINK_ROUTE).netns_handle(&handle).open().await.unwrap();
    client.close().await;
}
