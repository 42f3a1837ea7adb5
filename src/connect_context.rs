//! The state of one connection attempt: the deadline of each step, and the questions that stop its
//! clock.

#![forbid(unsafe_code)]

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tracing::debug;

#[cfg(any(feature = "ssh", feature = "stub"))]
use crate::prompter::HostKeyQuestion;
#[cfg(feature = "ssh")]
use crate::prompter::Notice;
use crate::{
    Error, ErrorKind, Origin, Step, blocking,
    prompter::{Progress, Prompter, Secret, SecretRequest},
    sync::lock,
    text,
};

/// The longest step, in limits, for one that makes progress all the time.
pub(crate) const LONGEST_STEP: u32 = 20;

/// The deadlines of one connection attempt, and its questions, which stop their clock. Clones share
/// the clock.
#[derive(Debug, Clone)]
pub(crate) struct ConnectContext {
    prompter: Prompter,
    limit: Duration,
    clock: Arc<Clock>,
    /// The hops that lead to the one that asks, as in the text of a target.
    via: String,
    /// The hop or target that takes the steps.
    place: String,
}

#[derive(Debug, Default)]
struct Clock {
    /// Questions that wait for their answer.
    pending: AtomicUsize,
    /// Questions asked so far.
    asked: AtomicUsize,
    /// The last answer, or the last progress that counts as one.
    last_answer: Mutex<Option<Instant>>,
    /// Notified at each answer.
    answered: Notify,
}

/// Counts one question as pending.
struct Pending<'a>(&'a Clock);

impl<'a> Pending<'a> {
    fn new(clock: &'a Clock) -> Self {
        clock.pending.fetch_add(1, Ordering::SeqCst);
        clock.asked.fetch_add(1, Ordering::SeqCst);
        Self(clock)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        *lock(&self.0.last_answer) = Some(Instant::now());
        self.0.pending.fetch_sub(1, Ordering::SeqCst);
        self.0.answered.notify_waiters();
    }
}

impl ConnectContext {
    /// The longest time limit, a year: `Duration::MAX`, a common spelling of "no limit", overflows
    /// every clock.
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    /// `limit` is the time of each step.
    pub(crate) fn new(prompter: Prompter, limit: Duration) -> Self {
        let limit = limit.min(Self::LONGEST);
        Self { prompter, limit, clock: Arc::default(), via: String::new(), place: String::new() }
    }

    /// The context for hops reached through `hop`, which questions then name.
    pub(crate) fn through(&self, hop: impl fmt::Display) -> Self {
        Self { via: self.with_via(&hop.to_string()), ..self.clone() }
    }

    /// The time of each step.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Does one step within [`limit`](Self::limit); its error names the step.
    pub(crate) async fn step<T>(
        &self,
        step: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.step_within(step, self.limit, work).await
    }

    /// [`step`](Self::step) with a limit of its own, which counts from the last progress, for
    /// [`LONGEST_STEP`] limits in all. Time in which a question is pending does not count.
    pub(crate) async fn step_within<T>(
        &self,
        step: Step,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.progress(step, 0, 0);
        tracing::debug!(place = self.with_via(&self.place), %step, "step begun");
        self.wait_within(step, limit, work).await
    }

    /// [`step`](Self::step) for a part of a step that has been reported.
    pub(crate) async fn wait<T>(
        &self,
        step: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.wait_within(step, self.limit, work).await
    }

    async fn wait_within<T>(
        &self,
        step: Step,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        let mut begin = Instant::now();
        let mut since = begin;
        loop {
            let deadline = tokio::time::Instant::from_std(since + limit);
            match tokio::time::timeout_at(deadline, &mut work).await {
                Ok(done) => return done.map_err(|error| error.prefix_step(step)),
                Err(_) => {
                    // Registered before the count is read, so that no answer is missed.
                    let answered = self.clock.answered.notified();
                    if self.clock.pending.load(Ordering::SeqCst) > 0 {
                        tokio::select! {
                            done = &mut work => return done.map_err(|error| error.prefix_step(step)),
                            () = answered => {
                                since = Instant::now();
                                begin = since;
                            }
                        }
                        continue;
                    }
                    let last = *lock(&self.clock.last_answer);
                    match last {
                        // A far end that feeds one byte at a time has its bound, too.
                        Some(answer)
                            if answer > since && begin.elapsed() < limit * LONGEST_STEP =>
                        {
                            since = answer;
                        }
                        _ => {
                            let text = format!("not done within {limit:?}");
                            let error =
                                Error::new(ErrorKind::Timeout, text).with_origin(Origin::Library);
                            return Err(error.prefix_step(step));
                        }
                    }
                }
            }
        }
    }

    /// Takes note that the current step has come further: its time counts from here.
    #[cfg(feature = "ssh")]
    pub(crate) fn note_progress(&self) {
        *lock(&self.clock.last_answer) = Some(Instant::now());
    }

    /// The number of questions asked so far.
    #[cfg(feature = "ssh")]
    pub(crate) fn questions_asked(&self) -> usize {
        self.clock.asked.load(Ordering::SeqCst)
    }

    /// Whether there is a callback for secrets.
    pub(crate) fn has_secrets(&self) -> bool {
        self.prompter.secret_callback().is_some()
    }

    /// Asks for a secret; `None` where the callback declines or is missing. An empty one declines
    /// a question whose answer is hidden: a host would count it as a wrong password.
    pub(crate) async fn secret(&self, mut request: SecretRequest) -> Option<Secret> {
        let callback = Arc::clone(self.prompter.secret_callback()?);
        request.prompt = text::one_line(&request.prompt).into_owned();
        if !self.via.is_empty() {
            request.prompt = format!("(via {}) {}", self.via, request.prompt);
        }
        request.hop = self.with_via(&request.hop);
        let (hop, kind, attempt) = (request.hop.clone(), request.kind, request.attempt);
        let takes_empty = request.echo;
        debug!(hop, ?kind, attempt, "asking for a secret");
        let secret = self.ask(move || callback(&request)).await.flatten();
        let secret = secret.filter(|secret| takes_empty || !secret.is_empty());
        debug!(hop, ?kind, attempt, given = secret.is_some(), "question for a secret answered");
        secret
    }

    /// Asks whether to accept a host key; `false` where the callback declines or is missing.
    #[cfg(any(feature = "ssh", feature = "stub"))]
    pub(crate) async fn host_key(&self, mut question: HostKeyQuestion) -> bool {
        let Some(callback) = self.prompter.host_key_callback().cloned() else { return false };
        question.hop = self.with_via(&question.hop);
        // The server chooses the bytes of its key, the name of the type among them.
        question.key_type = text::one_line(&question.key_type).into_owned();
        let hop = question.hop.clone();
        debug!(hop, fingerprint = question.fingerprint, "asking about an unknown host key");
        let accepted = self.ask(move || callback(&question)).await.unwrap_or(false);
        debug!(hop, accepted, "question about a host key answered");
        accepted
    }

    /// Whether there is a callback for host keys.
    #[cfg(feature = "ssh")]
    pub(crate) fn judges_host_keys(&self) -> bool {
        self.prompter.host_key_callback().is_some()
    }

    /// Reports the progress of a step at a place.
    pub(crate) fn progress(&self, step: Step, sent: u64, total: u64) {
        if let Some(callback) = self.prompter.progress_callback() {
            let target = self.with_via(&self.place);
            callback(&Progress { step, target, sent, total });
        }
    }

    /// The context for the steps at a hop, or at the target itself.
    pub(crate) fn at(&self, place: impl fmt::Display) -> Self {
        Self { place: place.to_string(), ..self.clone() }
    }

    /// Shows what a server says before the login.
    #[cfg(feature = "ssh")]
    pub(crate) fn notice(&self, hop: &str, text: &str) {
        let text = text::lines(text).into_owned();
        tracing::debug!(hop, text, "the server says");
        if let Some(callback) = self.prompter.notice_callback() {
            callback(&Notice { hop: self.with_via(hop), text });
        }
    }

    /// A hop after those that lead to it.
    fn with_via(&self, hop: &str) -> String {
        let comma = if self.via.is_empty() { "" } else { "," };
        format!("{}{comma}{hop}", self.via)
    }

    async fn ask<T: Send + 'static>(
        &self,
        callback: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _pending = Pending::new(&self.clock);
        let lock = self.prompter.question_lock().lock_owned().await;
        let asked = blocking::run(move || {
            // Held by the thread: dropping the future does not end the question.
            let _lock = lock;
            callback()
        });
        asked.await.inspect_err(|error| tracing::debug!("the question was not put: {error}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompter::SecretKind;

    fn request() -> SecretRequest {
        SecretRequest {
            kind: SecretKind::Privilege,
            hop: "sudo:".to_owned(),
            prompt: "Password: ".to_owned(),
            key_file: None,
            echo: false,
            attempt: 1,
        }
    }

    #[tokio::test]
    async fn an_empty_answer_is_one_where_it_is_shown() {
        let prompter = Prompter::none().on_secret(|_| Some(Secret::new(String::new())));
        let context = ConnectContext::new(prompter, Duration::from_secs(1));
        for echo in [false, true] {
            let given = context.secret(SecretRequest { echo, ..request() }).await;
            assert_eq!(given.is_some(), echo);
        }
    }

    #[tokio::test]
    async fn a_step_sleeps_while_a_question_is_pending() {
        let prompter = Prompter::none().on_secret(|_| {
            std::thread::sleep(Duration::from_millis(300));
            None
        });
        let context = ConnectContext::new(prompter, Duration::ZERO);
        let mut asking = std::pin::pin!(context.secret(request()));
        let mut looks = 0;
        let work = std::future::poll_fn(|cx| {
            looks += 1;
            asking.as_mut().poll(cx).map(|_| Ok(()))
        });
        context.step(Step::Connect, work).await.unwrap();
        assert!(looks < 10, "{looks}");
    }

    #[tokio::test]
    async fn questions_name_the_hops_before() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let prompter = Prompter::none().on_secret(move |request| {
            noted.lock().unwrap().push((request.hop.clone(), request.prompt.clone()));
            None
        });
        let context = ConnectContext::new(prompter, Duration::from_secs(1));
        let inner = context.through("ssh://a");
        for context in [&context, &inner, &inner.through("sudo:")] {
            context.secret(request()).await;
        }
        // A server's words reach the terminal as words alone.
        let prompt = "\u{1b}[8mPass\r\nwo\u{202e}rd\u{200b}: \u{9b}2J".to_owned();
        inner.secret(SecretRequest { prompt, ..request() }).await;
        let expected = [
            ("sudo:", "Password: "),
            ("ssh://a,sudo:", "(via ssh://a) Password: "),
            ("ssh://a,sudo:,sudo:", "(via ssh://a,sudo:) Password: "),
            ("ssh://a,sudo:", "(via ssh://a) \u{fffd}[8mPass  wo\u{fffd}rd\u{fffd}: \u{fffd}2J"),
        ];
        let asked = asked.lock().unwrap();
        let asked = asked.iter().map(|(hop, prompt)| (hop.as_str(), prompt.as_str()));
        assert!(asked.eq(expected));
    }

    #[tokio::test]
    async fn any_time_can_be_given() {
        let context = ConnectContext::new(Prompter::none(), Duration::MAX);
        context.step(Step::Connect, async { Ok(()) }).await.unwrap();
        assert!(context.limit().checked_add(Duration::from_secs(1)).is_some());
    }
}
