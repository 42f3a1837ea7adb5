//! `nlr collect`: events of many targets into NATS.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, interval_at};

use super::{
    args::positive_seconds,
    connection::ConnectionArgs,
    failure::{Failure, warn},
    inventory, json,
    monitor::{Groups, all_groups, parse_group},
    output::Output,
    prompt::Questions,
    session::{self, target_options},
    time::rfc3339,
};
use netlink_remote::{
    Connector,
    monitor::{Monitor, TargetState},
    nats::{Collector, CollectorOptions, Progress},
};

const EXAMPLES: &str = "\
Each datagram is a message, with what is known of it as headers, at a subject such as
netlink.core1.blue.route.1 (target, network namespace or `_`, protocol, multicast group). Losses, disconnections
and the like are messages too. `cargo doc` of the module `nats` lists subjects and headers; its Consumer gives the
events back, and a Mirror runs on them.

A server that is away or slow holds the reading of the kernels up: what their receive buffers cannot hold is told
as lost, with its number.

With --share several collectors of one inventory watch each target once, by a lease in the server's key-value
store (JetStream), which passes to another collector some seconds after its holder has gone.

Examples:
  nlr collect --inventory hosts.txt --nats nats://127.0.0.1 --group link --group route
  nlr collect --inventory hosts.txt --nats nats://nats1,nats2 --stream NETLINK --share --stats 10
  nats sub 'netlink.*.*.route.>'";

/// Publishes the events of many targets by a NATS server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CollectArgs {
    /// File of targets, one a line: `[NAME] TARGET [-n NETNS]...`, with comments from `#` on; `-` is
    /// standard input
    #[arg(long, value_name = "FILE")]
    inventory: PathBuf,
    /// The server's URL; several, separated by commas
    #[arg(long, value_name = "URL", env = "NATS_URL", hide_env_values = true)]
    nats: String,
    /// File of credentials for the server
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// What subjects begin with
    #[arg(long, value_name = "TEXT", default_value = "netlink")]
    prefix: String,
    /// JetStream stream that stores the events, which is made where there is none of this name
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Shares the targets with other collectors of the same prefix
    #[arg(long)]
    share: bool,
    /// The collector's name, the only one of its kind. Default: one that is made up
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Multicast group, as of `nlr monitor`; may be repeated
    #[arg(long, short, value_name = "GROUP", value_parser = parse_group)]
    group: Vec<Groups>,
    /// The stubs' own namespaces and every named one, those that come later included
    #[arg(long)]
    all_netns: bool,
    /// Every so often a JSON object with the events published and the states of the targets
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, allow_hyphen_values = true)]
    stats: Option<Duration>,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &CollectArgs) -> Result<(), Failure> {
    let entries = inventory::read(&args.inventory)?;
    session::block_on(async |mut signals| {
        let targets: Vec<_> = entries.iter().map(|entry| entry.target.clone()).collect();
        let mut questions = Questions::new(connection, &targets)?;
        questions.prompter = questions.prompter.remembering();
        let connector = Connector::new(target_options(connection, &questions));
        let mut builder = Monitor::builder();
        let chosen = args.group.iter().map(Groups::subscription);
        for subscription in chosen.chain(args.group.is_empty().then(all_groups)) {
            builder = builder.subscribe(subscription);
        }
        let mut options = CollectorOptions::default().with_prefix(&args.prefix);
        options.stream.clone_from(&args.stream);
        options.credentials.clone_from(&args.credentials);
        options.shares = args.share;
        options.all_netns = args.all_netns;
        if let Some(name) = &args.name {
            options = options.with_name(name);
        }
        let mut collector =
            Collector::start(&args.nats, options, builder, connector, &entries).await?;
        let progress = collector.progress();
        let mut output = Output::new()?;
        let every = args.stats.unwrap_or(Duration::from_secs(1));
        let mut ticks = interval_at(Instant::now() + every, every);
        let mut told = Vec::new();
        let result = {
            let mut running = Box::pin(collector.run());
            loop {
                tokio::select! {
                    result = &mut running => break result.map_err(Failure::from),
                    _ = ticks.tick() => {
                        tell_failures(&progress, &mut told);
                        if args.stats.is_some() {
                            let line = statistics(&progress) + "\n";
                            output.write(line.into_bytes()).await?;
                        }
                    }
                    signal = signals.next() => break Err(Failure::interrupted(signal)),
                }
            }
        };
        tell_failures(&progress, &mut told);
        collector.end().await;
        output.finish().await?;
        result
    })
}

/// Warns once of each target that was given up.
fn tell_failures(progress: &Progress, told: &mut Vec<String>) {
    for (name, state) in progress.targets().states() {
        if let TargetState::Failed { why, .. } = state
            && !told.iter().any(|known| known == &*name)
        {
            warn(&format!("{name}: {why:#}; given up"));
            told.push(name.to_string());
        }
    }
}

fn statistics(progress: &Progress) -> String {
    let states = progress.targets().states();
    let count =
        |wanted: fn(&TargetState) -> bool| states.iter().filter(|(_, state)| wanted(state)).count();
    json::text(&json!({
        "time": rfc3339(SystemTime::now()),
        "published": progress.published(),
        "targets": states.len(),
        "connected": count(|state| matches!(state, TargetState::Connected { .. })),
        "connecting": count(|state| matches!(state, TargetState::Connecting)),
        "waiting": count(|state| matches!(state, TargetState::Waiting { .. })),
        "failed": count(|state| matches!(state, TargetState::Failed { .. })),
    }))
}
