//! An alarm for links that flap: those whose carrier goes up and down several times within a minute, on every
//! host of an inventory.
//!
//!     cargo run --example link_flaps hosts.txt
//!
//! where each line of `hosts.txt` is a target, with an optional name before it: `core1 ssh://ci@core1`.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use netlink_remote::fleet::Inventory;
use netlink_remote::monitor::{Happening, Monitor, Subscription};
use netlink_remote::nlmsg::messages;
use netlink_remote::{Connector, Group, Protocol, TargetOptions};

const RTM_NEWLINK: u16 = 16;
const IFF_LOWER_UP: u32 = 0x1_0000;
const IFLA_IFNAME: u16 = 3;

/// Changes within this time that are an alarm.
const CHANGES: usize = 4;
const TIME: Duration = Duration::from_secs(60);

/// The carrier of a link, and when it changed.
#[derive(Default)]
struct Link {
    carrier: Option<bool>,
    changes: VecDeque<Instant>,
}

impl Link {
    /// Whether the link flaps, with a carrier as it is now.
    fn note(&mut self, carrier: bool) -> bool {
        if self.carrier.replace(carrier).is_some_and(|before| before != carrier) {
            self.changes.push_back(Instant::now());
        }
        while self.changes.front().is_some_and(|change| change.elapsed() > TIME) {
            self.changes.pop_front();
        }
        self.changes.len() >= CHANGES
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    netlink_remote::stub::serve_if_asked();
    let file = std::env::args().nth(1).ok_or("expected a file of targets")?;
    let inventory: Inventory = std::fs::read_to_string(file)?.parse()?;
    let mut monitor =
        Monitor::builder().subscribe(Subscription::new(Protocol::ROUTE).group(Group::LINK));
    for entry in &inventory.entries {
        monitor = monitor.watch(entry.watched());
    }
    let mut monitor = monitor.start(Connector::new(TargetOptions::default()))?;
    let mut links: HashMap<(String, u32), Link> = HashMap::new();
    while let Some(event) = monitor.next().await {
        let Happening::Datagram { datagram, .. } = event.what else {
            // A host that is gone, or events that were lost: somebody should know.
            eprintln!("{}: {}", event.source, event.what);
            continue;
        };
        for message in messages(&datagram.data).filter(|message| message.header.kind == RTM_NEWLINK)
        {
            let (Some(index), Some(flags)) = (message.u32(4), message.u32(8)) else { continue };
            let link = links.entry((event.source.to_string(), index)).or_default();
            if link.note(flags & IFF_LOWER_UP != 0) {
                let name = message.attributes(16).text(IFLA_IFNAME).unwrap_or_default();
                println!("{}: {name} flaps: {} changes", event.source, link.changes.len());
                link.changes.clear();
            }
        }
    }
    Ok(())
}
