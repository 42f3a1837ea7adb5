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
//! | `link`, `link_header`, `link_info`, `addr`, `route`, `encapsulation`, `neigh`, `rule` | the objects |
//! | `names`, `notation` | names and notations of numbers and addresses |
//! | `fields`, `plain_text` | JSON objects, and text made of them |

pub(crate) mod addr;
pub(crate) mod encapsulation;
pub(crate) mod fields;
pub(crate) mod link;
mod link_header;
mod link_info;
mod listing;
pub(crate) mod names;
pub(crate) mod neigh;
pub(crate) mod notation;
pub(crate) mod plain_text;
mod query;
pub(crate) mod route;
pub(crate) mod rule;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use clap::Args;

use super::{
    args::{ColorArg, NetnsArg},
    connection::ConnectionArgs,
    dump::{self, Dumper},
    failure::Failure,
    output::Output,
    session::{self, Session},
};
use listing::{Format, Listing};
use names::Names;
use netlink_remote::{Target, client::RequestError};
use query::{Family, Filter, Object, Table, is_empty_list, requests};

pub(crate) use query::link_request;

/// Attempts at a list whose objects change while it is made.
const ATTEMPTS: u32 = 10;

/// Bytes that the writer gets at once.
const PIECE: usize = 256 * 1024;

const EXAMPLES: &str = "\
With --json the output has the keys of `ip -j` of iproute2 6.1, and for links of `ip -d -j`. A list
is printed when it is complete; an incomplete one is an error and prints nothing.

Examples:
  nlr show link -n blue
  nlr show addr --json | jq -r '.[].addr_info[].local'
  nlr show route -6 --table all unix:/run/nlr.sock
  nlr show neigh -n pid:4242
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
    /// A JSON array, with the keys of `ip -j`
    #[arg(long, short)]
    json: bool,
    #[command(flatten)]
    color: ColorArg,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &ShowArgs) -> Result<(), Failure> {
    session::run(connection, &args.target, async |session| show(session, args).await)
}

async fn show(session: &Session, args: &ShowArgs) -> Result<(), Failure> {
    let object = args.object;
    let names = Names::local();
    let filter = filter(args, &names)?;
    let format = match args.json {
        true => Format::Json,
        false => Format::Text { color: args.color.on() },
    };
    session.check_byte_order()?;
    let dumper = Dumper::open(&session.client, &args.netns.netns()).await?;
    let mut attempt = 1;
    let list = loop {
        // Kept in memory until it is known to be complete.
        let listing = Listing::new(Vec::new(), object, filter, format, names.clone());
        match list(&dumper, listing, object, &filter).await {
            Ok(list) => break list,
            Err(error) if dump::is_transient(&error) && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(10) * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(dump::failure(error, object.plural())),
        }
    };
    let mut output = Output::new()?;
    for piece in list.chunks(PIECE) {
        output.write(piece.to_vec()).await?;
    }
    output.finish().await
}

fn filter(args: &ShowArgs, names: &Names) -> Result<Filter, Failure> {
    let family = match (args.inet, args.inet6) {
        (true, _) => Some(Family::Inet),
        (_, true) => Some(Family::Inet6),
        _ => None,
    };
    let Some(text) = args.table.as_deref() else {
        return Ok(Filter { family, table: None });
    };
    if !matches!(args.object, Object::Route | Object::Rule) {
        let text = format!("--table applies to routes and rules, not {}", args.object.plural());
        return Err(Failure::usage(text));
    }
    match Table::parse(text, names) {
        Some(table) => Ok(Filter { family, table: Some(table) }),
        None => Err(Failure::usage(format_args!(
            "unknown table {text:?}: expected a number, `all`, or a name in iproute2's rt_tables"
        ))),
    }
}

async fn list(
    dumper: &Dumper,
    mut listing: Listing<Vec<u8>>,
    object: Object,
    filter: &Filter,
) -> Result<Vec<u8>, RequestError> {
    for request in requests(object, filter) {
        // Writing to memory does not fail.
        match dumper.dump(request, |message| drop(listing.message(message))).await {
            Err(error) if is_empty_list(object, filter, &error) => {}
            result => result?,
        }
    }
    Ok(listing.finish().unwrap_or_default())
}
