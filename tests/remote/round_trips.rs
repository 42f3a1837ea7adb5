//! The round trips of a connection, counted by a relay that delays each direction.

use std::time::Duration;

use netlink_remote::Client;
use testing::{
    lab::{Lab, Relay},
    remote::*,
};

/// The delay of one direction: longer than any step on this machine, so that waiting alone counts.
const DELAY: Duration = Duration::from_millis(50);

struct Slow {
    lab: Lab,
    _host: testing::lab::Host,
    relay: Relay,
}

fn slow() -> Slow {
    let lab = Lab::new();
    let host = lab.host("near").start();
    let relay = lab.relay("slow", &host, DELAY);
    Slow { lab, _host: host, relay }
}

impl Slow {
    async fn connect(&self) -> (Client, u64) {
        let before = self.relay.round_trips();
        let client = connect("ssh://slow", &options(&self.lab)).await.unwrap();
        (client, self.relay.round_trips() - before)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warm_at_most_one_more_than_true_and_cold_at_most_two() {
    if !Lab::available() {
        return;
    }
    let slow = slow();
    // The same ssh running `true`, whose end is an error.
    let before = slow.relay.round_trips();
    let options = options(&slow.lab);
    let error = connect("ssh://slow,stub:/bin/true", &options).await.unwrap_err();
    assert!(error.to_string().contains("bootstrap"), "{error}");
    let just_true = slow.relay.round_trips() - before;

    let (client, cold) = slow.connect().await;
    client.close().await;
    let (client, warm) = slow.connect().await;
    // The first request goes out with the hello.
    let before = slow.relay.round_trips();
    let socket = within(client.socket(0).open()).await.unwrap();
    let first = slow.relay.round_trips() - before;
    drop(socket);
    client.close().await;
    println!("round trips: true {just_true}, warm {warm}, cold {cold}, the first request {first}");
    assert!(warm <= just_true + 1, "warm {warm}, true {just_true}");
    assert!(cold <= just_true + 2 + payload(), "cold {cold}, true {just_true}");
    assert!(first <= 1, "{first}");
}

/// The round trips of the payload: none with a large window. The relay reads all at once, so TCP's
/// slow start adds none.
fn payload() -> u64 {
    0
}
