//! Runs of `nlr` with bounded time and memory, each with folders of its own.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use testing::{
    Running,
    processes::{MARK, assert_none},
    programs, temporary,
    tool::nlr,
    unique,
};

/// KiB of memory that a process may write to: `RLIMIT_DATA`. A run with a good input needs a fifth.
const MEMORY: &str = "262144";

/// No run may take longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Folders of one run.
pub(crate) struct Place {
    mark: String,
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = temporary("bad");
        for name in ["tmp", "home", "bin"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        Self { mark: unique("bad"), folder }
    }

    /// The path of a file below the folder, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Runs a shell's command line, in which `nlr` is the tool and TMP the folder; gives its exit code
    /// and the line on stderr, as the tables have them. Nothing is left.
    pub(crate) fn run(&self, line: &str) -> String {
        let folder = self.folder.display().to_string();
        let line = line.replace("TMP", &folder);
        let nlr_itself = programs::nlr();
        let script = format!(
            "nlr() {{ exec {nlr_itself} \"$@\"; }}\nexport -f nlr\nulimit -d {MEMORY}\n{line}"
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env(MARK, &self.mark).env("RUST_BACKTRACE", "0");
        // The environment that `nlr` of the tests has.
        for (name, value) in nlr(&[]).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.path("bin")));
        command.env("TMPDIR", self.path("tmp")).env("HOME", self.path("home"));
        let began = Instant::now();
        let ended = Running::start(command).end();
        assert!(began.elapsed() < DEADLINE, "it took {:?}", began.elapsed());
        let said = ended.stderr.replace(&folder, "TMP");
        assert!(!said.contains("panicked"), "{said}");
        self.assert_clean();
        let line = said.strip_suffix('\n').unwrap_or(&said);
        format!("{} {}", ended.code(), line.strip_prefix("nlr: ").unwrap_or(line))
    }

    fn assert_clean(&self) {
        assert_none(&self.mark, &[]);
        let files = fs::read_dir(self.folder.join("tmp")).unwrap().flatten();
        let files = files.map(|file| file.path()).collect::<Vec<_>>();
        assert!(files.is_empty(), "left behind: {files:?}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
