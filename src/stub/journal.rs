//! The log of a server: events wait in a queue of bounded length for a thread that hands them to the
//! program. A log that nobody reads delays nobody; it loses events, and says how many.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::events::ListenEvent;
use crate::limits::server::{LOG_QUEUE, LOG_QUEUE_OF_CLIENTS};

/// Where events are written down. Clones are the same journal.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something has changed in the queue.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<ListenEvent>,
    /// Events that had no room, behind all that are in the queue.
    lost: u64,
    /// No more events come.
    ended: bool,
    /// All events are written.
    written: bool,
}

impl Queue {
    fn next(&mut self) -> Option<ListenEvent> {
        let lost = |queue: &mut Self| match std::mem::take(&mut queue.lost) {
            0 => None,
            count => Some(ListenEvent::Lost { count }),
        };
        self.events.pop_front().or_else(|| lost(self))
    }
}

impl Journal {
    /// Starts the thread that gives events to `log`.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(super) fn start(mut log: impl FnMut(ListenEvent) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let write = move || {
            while let Some(event) = theirs.wait_for_event() {
                log(event);
            }
            theirs.queue().written = true;
            theirs.changed.notify_all();
        };
        thread::Builder::new().name("nlr-log".to_owned()).stack_size(256 * 1024).spawn(write)?;
        Ok(Self(shared))
    }

    /// Writes an event down; drops and counts it where too many wait.
    pub(super) fn push(&self, event: ListenEvent) {
        let mut queue = self.0.queue();
        // What a client does again and again drives out no other event.
        let room = match &event {
            // There is only one.
            ListenEvent::Ending => usize::MAX,
            event if event.is_of_client() => LOG_QUEUE_OF_CLIENTS,
            _ => LOG_QUEUE,
        };
        if queue.lost > 0 && queue.events.len() < room {
            let count = std::mem::take(&mut queue.lost);
            queue.events.push_back(ListenEvent::Lost { count });
        }
        match queue.events.len() < room && !queue.ended {
            true => queue.events.push_back(event.bounded()),
            false => queue.lost += 1,
        }
        self.0.changed.notify_all();
    }

    /// Ends the journal. Waits so long for the program to take what is in it.
    pub(super) fn end(&self, patience: Duration) {
        let mut queue = self.0.queue();
        queue.ended = true;
        self.0.changed.notify_all();
        let waits = |queue: &mut Queue| !queue.written;
        let waited = self.0.changed.wait_timeout_while(queue, patience, waits);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that holds it panics half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_event(&self) -> Option<ListenEvent> {
        let mut queue = self.queue();
        loop {
            let next = queue.next();
            if next.is_some() || queue.ended {
                return next;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn refused(reason: &str) -> ListenEvent {
        ListenEvent::AcceptFailed { reason: reason.to_owned() }
    }

    #[test]
    fn a_log_that_nobody_reads_loses_events_and_says_how_many() {
        let (begun, begins) = channel();
        let (resume, resumed) = channel::<()>();
        let (written, events) = channel();
        let mut first = true;
        let journal = Journal::start(move |event| {
            if std::mem::take(&mut first) {
                begun.send(()).unwrap();
                resumed.recv().unwrap();
            }
            written.send(event).unwrap();
        })
        .unwrap();
        journal.push(refused("first"));
        begins.recv().unwrap();
        for _ in 0..LOG_QUEUE + 37 {
            journal.push(refused("again"));
        }
        // It waits no longer than it may.
        journal.end(Duration::from_millis(1));
        resume.send(()).unwrap();
        journal.end(Duration::from_secs(60));
        let events: Vec<_> = events.iter().collect();
        assert_eq!(events.len(), 1 + LOG_QUEUE + 1);
        assert_eq!(events.last(), Some(&ListenEvent::Lost { count: 37 }));
    }

    #[test]
    fn what_clients_do_drives_out_no_other_event() {
        let (resume, resumed) = channel::<()>();
        let (written, events) = channel();
        let journal = Journal::start(move |event| {
            let _ = resumed.recv();
            written.send(event).unwrap();
        })
        .unwrap();
        let socket = || ListenEvent::example_of_client();
        for _ in 0..LOG_QUEUE + 1 {
            journal.push(socket());
        }
        journal.push(refused("important"));
        drop(resume);
        journal.end(Duration::from_secs(60));
        let events: Vec<_> = events.iter().collect();
        assert!(events.contains(&refused("important")), "{events:?}");
        let lost = events.iter().filter(|event| matches!(event, ListenEvent::Lost { .. })).count();
        assert_eq!(lost, 1);
    }
}
