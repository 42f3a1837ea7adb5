//! Placeholder: the host keys that the known_hosts files vouch for.

use super::host::SshHost;
use crate::{Error, ask::Guide};

pub(crate) struct KnownHosts;

impl KnownHosts {
    pub(crate) fn read(_: &SshHost) -> Result<KnownHosts, Error> {
        Ok(KnownHosts)
    }

    pub(crate) fn preferred(&self) -> Vec<&'static str> {
        Vec::new()
    }

    pub(crate) async fn check(&self, _: &SshHost, _: &[u8], _: &Guide) -> Result<(), Error> {
        Ok(())
    }
}
