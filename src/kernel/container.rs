//! Network namespaces of containers, found by asking the program of their engine.
//!
//! The program runs on this host, beside the container, and names a process of it, whose network
//! namespace is opened. Nothing is executed inside the container, which may hold no program at all.

use std::{fs::File, path::Path};

use nix::errno::Errno;

use super::{cancel::Cancel, engine, engine_helper, failure::explained, nsfs};
use crate::wire::{ContainerEngine, Failure, Netns};

/// Opens the network namespace of a running container, which may be that of its host.
pub(super) fn open(engine: ContainerEngine, name: &str, cancel: &Cancel) -> Result<File, Failure> {
    let netns = Netns::Container { engine, name: name.to_owned() };
    if !netns.is_well_named() {
        let text = format!("{netns} cannot exist: a container's name has other characters");
        return Err(explained(Errno::EINVAL, text));
    }
    let container = match engine_helper::ask(engine, name, cancel) {
        Some(answer) => answer?,
        None => engine::inspect(engine, name, &netns, cancel)?,
    };
    let path = format!("/proc/{}/ns/net", container.pid);
    let file = match nsfs::open_file(Path::new(&path), &netns) {
        Err(failure) if [Errno::ENOENT as i32, Errno::ESRCH as i32].contains(&failure.errno) => {
            return Err(container.gone(&netns));
        }
        other => other?,
    };
    // Behind the opening: the pid may have gone to another process in between. An engine on another
    // host, or in another pid namespace, gives pids that mean other processes here.
    if !container.has_process() {
        return Err(container.gone(&netns));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_container_is_called_is_not_asked_for() {
        for name in ["", "-H", "a b", "a/b"] {
            let failure = open(ContainerEngine::Docker, name, &Cancel::default()).unwrap_err();
            assert_eq!(failure.errno, Errno::EINVAL as i32, "{name:?}");
        }
    }
}
