//! `nlr show`.

use std::time::Duration;

use super::{Family, Filter, Format, Listing, Names, Object, Table, is_empty_list, requests};
use crate::{
    args::ShowArgs,
    dump::{Dumper, Unlisted},
    failure::Failure,
    output::Output,
    session::Session,
};

/// How often a list is begun anew because objects changed meanwhile.
const ATTEMPTS: u32 = 10;

/// Bytes handed to the writer at a time.
const PIECE: usize = 256 * 1024;

pub(crate) async fn run(session: &Session, args: &ShowArgs) -> Result<(), Failure> {
    let object = Object::from(args.object);
    let names = Names::local();
    let filter = filter(args, object, &names)?;
    let format = match args.json {
        true => Format::Json,
        false => Format::Text { color: args.color.on() },
    };
    session.check_byte_order()?;
    let mut dumper = Dumper::open(&session.client, &args.netns.netns()).await?;
    let mut attempt = 1;
    let listed = loop {
        // Kept until it is complete: half a list, or one that may lack something, is not shown.
        let listing = Listing::new(Vec::new(), object, filter, format, names.clone());
        match list(&mut dumper, listing, object, &filter).await {
            Ok(listed) => break listed,
            Err(Unlisted::Interrupted) if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(10) * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(error.into_failure(object.plural())),
        }
    };
    let mut output = Output::new()?;
    for piece in listed.chunks(PIECE) {
        output.write(piece.to_vec()).await?;
    }
    output.finish().await
}

fn filter(args: &ShowArgs, object: Object, names: &Names) -> Result<Filter, Failure> {
    let family = match (args.inet, args.inet6) {
        (true, _) => Some(Family::Inet),
        (_, true) => Some(Family::Inet6),
        _ => None,
    };
    let Some(text) = args.table.as_deref() else {
        return Ok(Filter { family, table: None });
    };
    if !matches!(object, Object::Route | Object::Rule) {
        let text = format!("--table is about routes and rules, not {}", object.plural());
        return Err(Failure::usage(text));
    }
    match Table::parse(text, names) {
        Some(table) => Ok(Filter { family, table: Some(table) }),
        None => Err(Failure::usage(format_args!(
            "there is no table {text:?}; give a number, `all`, or a name in iproute2's rt_tables"
        ))),
    }
}

async fn list(
    dumper: &mut Dumper,
    mut listing: Listing<Vec<u8>>,
    object: Object,
    filter: &Filter,
) -> Result<Vec<u8>, Unlisted> {
    for request in requests(object, filter) {
        // Writing to memory does not fail.
        match dumper.dump(&request, |message| drop(listing.message(message))).await {
            Err(Unlisted::Refused { errno, .. }) if is_empty_list(object, filter, errno) => {}
            result => result?,
        }
    }
    Ok(listing.finish().unwrap_or_default())
}
