//! The tool `nlr`: shows, watches and serves the network of namespaces, on this host and on
//! others. A program on the public interface of the library.
//!
//! | module | contents |
//! |---|---|
//! | `show`, `monitor`, `run`, `netns`, `ping`, `bench`, `serve`, `clean`, `completion`, `stub` | the subcommands |
//! | `cli` | the command line, made of the subcommands' arguments |
//! | `session` | a connection for one subcommand, and its end |
//! | `signals`, `inherited` | SIGINT and SIGTERM; descriptors that are closed at the start |
//! | `dump` | lists of a kernel's objects |
//! | `prompt` | questions while connecting |
//! | `connection`, `args` | global options; arguments of several subcommands |
//! | `confine` | options of `serve` on its privileges |
//! | `log`, `progress` | log lines and progress bars on standard error |
//! | `output`, `table`, `json`, `time` | standard output: columns, JSON, times |
//! | `failure`, `clap_error` | errors as one line and an exit code |
//! | `fuzzing` | the fuzzer `render` |

// `forbid`, but for inherited.rs, which runs before main.
#![deny(unsafe_code)]
// The fuzzer `render` is this program with libFuzzer's `main`.
#![cfg_attr(fuzzing, no_main)]
#![cfg_attr(fuzzing, allow(dead_code, reason = "the fuzzer only renders"))]

mod args;
mod attach;
mod bench;
mod clap_error;
mod clean;
mod cli;
#[cfg(feature = "nats")]
mod collect;
mod completion;
mod confine;
mod connection;
mod dump;
mod failure;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod inherited;
mod inventory;
mod json;
mod log;
mod mirror;
mod monitor;
mod netns;
mod output;
mod ping;
mod progress;
mod prompt;
mod run;
mod serve;
mod session;
mod show;
mod signals;
mod stub;
mod table;
mod time;
mod wait;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser};

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    // A stub starts without a parsed command line and without a runtime: connecting waits for it.
    netlink_remote::stub::serve_if_asked_as(stub::NAME);
    netlink_remote::prompter::serve_askpass_if_asked();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(cli),
        Err(error) => clap_error::print(&error, Cli::command(), &arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::render(data));

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { connection, verbose, command } = cli;
    log::start(verbose)?;
    match command {
        Command::Show(args) => show::run(&connection, &args),
        Command::Monitor(args) => monitor::run(&connection, &args),
        Command::Mirror(args) => mirror::run(&connection, &args),
        Command::Wait(args) => wait::run(&connection, &args),
        Command::Run(args) => run::run(&connection, &args),
        Command::Attach(args) => attach::run(&connection, &args),
        Command::Shell(args) => run::shell(&connection, &args),
        #[cfg(feature = "nats")]
        Command::Collect(args) => collect::run(&connection, &args),
        Command::Netns(command) => netns::run(&connection, &command),
        Command::Ping(args) => ping::run(&connection, &args),
        Command::Bench(args) => bench::run(&connection, &args),
        Command::Serve(args) => serve::run(&args, connection.read_only),
        Command::Clean(args) => clean::run(&connection, &args),
        Command::Completion(args) => completion::run(&args, Cli::command()),
        Command::Stub => Err(stub::misused()),
    }
}
