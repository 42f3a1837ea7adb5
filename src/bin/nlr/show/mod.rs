//! `nlr show`: links, addresses, routes, neighbours and rules, as `ip` lists them.
//!
//! The JSON is that of iproute2 6.1: the same keys in the same order with the same values.
//! Deviations are documented where they are made.
//!
//! Messages are rendered from their bytes, for two reasons. A decoder of every attribute refuses
//! the whole message when one attribute has an unexpected length or encoding (an alias that is
//! not UTF-8, a bond newer than the decoder), while `ip` prints the rest; and it has no name for
//! unknown message types, which a monitor has to report.
//!
//! | module | contents |
//! |---|---|
//! | `query` | objects, filters, requests |
//! | `listing` | a list, written while answers arrive |
//! | `link`, `link_header`, `addr`, `route`, `neigh`, `rule` | the objects |
//! | `tables` | their attributes |
//! | `names`, `kernel_name`, `notation` | names of numbers, of a kernel's objects, notations of addresses |
//! | `fields`, `plain_text` | JSON objects, and text made of them |

pub(crate) mod addr;
pub(crate) mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod kernel_name;
pub(crate) mod link;
mod link_header;
mod listing;
pub(crate) mod names;
pub(crate) mod neigh;
pub(crate) mod notation;
pub(crate) mod plain_text;
mod query;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod tables;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, value_parser};

use super::{
    args::{ColorArg, NetnsArg, seconds},
    connection::ConnectionArgs,
    dump::{self, Dumper},
    failure::Failure,
    inventory,
    output::{Collected, Output},
    session::{self, Session},
};
use listing::{Format, Listing, Note};
use names::Names;
use netlink_remote::{
    Netns, Target,
    client::RequestError,
    nlmsg::{Message, messages},
};
use query::{Family, Filter, Object, Table, is_empty_list, requests};

pub(crate) use query::{link_request, one_link_request};

/// Attempts at a list whose objects change while it is made.
const ATTEMPTS: u32 = 10;

/// Bytes that the writer gets at once.
const PIECE: usize = 256 * 1024;

/// Bytes of a list that are held back until it is known to be complete: some 80,000 routes.
const HELD: usize = 8 << 20;

/// The time for which text is held back likewise: over a slow link a list takes minutes. JSON is whole
/// or nothing where it can be, as its readers want it.
const HELD_TIME: Duration = Duration::from_secs(2);

/// From then on the bytes that are written at once, as stdio would.
const BLOCK: usize = 4096;

const EXAMPLES: &str = "\
With --json the output has the keys of `ip -j` of iproute2 6.1, and for links of `ip -d -j`. A list of
up to 8 MiB is printed when it is complete; an incomplete one is an error and prints nothing. A longer
one is printed as it comes, and so is text that takes more than 2 seconds: only with exit code 0 is it
complete.

Examples:
  nlr show link -n blue
  nlr show addr --json | jq -r '.[].addr_info[].local'
  nlr show route -6 --table all unix:/run/nlr.sock
  nlr show neigh -n pid:4242
  nlr show link --inventory hosts.txt --json | jq -r '[.target, (.list | length)] | @tsv'
  nlr show addr -n docker:web            without executing anything inside the container";

/// Lists links, addresses, routes, neighbours or rules
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// Kind of object
    object: Object,
    #[command(flatten)]
    netns: NetnsArg,
    /// Only IPv4: the default for rules and for the routes of one table. Addresses, neighbours and
    /// the routes of `--table all` have both families by default
    #[arg(short = '4', conflicts_with = "inet6")]
    inet: bool,
    /// Only IPv6
    #[arg(short = '6')]
    inet6: bool,
    /// Routes of this table (default: main), or rules that look it up (default: all): a name, a
    /// number or `all`
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// The counters of links, as of `ip -s -s`: in text below each link
    #[arg(long, short = 's')]
    statistics: bool,
    /// Below each link everything else that is known of it, as of `ip -d`; --json always has it
    #[arg(long, short = 'd')]
    details: bool,
    /// A JSON array, with the keys of `ip -j`
    #[arg(long, short)]
    json: bool,
    /// Memory for links, their names and their addresses, which a list keeps until its end
    #[arg(long, value_name = "MIB", default_value = "64", value_parser = value_parser!(u32).range(1..))]
    memory: u32,
    /// Time for the answer, once connected; exit code 124 where it is not enough
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    #[command(flatten)]
    color: ColorArg,
    /// File of targets, one a line: `[NAME] TARGET [-n NETNS]...`, with comments from `#` on; `-` is
    /// standard input. Each list stands below a line `== NAME`, or is an object with `target`, `netns` and
    /// `list`, or `error`
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    inventory: Option<PathBuf>,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &ShowArgs) -> Result<(), Failure> {
    let Some(file) = &args.inventory else {
        return session::run(connection, &args.target, async |session| {
            let netns = args.netns.netns();
            dump::within(args.timeout, show(session, args, &netns, None)).await
        });
    };
    let entries = inventory::read_with(file, args.netns.given())?;
    session::run_each(
        connection,
        &entries,
        async |session, entry| {
            let netns = entry.netns.first().cloned().unwrap_or_default();
            let collected = Collected::default();
            let shown = show(session, args, &netns, Some(&collected));
            dump::within(args.timeout, shown).await.map(|()| collected.take())
        },
        |entry, result| inventory::labelled(entry, result, args.json, "list"),
    )
}

/// Lists the objects of a namespace, on standard output or into memory.
async fn show(
    session: &Session,
    args: &ShowArgs,
    netns: &Netns,
    collected: Option<&Collected>,
) -> Result<(), Failure> {
    let object = args.object;
    let mut names = Names::local();
    let filter = filter(args, &names)?;
    let format = match args.json {
        true => Format::Json,
        false => Format::Text {
            color: args.color.on(),
            note: match (args.details, args.statistics) {
                (true, _) => Note::All,
                (false, true) => Note::Counters,
                (false, false) => Note::Nothing,
            },
        },
    };
    session.check_byte_order()?;
    let dumper = Dumper::open(&session.client, netns).await?;
    let memory = usize::try_from(args.memory).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    // The list reaches its bound first.
    names.set_memory(memory.saturating_mul(2));
    let mut attempt = 1;
    loop {
        let listing = Listing::new(Vec::new(), object, filter, format, names.clone());
        let held_until = (!args.json).then(|| Instant::now() + HELD_TIME);
        let collected = collected.cloned();
        let mut list = List { listing, memory, held_until, collected, output: None };
        match list.write(&dumper, object, &filter).await {
            Ok(()) => return Ok(()),
            Err(ListError::Dump(error)) if list.output.is_some() => {
                let failure = dump::failure(error, object.plural());
                return Err(failure.with_remedy("; what is printed is incomplete"));
            }
            Err(ListError::Dump(error)) if dump::is_transient(&error) && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(10) * attempt).await;
                attempt += 1;
            }
            Err(ListError::Dump(error)) => return Err(dump::failure(error, object.plural())),
            Err(ListError::Failure(failure)) => return Err(failure),
        }
    }
}

fn filter(args: &ShowArgs, names: &Names) -> Result<Filter, Failure> {
    let family = match (args.inet, args.inet6) {
        (true, _) => Some(Family::Inet),
        (_, true) => Some(Family::Inet6),
        _ => None,
    };
    let Some(text) = args.table.as_deref() else {
        return Ok(Filter { family, table: None, statistics: args.statistics });
    };
    if !matches!(args.object, Object::Route | Object::Rule) {
        let text = format!("--table applies to routes and rules, not {}", args.object.plural());
        return Err(Failure::usage(text));
    }
    match Table::parse(text, names) {
        Some(table) => Ok(Filter { family, table: Some(table), statistics: args.statistics }),
        None => Err(Failure::usage(format_args!(
            "unknown table {text:?}: expected a number, `all`, or a name in iproute2's rt_tables"
        ))),
    }
}

/// A list on its way to standard output.
struct List {
    listing: Listing<Vec<u8>>,
    /// The bound on what the list keeps until its end, in bytes.
    memory: usize,
    /// The time from which on text is written as it comes.
    held_until: Option<Instant>,
    /// Where the list goes, if not to standard output.
    collected: Option<Collected>,
    /// Standard output, once a part of the list is written: the list cannot begin anew from then on.
    output: Option<Output>,
}

/// The end of a list before it is complete.
enum ListError {
    /// Of the requests for it.
    Dump(RequestError),
    /// Of this side.
    Failure(Failure),
}

impl From<RequestError> for ListError {
    fn from(error: RequestError) -> Self {
        Self::Dump(error)
    }
}

impl From<Failure> for ListError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl List {
    /// Requests the list and writes it.
    async fn write(
        &mut self,
        dumper: &Dumper,
        object: Object,
        filter: &Filter,
    ) -> Result<(), ListError> {
        for request in requests(object, filter) {
            let taken = dumper.dump(request, async |message| self.take(message, object).await);
            match taken.await {
                Err(ListError::Dump(error)) if is_empty_list(object, filter, &error) => {}
                result => result?,
            }
        }
        let links = self.listing.take_links();
        for message in messages(&links) {
            // Writing to memory does not fail.
            let _ = self.listing.link(&message);
            self.flush(HELD).await?;
        }
        let _ = self.listing.finish();
        self.flush(0).await?;
        match self.output.take() {
            Some(output) => Ok(output.finish().await?),
            None => Ok(()),
        }
    }

    async fn take(&mut self, message: &Message<'_>, object: Object) -> Result<(), ListError> {
        let _ = self.listing.message(message);
        if self.listing.kept() > self.memory {
            let (objects, mebibytes) = (object.plural(), self.memory >> 20);
            return Err(ListError::Failure(Failure::request(format_args!(
                "listing the {objects}: the links there take more than {mebibytes} MiB; --memory \
                 raises this bound"
            ))));
        }
        self.flush(HELD).await
    }

    /// Writes the list so far, if it has more than `held` bytes, or is being written already.
    async fn flush(&mut self, held: usize) -> Result<(), ListError> {
        let is_due = self.held_until.is_some_and(|until| Instant::now() >= until);
        let least = match &self.output {
            _ if is_due => BLOCK.min(held),
            Some(_) => PIECE.min(held),
            None => held,
        };
        if self.listing.out().len() <= least {
            return Ok(());
        }
        let text = std::mem::take(self.listing.out());
        let output = match &mut self.output {
            Some(output) => output,
            None => self.output.insert(match &self.collected {
                Some(collected) => Output::Memory(collected.clone()),
                None => Output::new()?,
            }),
        };
        for piece in text.chunks(PIECE) {
            output.write(piece.to_vec()).await?;
        }
        Ok(())
    }
}
