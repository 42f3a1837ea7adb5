//! The near side of starting a stub: secrets that are asked for on the way, the stub's bytes where
//! the far end wants them, and an error that says what went wrong.

#![forbid(unsafe_code)]

use super::{
    boot::Boot,
    near::{Event, Near, Reached},
    remedies,
    stubs::{HOW_TO_BUILD, Payload},
};
use crate::{
    Error, ErrorKind, Origin, Step,
    ask::{Guide, Progress, SecretRequest},
    client::Epitaph,
    transport::{End, Running},
    wire::{MARKER, MAX_NOISE},
};

/// How often the same hop may ask.
const ATTEMPTS: u32 = 3;

/// Bytes of a stub that are written at once.
const PIECE: usize = 32 * 1024;

/// A secret that a hop may want.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    /// What the hop says when it does, on stdout or stderr. Made up for this one run, so that
    /// nothing else says the same.
    pub(crate) marker: String,
    /// What to ask; which attempt it is, is filled in.
    pub(crate) request: SecretRequest,
}

/// What may come before the stub.
#[derive(Debug, Clone, Default)]
pub(crate) struct Approach<'a> {
    /// The script that was started, unless a stub itself was.
    pub(crate) boot: Option<&'a Boot>,
    pub(crate) prompts: Vec<Prompt>,
    /// What is to be typed first, for a shell that reads commands from its stdin.
    pub(crate) lines: Vec<String>,
    /// The target, for telling progress.
    pub(crate) target: String,
}

/// Goes along with a command until a stub speaks. Nothing but what was asked for is written
/// before: whatever reads there might swallow more than is meant for it.
///
/// # Errors
/// At [`Step::Privilege`] where a password was wrong or is not to be had, or sudo, doas or su
/// refuse for another reason; otherwise at [`Step::Bootstrap`]. [`ErrorKind::Timeout`] where
/// nothing happens for as long as the guide allows. What the far end said is shown.
pub(crate) async fn approach(
    running: Running,
    approach: Approach<'_>,
    guide: &Guide,
) -> Result<(Reached, Epitaph), Error> {
    let prefix = approach.boot.map(Boot::prefix);
    let mut way = Way::new(running, approach, prefix, guide);
    let heard = way.heard().await?;
    let at = match heard {
        Heard::Marker(at) => at,
        Heard::Line(line) => {
            way.answer(&line).await?;
            match way.heard().await? {
                Heard::Marker(at) => at,
                Heard::Line(line) => return Err(way.refused(&line).await),
            }
        }
    };
    Ok(way.near.into_stub(at))
}

/// What is worth acting upon.
pub(super) enum Heard {
    /// The stub's marker, and where in stdout it begins.
    Marker(usize),
    /// A line of the script's, without what all of them begin with.
    Line(String),
}

/// The way so far.
pub(super) struct Way<'a> {
    near: Near,
    approach: Approach<'a>,
    /// What the lines to be heard begin with.
    prefix: Option<String>,
    guide: &'a Guide,
    /// How often each of the prompts has come.
    asked: Vec<u32>,
    sent: Option<&'a Payload>,
    /// The script has said something, so that the way to it is behind.
    there: bool,
}

impl<'a> Way<'a> {
    pub(super) fn new(
        running: Running,
        approach: Approach<'a>,
        prefix: Option<String>,
        guide: &'a Guide,
    ) -> Self {
        let near = Near::new(running, &approach.lines);
        let asked = vec![0; approach.prompts.len()];
        Self { near, approach, prefix, guide, asked, sent: None, there: false }
    }

    /// Waits for something worth acting upon.
    pub(super) async fn heard(&mut self) -> Result<Heard, Error> {
        let guide = self.guide;
        let heard = guide.step(Step::Bootstrap, self.listen()).await;
        heard.map_err(|error| match error.kind() {
            ErrorKind::Timeout => {
                let limit = guide.limit();
                let text = format!("no stub was started there within {limit:?}{}", self.said());
                failed(ErrorKind::Timeout, text).at(Step::Bootstrap)
            }
            _ => error,
        })
    }

    async fn listen(&mut self) -> Result<Heard, Error> {
        loop {
            if let Some(heard) = self.judge().await? {
                return Ok(heard);
            }
            if let Event::Ended = self.near.next(&[]).await {
                return Err(self.ended().await);
            }
        }
    }

    /// Looks at what has been read, and answers what asks for a secret.
    async fn judge(&mut self) -> Result<Option<Heard>, Error> {
        loop {
            let prompts = || self.approach.prompts.iter().map(|prompt| prompt.marker.as_bytes());
            if let Some((which, at)) = self.near.err.find(prompts()) {
                let length = prompts().nth(which).map_or(0, <[u8]>::len);
                self.near.err.pass(at, length);
                self.ask(which).await?;
                continue;
            }
            let prefix = self.prefix.as_deref().unwrap_or_default();
            let others = [MARKER.as_slice(), prefix.as_bytes()];
            match self.near.out.find(others.into_iter().chain(prompts())) {
                Some((0, at)) => return Ok(Some(Heard::Marker(at))),
                Some((1, at)) => {
                    let Some(line) = self.near.out.take_line(at) else { return Ok(None) };
                    self.there = true;
                    let line = line.strip_prefix(prefix).unwrap_or(&line).to_owned();
                    return Ok(Some(Heard::Line(line)));
                }
                Some((which, at)) => {
                    let which = which - others.len();
                    let length = prompts().nth(which).map_or(0, <[u8]>::len);
                    self.near.out.pass(at, length);
                    self.ask(which).await?;
                }
                None if self.near.out.seen > MAX_NOISE => {
                    let text = format!(
                        "more than {MAX_NOISE} bytes of text came before a stub was started; \
                         make the shell's startup files there silent{}",
                        self.said()
                    );
                    return Err(failed(ErrorKind::Handshake, text));
                }
                None => return Ok(None),
            }
        }
    }

    async fn ask(&mut self, which: usize) -> Result<(), Error> {
        let (Some(prompt), Some(asked)) =
            (self.approach.prompts.get(which), self.asked.get_mut(which))
        else {
            return Ok(());
        };
        *asked += 1;
        let hop = &prompt.request.hop;
        let request = SecretRequest { attempt: *asked, ..prompt.request.clone() };
        if *asked <= ATTEMPTS
            && let Some(secret) = self.guide.secret(request).await
        {
            // A second line would be read by whatever comes next.
            self.near.type_secret(secret.expose().lines().next().unwrap_or_default());
            return Ok(());
        }
        let text = match *asked {
            1 if !self.guide.has_secrets() => {
                format!("{hop} wants a password, and nobody is there to be asked for it")
            }
            1 => format!("{hop} wants a password, and none was given"),
            _ => format!("wrong password for {hop}"),
        };
        Err(Error::new(ErrorKind::Connect, Origin::Caller, None, text).at(Step::Privilege))
    }

    /// Does what a line of the script's asks for.
    async fn answer(&mut self, line: &str) -> Result<(), Error> {
        let wanted = line.strip_prefix("need ").and_then(|rest| rest.split(' ').next());
        let boot = self.approach.boot;
        let Some((payload, image)) = wanted.zip(boot).and_then(|(wanted, boot)| boot.offer(wanted))
        else {
            return Err(self.refused(line).await);
        };
        self.sent = Some(payload);
        let (guide, total) = (self.guide, image.bytes.len());
        let mut sent = 0;
        self.tell(sent, total);
        while let Some(rest) = image.bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let piece = rest.get(..PIECE).unwrap_or(rest);
            // However long all of it takes, it has to go on.
            let written = guide.step(Step::Bootstrap, self.write(piece)).await;
            sent += written.map_err(|error| match error.kind() {
                ErrorKind::Timeout => {
                    let limit = guide.limit();
                    let text = format!(
                        "sending the stub has come to a halt: {sent} of {total} bytes, and no more \
                         within {limit:?}{}",
                        self.said()
                    );
                    failed(ErrorKind::Timeout, text).at(Step::Bootstrap)
                }
                _ => error,
            })?;
            self.tell(sent, total);
        }
        Ok(())
    }

    fn tell(&self, sent: usize, total: usize) {
        let target = self.approach.target.clone();
        self.guide.progress(&Progress { target, sent: sent as u64, total: total as u64 });
    }

    async fn write(&mut self, piece: &[u8]) -> Result<usize, Error> {
        loop {
            match self.judge().await? {
                Some(Heard::Line(line)) => return Err(self.refused(&line).await),
                Some(Heard::Marker(_)) => {
                    let text = "the far end speaks before it has all of the stub";
                    return Err(failed(ErrorKind::Handshake, text.to_owned()));
                }
                None => {}
            }
            match self.near.next(piece).await {
                Event::Written(length) => return Ok(length),
                Event::Read => {}
                Event::Ended => return Err(self.ended().await),
            }
        }
    }

    /// The error for a line that is no request. The script ends by itself behind one, and is left
    /// the time to.
    pub(super) async fn refused(&mut self, line: &str) -> Error {
        self.near.ending().await;
        let text = match (line.strip_prefix("fail "), self.approach.boot) {
            (Some(why), Some(boot)) => boot.failure(why, self.sent),
            _ => format!("the far end said what makes no sense: {line}"),
        };
        // What came on stdout before is of no interest: the script itself has spoken.
        let said = match self.without_prompts(&self.near.tail.text()) {
            said if said.is_empty() => said,
            said => format!("; on the way it said: {said}"),
        };
        failed(ErrorKind::Connect, format!("{text}{said}")).at(Step::Bootstrap)
    }

    /// The error for an end that came too early.
    async fn ended(&mut self) -> Error {
        let end = self.near.ending().await;
        let said = self.near.tail.text();
        let code = match end {
            End::Code(code) => Some(code),
            _ => None,
        };
        let known = remedies::of_privilege(&said, code).filter(|_| !self.there);
        let asked = self.asked.iter().any(|&asked| asked > 0);
        let privilege = !self.there && (asked || known.is_some());
        // docker says on stdout what it could not do.
        let shown = self.said();
        let meaning = match end {
            End::Code(127) => " (a program on the way, or `sh`, was not found)",
            End::Code(126) => " (a program on the way, or `sh`, may not be executed)",
            _ => "",
        };
        let remedy = match (self.sent, known) {
            (_, Some(remedy)) if !remedy.is_empty() => format!("; {remedy}"),
            _ if let Some(remedy) = remedies::of_container(&shown) => format!("; {remedy}"),
            (Some(payload), _) if payload.dynamic && !privilege => format!("; {HOW_TO_BUILD}"),
            _ => String::new(),
        };
        let text = format!("the far end {end}{meaning} before a stub was started{shown}{remedy}");
        let step = if privilege { Step::Privilege } else { Step::Bootstrap };
        failed(ErrorKind::Connect, text).at(step)
    }

    /// Prompts were made up here, and mean nothing to anybody.
    fn without_prompts(&self, said: &str) -> String {
        let mut said = said.to_owned();
        for prompt in &self.approach.prompts {
            said = said.replace(prompt.marker.trim(), "");
        }
        said.trim().to_owned()
    }

    /// What came instead of a stub, to be put behind an error.
    fn said(&self) -> String {
        let out = self.without_prompts(&self.near.out.text());
        let err = self.without_prompts(&self.near.tail.text());
        match (out.as_str(), err.as_str()) {
            ("", "") => String::new(),
            ("", said) | (said, "") => format!("; it said: {said}"),
            (out, err) => format!("; it said: {err}; and on stdout: {out}"),
        }
    }
}

fn failed(kind: ErrorKind, text: String) -> Error {
    Error::new(kind, Origin::Peer, None, text)
}
