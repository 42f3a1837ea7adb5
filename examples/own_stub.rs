//! A program that is its own stub: no other file is needed on this host, nor for hosts of its
//! architecture.
//!
//! ```text
//! cargo run --example own_stub -- openssh://ci@test01,sudo:
//! ```

use std::{env, error::Error};

use netlink_remote::stub;
use tokio::runtime;

fn main() -> Result<(), Box<dyn Error>> {
    // First of all: this process may have been started as a stub.
    stub::serve_if_asked();
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let target = env::args().nth(1).unwrap_or_else(|| "local:".to_owned());
    let client = netlink_remote::connect(&target).await?;
    let host = client.host();
    println!("{} {} as uid {}", host.host_name, host.kernel_release, host.uid);
    client.close().await;
    Ok(())
}
