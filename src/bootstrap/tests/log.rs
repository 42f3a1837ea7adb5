//! The log of a start, in which no secret may be.

use std::fmt::{Debug, Write};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::*;
use crate::prompter::Secret;

/// Writes down all events and spans.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for &Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut log = self.0.lock().unwrap();
        write!(log, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut &*self);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut &*self);
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
        self.0.lock().unwrap().push('\n');
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn steps_are_logged_and_secrets_are_not() {
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let mut command = Command::new("sh");
    command.args(["-c", super::dialog::SUDO, "far"]).args(boot.argv()).env("HOME", home.path());
    let prompter = Prompter::none().on_secret(|request| {
        let text = if request.attempt == 1 { "wrong secret" } else { "right" };
        Some(Secret::new(text.to_owned()))
    });
    let context = ConnectContext::new(prompter, Duration::from_secs(20));
    let log = Log::default();
    // With a single dispatcher, tracing keeps the answer of the thread that comes to an event first,
    // which may be that of another test.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(log.clone());
    let preamble = Preamble {
        script: Some(&boot),
        prompts: vec![super::dialog::prompt()],
        ..Default::default()
    };
    go_with(process::spawn(command).unwrap(), preamble, &context).await.unwrap();
    let log = log.0.lock().unwrap().clone();
    for expected in [
        "message=asking for a secret hop=\"sudo:\" kind=Privilege attempt=1",
        "message=question for a secret answered hop=\"sudo:\" kind=Privilege attempt=2 given=true",
        "message=script's line received line=\"pack ",
        "message=sending the stub sha256=",
        "message=stub sent bytes=",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert!(!log.contains("wrong secret") && !log.contains("right"), "{log}");
}
