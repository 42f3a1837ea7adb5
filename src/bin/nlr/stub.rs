//! `nlr stub`: this program as a stub, for the connections that `nlr` and others make.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use netlink_remote::stub::{self, Config};

use super::failure::Failure;

/// The name of the subcommand.
pub(crate) const NAME: &str = "stub";

/// Serves one client on stdin and stdout, if the arguments say `stub`. The command line is not
/// parsed any further and no runtime is started: connecting waits for this.
pub(crate) fn main(arguments: &[OsString]) -> Option<ExitCode> {
    match arguments {
        [_, name] if name == NAME => {
            let exit = stub::serve_stdio(Config::default());
            if exit.code() != 0 {
                // stderr may be closed by now, at which eprintln would panic.
                let _ = writeln!(io::stderr(), "nlr stub: {exit}");
            }
            Some(ExitCode::from(exit.code()))
        }
        // The same as `nlr-stub --version`, by which a client recognises a stub that it may send.
        [_, name, version] if name == NAME && version == "--version" => {
            println!("nlr-stub {}", env!("CARGO_PKG_VERSION"));
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}

/// The error of `nlr stub` with global options.
pub(crate) fn misused() -> Failure {
    Failure::usage("`nlr stub` takes no arguments")
}
