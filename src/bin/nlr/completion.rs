//! `nlr completion`.

use clap::CommandFactory;

use super::{
    args::{Cli, CompletionArgs},
    failure::Failure,
    output,
};

pub(super) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    // Into memory first: the generator takes a failing writer for a reason to panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nlr", &mut script);
    output::print(&script)
}
