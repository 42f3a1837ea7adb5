//! The far end of netlink-remote: serves one client on stdin and stdout.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    netlink_remote::stub::main()
}
