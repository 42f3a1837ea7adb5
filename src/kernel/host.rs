//! The stub's description of its host.

use std::fs;

use nix::{
    sys::utsname::uname,
    unistd::{SysconfVar, geteuid, sysconf},
};

use super::nsfs;
use crate::wire::hello::HostInfo;

/// Describes this host and process. A fact that cannot be read, as in a container without /proc, is
/// zero or empty.
pub fn host_info() -> HostInfo {
    let mut host = HostInfo::default();
    if let Ok(names) = uname() {
        host.kernel_release = names.release().to_string_lossy().into_owned();
        host.architecture = names.machine().to_string_lossy().into_owned();
        host.host_name = names.nodename().to_string_lossy().into_owned();
    }
    host.big_endian = cfg!(target_endian = "big");
    host.page_size = number(SysconfVar::PAGE_SIZE);
    host.clock_ticks = number(SysconfVar::CLK_TCK);
    host.psched = psched().unwrap_or_default();
    host.uid = geteuid().as_raw();
    host.capabilities = capabilities().unwrap_or_default();
    host.netns = nsfs::current().unwrap_or_default();
    host.pid = std::process::id();
    host
}

fn number(variable: SysconfVar) -> u32 {
    sysconf(variable).ok().flatten().and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

fn psched() -> Option<[u32; 4]> {
    let text = fs::read_to_string("/proc/self/net/psched").ok()?;
    let mut numbers = text.split_whitespace().map(|n| u32::from_str_radix(n, 16).ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??])
}

/// The effective capabilities: CapEff of /proc/self/status, proc(5).
fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_the_system_tells() {
        let host = host_info();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(host.kernel_release, release.trim());
        assert!(host.page_size >= 4096);
        assert_eq!(host.clock_ticks, 100);
        assert_ne!(host.psched[0], 0);
        assert_ne!(host.netns.inode, 0);
        assert_eq!(host.pid, std::process::id());
    }
}
