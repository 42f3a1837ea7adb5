//! Rounds of measurements over one connection.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use super::{
    churn::RouteChurn,
    figures::{Events, Figures},
    netlink::{dump_routes, failed, get_link, receive},
};
use crate::{failure::Failure, session};
use netlink_remote::{Client, Netns, Protocol, RemoteSocket, Requests};

/// Rounds of each target.
pub(super) const ROUNDS: u32 = 10;

/// The share of a round for dumps.
const DUMPS: f64 = 0.25;

/// Time beyond its share after which a round counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sockets of a measured connection.
#[derive(Debug)]
pub(super) struct Bench {
    client: Client,
    netns: Netns,
    /// For single requests: their plain send is measured, without the bookkeeping of [`Requests`].
    socket: RemoteSocket,
    /// `None` before the first dump, and after one that was cut short.
    dumps: Option<Requests>,
}

impl Bench {
    /// Opens a socket, and measures once without keeping the figures: the first time is slower.
    pub(super) async fn new(client: &Client, netns: &Netns) -> Result<Self, Failure> {
        session::check_byte_order(client.host())?;
        let socket = open(client, netns).await?;
        let (client, netns) = (client.clone(), netns.clone());
        let mut bench = Self { client, netns, socket, dumps: None };
        within(PATIENCE, bench.probe(&mut Figures::new()?)).await?;
        Ok(bench)
    }

    /// Measures for about this long, and each figure once at least. A dump may take more than its
    /// share of this round, which it then lacks in the next ones.
    pub(super) async fn round(
        &mut self,
        figures: &mut Figures,
        round: u32,
        time: Duration,
    ) -> Result<(), Failure> {
        let dumps = time.mul_f64(DUMPS);
        let deadline = Instant::now() + time.saturating_sub(dumps);
        let (dumps_so_far, all_dumps) = (dumps * (round + 1), dumps * ROUNDS);
        within(time + all_dumps + PATIENCE, async {
            loop {
                self.probe(figures).await?;
                if Instant::now() >= deadline {
                    return self.dump(figures, dumps_so_far, all_dumps).await;
                }
            }
        })
        .await
    }

    /// A ping, a request and a confirmed send in succession: a disturbance affects all alike.
    async fn probe(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        figures.ping.add(self.client.ping().await.map_err(failed)?);

        let architecture = &self.client.host().architecture;
        let request = get_link();
        let start = Instant::now();
        self.socket.send(&request).await.map_err(failed)?;
        receive(&self.socket, architecture).await?;
        figures.request.add(start.elapsed());

        // Not the request that was timed: the stub's report of a confirmed send takes time.
        let sent = self.socket.send_confirmed(&get_link()).await.map_err(failed)?;
        receive(&self.socket, architecture).await?;
        figures.kernel.add(sent.kernel_time);
        Ok(())
    }

    /// Dumps the routes until all dumps have taken `until` together; cuts one short at `limit`.
    async fn dump(
        &mut self,
        figures: &mut Figures,
        until: Duration,
        limit: Duration,
    ) -> Result<(), Failure> {
        if figures.dump.elapsed >= until {
            return Ok(());
        }
        let requests = match self.dumps.take() {
            Some(requests) => requests,
            None => {
                let socket = open(&self.client, &self.netns).await?;
                Requests::new(socket).tolerate_interrupted_dumps()
            }
        };
        let start = Instant::now();
        let before = figures.dump.elapsed;
        let dumps = async {
            while before + start.elapsed() < until {
                let mut answer = requests.send(dump_routes());
                figures.routes.begin();
                while let Some(route) = answer.next().await {
                    figures.dump.add_message(&route.map_err(|error| failed(error.into()))?);
                    figures.routes.add();
                }
                answer.end().iter().for_each(|done| figures.dump.add_message(done));
                figures.routes.end();
            }
            Ok(())
        };
        let result = timeout_at(start + limit.saturating_sub(before), dumps).await;
        figures.dump.elapsed += start.elapsed();
        match result {
            Ok(result) => {
                self.dumps = Some(requests);
                result
            }
            Err(_) => {
                // Closes the socket. The rest of the dump that is in flight must not delay the
                // next measurement: it is in front of the answer to a ping.
                drop(requests);
                self.client.ping().await.map(drop).map_err(failed)
            }
        }
    }

    /// Measures the rate of events.
    pub(super) async fn events(
        &mut self,
        figures: &mut Figures,
        time: Duration,
    ) -> Result<(), Failure> {
        let opened = within(PATIENCE, RouteChurn::open(&self.client)).await?;
        figures.events = Some(match opened {
            Ok(churn) => within(time + PATIENCE, churn.run(time)).await?,
            Err(reason) => Events::LeftOut(reason),
        });
        Ok(())
    }
}

async fn open(client: &Client, netns: &Netns) -> Result<RemoteSocket, Failure> {
    let opened = client.socket(Protocol::ROUTE).netns(netns.clone()).open().await;
    opened.map_err(|error| Failure::opening(error, netns))
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Failure::timeout(format_args!("no answer for more than {PATIENCE:?}")))
    })
}
