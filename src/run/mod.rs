//! Programs of this host whose netlink sockets are in the far kernel: `ip`, `nft`, a script, unmodified.
//!
//! A [`Run`] starts a program under a filter of system calls that tells this process about its calls on sockets
//! (seccomp_unotify(2)). Each AF_NETLINK socket that the program or a child of it opens is a
//! [`RemoteSocket`](crate::RemoteSocket); what the program holds is a handle for readiness. Statically linked
//! programs work, no privilege is needed, and nothing has to be installed at the far end.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use std::process::Command;
//! use netlink_remote::run::Run;
//!
//! let client = netlink_remote::connect("ssh://ci@router,sudo:").await?;
//! let mut command = Command::new("ip");
//! command.args(["-json", "route"]);
//! let mut program = Run::new(command).start(&client).await?;
//! let status = program.wait().await?;
//! # let _ = status; Ok(()) }
//! ```
//!
//! # What is far, and what is here
//!
//! | what a program uses | where it is |
//! |---|---|
//! | AF_NETLINK sockets: all calls on them | far |
//! | `/run/netns`: listing, opening, `ip netns add`, `delete`, `exec`, `-n NAME` | far |
//! | `/proc/self/ns/net`, `setns(2)` into such a namespace | far |
//! | files below `/proc/net` and `/proc/sys/net`, for reading | far, as they were when they were opened |
//! | `SIOCGIFNAME`, `INDEX`, `FLAGS`, `MTU`, `HWADDR`, `TXQLEN` of ioctl(2) | far |
//! | `/sys/class/net`; the names in `/proc/net` and `/proc/sys/net` | here; said once |
//! | folders below `/proc/net` and `/proc/sys/net` | cannot be opened; said once |
//! | stat(2) of all of these | here; not said |
//! | other files, processes, sockets of other families | here |
//! | other ioctls on network devices, raw and packet sockets, bpf(2), tun devices, new network namespaces, writing below `/proc/sys/net` | refused and said once; here with [`allow_local`](Run::allow_local) |
//! | `io_uring_setup(2)`; sockets of 32-bit programs | ENOSYS |
//!
//! A call that waits for readiness (poll(2), epoll_wait(2) and the like) shows it from then on; until then, a request
//! that has an answer goes out without waiting for the far sendmsg(2), whose error then comes with the answer.
//!
//! A setuid program has no more privileges than its caller (`PR_SET_NO_NEW_PRIVS`). `dup2(2)` to a number below
//! that of handles leaves send(2) and recv(2) working, but not read(2) and write(2). Numbers of descriptors in
//! messages of rtnetlink are translated; in those of generic netlink (devlink, nl80211) they are not.
//!
//! A connection that ends makes calls on its sockets fail with ECONNRESET. Where this process ends, the kernel
//! kills the program, and answers ENOSYS to the calls of processes that the program has left behind.

mod arch;
mod child;
mod descriptors;
mod filter;
mod handle;
mod listing;
mod memory;
mod notices;
mod outcome;
mod paths;
mod requests;
mod socket_options;
mod socket_state;
mod sockets;
mod spaces;
mod supervisor;
mod sys;
mod transfer;

use std::{
    fmt, io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
    task::JoinHandle,
};

use self::{
    notices::Notices,
    spaces::Spaces,
    supervisor::{Permits, Supervisor},
};
use crate::{Client, Error, ErrorKind, Netns, errno::words};

/// A program that is to be started.
pub struct Run {
    command: Command,
    netns: Netns,
    permits: Permits,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Run {
    /// A program, with its arguments, environment and streams.
    pub fn new(command: Command) -> Self {
        Self {
            command,
            netns: Netns::Current,
            permits: Permits::default(),
            tell: Box::new(|line| tracing::warn!("{line}")),
        }
    }

    /// Sets the network namespace of the program's sockets; by default that of the stub.
    #[must_use]
    pub fn netns(mut self, netns: Netns) -> Self {
        self.netns = netns;
        self
    }

    /// Permits what would change this host's network: it is refused by default.
    #[must_use]
    pub fn allow_local(mut self, permits: bool) -> Self {
        self.permits.local = permits;
        self
    }

    /// Has a function get each line about what was refused, or done here and not there, once. By default a line is a
    /// `tracing` event.
    #[must_use]
    pub fn notices(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Starts the program, and a task on the current tokio runtime that answers its calls. A runtime of one thread
    /// that does nothing else answers soonest.
    ///
    /// Blocks the thread for as long as starting a process takes.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] as for [`RemoteNetns::open`](crate::client::RemoteNetns::open);
    /// [`ErrorKind::Program`] for a program that cannot be started, or not be supervised, and says what else to do;
    /// [`ErrorKind::Invalid`] for a far host of the other byte order, in which a program here would write its
    /// messages the wrong way round.
    pub async fn start(self, client: &Client) -> Result<Program, Error> {
        let Self { command, netns, permits, tell } = self;
        let host = client.host();
        if host.big_endian != cfg!(target_endian = "big") {
            let text = format!(
                "{} is of the other byte order ({}): no program here can write its messages",
                host.host_name, host.architecture
            );
            return Err(Error::invalid(text));
        }
        let spaces = Spaces::new(client.clone(), netns).await?;
        let handles = child::handle_numbers();
        let (child, listener) = child::start(command, &handles, permits.local)?;
        let first = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let supervisor = Supervisor::new(
            listener,
            (client.clone(), spaces),
            permits,
            Notices::new(tell),
            handles,
            first,
        );
        let supervisor = supervisor.map_err(|errno| {
            Error::new(ErrorKind::Program, format!("the program cannot be supervised: {errno}"))
        })?;
        let serving = tokio::spawn({
            let supervisor = Arc::clone(&supervisor);
            async move { supervisor.serve().await }
        });
        Ok(Program { child, supervisor, serving })
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("command", &self.command).finish_non_exhaustive()
    }
}

/// A program that runs. Dropping it kills the program; for processes that the program has started, opening files and
/// calls on sockets fail with ENOSYS from then on.
pub struct Program {
    child: Child,
    supervisor: Arc<Supervisor>,
    /// Answers calls, until no process is left under the filter.
    serving: JoinHandle<Result<(), Errno>>,
}

impl Program {
    /// The id of its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it a signal, by number.
    ///
    /// # Errors
    /// That of kill(2); `NotFound` once it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        let signal = Signal::try_from(signal)?;
        Ok(nix::sys::signal::kill(Pid::from_raw(pid), signal)?)
    }

    /// Waits until the program ends, and all that it has sent has reached the far kernel. Processes that it has
    /// started may run on: their calls are answered until this is dropped. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Program`] for an end that is not known.
    pub async fn wait(&mut self) -> Result<ExitStatus, Error> {
        let status = self.child.wait().await;
        self.supervisor.settle().await;
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Program, format!("waiting for the program: {}", words(&error)))
        };
        status.map_err(failed)
    }
}

/// What a program has printed, and its end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Printed {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Its end.
    pub status: ExitStatus,
}

impl Program {
    /// [`wait`](Self::wait), and collects what the program prints to those of its streams that are piped
    /// ([`Command::stdout`]). Not cancel-safe: what was read is lost.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait); [`ErrorKind::Program`] for more than `most` bytes on a stream, which kills the
    /// program.
    pub async fn printed(mut self, most: usize) -> Result<Printed, Error> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (stdout, stderr, status) =
            tokio::try_join!(read(stdout, most), read(stderr, most), self.wait())?;
        Ok(Printed { stdout, stderr, status })
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>, most: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let Some(stream) = stream else { return Ok(out) };
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(limit).read_to_end(&mut out).await.map_err(|error| {
        Error::new(ErrorKind::Program, format!("reading its output: {}", words(&error)))
    })?;
    match out.len() > most {
        true => Err(Error::new(ErrorKind::Program, format!("more than {most} bytes of output"))),
        false => Ok(out),
    }
}

/// Ends this process as a program has ended: with its exit code, or by the same signal, without a core of its own.
pub fn end_as(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal() {
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        sys::end_by(signal);
        std::process::exit(128 + signal);
    }
    std::process::exit(status.code().unwrap_or(1))
}

impl Program {
    /// Whether a process is left that the program has started, once the program has ended.
    pub fn has_others(&self) -> bool {
        !self.supervisor.is_over()
    }

    /// Waits until no process that the program has started runs any more; the program itself has to have ended.
    /// Cancel-safe, but not to be called again once it has returned.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub async fn wait_for_others(&mut self) -> Result<(), Error> {
        let served = match (&mut self.serving).await {
            Ok(served) => served,
            // Aborted with its runtime.
            Err(_) => Err(Errno::ECANCELED),
        };
        served.map_err(|errno| {
            Error::new(ErrorKind::Program, format!("supervising its processes: {errno}"))
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already, or killed by the kernel if this process ends first.
        let _ = self.child.start_kill();
        self.serving.abort();
        self.supervisor.end();
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("child", &self.child).finish_non_exhaustive()
    }
}
