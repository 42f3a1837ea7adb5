//! Measuring one target, a turn at a time.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use super::{
    TURNS,
    figures::{Events, Figures},
    netlink::{dump_routes, failed, get_link, receive},
    storm,
};
use crate::{dump::ROUTE, failure::Failure, session};
use netlink_remote::{Client, Netns, RemoteSocket};

/// Which share of a turn is for dumps.
const DUMPS: f64 = 0.25;

/// How much longer than its time a turn may take, before the far end counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is measured.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) client: Client,
    netns: Netns,
    /// For single requests.
    requests: RemoteSocket,
    /// For dumps, until one has to be cut short.
    dumps: Option<RemoteSocket>,
    sequence: u32,
}

impl Bench {
    /// Opens what is needed, and goes the way once, so that the first time is no special one.
    pub(super) async fn new(client: &Client, netns: &Netns) -> Result<Self, Failure> {
        session::check_byte_order(client)?;
        let requests = open(client, netns).await?;
        let (client, netns) = (client.clone(), netns.clone());
        let mut bench = Self { client, netns, requests, dumps: None, sequence: 0 };
        within(PATIENCE, bench.probe(&mut Figures::new()?)).await?;
        Ok(bench)
    }

    /// Measures for about this long, each thing once at least. A listing may take more than its
    /// share of this turn, if it is as much less in the next ones.
    pub(super) async fn turn(
        &mut self,
        figures: &mut Figures,
        turn: u32,
        time: Duration,
    ) -> Result<(), Failure> {
        let dumps = time.mul_f64(DUMPS);
        let until = Instant::now() + time.saturating_sub(dumps);
        let (so_far, in_all) = (dumps * (turn + 1), dumps * TURNS);
        within(time + in_all + PATIENCE, async {
            loop {
                self.probe(figures).await?;
                if Instant::now() >= until {
                    return self.dump(figures, so_far, in_all).await;
                }
            }
        })
        .await
    }

    /// A ping, a request and a confirmed send, side by side: what disturbs one disturbs all.
    async fn probe(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        figures.ping.add(self.client.ping().await.map_err(failed)?);

        let (sequence, datagram) = self.request(get_link);
        let began = Instant::now();
        self.requests.send(&datagram).await.map_err(failed)?;
        receive(&self.requests, sequence, |_| {}).await?;
        figures.request.add(began.elapsed());

        // Not the one that was timed: the stub's word about it takes its time, too.
        let (sequence, datagram) = self.request(get_link);
        let sent = self.requests.send_confirmed(&datagram).await.map_err(failed)?;
        receive(&self.requests, sequence, |_| {}).await?;
        figures.kernel.add(sent.kernel_time);
        Ok(())
    }

    fn request(&mut self, make: impl Fn(u32) -> Vec<u8>) -> (u32, Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        (self.sequence, make(self.sequence))
    }

    /// Lists the routes until that has taken `so_far`; cuts a listing short at `in_all`.
    async fn dump(
        &mut self,
        figures: &mut Figures,
        so_far: Duration,
        in_all: Duration,
    ) -> Result<(), Failure> {
        if figures.dump.elapsed >= so_far {
            return Ok(());
        }
        let socket = match self.dumps.take() {
            Some(socket) => socket,
            None => open(&self.client, &self.netns).await?,
        };
        let began = Instant::now();
        let before = figures.dump.elapsed;
        let dumps = async {
            while before + began.elapsed() < so_far {
                let (sequence, datagram) = self.request(dump_routes);
                socket.send(&datagram).await.map_err(failed)?;
                figures.routes.begin();
                loop {
                    let part = receive(&socket, sequence, |bytes| figures.dump.add(bytes)).await?;
                    figures.routes.add(part.objects);
                    if part.is_last {
                        break figures.routes.end();
                    }
                }
            }
            Ok(())
        };
        let result = timeout_at(began + in_all.saturating_sub(before), dumps).await;
        figures.dump.elapsed += began.elapsed();
        match result {
            Ok(result) => {
                self.dumps = Some(socket);
                result
            }
            // One large listing: what was on its way must not be in the way of what comes next.
            Err(_) => socket.close().await.map(drop).map_err(failed),
        }
    }

    /// Measures how fast events arrive.
    pub(super) async fn events(
        &mut self,
        figures: &mut Figures,
        time: Duration,
    ) -> Result<(), Failure> {
        let opened = within(PATIENCE, storm::Storm::open(&self.client)).await?;
        let storm = match opened {
            Ok(storm) => storm,
            Err(why) => {
                figures.events = Some(Events::LeftOut(why));
                return Ok(());
            }
        };
        figures.events = Some(within(time + PATIENCE, storm.run(time)).await?);
        Ok(())
    }
}

async fn open(client: &Client, netns: &Netns) -> Result<RemoteSocket, Failure> {
    let opened = client.socket(ROUTE).netns(netns.clone()).open().await;
    opened.map_err(|error| Failure::opening(error, netns))
}

/// Does something that must not take longer.
async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(time, work).await.unwrap_or_else(|_| {
        let text = format!("no answer came for {PATIENCE:?} and more");
        Err(Failure::unanswered(text))
    })
}
