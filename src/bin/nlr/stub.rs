//! `nlr stub`: this program as a stub, for the connections that `nlr` and others make. The library
//! serves it before the command line is parsed.

use super::failure::Failure;

/// The name of the subcommand.
pub(crate) const NAME: &str = "stub";

/// The error of `nlr stub` with other arguments.
pub(crate) fn misused() -> Failure {
    Failure::usage("`nlr stub` takes no arguments")
}
