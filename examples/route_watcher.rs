//! Prints the routes of a host, and each change of them, through losses and reconnections.
//!
//!     cargo run --example route_watcher ssh://ci@router

use netlink_remote::mirror::{Change, Mirror, Routes};
use netlink_remote::{Connector, Error, TargetOptions, monitor::Watched};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    netlink_remote::stub::serve_if_asked();
    let target = std::env::args().nth(1).unwrap_or_else(|| "local:".to_owned());
    let connector = Connector::new(TargetOptions::default());
    let mut routes = Mirror::start(Routes, connector, Watched::new(target.parse()?))?;
    while let Some(change) = routes.next().await {
        match change {
            Change::Added { key, .. } => println!("+ {key}"),
            Change::Changed { key, .. } => println!("~ {key}"),
            Change::Removed { key, .. } => println!("- {key}"),
            Change::Synced => println!("= {} routes", routes.store().len()),
            Change::Stale { why, .. } => println!("? {why}"),
            _ => {}
        }
    }
    Ok(())
}
