//! The raw socket as a foundation: a netlink library that knows nothing of rust-netlink.
//!
//! netlink-bindings encodes requests and decodes replies, and leaves the socket to its user. Here
//! that is a remote one: `cargo run --example netlink_bindings -- local: [NAMESPACE]`.

use std::error::Error;

use netlink_bindings::{
    rt_link::{self, Ifinfomsg},
    traits::{NetlinkRequest, Protocol},
};
use netlink_remote::{Event, Netns, RemoteSocket};

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

/// Makes a request and hands each reply, without its netlink header, to `each`.
async fn request<R: NetlinkRequest>(
    socket: &RemoteSocket,
    request: &R,
    mut each: impl FnMut(R::ReplyType<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let Protocol::Raw { request_type, .. } = request.protocol() else {
        return Err("generic netlink would want its family resolved first".into());
    };
    let payload = request.payload();
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(u32::try_from(HEADER + payload.len())?.to_ne_bytes());
    message.extend(request_type.to_ne_bytes());
    message.extend((request.flags() | NLM_F_REQUEST).to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(payload);
    socket.send(&message).await?;
    loop {
        let datagram = match socket.recv().await? {
            Event::Datagram(datagram) => datagram.data,
            other => return Err(format!("instead of a reply: {other:?}").into()),
        };
        let mut rest = &datagram[..];
        while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
            let [l0, l1, l2, l3, k0, k1, ..] = *header;
            let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let kind = u16::from_ne_bytes([k0, k1]);
            let body = rest.get(HEADER..length).ok_or("a message longer than its datagram")?;
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    return Err(format!("the kernel refused: {:?}", body.get(..4)).into());
                }
                _ => each(R::decode_reply(body))?,
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().unwrap_or_else(|| "local:".to_owned());
    let netns = arguments.next().map_or(Netns::Current, Netns::Name);
    let client = netlink_remote::connect(&target).await?;
    let socket = client.socket(netlink_remote::Protocol::ROUTE).netns(netns).open().await?;
    let dump = rt_link::Request::new().op_getlink_dump(&Ifinfomsg::default());
    request(&socket, &dump, |(header, attributes)| {
        let name = attributes.get_ifname()?.to_string_lossy().into_owned();
        println!("{}: {name} mtu {}", header.ifi_index, attributes.get_mtu()?);
        Ok(())
    })
    .await?;
    client.close().await;
    Ok(())
}
