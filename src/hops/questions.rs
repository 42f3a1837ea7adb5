//! The questions that the program `ssh` asks while a target's stub is started.

use std::future::Future;

use tokio::process::Command;

#[cfg(feature = "stub")]
use super::askpass::Askpass;
use super::{hop::Hop, target::Target};
use crate::{Error, connect_context::ConnectContext};

/// The answers to the ssh that begins a target's hops, if one does. Without the feature `stub` there
/// are none.
#[derive(Default)]
pub(super) struct Questions {
    askpass: Option<Askpass>,
}

impl Questions {
    /// Prepares for the ssh of a target's first hops.
    pub(super) async fn of(target: &Target, context: &ConnectContext) -> Result<Self, Error> {
        let hops = target.far_hops();
        let is_openssh = |hop: &&Hop| matches!(hop, Hop::OpenSsh(_));
        let hops: Vec<Hop> = hops.iter().take_while(is_openssh).cloned().collect();
        if hops.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { askpass: Askpass::listen(hops, context).await? })
    }

    /// Whether that ssh may ask.
    pub(super) fn are_answered(&self) -> bool {
        self.askpass.as_ref().is_some_and(Askpass::is_answered)
    }

    /// Makes an ssh ask here and nowhere else.
    pub(super) fn attach(&self, command: &mut Command) {
        if let Some(askpass) = &self.askpass {
            askpass.attach(command);
        }
    }

    /// Does some work, and answers questions meanwhile.
    ///
    /// # Errors
    /// Those of the work, and a question without an answer.
    pub(super) async fn during<T>(
        &self,
        context: &ConnectContext,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match &self.askpass {
            Some(askpass) => askpass.during(context, work).await,
            None => work.await,
        }
    }
}

/// Without the feature `stub` no program is ssh's helper.
#[cfg(not(feature = "stub"))]
enum Askpass {}

#[cfg(not(feature = "stub"))]
impl Askpass {
    async fn listen(_: Vec<Hop>, _: &ConnectContext) -> Result<Option<Self>, Error> {
        Ok(None)
    }

    fn is_answered(&self) -> bool {
        match *self {}
    }

    fn attach(&self, _: &mut Command) {
        match *self {}
    }

    async fn during<T>(
        &self,
        _: &ConnectContext,
        _: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match *self {}
    }
}
