//! A soak: clients, sockets and namespaces come and go, receive buffers overrun, streams are cut and
//! stubs killed, for minutes or hours. The memory, descriptors and threads of both ends stay as they
//! were. A test program of its own: it measures its process.
//!
//! `NLR_SOAK` is its time in seconds, three quarters of a minute by default. With the variable set, each
//! line of figures is printed when it is measured:
//!
//! ```sh
//! NLR_SOAK=3600 NLR_TEST_TIMEOUT=4000 tests/run --release --test soak
//! ```

#![cfg(test)]

mod churn;
mod figures;

use std::{
    io::{Write, stderr},
    os::unix::net::UnixStream,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testing::{Namespace, Running, temporary, tool::nlr, wait, world};
use tokio::sync::RwLock;

use self::{
    churn::{Counts, Place},
    figures::{Figures, Samples},
};

/// The time of the test, without `NLR_SOAK`.
const SHORT: Duration = Duration::from_secs(45);

/// The most time between two measurements.
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_descriptors_and_threads_stay_as_they_are() {
    world::require();
    let asked = std::env::var("NLR_SOAK").ok();
    let seconds = asked.as_ref().map(|text| text.parse().expect("NLR_SOAK is a number of seconds"));
    let time = seconds.map_or(SHORT, Duration::from_secs);
    let print = |line: &str| match asked {
        // print! would go to the test harness, which keeps it to the end.
        Some(_) => drop(writeln!(stderr(), "{line}")),
        None => println!("{line}"),
    };

    let (socket, namespace) = (temporary("soak"), Namespace::new());
    let mut command = nlr(&["serve", &format!("unix:{}", socket.display())]);
    // Its log is long.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = Running(command.spawn().unwrap());
    wait("nlr serve to listen", || UnixStream::connect(&socket).is_ok());
    let counts = Arc::new(Counts::default());
    // Work takes it for reading, one piece at a time; a measurement waits for all of them.
    let pause = Arc::new(RwLock::new(()));
    let place = Arc::new(Place::new(socket.clone(), namespace.0.clone()).await);
    let work = place.begin(&counts, &pause);

    let began = Instant::now();
    let interval = (time / 15).min(MINUTE);
    let mut samples = Samples::new(&[
        ("near end", std::process::id()),
        ("nlr serve", server.0.id()),
        ("stub", place.stub_pid()),
    ]);
    print(&Figures::heading());
    while began.elapsed() < time {
        tokio::time::sleep(interval).await;
        let paused = pause.write().await;
        let figures = samples.take().await;
        print(&format!("{:>7} s {figures}  {counts}", began.elapsed().as_secs()));
        drop(paused);
        assert!(!work.iter().any(|task| task.is_finished()), "a task has ended");
    }
    work.iter().for_each(tokio::task::JoinHandle::abort);
    for task in work {
        let ended = task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "a task has panicked");
    }
    let place = Arc::into_inner(place).expect("no task is left");
    place.end().await;
    counts.assert_all_happened();
    samples.assert_flat();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    drop(namespace);
}
