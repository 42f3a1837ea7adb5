//! Named network namespaces that end with their test.

use std::{process::Command, thread};

use netlink_remote::{Netns, kernel};

use crate::{command::succeed, finish_with, run, unique, wait, world};

/// A named network namespace, deleted when dropped.
pub struct Namespace(
    /// Its name.
    pub String,
);

impl Namespace {
    /// A namespace as the kernel makes it, with `lo` down.
    pub fn empty() -> Self {
        world::require();
        let name = unique("nlr");
        kernel::netns::add(&name, &kernel::Cancel::default()).unwrap();
        Self(name)
    }

    /// A namespace with `lo` up and without duplicate address detection.
    pub fn new() -> Self {
        let namespace = Self::empty();
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0");
        namespace.ip("link set lo up");
        namespace
    }

    /// The namespace as the library names it.
    pub fn netns(&self) -> Netns {
        Netns::Name(self.0.clone())
    }

    /// Runs `ip` inside, which must succeed, and gives its stdout.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.0))
    }

    /// Runs lines of `ip` commands inside; those that begin with `-6` after the others.
    #[track_caller]
    pub fn batch(&self, lines: &str) {
        let (inet6, inet): (Vec<_>, Vec<_>) =
            lines.lines().map(str::trim).partition(|line| line.starts_with("-6 "));
        let batch = |options: &[&str], lines: &str| {
            let mut command = Command::new("ip");
            command.args(["-n", &self.0]).args(options).args(["-batch", "-"]);
            succeed(command, lines);
        };
        batch(&[], &inet.join("\n"));
        batch(&["-6"], &inet6.join("\n").replace("-6 ", ""));
    }

    /// Runs lines of `ip` commands in a namespace of this name, from any thread; those that fail do no harm.
    pub fn batch_in(name: &str, lines: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", name, "-force", "-batch", "-"]);
        finish_with(command, lines);
    }

    /// Sets a kernel parameter inside.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.sh(&format!("echo {value} > /proc/sys/{name}"));
    }

    /// Runs a shell's command inside.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        run("ip", &["netns", "exec", &self.0, "sh", "-c", script])
    }

    /// Waits until a route socket inside is a member of a multicast group.
    #[track_caller]
    pub fn wait_for_listener(&self) {
        wait("a socket in a group", || {
            let sockets = self.sh("cat /proc/net/netlink");
            sockets.lines().skip(1).any(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                fields[1] == "0" && fields[3] != "00000000"
            })
        });
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(failure) = kernel::netns::delete(&self.0)
            && !thread::panicking()
        {
            panic!("{}: {failure:?}", self.0);
        }
    }
}

/// Runs `ip`, which must succeed, and gives its stdout.
#[track_caller]
pub fn ip(arguments: &str) -> String {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}
