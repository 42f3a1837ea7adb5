//! The CPU times of the processes in this world.

use std::{collections::BTreeMap, fs, time::Duration};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike,
    },
    unistd::{SysconfVar, getpid, sysconf},
};

/// The CPU time of this process.
pub(crate) fn own() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(micros.try_into().unwrap())
}

/// The CPU times of all other processes by the name of their program, to a tick of the clock.
pub(crate) fn others() -> BTreeMap<String, Duration> {
    let tick = Duration::from_secs(1) / u32::try_from(ticks()).unwrap();
    let mut spent = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Ok(pid) = name.parse::<i32>() else { continue };
        // The process may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if pid == getpid().as_raw() {
            continue;
        }
        // The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
        let (front, rest) = stat.rsplit_once(')').unwrap();
        let program = front.split_once('(').unwrap().1.to_owned();
        let times = rest.split_whitespace().skip(11).take(2);
        let ticks: u32 = times.map(|field| field.parse::<u32>().unwrap()).sum();
        *spent.entry(program).or_default() += tick * ticks;
    }
    spent
}

fn ticks() -> i64 {
    sysconf(SysconfVar::CLK_TCK).unwrap().unwrap()
}
