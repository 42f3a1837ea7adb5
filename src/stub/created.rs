//! Namespaces that are created for a client.

use crate::{
    kernel::{Cancel, netns},
    wire::Failure,
};

/// A named namespace that was created for a client. It is deleted again when this is dropped, unless
/// the client gets to know of it.
#[derive(Debug)]
pub(super) struct Created(Option<String>);

impl Created {
    pub(super) fn new(name: String, cancel: &Cancel) -> Result<Self, Failure> {
        netns::add(&name, cancel)?;
        let created = Self(Some(name));
        // It took a while.
        cancel.check().map(|()| created)
    }

    /// Leaves the namespace in place: the client is told of it.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(name) = &self.0 {
            // There is nobody to be told of a failure.
            let _ = netns::delete(name);
        }
    }
}
