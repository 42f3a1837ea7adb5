//! `nlr clean`.

use clap::Args;

use netlink_remote::{Target, text::escaped};

use super::{connection::ConnectionArgs, failure::Failure, json, output, session};

const EXAMPLES: &str = "\
Prints the removed files and folders, one a line; nothing where no stub was found. Stubs that run
keep running.

Examples:
  nlr clean ssh://ci@test01
  nlr clean ssh://ci@test01,sudo:        the cache folder of root there
  nlr clean docker:web --json";

/// Removes the stubs that nlr sent to a target
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CleanArgs {
    /// A JSON array of paths
    #[arg(long, short)]
    json: bool,
    /// Target, as `nlr --help` describes
    target: Target,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &CleanArgs) -> Result<(), Failure> {
    let removed = session::clean(connection, &args.target)?;
    let text = match args.json {
        true => json::text(&removed.into()) + "\n",
        false => removed.iter().map(|path| escaped(path).into_owned() + "\n").collect(),
    };
    output::print(text.as_bytes())
}
