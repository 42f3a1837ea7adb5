//! What one connection attempt carries along: the deadline of each step, and the questions that
//! stop its clock.

#![forbid(unsafe_code)]

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

#[cfg(feature = "ssh")]
use crate::prompter::HostKeyQuestion;
use crate::{
    Error, ErrorKind, Origin, Step,
    prompter::{Progress, Prompter, Secret, SecretRequest},
};

/// Goes along on one way to one stub: deadlines, and questions, which stop their clock.
#[derive(Debug, Clone)]
pub(crate) struct ConnectContext {
    prompter: Prompter,
    limit: Duration,
    clock: Arc<Clock>,
    /// The hops before who asks, as a target is written.
    way: String,
}

#[derive(Debug, Default)]
struct Clock {
    asking: AtomicUsize,
    asked: AtomicUsize,
    answered: Mutex<Option<Instant>>,
    /// Tells that there was an answer.
    ended: Notify,
}

/// Counts one question as being asked.
struct Asking<'a>(&'a Clock);

impl<'a> Asking<'a> {
    fn new(clock: &'a Clock) -> Self {
        clock.asking.fetch_add(1, Ordering::SeqCst);
        clock.asked.fetch_add(1, Ordering::SeqCst);
        Self(clock)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        *self.0.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.asking.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}

impl ConnectContext {
    /// A year.
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    /// `limit` is the time each step has.
    pub(crate) fn new(prompter: Prompter, limit: Duration) -> Self {
        // `Duration::MAX` is what some write for no limit; no clock goes that far.
        let limit = limit.min(Self::LONGEST);
        Self { prompter, limit, clock: Arc::default(), way: String::new() }
    }

    /// The same context for what is behind this hop too. Questions tell the way to who asks.
    pub(crate) fn behind(&self, hop: impl fmt::Display) -> Self {
        let gap = if self.way.is_empty() { "" } else { "," };
        Self { way: format!("{}{gap}{hop}", self.way), ..self.clone() }
    }

    /// The time each step has.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Does one step within its time; an error comes out with the step's name.
    pub(crate) async fn step<T>(
        &self,
        step: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.step_within(step, self.limit, work).await
    }

    /// [`step`](Self::step) with a time of its own. Questions asked meanwhile do not count.
    pub(crate) async fn step_within<T>(
        &self,
        step: Step,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        let mut since = Instant::now();
        loop {
            let deadline = tokio::time::Instant::from_std(since + limit);
            match tokio::time::timeout_at(deadline, &mut work).await {
                Ok(done) => return done.map_err(|error| error.prefix_step(step)),
                Err(_) => {
                    // From here on no answer is missed.
                    let ended = self.clock.ended.notified();
                    if self.clock.asking.load(Ordering::SeqCst) > 0 {
                        tokio::select! {
                            done = &mut work => return done.map_err(|error| error.prefix_step(step)),
                            () = ended => since = Instant::now(),
                        }
                        continue;
                    }
                    let answered =
                        *self.clock.answered.lock().unwrap_or_else(PoisonError::into_inner);
                    match answered {
                        Some(answered) if answered > since => since = answered,
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

    /// How many questions have been asked on this way.
    #[cfg(feature = "ssh")]
    pub(crate) fn asked(&self) -> usize {
        self.clock.asked.load(Ordering::SeqCst)
    }

    /// Whether asking for a secret can lead to one.
    pub(crate) fn has_secrets(&self) -> bool {
        self.prompter.secret.is_some()
    }

    /// Asks for a secret; `None` where there is none.
    pub(crate) async fn secret(&self, mut request: SecretRequest) -> Option<Secret> {
        request.prompt = request.prompt.chars().filter(|letter| !letter.is_control()).collect();
        if !self.way.is_empty() {
            request.prompt = format!("(behind {}) {}", self.way, request.prompt);
        }
        request.hop = self.on_the_way(&request.hop);
        let ask = Arc::clone(self.prompter.secret.as_ref()?);
        self.blocking(move || ask(&request)).await.flatten()
    }

    /// Asks whether to trust a host key; without anyone to ask, no.
    #[cfg(feature = "ssh")]
    pub(crate) async fn host_key(&self, mut question: HostKeyQuestion) -> bool {
        let Some(ask) = self.prompter.host_key.clone() else { return false };
        question.hop = self.on_the_way(&question.hop);
        self.blocking(move || ask(&question)).await.unwrap_or(false)
    }

    /// Whether there is anyone to ask about host keys.
    #[cfg(feature = "ssh")]
    pub(crate) fn judges_host_keys(&self) -> bool {
        self.prompter.host_key.is_some()
    }

    /// Tells how far it is.
    pub(crate) fn progress(&self, progress: &Progress) {
        if let Some(tell) = &self.prompter.progress {
            tell(progress);
        }
    }

    /// A hop with those before it.
    fn on_the_way(&self, hop: &str) -> String {
        self.behind(hop).way
    }

    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _asking = Asking::new(&self.clock);
        let turn = Arc::clone(&self.prompter.turn).lock_owned().await;
        let asked = tokio::task::spawn_blocking(move || {
            // Held by the thread: a future that is dropped does not end the question.
            let _turn = turn;
            ask()
        });
        asked.await.ok()
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
            echo: false,
            attempt: 1,
        }
    }

    #[tokio::test]
    async fn a_step_sleeps_while_there_is_a_question() {
        let ask = Prompter::none().on_secret(|_| {
            std::thread::sleep(Duration::from_millis(300));
            None
        });
        let context = ConnectContext::new(ask, Duration::ZERO);
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
    async fn questions_tell_the_way() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let ask = Prompter::none().on_secret(move |request| {
            noted.lock().unwrap().push((request.hop.clone(), request.prompt.clone()));
            None
        });
        let context = ConnectContext::new(ask, Duration::from_secs(1));
        let behind = context.behind("ssh://a");
        for context in [&context, &behind, &behind.behind("sudo:")] {
            context.secret(request()).await;
        }
        // A far end's words are not to reach the terminal as more than words.
        let prompt = "\u{1b}[8mPass\r\nword: \u{9b}2J".to_owned();
        behind.secret(SecretRequest { prompt, ..request() }).await;
        let expected = [
            ("sudo:", "Password: "),
            ("ssh://a,sudo:", "(behind ssh://a) Password: "),
            ("ssh://a,sudo:,sudo:", "(behind ssh://a,sudo:) Password: "),
            ("ssh://a,sudo:", "(behind ssh://a) [8mPassword: 2J"),
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
