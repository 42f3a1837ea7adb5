//! The CPU times of the processes in this world while something is measured.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike,
    },
    unistd::{SysconfVar, getpid, sysconf},
};
use testing::bench::world;

/// The CPU times spent between the begins and ends of measuring.
#[derive(Default)]
pub(crate) struct Meter {
    own: Duration,
    others: BTreeMap<String, Duration>,
    began: Option<(Instant, Duration, BTreeMap<String, Duration>)>,
}

impl Meter {
    /// Begins to measure.
    pub(crate) fn begin(&mut self) {
        let others = others();
        self.began = Some((Instant::now(), own(), others));
    }

    /// Ends what was begun, and gives the time it took.
    pub(crate) fn end(&mut self) -> Duration {
        let (began, own_before, before) = self.began.take().unwrap();
        let took = began.elapsed();
        self.own += own() - own_before;
        for (program, spent) in others() {
            let spent = spent.saturating_sub(before.get(&program).copied().unwrap_or_default());
            if !spent.is_zero() {
                *self.others.entry(program).or_default() += spent;
            }
        }
        took
    }

    /// Prints the CPU time of each program for one of so many.
    pub(crate) fn print(&self, name: &str, count: u64) {
        if count == 0 || !world::is_measured() {
            return;
        }
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / count as f64;
        print!("{name} CPU time each: benchmark {:.1} us", each(self.own));
        for (program, spent) in &self.others {
            print!(", {program} {:.1} us", each(*spent));
        }
        println!();
    }
}

/// The CPU time of this process.
fn own() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(micros.try_into().unwrap())
}

/// The CPU times of all other processes by the name of their program, to a tick of the clock.
fn others() -> BTreeMap<String, Duration> {
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
