//! Lists the links of a target: `cargo run --example links -- unix:/run/nlr.sock`.
use futures_util::TryStreamExt;
use netlink_remote::{NetlinkSocket, Protocol};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "local:".to_owned());
    let client = netlink_remote::connect(&target).await?;
    let socket = client.socket(Protocol::ROUTE).open().await?;
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    tokio::spawn(connection);
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        println!("{}: {:?}", link.header.index, link.attributes.first());
    }
    Ok(())
}
