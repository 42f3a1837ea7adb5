//! rust-netlink, unmodified, on a remote socket, with each trap of its sockets.

use std::sync::{Arc, atomic::Ordering};

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::NetlinkPayload;
use netlink_remote::{Client, NetlinkSocket, Netns, wire::FrameType};
use netlink_sys::{AsyncSocket, SocketAddr};

use crate::support::*;

over_every_transport!(
    rtnetlink_makes_and_lists,
    rtnetlink_errors_carry_the_errno,
    genetlink_and_ethtool_make_their_own_sockets,
    an_overrun_is_nlmsg_overrun_and_the_connection_goes_on,
    a_socket_that_does_not_open_fails_its_requests,
    a_refused_send_fails_its_requests,
    events_come_unsolicited,
);

async fn rtnetlink(
    client: &Client,
    netns: &Namespace,
) -> (rtnetlink::Handle, tokio::task::JoinHandle<()>) {
    let socket = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    (handle, tokio::spawn(connection))
}

async fn rtnetlink_makes_and_lists(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let (handle, running) = rtnetlink(&far.client, &netns).await;
    let veth = rtnetlink::LinkVeth::new("left", "right").up().build();
    handle.link().add(veth).execute().await.unwrap();
    let links: Vec<_> = within(handle.link().get().execute().try_collect()).await.unwrap();
    assert_eq!(links.len(), 3);
    let left = links.iter().find(|link| format!("{link:?}").contains("left")).unwrap();
    let add = handle.address().add(left.header.index, [192, 0, 2, 1].into(), 24);
    add.execute().await.unwrap();
    assert!(netns.ip("addr show left").contains("192.0.2.1/24"));
    drop(handle);
    within(running).await.unwrap();
    far.end().await;
}

async fn rtnetlink_errors_carry_the_errno(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let (handle, running) = rtnetlink(&far.client, &netns).await;
    let error = handle.link().del(999_999).execute().await.unwrap_err();
    let rtnetlink::Error::NetlinkError(error) = error else { panic!("{error:?}") };
    assert_eq!(error.raw_code(), -ENODEV);
    running.abort();
    far.end().await;
}

async fn genetlink_and_ethtool_make_their_own_sockets(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let scope = || far.client.socket(0).netns(netns.netns());
    // genetlink and ethtool use an older netlink-proto than rtnetlink.
    let (connection, mut handle, _) =
        scope().scope(genetlink::new_connection_with_socket::<NetlinkSocket>).unwrap();
    let running = tokio::spawn(connection);
    let mut request = netlink_packet_core::NetlinkMessage::from(
        netlink_packet_generic::GenlMessage::from_payload(netlink_packet_generic::ctrl::GenlCtrl {
            cmd: netlink_packet_generic::ctrl::GenlCtrlCmd::GetFamily,
            nlas: vec![],
        }),
    );
    request.header.flags = netlink_packet_core::NLM_F_REQUEST | netlink_packet_core::NLM_F_DUMP;
    let answers: Vec<_> = within(handle.request(request).await.unwrap().collect::<Vec<_>>()).await;
    assert!(format!("{answers:?}").contains("nlctrl"));
    running.abort();
    netns.ip("link add v0 type veth peer name v1");
    let (connection, mut handle, _) =
        scope().scope(ethtool::new_connection_with_socket::<NetlinkSocket>).unwrap();
    let running = tokio::spawn(connection);
    let channels = handle.link_mode().get(Some("v0")).execute().await.unwrap();
    let modes: Vec<_> = within(channels.try_collect()).await.unwrap();
    assert!(format!("{modes:?}").contains("v0"), "{modes:?}");
    running.abort();
    // Outside a scope a new socket is an error.
    let Err(error) = genetlink::new_connection_with_socket::<NetlinkSocket>() else { panic!() };
    assert!(error.to_string().contains("SocketBuilder::scope"), "{error}");
    far.end().await;
}

async fn an_overrun_is_nlmsg_overrun_and_the_connection_goes_on(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    netns.ip("link set lo up");
    let builder = || far.client.socket(NETLINK_ROUTE).netns(netns.netns());
    let events = builder().group(7).receive_buffer(4096).window(1, 1).open().await.unwrap();
    let requests = builder().open().await.unwrap();
    for number in 0..300 {
        requests.send(&add_route(number, 0)).await.unwrap();
    }
    within(requests.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    let (connection, handle, mut messages) = rtnetlink::from_socket(NetlinkSocket::from(events));
    let running = tokio::spawn(connection);
    let mut routes = 0;
    loop {
        let (message, _) = within(messages.next()).await.unwrap();
        match message.payload {
            NetlinkPayload::Overrun(_) => break,
            _ => routes += 1,
        }
    }
    assert!(routes > 0 && routes < 300, "{routes}");
    requests.send(&add_route(1000, 0)).await.unwrap();
    let (message, _) = within(messages.next()).await.unwrap();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    assert!(route_numbers(&bytes).eq([1000]));
    drop(handle);
    running.abort();
    far.end().await;
}

async fn a_socket_that_does_not_open_fails_its_requests(transport: Transport) {
    let far = Far::new(transport).await;
    let nowhere = far.client.socket(0).netns(Netns::Name("nlr-there-is-none".into()));
    let (connection, handle, _) =
        nowhere.scope(rtnetlink::new_connection_with_socket::<NetlinkSocket>).unwrap();
    let running = tokio::spawn(connection);
    let dump: Result<Vec<_>, _> = within(handle.link().get().execute().try_collect()).await;
    let Err(rtnetlink::Error::NetlinkError(error)) = dump else { panic!("{dump:?}") };
    assert_eq!(error.raw_code(), -ENOENT);
    drop(handle);
    within(running).await.unwrap();
    far.end().await;
}

async fn a_refused_send_fails_its_requests(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.client.socket(NETLINK_ROUTE).send_buffer(4608).open().await.unwrap();
    let limit = socket.send_buffer() as usize;
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    let running = tokio::spawn(connection);
    let mut link = netlink_packet_route::link::LinkMessage::default();
    link.header.index = 1;
    let alias = netlink_packet_route::link::LinkAttribute::IfAlias("x".repeat(limit));
    link.attributes.push(alias);
    let changed = within(handle.link().set(link).execute()).await;
    let Err(rtnetlink::Error::NetlinkError(error)) = changed else { panic!("{changed:?}") };
    assert_eq!(error.raw_code(), -EMSGSIZE);
    let links: Vec<_> = within(handle.link().get().execute().try_collect()).await.unwrap();
    assert!(!links.is_empty(), "the connection goes on");
    drop(handle);
    within(running).await.unwrap();
    far.end().await;
}

async fn events_come_unsolicited(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let builder = far.client.socket(NETLINK_ROUTE).netns(netns.netns()).group(1);
    let socket = builder.open().await.unwrap();
    let (connection, _handle, mut messages) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    let running = tokio::spawn(connection);
    netns.ip("link add v0 type veth peer name v1");
    let (_, source) = within(messages.next()).await.unwrap();
    assert_eq!(source, SocketAddr::new(0, 0));
    far.end().await;
    while within(messages.next()).await.is_some() {}
    within(running).await.unwrap();
}

/// A client whose stub's output passes a valve.
async fn valved() -> (Client, Arc<ValveControl>) {
    world::require();
    let control = Arc::new(ValveControl::default());
    let valve = Valve { inner: in_memory_stub(), control: Arc::clone(&control) };
    (Client::handshake(valve).await.unwrap(), control)
}

/// netlink-proto sends one queued request each time it is polled. Without another poll by itself,
/// each request would wait for the answer to the one before.
#[tokio::test]
async fn fifty_requests_are_under_way_at_the_same_time() {
    let (client, control) = valved().await;
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    let running = tokio::spawn(connection);
    control.held.store(true, Ordering::SeqCst);
    let before = control.frames(FrameType::Send);
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let links = handle.link().get().match_index(1).execute();
            tokio::spawn(links.try_collect::<Vec<_>>())
        })
        .collect();
    let sent = || control.frames(FrameType::Send) - before;
    eventually("all fifty are sent, while no answer has come", || sent() == 50).await;
    control.release();
    for request in requests {
        assert_eq!(within(request).await.unwrap().unwrap().len(), 1);
    }
    running.abort();
    client.close().await;
}

/// netlink-proto takes the end of its socket for the end of the answer.
#[tokio::test]
async fn a_link_cut_in_mid_dump_is_an_error_and_never_a_short_answer() {
    let netns = Namespace::empty();
    for number in 0..60 {
        netns.ip(&format!("link add v{number} type veth peer name w{number}"));
    }
    // The whole dump is about 170 KiB. A cut anywhere makes the answer an error.
    for cut in [1, 5_000, 20_000, 50_000, 100_000] {
        let (client, control) = valved().await;
        let (handle, running) = rtnetlink(&client, &netns).await;
        let so_far = control.read.load(Ordering::SeqCst);
        control.cut_after.store(so_far + cut, Ordering::SeqCst);
        let dump: Result<Vec<_>, _> = within(handle.link().get().execute().try_collect()).await;
        let Err(rtnetlink::Error::NetlinkError(error)) = dump else {
            panic!("cut after {cut}: {:?} links", dump.map(|links| links.len()));
        };
        assert_eq!(error.raw_code(), -104, "ECONNRESET");
        within(running).await.unwrap();
    }
}

/// The same for requests that were still queued in netlink-proto when the link was cut.
#[tokio::test]
async fn requests_queued_behind_a_cut_fail_as_well() {
    let (client, control) = valved().await;
    let netns = Namespace::empty();
    let (handle, running) = rtnetlink(&client, &netns).await;
    control.held.store(true, Ordering::SeqCst);
    let requests: Vec<_> = (0..50)
        .map(|_| tokio::spawn(handle.link().get().execute().try_collect::<Vec<_>>()))
        .collect();
    tokio::task::yield_now().await;
    control.cut_after.store(1, Ordering::SeqCst);
    control.release();
    for request in requests {
        assert!(within(request).await.unwrap().is_err(), "an empty list is a short answer");
    }
    within(running).await.unwrap();
}

/// The methods that rust-netlink does not call fail, instead of using this host's kernel.
#[tokio::test]
async fn the_local_socket_inside_is_none() {
    let (client, _) = valved().await;
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    let mut socket = NetlinkSocket::from(socket);
    let error = socket.socket_mut().bind(&SocketAddr::new(0, 1)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EBADF));
    assert!(socket.socket_ref().get_rx_buf_sz().is_err());
    assert_ne!(socket.remote().portid(), 0);
    drop(socket);
    client.close().await;
}

/// A client of a stub whose hello names the other byte order.
async fn foreign() -> Client {
    use netlink_remote::wire::{Hello, MARKER};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    world::require();
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut stub = in_memory_stub();
    tokio::spawn(async move {
        let mut said = Vec::new();
        let (mut hello, taken) = loop {
            stub.read_buf(&mut said).await.unwrap();
            let behind = said.get(MARKER.len()..).unwrap_or_default();
            if let Some(decoded) = Hello::decode(behind).unwrap() {
                break decoded;
            }
        };
        let host = hello.host.as_mut().unwrap();
        host.big_endian = !host.big_endian;
        let mut says = MARKER.to_vec();
        hello.encode(&mut says);
        says.extend(&said[MARKER.len() + taken..]);
        far.write_all(&says).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut far, &mut stub).await;
    });
    Client::handshake(near).await.unwrap()
}

/// A header of the other byte order would be misread, and its request would wait for ever.
#[tokio::test]
async fn a_host_of_the_other_byte_order_is_refused_at_once() {
    let client = foreign().await;
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    let running = tokio::spawn(connection);
    for _ in 0..3 {
        let requests = (0..5).map(|_| handle.link().get().execute().try_collect::<Vec<_>>());
        for links in within(futures_util::future::join_all(requests)).await {
            let Err(rtnetlink::Error::NetlinkError(error)) = links else { panic!("{links:?}") };
            assert_eq!(error.raw_code(), -EPROTONOSUPPORT);
        }
    }
    drop(handle);
    within(running).await.unwrap();
    client.close().await;
}
