//! Requests and their answers: each goes to its own, none hangs, and none is taken for whole that
//! is not.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use netlink_remote::{
    Client, Error, ErrorKind, Requests, SocketBuilder,
    client::{RequestErrorKind, options},
    errno::{EINTR, ENOBUFS, EOPNOTSUPP, ERANGE},
    nlmsg::{Builder, Outcome, flags},
};

use crate::support::*;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const IFLA_MTU: u16 = 4;
const IFLA_IFNAME: u16 = 3;

over_every_transport!(
    a_thousand_are_in_flight,
    gets_are_answered_in_the_midst_of_a_dump,
    refusals_have_words_and_an_offset,
    dumps_wait_for_one_another,
    a_dump_after_one_that_was_dropped_is_whole,
    a_change_in_mid_dump_is_an_error,
    what_the_kernel_drops_fails_its_requests,
    a_refused_send_fails_its_request,
    the_end_of_the_connection_fails_every_request,
    a_batch_is_made_whole_or_not_at_all,
    generic_families_are_found,
);

/// Links beside lo.
const LINKS: usize = 120;

fn with_links(netns: &Namespace) {
    let batch: String = (0..LINKS / 2)
        .map(|number| format!("link add v{number} type veth peer name w{number}\n"))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), batch).unwrap();
    netns.ip(&format!("-batch {}", file.path().display()));
}

fn builder(client: &Client, netns: &Namespace) -> SocketBuilder {
    client.socket(NETLINK_ROUTE).netns(netns.netns())
}

async fn requests(client: &Client, netns: &Namespace) -> Requests {
    Requests::new(builder(client, netns).open().await.unwrap())
}

/// `RTM_GETLINK` of an index; of 0, for a dump.
fn get_link(index: u32) -> Builder {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    Builder::new(GET_LINK, flags::REQUEST).put(&header)
}

/// The index of a link message.
fn index(message: &netlink_remote::client::RawMessage) -> u32 {
    assert_eq!(message.kind(), NEW_LINK);
    message.message().u32(4).unwrap()
}

async fn indexes(requests: &Requests) -> Vec<u32> {
    let links = within(requests.dump(get_link(0))).await.unwrap();
    let mut indexes: Vec<_> = links.iter().map(index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), links.len());
    indexes
}

async fn a_thousand_are_in_flight(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    with_links(&netns);
    let requests = requests(&far.client, &netns).await;
    let all = indexes(&requests).await;
    assert_eq!(all.len(), 1 + LINKS);
    // From one task, and from as many tasks as requests.
    let one_task: FuturesUnordered<_> = (0..1000)
        .map(|number| {
            let (requests, expected) = (requests.clone(), all[number % all.len()]);
            async move { (expected, requests.one(get_link(expected)).await) }
        })
        .collect();
    let answers: Vec<_> = within(one_task.collect()).await;
    for (expected, answer) in answers {
        assert_eq!(index(&answer.unwrap()), expected);
    }
    let tasks = (0..1000).map(|number| {
        let (requests, expected) = (requests.clone(), all[number % all.len()]);
        tokio::spawn(async move { (expected, requests.one(get_link(expected)).await) })
    });
    for answer in within(join_all(tasks)).await {
        let (expected, answer) = answer.unwrap();
        assert_eq!(index(&answer.unwrap()), expected);
    }
    // Sent all at once, and read in the reverse order.
    let mut answers: Vec<_> = all.iter().map(|index| requests.send(get_link(*index))).collect();
    for (expected, answer) in all.iter().zip(&mut answers).rev() {
        assert_eq!(index(&within(answer.next()).await.unwrap().unwrap()), *expected);
        assert!(within(answer.next()).await.is_none());
    }
    drop(answers);
    drop(requests);
    far.end().await;
}

/// The pattern that hangs where an answer has to be read before another is.
async fn gets_are_answered_in_the_midst_of_a_dump(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    with_links(&netns);
    let requests = requests(&far.client, &netns).await;
    let mut dump = requests.send(get_link(0).flags(flags::DUMP));
    let mut count = 0;
    while let Some(link) = within(dump.next()).await {
        let link = index(&link.unwrap());
        let again = within(requests.one(get_link(link))).await.unwrap();
        assert_eq!(index(&again), link);
        count += 1;
    }
    assert_eq!(count, 1 + LINKS);
    // It ended with DONE, and stays ended.
    assert_eq!(dump.end().unwrap().kind(), netlink_remote::nlmsg::kind::DONE);
    assert!(dump.next().await.is_none());
    drop((dump, requests));
    far.end().await;
}

async fn refusals_have_words_and_an_offset(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    let strict = builder(&far.client, &netns).netlink_option(options::GET_STRICT_CHK, true);
    let requests = Requests::new(strict.open().await.unwrap());
    // An MTU of two bytes, behind a name that is as it should be.
    let short = get_link(1).attribute(IFLA_IFNAME, b"lo\0").attribute(IFLA_MTU, &[1, 2]);
    let mut short = short.finish();
    short[4..6].copy_from_slice(&NEW_LINK.to_ne_bytes());
    let refused = within(requests.acknowledged(short)).await.unwrap_err();
    assert_eq!(refused.kind(), RequestErrorKind::Refused);
    assert_eq!((refused.errno(), refused.offset()), (Some(ERANGE), Some(16 + 16 + 8)));
    let words = refused.extended_ack().unwrap();
    assert!(!words.is_empty());
    let text = refused.to_string();
    assert!(text.contains(words) && text.contains("at byte 40"), "{text}");
    assert_eq!(refused.message().unwrap().message().outcome().unwrap().errno, ERANGE);
    // Of a dump the error is in its DONE; the kernel looks at the header first.
    let header = [2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let refused = within(requests.dump(Builder::new(GET_ROUTE, 0).put(&header))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.errno(), Some(EINVAL));
    assert!(refused.extended_ack().unwrap().contains("header"), "{refused}");
    // It becomes the crate's error by `?`.
    let error = async {
        requests.one(get_link(999_999)).await?;
        Ok::<_, Error>(())
    };
    let error = within(error).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(ENODEV)));
    // A request that is none is not sent.
    for bytes in [&[0_u8; 15][..], &[255; 20], &[]] {
        let refused = requests.one(bytes).await.unwrap_err();
        assert_eq!(refused.kind(), RequestErrorKind::Invalid);
    }
    let acked = get_link(1).flags(flags::ACK);
    assert_eq!(index(&within(requests.one(acked.clone())).await.unwrap()), 1);
    let mut answer = requests.send(acked);
    assert!(within(answer.next()).await.unwrap().is_ok());
    assert!(within(answer.next()).await.is_none());
    assert_eq!(answer.end().unwrap().message().outcome(), Some(Outcome::default()));
    drop((answer, requests));
    far.end().await;
}

async fn dumps_wait_for_one_another(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    with_links(&netns);
    let requests = requests(&far.client, &netns).await;
    let dumps = (0..8).map(|_| requests.dump(get_link(0)));
    for dump in within(join_all(dumps)).await {
        assert_eq!(dump.unwrap().len(), 1 + LINKS);
    }
    drop(requests);
    far.end().await;
}

async fn a_dump_after_one_that_was_dropped_is_whole(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    with_links(&netns);
    // With a small window, the first dump is far from its end when it is dropped.
    let socket = builder(&far.client, &netns).window(1, 1).open().await.unwrap();
    let requests = Requests::new(socket);
    for _ in 0..3 {
        let mut dropped = requests.send(get_link(0).flags(flags::DUMP));
        within(dropped.next()).await.unwrap().unwrap();
        let waiting = requests.dump(get_link(0));
        drop(requests.send(get_link(0).flags(flags::DUMP)));
        drop(dropped);
        assert_eq!(within(waiting).await.unwrap().len(), 1 + LINKS);
    }
    // Of a get that is dropped nothing is left either.
    for _ in 0..100 {
        drop(requests.send(get_link(1)));
    }
    assert_eq!(index(&within(requests.one(get_link(1))).await.unwrap()), 1);
    drop(requests);
    far.end().await;
}

async fn a_change_in_mid_dump_is_an_error(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    with_links(&netns);
    for tolerated in [false, true] {
        let socket = builder(&far.client, &netns).window(1, 1).open().await.unwrap();
        let mut requests = Requests::new(socket);
        if tolerated {
            requests = requests.tolerate_interrupted_dumps();
        }
        let mut dump = requests.send(get_link(0).flags(flags::DUMP));
        let mut links = 0;
        let mut error = None;
        while let Some(item) = within(dump.next()).await {
            match item {
                Ok(_) => links += 1,
                Err(found) => error = Some(found),
            }
            if links == 1 {
                netns.ip(&format!("link add between{tolerated} type veth"));
            }
        }
        assert!(links > LINKS / 2, "{links}");
        match error {
            None => assert!(tolerated),
            Some(error) => {
                assert!(!tolerated);
                assert_eq!(error.kind(), RequestErrorKind::Interrupted);
                let error = Error::from(error);
                assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(EINTR)));
            }
        }
    }
    far.end().await;
}

async fn what_the_kernel_drops_fails_its_requests(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    with_links(&netns);
    let socket = builder(&far.client, &netns).receive_buffer(4096).window(1, 1);
    let requests = Requests::new(socket.open().await.unwrap()).max_in_flight(1000);
    let answers = join_all((0..1000).map(|_| requests.one(get_link(1))));
    let mut lost = 0;
    for answer in within(answers).await {
        match answer {
            Ok(link) => assert_eq!(index(&link), 1),
            Err(error) => {
                assert_eq!(error.kind(), RequestErrorKind::Lost);
                assert_eq!(error.errno(), Some(ENOBUFS));
                lost += 1;
            }
        }
    }
    assert!(lost > 0);
    // The socket goes on. Once the requests that failed have all been carried out, and with as many
    // in flight as there is room for, nothing is lost.
    let requests = requests.max_in_flight(1);
    while let Err(error) = within(requests.one(get_link(1))).await {
        assert_eq!(error.kind(), RequestErrorKind::Lost);
    }
    for answer in within(join_all((0..100).map(|_| requests.one(get_link(1))))).await {
        assert_eq!(index(&answer.unwrap()), 1);
    }
    assert_eq!(within(requests.dump(get_link(0))).await.unwrap().len(), 1 + LINKS);
    drop(requests);
    far.end().await;
}

async fn a_refused_send_fails_its_request(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.client.socket(NETLINK_ROUTE).send_buffer(4608).open().await.unwrap();
    let limit = socket.send_buffer() as usize;
    let requests = Requests::new(socket);
    let large = || get_link(1).attribute(20, &vec![b'x'; limit]);
    let answers = [
        requests.one(large()).boxed(),
        requests.one(get_link(1)).boxed(),
        requests.dump(large()).map(|links| links.map(|links| links[0].clone())).boxed(),
        requests.dump(get_link(0)).map(|links| links.map(|links| links[0].clone())).boxed(),
    ];
    for (number, answer) in within(join_all(answers)).await.into_iter().enumerate() {
        match answer {
            Ok(_) => assert!(number % 2 == 1),
            Err(error) => {
                assert!(number % 2 == 0);
                assert_eq!(error.kind(), RequestErrorKind::Socket);
                let error = Error::from(error);
                assert_eq!((error.kind(), error.errno()), (ErrorKind::Send, Some(EMSGSIZE)));
            }
        }
    }
    // What this connection carries is a limit too.
    let error = within(requests.one(vec_of_one_message(17 << 20))).await.unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::Send);
    drop(requests);
    far.end().await;
}

fn vec_of_one_message(length: usize) -> Vec<u8> {
    let mut bytes = get_link(1).finish();
    bytes.resize(length, 0);
    bytes[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
    bytes
}

async fn the_end_of_the_connection_fails_every_request(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    let requests = requests(&far.client, &netns).await.max_in_flight(10);
    // Requests without any answer: a change that asks for no acknowledgement.
    let silent = || Builder::new(NEW_LINK, 0).put(get_link(1).finish().get(16..).unwrap());
    let waiting: Vec<_> = (0..20).map(|_| requests.send(silent())).collect();
    let waiting: Vec<_> = waiting
        .into_iter()
        .map(|mut answer| tokio::spawn(async move { answer.next().await.unwrap() }))
        .collect();
    tokio::task::yield_now().await;
    far.end().await;
    for answer in waiting {
        let error = within(answer).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), RequestErrorKind::Socket);
        assert_eq!(Error::from(error).kind(), ErrorKind::Disconnected);
    }
    let error = within(requests.one(get_link(1))).await.unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::Disconnected);
}

const NFT_NEW_TABLE: u16 = 10 << 8;
const NFT_GET_TABLE: u16 = 10 << 8 | 1;
const NFT_TABLE_NAME: u16 = 1;

/// `struct nfgenmsg` of family inet, and of a batch its subsystem.
fn nfgenmsg(resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [u8::from(resource == 0), 0, high, low]
}

fn batch(resource: u16, messages: &[Vec<u8>]) -> Vec<u8> {
    let edge = |kind| Builder::new(kind, 0).put(&nfgenmsg(resource)).finish();
    [edge(0x10), messages.concat(), edge(0x11)].concat()
}

fn table(kind: u16, flags: u16, name: &str) -> Vec<u8> {
    let name = format!("{name}\0");
    let message = Builder::new(kind, flags).put(&nfgenmsg(0));
    message.attribute(NFT_TABLE_NAME, name.as_bytes()).finish()
}

async fn a_batch_is_made_whole_or_not_at_all(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::new();
    let socket = far.client.socket(NETLINK_NETFILTER).netns(netns.netns());
    let requests = Requests::new(socket.open().await.unwrap());
    let new = |name| table(NFT_NEW_TABLE, flags::CREATE | flags::EXCL, name);
    within(requests.acknowledged(batch(10, &[new("one"), new("two")]))).await.unwrap();
    // Two of three are refused, and the third is not made.
    let mut answer = requests.send(batch(10, &[new("one"), new("three"), new("two")]));
    let mut refused = Vec::new();
    while let Some(item) = within(answer.next()).await {
        let error = item.unwrap_err();
        refused.push((error.index(), error.errno()));
    }
    assert_eq!(refused, [(1, Some(EEXIST)), (3, Some(EEXIST))]);
    let tables = within(requests.dump(table(NFT_GET_TABLE, 0, ""))).await.unwrap();
    let names: Vec<_> =
        tables.iter().map(|table| table.attributes(4).text(NFT_TABLE_NAME).unwrap()).collect();
    assert_eq!(names, ["one", "two"]);
    // A batch for a subsystem without: the kernel answers its begin and nothing else.
    let error = within(requests.acknowledged(batch(1, &[new("four")]))).await.unwrap_err();
    assert_eq!((error.index(), error.errno()), (0, Some(EOPNOTSUPP)));
    assert!(error.to_string().contains("message 0 of 3"), "{error}");
    // Several requests of rtnetlink in one datagram.
    let route = self::requests(&far.client, &netns).await;
    let three = [get_link(1).finish(), get_link(77).finish(), get_link(1).finish()].concat();
    let items: Vec<_> = within(route.send(three).collect()).await;
    let shown: Vec<_> = items
        .into_iter()
        .map(|item| item.map(|link| index(&link)).map_err(|error| (error.index(), error.errno())))
        .collect();
    assert_eq!(shown, [Ok(1), Err((1, Some(ENODEV))), Ok(1)]);
    drop((answer, requests, route));
    far.end().await;
}

async fn generic_families_are_found(transport: Transport) {
    let far = Far::new(transport).await;
    let requests = Requests::new(far.client.socket(NETLINK_GENERIC).open().await.unwrap());
    // CTRL_CMD_GETFAMILY by CTRL_ATTR_FAMILY_NAME; the answer has CTRL_ATTR_FAMILY_ID.
    let get = |name: &[u8]| Builder::new(16, 0).put(&[3, 1, 0, 0]).attribute(2, name);
    let family = within(requests.one(get(b"nlctrl\0"))).await.unwrap();
    assert_eq!(family.attributes(4).u16(1), Some(16));
    let error = within(requests.one(get(b"nosuchfamily\0"))).await.unwrap_err();
    assert_eq!(error.errno(), Some(ENOENT));
    let families = within(requests.dump(Builder::new(16, 0).put(&[3, 1, 0, 0]))).await.unwrap();
    assert!(families.iter().any(|family| family.attributes(4).u16(1) == Some(16)));
    drop(requests);
    far.end().await;
}

async fn in_memory() -> Client {
    world::require();
    Client::handshake(in_memory_stub()).await.unwrap()
}

/// Events have the sequence numbers of other sockets' requests. Only an echo of its own request is
/// an answer, although it comes with its group.
#[tokio::test]
async fn events_are_no_answers_and_echoes_are() {
    let client = in_memory().await;
    let netns = Namespace::new();
    netns.ip("link set lo up");
    let other = builder(&client, &netns).open().await.unwrap();
    let requests = Requests::new(builder(&client, &netns).group(7).open().await.unwrap());
    // Each of the other's routes has the sequence number of a request here.
    for number in 0..20 {
        other.send_confirmed(&add_route(number, 0)).await.unwrap();
        assert_eq!(index(&within(requests.one(get_link(1))).await.unwrap()), 1);
    }
    let route = add_route(100, flags::ECHO | flags::ACK);
    let mut answer = requests.send(route);
    assert_eq!(within(answer.next()).await.unwrap().unwrap().kind(), NEW_ROUTE);
    assert!(within(answer.next()).await.is_none());
    client.close().await;
}

/// An answer that was polled once and is neither polled again nor dropped holds nobody up.
#[tokio::test]
async fn an_answer_that_is_left_alone_holds_no_other_up() {
    let client = in_memory().await;
    let netns = Namespace::new();
    with_links(&netns);
    let requests = requests(&client, &netns).await;
    let mut left = Vec::new();
    for _ in 0..10 {
        let mut answer = requests.send(get_link(0).flags(flags::DUMP));
        let waker = futures_util::task::noop_waker();
        let polled = pin!(answer.next()).poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Pending));
        left.push(answer);
        assert_eq!(index(&within(requests.one(get_link(1))).await.unwrap()), 1);
    }
    // Nor is any of them lost.
    for mut answer in left {
        let mut links = 0;
        while let Some(link) = within(answer.next()).await {
            link.unwrap();
            links += 1;
        }
        assert_eq!(links, 1 + LINKS);
    }
    client.close().await;
}

/// Many tasks, on several threads, of which some give up: every other gets its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_share_requests_and_none_is_forgotten() {
    const TASKS: usize = 16;
    const EACH: usize = 300;
    let client = in_memory().await;
    let netns = Namespace::new();
    with_links(&netns);
    let socket = builder(&client, &netns).window(200_000, 50).open().await.unwrap();
    let requests = Requests::new(socket).max_in_flight(64);
    let answered = Arc::new(AtomicUsize::new(0));
    let tasks = (0..TASKS).map(|task| {
        let (requests, answered) = (requests.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            for number in 0..EACH {
                if (number + task) % 50 == 0 {
                    let links = requests.dump(get_link(0)).await.unwrap();
                    assert_eq!(links.len(), 1 + LINKS);
                }
                let expected = 1 + u32::try_from((number + task) % LINKS).unwrap();
                tokio::select! {
                    biased;
                    answer = requests.one(get_link(expected)) => {
                        assert_eq!(index(&answer.unwrap()), expected);
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    () = tokio::task::yield_now(), if number % 3 == 0 => {}
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        within(task).await.unwrap();
    }
    assert!(answered.load(Ordering::SeqCst) >= TASKS * EACH * 2 / 3);
    drop(requests);
    client.close().await;
}

/// An answer that nobody reads does not grow: alone it waits at the far end, and beside others it
/// fails.
#[tokio::test]
async fn an_unread_answer_is_bounded() {
    let client = in_memory().await;
    let netns = Namespace::new();
    netns.ip("link set lo up");
    let file = tempfile::NamedTempFile::new().unwrap();
    let routes: String = (0..20_000)
        .map(|number| format!("route add 10.{}.{}.1 dev lo\n", number / 250, number % 250))
        .collect();
    std::fs::write(file.path(), routes).unwrap();
    netns.ip(&format!("-batch {}", file.path().display()));
    let requests = requests(&client, &netns).await.max_unread(512 << 10);
    let dump = || Builder::new(GET_ROUTE, flags::DUMP).put(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // About 1.2 MB, read after a while: nothing is missing.
    let mut unread = requests.send(dump());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut routes = 0;
    while let Some(route) = within(unread.next()).await {
        routes += usize::from(route.unwrap().kind() == NEW_ROUTE);
    }
    assert!(routes >= 20_000, "{routes}");
    // While others are read, it fails; they do not.
    let mut unread = requests.send(dump());
    for _ in 0..100 {
        within(requests.one(get_link(1))).await.unwrap();
    }
    let error = loop {
        if let Err(error) = within(unread.next()).await.unwrap() {
            break error;
        }
    };
    assert_eq!(error.kind(), RequestErrorKind::Unread);
    assert!(within(unread.next()).await.is_none());
    // The next dump waits for the end of this one.
    assert_eq!(within(requests.dump(dump())).await.unwrap().len(), routes);
    client.close().await;
}

/// With a get in flight at the time of the cut, of a dump some parts have come: neither is whole.
#[tokio::test]
async fn a_link_cut_in_mid_dump_is_an_error() {
    let netns = Namespace::new();
    with_links(&netns);
    for cut in [1, 5_000, 20_000, 50_000, 100_000] {
        world::require();
        let control = Arc::new(ValveControl::default());
        let valve = Valve { inner: in_memory_stub(), control: Arc::clone(&control) };
        let client = Client::handshake(valve).await.unwrap();
        let requests = requests(&client, &netns).await;
        let so_far = control.read.load(Ordering::SeqCst);
        control.cut_after.store(so_far + cut, Ordering::SeqCst);
        let error = within(requests.dump(get_link(0))).await.unwrap_err();
        assert_eq!(Error::from(error).kind(), ErrorKind::Disconnected, "cut after {cut}");
    }
}
