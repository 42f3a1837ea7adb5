//! The links of a host whose events a collector publishes by NATS, and each change of them:
//!
//!     nlr collect --inventory hosts.txt --nats nats://127.0.0.1 --group link
//!     cargo run --example nats_consumer --features nats nats://127.0.0.1 core1

use netlink_remote::mirror::{Change, Links, Mirror};
use netlink_remote::nats::{Consumer, ConsumerOptions};

const IFLA_IFNAME: u16 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("expected a URL and the name of a target")?;
    let target = arguments.next().ok_or("expected the name of a target behind the URL")?;
    let events = Consumer::connect(&url, ConsumerOptions::default().with_target(target)).await?;
    let mut links = Mirror::over(Links, events);
    while let Some(change) = links.next().await {
        match change {
            Change::Added { object, .. } => {
                println!("+ {}", object.attributes(16).text(IFLA_IFNAME).unwrap_or_default());
            }
            Change::Removed { object, .. } => {
                println!("- {}", object.attributes(16).text(IFLA_IFNAME).unwrap_or_default());
            }
            Change::Synced => println!("= {} links", links.store().len()),
            Change::Stale { why, .. } => println!("? {why}"),
            _ => {}
        }
    }
    Ok(())
}
