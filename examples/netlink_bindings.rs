//! Requests as a foundation: a netlink library that knows nothing of rust-netlink.
//!
//! netlink-bindings encodes requests and decodes replies, and leaves the socket to its user. Here
//! that is a remote one: `cargo run --example netlink_bindings -- local: [NAMESPACE]`.

use std::error::Error;

use netlink_bindings::{
    rt_link::{self, Ifinfomsg},
    traits::{NetlinkRequest, Protocol},
};
use netlink_remote::{Netns, Requests, nlmsg::Builder};

/// Makes a request and hands each reply, without its netlink header, to `each`.
async fn request<R: NetlinkRequest>(
    requests: &Requests,
    request: &R,
    mut each: impl FnMut(R::ReplyType<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let Protocol::Raw { request_type, .. } = request.protocol() else {
        return Err("generic netlink would want its family resolved first".into());
    };
    let message = Builder::new(request_type, request.flags()).put(request.payload());
    let mut answer = requests.send(message);
    while let Some(reply) = answer.next().await {
        each(R::decode_reply(reply?.payload()))?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().unwrap_or_else(|| "local:".to_owned());
    let netns = arguments.next().map_or(Netns::Current, Netns::Name);
    let client = netlink_remote::connect(&target).await?;
    let protocol = netlink_remote::Protocol::ROUTE;
    let requests = Requests::new(client.socket(protocol).netns(netns).open().await?);
    let dump = rt_link::Request::new().op_getlink_dump(&Ifinfomsg::default());
    request(&requests, &dump, |(header, attributes)| {
        let name = attributes.get_ifname()?.to_string_lossy().into_owned();
        println!("{}: {name} mtu {}", header.ifi_index, attributes.get_mtu()?);
        Ok(())
    })
    .await?;
    client.close().await;
    Ok(())
}
