//! `nlr completion`.

use clap::{Args, Command};

use super::{failure::Failure, output};

const EXAMPLES: &str = "\
Examples:
  nlr completion bash > /etc/bash_completion.d/nlr
  nlr completion zsh > ~/.zfunc/_nlr
  nlr completion fish > ~/.config/fish/completions/nlr.fish";

/// Prints the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// Shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionArgs, mut command: Command) -> Result<(), Failure> {
    // Into memory first: the generator panics where its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "nlr", &mut script);
    output::print(&script)
}
