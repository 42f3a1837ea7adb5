//! The tool `nlr`, of which `src/bin/nlr.rs` is the entry point. Not part of the library's
//! interface.
//!
//! | module | what it is |
//! |---|---|
//! | `args` | the command line |
//! | `ask` | questions on the way to a target, and the progress bar |
//! | `session` | connecting, Ctrl-C, and leaving nothing behind |
//! | `failure` | errors as one line and an exit code |
//! | `output` | standard output |
//! | `show` | what is shown, and `nlr show` |
//! | `dump` | asking a kernel for all objects of a kind |
//! | `monitor`, `groups` | `nlr monitor` |
//! | `bench` | `nlr bench` |
//! | `netns`, `ping`, `serve`, `clean`, `completion` | the other subcommands |

#![forbid(unsafe_code)]

mod args;
mod ask;
mod bench;
mod clean;
mod completion;
mod dump;
mod failure;
mod groups;
mod monitor;
mod netns;
mod output;
mod ping;
mod serve;
mod session;
mod show;
mod time;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use args::{Cli, Command, NetnsCommand};
use failure::Failure;
use netlink_remote::stub;
use session::Session;

/// Runs the tool: reads the command line of the process, and gives its exit code.
pub fn main() -> ExitCode {
    // A stub needs neither a command line nor a runtime, and starts at once without them.
    stub::serve_if_asked_as(session::STUB);
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(cli),
        Err(error) => usage::explain(&error, &arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { connection, command } = cli;
    match command {
        Command::Show(args) => Session::run(&connection, args.target.clone(), async |session| {
            show::command::run(session, &args).await
        }),
        Command::Monitor(args) => Session::run(&connection, args.target.clone(), async |session| {
            monitor::run(session, &args).await
        }),
        Command::Ping(args) => Session::run(&connection, args.target.clone(), async |session| {
            ping::run(session, &args).await
        }),
        Command::Bench(args) => bench::run(&connection, &args),
        Command::Netns(NetnsCommand::List(args)) => {
            Session::run(&connection, args.target.clone(), async |session| {
                netns::list(session, &args).await
            })
        }
        Command::Netns(NetnsCommand::Add(args)) => {
            Session::run(&connection, args.target.clone(), async |session| {
                netns::add(session, &args.name).await
            })
        }
        Command::Netns(NetnsCommand::Del(args)) => {
            Session::run(&connection, args.target.clone(), async |session| {
                netns::delete(session, &args.name).await
            })
        }
        Command::Serve(args) => serve::run(&args),
        Command::Clean(args) => clean::run(&connection, &args),
        Command::Completion(args) => completion::run(&args),
        Command::Stub => Err(Failure::usage("`nlr stub` takes no arguments")),
    }
}
