//! The tool `nlr`; all of it is in the library's `cli`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    netlink_remote::cli::main()
}
