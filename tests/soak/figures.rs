//! What a process holds, measured again and again.

use std::{
    fmt,
    fs::{read_dir, read_to_string},
    time::Duration,
};

/// Memory may grow by this part of it, and by this many KiB, from the first third of the measurements
/// after the first to the last third: allocators keep some of what a burst needed, at another place each
/// time. In 45 seconds a leak of 2 KiB a client is more, in an hour one of 20 bytes.
const MEMORY_MARGIN: f64 = 0.08;
const MEMORY_KIB: f64 = 1536.0;

/// Threads of a runtime's pool that wait for work come and go.
const THREADS: usize = 2;

/// The figures of one process at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    /// KiB of resident memory.
    resident: usize,
    /// KiB of it that belong to no file: heap and stacks.
    anonymous: usize,
    descriptors: usize,
    threads: usize,
}

impl Figures {
    fn of(pid: u32) -> Self {
        let status = read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let value = value.unwrap_or_else(|| panic!("no {name}"));
            value.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Self {
            resident: field("VmRSS:"),
            anonymous: field("RssAnon:"),
            descriptors: read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            threads: field("Threads:"),
        }
    }

    pub(crate) fn heading() -> String {
        "for each process: resident memory (heap and stacks) in KiB, descriptors, threads".into()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, anonymous, descriptors, threads } = self;
        write!(f, "{resident:>6} ({anonymous:>6}) {descriptors:>3} {threads:>3}")
    }
}

/// The figures of some processes over time.
pub(crate) struct Samples {
    processes: Vec<(&'static str, u32, Vec<Figures>)>,
}

impl Samples {
    pub(crate) fn new(processes: &[(&'static str, u32)]) -> Self {
        let processes = processes.iter().map(|&(name, pid)| (name, pid, Vec::new()));
        Self { processes: processes.collect() }
    }

    /// Takes the figures of all, and gives them as text. Nothing else is going on, but what was cut
    /// or killed takes its time to end: the descriptors are those of the first measurement as soon
    /// as they have come down to them, or those of some seconds later.
    pub(crate) async fn take(&mut self) -> String {
        let mut texts = Vec::new();
        for (name, pid, samples) in &mut self.processes {
            let mut figures = Figures::of(*pid);
            for _ in 0..200 {
                let is_settled = match samples.first() {
                    Some(first) => {
                        figures.descriptors <= first.descriptors
                            && figures.threads <= first.threads + THREADS
                    }
                    // Two looks at the same, half a second apart.
                    None => {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        let again = Figures::of(*pid);
                        (again.descriptors, again.threads) == (figures.descriptors, figures.threads)
                    }
                };
                if is_settled {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                figures = Figures::of(*pid);
            }
            samples.push(figures);
            texts.push(format!("{name} {figures}"));
        }
        texts.join("  ")
    }

    /// Asserts that the last third of the measurements holds no more than the first third. The first
    /// measurement is the warm-up.
    pub(crate) fn assert_flat(&self) {
        for (name, _, samples) in &self.processes {
            let samples = &samples[1..];
            assert!(samples.len() >= 3, "{name}: too few measurements");
            let third = samples.len() / 3;
            let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
            let most = |samples: &[Figures], field: fn(&Figures) -> usize| {
                samples.iter().map(field).max().unwrap()
            };
            let (before, after) = (most(first, |f| f.descriptors), most(last, |f| f.descriptors));
            assert!(after <= before, "{name}: descriptors: {before}, then {after}");
            let (before, after) = (most(first, |f| f.threads), most(last, |f| f.threads));
            assert!(after <= before + THREADS, "{name}: threads: {before}, then {after}");
            let mean = |samples: &[Figures], field: fn(&Figures) -> usize| {
                samples.iter().map(|figures| field(figures) as f64).sum::<f64>()
                    / samples.len() as f64
            };
            let assert_grows_little = |what: &str, field: fn(&Figures) -> usize| {
                let (before, after) = (mean(first, field), mean(last, field));
                let most = before * (1.0 + MEMORY_MARGIN) + MEMORY_KIB;
                assert!(after <= most, "{name}: {what}: {before:.0} KiB, then {after:.0}");
            };
            assert_grows_little("resident memory", |figures| figures.resident);
            assert_grows_little("heap and stacks", |figures| figures.anonymous);
        }
    }
}
