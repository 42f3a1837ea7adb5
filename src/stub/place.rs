//! What a connection has of its server.

use super::{
    audit::Audit,
    budget::{Account, Budget, CONNECTION, Held, Refused, Resource},
    config::Config,
    pool::Pool,
};

/// What a connection has of its server; that of a stub with one client is its own.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) account: Account,
    pub(super) pool: Pool,
    pub(super) audit: Audit,
    /// Those of the connection itself.
    pub(super) descriptors: Held,
}

impl Place {
    /// The place of a client without a server.
    ///
    /// # Errors
    /// The process may have too few descriptors.
    pub(super) fn alone(uid: u32, config: &Config) -> Result<Self, Refused> {
        let account = Budget::alone(config.max_memory()).account(uid);
        let descriptors = account.hold(Resource::Descriptors, CONNECTION)?;
        Ok(Self { account, pool: Pool::new(), audit: Audit::default(), descriptors })
    }
}
