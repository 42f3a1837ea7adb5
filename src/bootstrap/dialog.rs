//! The dialog with a command until a stub speaks: markers are awaited, and passwords and lines are
//! typed in answer to them.

use tracing::debug;

use super::{
    diagnosis::{self, EarlyEnd, Output},
    expect::{Expect, IoEvent, StubStream},
    prompts::{Marker, Prompt, Prompts, Stream},
    script::BootScript,
    stubs::Stub,
};
use crate::{
    Error, ErrorKind, Origin, Step,
    connect_context::ConnectContext,
    prompter::SecretKind,
    transport::{ExitReport, Running, StderrTail},
    wire::{MARKER, MAX_NOISE},
};

/// How often one hop may ask for its password.
const ATTEMPTS: u32 = 3;

/// The expected output and input of a command before a stub speaks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Preamble<'a> {
    /// The script that was started; `None` where a stub itself was.
    pub(crate) script: Option<&'a BootScript>,
    /// The passwords that hops may ask for.
    pub(crate) prompts: Vec<Prompt>,
    /// Lines to type first, into a shell that reads commands from its stdin.
    pub(crate) lines: Vec<String>,
    /// The marker that the shell prints before it reads. A line typed earlier would be taken for a
    /// password.
    pub(crate) shell_ready: Option<String>,
    /// The target, for reports of progress.
    pub(crate) target: String,
}

/// A message of the far end.
pub(super) enum Reply {
    /// The stub's marker, at this offset of stdout.
    Stub(usize),
    /// A line of the script, without the prefix of its lines.
    Line(String),
}

/// One event of sending a stub.
pub(super) enum Transfer {
    /// So many bytes were written.
    Written(usize),
    /// The far end has so many bytes in all.
    Taken(usize),
}

/// The dialog with one command.
pub(super) struct Dialog<'a> {
    expect: Expect,
    script: Option<&'a BootScript>,
    prompts: Prompts,
    lines: Vec<String>,
    shell_ready: Option<String>,
    /// Whether the lines have been typed.
    is_typed: bool,
    /// The prefix of the script's lines.
    prefix: Option<String>,
    context: &'a ConnectContext,
    /// The stub that was sent.
    pub(super) sent: Option<&'a Stub>,
    /// Whether the script has printed a line. The hops before it print nothing from then on.
    has_spoken: bool,
}

impl<'a> Dialog<'a> {
    /// Begins a dialog with a command whose script prints lines with `prefix`.
    pub(super) fn new(
        running: Running,
        preamble: Preamble<'a>,
        prefix: Option<String>,
        context: &'a ConnectContext,
    ) -> Self {
        let Preamble { script, prompts, lines, shell_ready, target: _ } = preamble;
        let mut dialog = Self {
            expect: Expect::new(running),
            script,
            prompts: Prompts::new(prompts),
            lines,
            shell_ready,
            is_typed: false,
            prefix,
            context,
            sent: None,
            has_spoken: false,
        };
        context.progress(Step::Bootstrap, 0, 0);
        if dialog.shell_ready.is_none() {
            dialog.type_lines();
        }
        dialog
    }

    pub(super) fn context(&self) -> &'a ConnectContext {
        self.context
    }

    pub(super) fn script(&self) -> Option<&'a BootScript> {
        self.script
    }

    /// The streams as those of the stub whose marker is at `at`.
    pub(super) fn into_stub(self, at: usize) -> (StubStream, ExitReport) {
        self.expect.into_stub(at)
    }

    /// Waits for a message, and answers prompts meanwhile.
    pub(super) async fn reply(&mut self) -> Result<Reply, Error> {
        let context = self.context;
        let replied = context.wait(Step::Bootstrap, self.read_reply()).await;
        replied.map_err(|error| match error.kind() {
            ErrorKind::Timeout => {
                let (output, has_script) = (self.output(), self.script.is_some());
                diagnosis::silence(context.limit(), &output, has_script, self.has_spoken)
            }
            _ => error,
        })
    }

    async fn read_reply(&mut self) -> Result<Reply, Error> {
        loop {
            if let Some(reply) = self.search().await? {
                return Ok(reply);
            }
            if let IoEvent::Ended = self.expect.next(&[]).await {
                return Err(self.ended().await);
            }
        }
    }

    /// Writes the beginning of `payload`, unless the far end tells first how many bytes it has. Cancel-safe
    /// if the next call has the same payload.
    ///
    /// # Errors
    /// Any other message of the far end is one.
    pub(super) async fn transfer(&mut self, payload: &[u8]) -> Result<Transfer, Error> {
        loop {
            match self.search().await? {
                Some(Reply::Line(line)) => {
                    return match line.strip_prefix("got ").and_then(|bytes| bytes.parse().ok()) {
                        Some(bytes) => Ok(Transfer::Taken(bytes)),
                        None => Err(self.refused(&line).await),
                    };
                }
                Some(Reply::Stub(_)) => {
                    let text = "the far end spoke before it had all of the stub";
                    return Err(Error::new(ErrorKind::Handshake, text));
                }
                None => {}
            }
            match self.expect.next(payload).await {
                IoEvent::Written(length) => return Ok(Transfer::Written(length)),
                IoEvent::Read => {}
                IoEvent::Ended => return Err(self.ended().await),
            }
        }
    }

    /// Searches the bytes read so far for a message, and answers the prompts among them.
    async fn search(&mut self) -> Result<Option<Reply>, Error> {
        loop {
            let ready = self.shell_ready.as_deref().filter(|_| !self.is_typed);
            // None counts once the script has spoken: the answer would go to its stub.
            let markers = |stream| match self.has_spoken {
                true => Vec::new(),
                false => markers(&self.prompts, ready, stream),
            };
            let (of_stdout, of_stderr) = (markers(Stream::Stdout), markers(Stream::Stderr));
            if let Some((found, at)) =
                self.expect.stderr.find(of_stderr.iter().map(|(_, text)| *text))
            {
                if let Some(&(marker, text)) = of_stderr.get(found) {
                    self.expect.stderr.skip(at, text.len());
                    self.obey(marker, Stream::Stderr).await?;
                }
                continue;
            }
            let prefix = self.prefix.as_deref().unwrap_or_default();
            let replies = [MARKER.as_slice(), prefix.as_bytes()];
            let patterns = replies.into_iter().chain(of_stdout.iter().map(|(_, text)| *text));
            match self.expect.stdout.find(patterns) {
                Some((0, at)) => return Ok(Some(Reply::Stub(at))),
                Some((1, at)) => {
                    let Some(line) = self.expect.stdout.take_line(at) else { return Ok(None) };
                    self.has_spoken = true;
                    let line = line.strip_prefix(prefix).unwrap_or(&line).to_owned();
                    debug!(line, "script's line received");
                    return Ok(Some(Reply::Line(line)));
                }
                Some((found, at)) => {
                    if let Some(&(marker, text)) = of_stdout.get(found - replies.len()) {
                        self.expect.stdout.skip(at, text.len());
                        self.obey(marker, Stream::Stdout).await?;
                    }
                }
                None if self.expect.stdout.received > MAX_NOISE => {
                    return Err(diagnosis::noise(&self.output()));
                }
                None if self.answer_question(Stream::Stderr).await? => {}
                None if self.answer_question(Stream::Stdout).await? => {}
                None => return Ok(None),
            }
        }
    }

    /// Answers a question without a mark, if one waits on a stream.
    async fn answer_question(&mut self, stream: Stream) -> Result<bool, Error> {
        let Some(index) = self.prompts.open(stream).filter(|_| !self.has_spoken) else {
            return Ok(false);
        };
        let buffer = match stream {
            Stream::Stdout => &mut self.expect.stdout,
            Stream::Stderr => &mut self.expect.stderr,
        };
        let Some((at, length, text)) = buffer.question() else { return Ok(false) };
        buffer.skip(at, length);
        self.answer(index, &text).await?;
        Ok(true)
    }

    /// Answers a marker.
    async fn obey(&mut self, marker: Marker, stream: Stream) -> Result<(), Error> {
        match marker {
            Marker::Ask(index) => return self.answer(index, "").await,
            Marker::ShellReady => self.type_lines(),
            Marker::Begin(_) | Marker::End(_) => self.prompts.advance(stream, marker),
        }
        Ok(())
    }

    fn type_lines(&mut self) {
        self.is_typed = true;
        if !self.lines.is_empty() {
            debug!(lines = self.lines.len(), "typing into the far shell");
        }
        self.lines.iter().for_each(|line| self.expect.type_line(line));
    }

    /// Types the answer to a question, whose text is given where it has no mark.
    async fn answer(&mut self, index: usize, text: &str) -> Result<(), Error> {
        let since_answer = self.expect.since_answer.as_ref().map(StderrTail::text);
        let asked = self.prompts.ask(index, text, since_answer.as_deref().unwrap_or_default());
        let Some((request, via)) = asked else {
            let text = format!("{} asks one question after another", self.prompts.hop(index));
            let error = Error::new(ErrorKind::Connect, text).prefix_step(Step::Privilege);
            return Err(error.lasting());
        };
        let (kind, attempt) = (request.kind, request.attempt);
        let context = via.iter().fold(self.context.clone(), |context, hop| context.through(hop));
        if attempt <= ATTEMPTS
            && let Some(secret) = context.secret(request).await
        {
            self.expect.since_answer = Some(StderrTail::default());
            // The program that follows would read a second line.
            self.expect.type_line(secret.expose().lines().next().unwrap_or_default());
            return Ok(());
        }
        let hop = self.prompts.hop(index);
        let text = match (attempt, kind) {
            (1, _) if !self.context.has_secrets() => {
                format!("{hop} needs a password, and the prompter has no callback for secrets")
            }
            (1, SecretKind::Interactive) => {
                format!("{hop} asks for more than a password, and no answer was given")
            }
            (1, _) => format!("{hop} needs a password, and none was given"),
            _ => format!("wrong password for {hop}"),
        };
        Err(Error::new(ErrorKind::Connect, text)
            .with_origin(Origin::Caller)
            .prefix_step(Step::Privilege)
            .lasting())
    }

    /// The error for a line that is none of the expected ones. The script ends by itself after it.
    pub(super) async fn refused(&mut self, line: &str) -> Error {
        self.expect.wait().await;
        let stderr = self.without_markers(&self.expect.stderr_tail.text());
        diagnosis::refusal(line, self.script, self.sent, &stderr)
    }

    /// The error for an end before a stub spoke.
    async fn ended(&mut self) -> Error {
        let end = self.expect.wait().await;
        let since_answer = self.expect.since_answer.as_ref().map(StderrTail::text);
        EarlyEnd {
            is_asking: !self.has_spoken && self.prompts.is_pending(&end, since_answer.as_deref()),
            end: &end,
            fault: self.expect.fault.take(),
            output: self.output(),
            raw_stderr: &self.expect.stderr_tail.text(),
            since_answer: since_answer.as_deref(),
            has_script: self.script.is_some(),
            has_spoken: self.has_spoken,
            sent: self.sent,
        }
        .error()
    }

    /// The far end's output, for an error.
    pub(super) fn output(&self) -> Output {
        Output {
            stdout: self.without_markers(&self.expect.stdout.text()),
            stderr: self.without_markers(&self.expect.stderr_tail.text()),
        }
    }

    /// Text without the markers and lines of this side: a terminal, or a program that is no shell,
    /// echoes them.
    fn without_markers(&self, text: &str) -> String {
        let mut text = self.prompts.remove_from(text);
        if let Some(ready) = &self.shell_ready {
            text = text.replace(ready.trim(), "");
        }
        for line in &self.lines {
            text = text.replace(line.as_str(), "(the line typed)");
        }
        text.trim().to_owned()
    }
}

/// The markers that count on a stream now, with their texts.
fn markers<'m>(
    prompts: &'m Prompts,
    shell_ready: Option<&'m str>,
    stream: Stream,
) -> Vec<(Marker, &'m [u8])> {
    let ready = shell_ready.map(|text| (Marker::ShellReady, text.as_bytes()));
    ready.into_iter().chain(prompts.markers(stream)).collect()
}
