//! The far end of netlink-remote: serves one client on stdin and stdout.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    process::ExitCode,
};

use netlink_remote::stub::{self, Config};

const HELP: &str = "\
Serves kernel netlink sockets to a netlink-remote client on stdin and stdout.

A client starts this, directly or through ssh, sudo or a container's tools; there is nothing to
be done with it by hand. It says on stderr what went wrong, and ends with its input.

Usage: nlr-stub [--help | --version]

Exit codes: 0 the client has gone, 64 wrong usage, 74 the stream or a resource failed,
76 what came was not the protocol.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next().as_ref().map(|a| a.to_string_lossy()).as_deref(), arguments.next()) {
        (None, _) => serve(),
        (Some("--version" | "-V"), None) => {
            println!("nlr-stub {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        (Some("--help" | "-h"), None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("nlr-stub: takes no arguments\n\n{HELP}");
            ExitCode::from(64)
        }
    }
}

fn serve() -> ExitCode {
    let exit = stub::serve_stdio(Config::default());
    if exit.code() != 0 {
        // Nobody may be left to read it, which eprintln would panic at.
        let _ = writeln!(io::stderr(), "nlr-stub: {exit}");
    }
    ExitCode::from(exit.code())
}
