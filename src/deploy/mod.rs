//! Brings a stub to where there is none, over any byte stream with a POSIX shell behind it.
//!
//! | module | what it is |
//! |---|---|
//! | `stubs`, `machine`, `digest` | which stubs there are on this side, and for which machines |
//! | `boot` | the script that starts one at the far end, or asks for it |
//! | `approach`, `near` | this side of that: secrets, sending, and what went wrong |
//! | `remedies` | what to do about what sudo, doas and su say |
//! | `clean` | removing what was brought |
//! | `quote` | words on a command line |

#![forbid(unsafe_code)]

pub(crate) mod approach;
pub(crate) mod boot;
pub(crate) mod clean;
mod digest;
mod machine;
mod near;
#[allow(dead_code, reason = "for hops that hand a command line to a shell")]
pub(crate) mod quote;
mod remedies;
pub(crate) mod stubs;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use tokio::process::Command;

use crate::{
    Client, Error,
    ask::{Ask, Guide},
    client::ConnectOptions,
    transport::{Running, process},
};

/// A program and its arguments, behind which a shell's can be put.
///
/// Not part of the library's interface: it lets this crate's tests try a real stub behind a real
/// shell.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Through {
    pub command: Vec<String>,
    pub stubs: Vec<PathBuf>,
    pub own: Option<(PathBuf, Vec<String>)>,
    pub ask: Ask,
    pub limit: Duration,
}

#[doc(hidden)]
impl Through {
    fn run(&self, argv: Vec<String>) -> Result<Running, Error> {
        let mut words = self.command.iter().cloned().chain(argv);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        process::run(command)
    }

    pub async fn connect(&self) -> Result<Client, Error> {
        let guide = Guide::new(self.ask.clone(), self.limit);
        let options = stubs::StubOptions { files: self.stubs.clone(), own: self.own.clone() };
        let boot = boot::Boot::new(&stubs::Stubs::find(&options)?).await?;
        let running = self.run(boot.argv())?;
        let way = approach::Approach { boot: Some(&boot), ..Default::default() };
        let (stream, epitaph) = approach::approach(running, way, &guide).await?;
        let options =
            ConnectOptions { timeout: self.limit, epitaph: Some(epitaph), ..Default::default() };
        Client::connect_with(stream, options).await
    }

    pub async fn clean(&self) -> Result<Vec<String>, Error> {
        let guide = Guide::new(self.ask.clone(), self.limit);
        let running = self.run(boot::clean_argv())?;
        Ok(clean::clean(running, approach::Approach::default(), &guide).await?.removed)
    }
}
