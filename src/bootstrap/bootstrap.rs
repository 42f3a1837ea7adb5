//! The near side of starting a stub: secrets that are asked for on the way, the stub's bytes where
//! the far end wants them, and an error that says what went wrong.

#![forbid(unsafe_code)]

use super::{
    expect::{Event, Near, Reached},
    hints,
    script::Boot,
    stubs::{HOW_TO_BUILD, Payload},
};
use crate::{
    Error, ErrorKind, Origin, Step,
    connect_context::ConnectContext,
    prompter::{Progress, SecretRequest},
    transport::ExitReport,
    transport::{End, Running, running::Tail},
    wire::{MARKER, MAX_NOISE},
};

/// How often the same hop may ask.
const ATTEMPTS: u32 = 3;

/// Bytes of a stub that are written at once.
const PIECE: usize = 32 * 1024;

/// A secret that a hop may want.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    /// What the hop says when it does, on stdout or stderr. Made up for this one hop and run, if
    /// the hop lets one, so that nothing else says the same: not the next hop either.
    pub(crate) marker: String,
    /// What says, on each stream, when the hop begins to listen and when it has done so, for a
    /// marker that others can say too: from then on what is behind the hop would get the secret.
    pub(crate) bounds: Option<(String, String)>,
    /// What to ask; which attempt it is, is filled in.
    pub(crate) request: SecretRequest,
    /// The hops before it.
    pub(crate) way: Vec<String>,
}

/// What may come before the stub.
#[derive(Debug, Clone, Default)]
pub(crate) struct Approach<'a> {
    /// The script that was started, unless a stub itself was.
    pub(crate) boot: Option<&'a Boot>,
    pub(crate) prompts: Vec<Prompt>,
    /// What is to be typed first, for a shell that reads commands from its stdin.
    pub(crate) lines: Vec<String>,
    /// What says that the shell is there; typed earlier, the lines would be taken for a password.
    pub(crate) ready: Option<String>,
    /// The target, for telling progress.
    pub(crate) target: String,
}

/// Goes along with a command until a stub speaks. Nothing but what was asked for is written
/// before: whatever reads there might swallow more than is meant for it.
///
/// # Errors
/// At [`Step::Privilege`] where a password was wrong or is not to be had, or sudo, doas or su
/// refuse for another reason; otherwise at [`Step::Bootstrap`]. [`ErrorKind::Timeout`] where
/// nothing happens for as long as the context allows. What the far end said is shown.
pub(crate) async fn approach(
    running: Running,
    approach: Approach<'_>,
    context: &ConnectContext,
) -> Result<(Reached, ExitReport), Error> {
    let prefix = approach.boot.map(Boot::prefix);
    let mut way = Way::new(running, approach, prefix, context);
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

/// How far it is with a prompt on one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    Listening,
    Behind,
}

/// What may be said on the way to the script.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Ready,
    Begins(usize),
    Asks(usize),
    Ends(usize),
}

/// The marks that count on a stream now.
fn marks<'m>(approach: &'m Approach<'_>, stages: &[Stage]) -> Vec<(Mark, &'m [u8])> {
    let mut marks = Vec::new();
    if let Some(ready) = &approach.ready {
        marks.push((Mark::Ready, ready.as_bytes()));
    }
    for (which, (prompt, stage)) in approach.prompts.iter().zip(stages).enumerate() {
        match (stage, &prompt.bounds) {
            (Stage::Before, Some((begin, _))) => {
                marks.push((Mark::Begins(which), begin.as_bytes()))
            }
            (Stage::Behind, _) => {}
            (_, bounds) => {
                marks.push((Mark::Asks(which), prompt.marker.as_bytes()));
                if let Some((_, end)) = bounds {
                    marks.push((Mark::Ends(which), end.as_bytes()));
                }
            }
        }
    }
    marks
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
    context: &'a ConnectContext,
    /// How often each of the prompts has come.
    asked: Vec<u32>,
    /// How far it is with each of them, on stdout and on stderr.
    stages: [Vec<Stage>; 2],
    sent: Option<&'a Payload>,
    /// What said that the shell to type into is there.
    ready: Option<String>,
    /// The script has said something, so that the way to it is behind.
    there: bool,
}

impl<'a> Way<'a> {
    pub(super) fn new(
        running: Running,
        approach: Approach<'a>,
        prefix: Option<String>,
        context: &'a ConnectContext,
    ) -> Self {
        let mut near = Near::new(running);
        if approach.ready.is_none() {
            approach.lines.iter().for_each(|line| near.type_line(line));
        }
        let asked = vec![0; approach.prompts.len()];
        let stages = [(); 2].map(|()| vec![Stage::Before; asked.len()]);
        let ready = approach.ready.clone();
        Self { near, approach, prefix, context, asked, stages, sent: None, ready, there: false }
    }

    /// Waits for something worth acting upon.
    pub(super) async fn heard(&mut self) -> Result<Heard, Error> {
        let context = self.context;
        let heard = context.step(Step::Bootstrap, self.listen()).await;
        heard.map_err(|error| match error.kind() {
            ErrorKind::Timeout => {
                let limit = context.limit();
                let said = match self.said() {
                    said if said.is_empty() && self.approach.boot.is_some() => {
                        "; does a startup file of its shell wait, or ask for something?".to_owned()
                    }
                    said => said,
                };
                let text = format!("no stub was started there within {limit:?}{said}");
                failed(ErrorKind::Timeout, text).prefix_step(Step::Bootstrap)
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
            // Behind the script's first words nobody asks any more: its stub would be typed into.
            let marks_of = |stages: &[Stage]| match self.there {
                true => Vec::new(),
                false => marks(&self.approach, stages),
            };
            let [out, err] = &self.stages;
            let (of_out, of_err) = (marks_of(out), marks_of(err));
            if let Some((which, at)) = self.near.err.find(of_err.iter().map(|(_, text)| *text)) {
                if let Some(&(mark, text)) = of_err.get(which) {
                    self.near.err.pass(at, text.len());
                    self.heed(mark, 1).await?;
                }
                continue;
            }
            let prefix = self.prefix.as_deref().unwrap_or_default();
            let others = [MARKER.as_slice(), prefix.as_bytes()];
            let all = others.into_iter().chain(of_out.iter().map(|(_, text)| *text));
            match self.near.out.find(all) {
                Some((0, at)) => return Ok(Some(Heard::Marker(at))),
                Some((1, at)) => {
                    let Some(line) = self.near.out.take_line(at) else { return Ok(None) };
                    self.there = true;
                    let line = line.strip_prefix(prefix).unwrap_or(&line).to_owned();
                    return Ok(Some(Heard::Line(line)));
                }
                Some((which, at)) => {
                    if let Some(&(mark, text)) = of_out.get(which - others.len()) {
                        self.near.out.pass(at, text.len());
                        self.heed(mark, 0).await?;
                    }
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

    /// Does what a mark on that stream asks for.
    async fn heed(&mut self, mark: Mark, stream: usize) -> Result<(), Error> {
        let (which, stage) = match mark {
            Mark::Asks(which) => return self.ask(which).await,
            Mark::Ready => {
                // Said on both streams; once is enough.
                if self.approach.ready.take().is_some() {
                    self.approach.lines.iter().for_each(|line| self.near.type_line(line));
                }
                return Ok(());
            }
            Mark::Begins(which) => (which, Stage::Listening),
            Mark::Ends(which) => (which, Stage::Behind),
        };
        if let Some(at) = self.stages.get_mut(stream).and_then(|all| all.get_mut(which)) {
            *at = stage;
        }
        Ok(())
    }

    async fn ask(&mut self, which: usize) -> Result<(), Error> {
        let Some(asked) = self.asked.get_mut(which) else { return Ok(()) };
        *asked += 1;
        let asked = *asked;
        let Some(prompt) = self.approach.prompts.get(which) else { return Ok(()) };
        let hop = self.name(prompt);
        let request = SecretRequest { attempt: asked, ..prompt.request.clone() };
        let context =
            prompt.way.iter().fold(self.context.clone(), |context, hop| context.behind(hop));
        if asked <= ATTEMPTS
            && let Some(secret) = context.secret(request).await
        {
            self.near.since = Some(Tail::default());
            // A second line would be read by whatever comes next.
            self.near.type_line(secret.expose().lines().next().unwrap_or_default());
            return Ok(());
        }
        let text = match asked {
            1 if !self.context.has_secrets() => {
                format!("{hop} wants a password, and nobody is there to be asked for it")
            }
            1 => format!("{hop} wants a password, and none was given"),
            _ => format!("wrong password for {hop}"),
        };
        Err(Error::new(ErrorKind::Connect, text)
            .with_origin(Origin::Caller)
            .prefix_step(Step::Privilege))
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
        let (context, total) = (self.context, image.bytes.len());
        let mut sent = 0;
        self.tell(sent, total);
        while let Some(rest) = image.bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let piece = rest.get(..PIECE).unwrap_or(rest);
            // However long all of it takes, it has to go on.
            let written = context.step(Step::Bootstrap, self.write(piece)).await;
            sent += written.map_err(|error| match error.kind() {
                ErrorKind::Timeout => {
                    let limit = context.limit();
                    let text = format!(
                        "sending the stub has come to a halt: {sent} of {total} bytes, and no more \
                         within {limit:?}{}",
                        self.said()
                    );
                    failed(ErrorKind::Timeout, text).prefix_step(Step::Bootstrap)
                }
                _ => error,
            })?;
            self.tell(sent, total);
        }
        Ok(())
    }

    fn tell(&self, sent: usize, total: usize) {
        let target = self.approach.target.clone();
        self.context.progress(&Progress { target, sent: sent as u64, total: total as u64 });
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
            said => format!("; on the way it said: {}", shortened(&said)),
        };
        failed(ErrorKind::Connect, format!("{text}{said}")).prefix_step(Step::Bootstrap)
    }

    /// The error for an end that came too early.
    async fn ended(&mut self) -> Error {
        let end = self.near.ending().await;
        if let (End::Unknown, Some(fault)) = (&end, &self.near.fault) {
            let text = format!("{fault}, before a stub was started{}", self.said());
            let step = if self.is_asking(&end) { Step::Privilege } else { Step::Bootstrap };
            return failed(ErrorKind::Connect, text).prefix_step(step);
        }
        let said = self.near.tail.text();
        let code = match end {
            End::Code(code) => Some(code),
            _ => None,
        };
        let known = self.known(&said, code);
        let privilege = known.is_some() || self.is_asking(&end);
        // docker says on stdout what it could not do.
        let shown = self.said();
        let meaning = match end {
            End::Code(127) => " (a program on the way, or `sh`, was not found)",
            End::Code(126) => " (a program on the way, or `sh`, may not be executed)",
            _ => "",
        };
        let ssh = hints::of_ssh(&said, code).filter(|_| !self.there && !privilege);
        let told = match self.without_prompts(&said) {
            told if told.is_empty() => None,
            told => Some(shortened(&told)),
        };
        let (text, step) = match (ssh, known, told) {
            // Their own words say all of it.
            (Some((step, remedy)), _, Some(told)) => (format!("{told}{remedy}"), step),
            (_, Some(remedy), Some(told)) if !remedy.is_empty() => {
                (format!("{told}; {remedy}"), Step::Privilege)
            }
            (_, Some(_), Some(told)) => (told, Step::Privilege),
            (_, known, _) => {
                let container = hints::of_container(&shown);
                let remedy = match (self.sent, known, container, shown.as_str()) {
                    (_, Some(remedy), ..) if !remedy.is_empty() => format!("; {remedy}"),
                    (_, _, Some(remedy), _) => format!("; {remedy}"),
                    (Some(payload), ..) if payload.dynamic && !privilege => {
                        format!("; {HOW_TO_BUILD}")
                    }
                    (None, None, None, "") if meaning.is_empty() && !privilege => {
                        match self.approach.boot.is_some() {
                            true => "; can its account run commands, and is nothing in its way?",
                            false => "; is that program a stub?",
                        }
                        .to_owned()
                    }
                    _ => String::new(),
                };
                let text =
                    format!("the far end {end}{meaning} before a stub was started{shown}{remedy}");
                (text, if privilege { Step::Privilege } else { Step::Bootstrap })
            }
        };
        failed(ErrorKind::Connect, text).prefix_step(step)
    }

    /// The hop that asks; with those before it if that alone says which it is.
    fn name(&self, prompt: &Prompt) -> String {
        let hop = &prompt.request.hop;
        let alike = self.approach.prompts.iter().filter(|other| other.request.hop == *hop);
        match alike.count() {
            ..=1 => hop.clone(),
            _ => prompt.way.iter().chain([hop]).map(String::as_str).collect::<Vec<_>>().join(","),
        }
    }

    /// What to do, where sudo, doas or su are the reason for an end.
    fn known(&self, said: &str, code: Option<i32>) -> Option<String> {
        // What was said before the last answer is no reason: an attempt that failed, say.
        let since = self.near.since.as_ref().map(Tail::text);
        let said = since.as_deref().unwrap_or(said);
        hints::of_privilege(said, code).filter(|_| !self.there)
    }

    /// Whether who has asked may have been still at it in the end.
    fn is_asking(&self, end: &End) -> bool {
        let may_ask = |(which, prompt): (usize, &Prompt)| {
            let is_behind = |stages: &Vec<Stage>| stages.get(which) == Some(&Stage::Behind);
            match prompt.bounds {
                Some(_) => !self.stages.iter().any(is_behind),
                // It says why it refuses; so whoever else speaks, or ends by itself, is behind it.
                None => {
                    let is_silent =
                        self.near.since.as_ref().is_some_and(|since| since.text().is_empty());
                    is_silent && !matches!(end, End::Code(_))
                }
            }
        };
        let asked = self.approach.prompts.iter().enumerate().zip(&self.asked);
        !self.there && asked.filter(|(_, asked)| **asked > 0).any(|(prompt, _)| may_ask(prompt))
    }

    /// Prompts were made up here, and mean nothing to anybody.
    fn without_prompts(&self, said: &str) -> String {
        let mut said = said.to_owned();
        let bounds = |prompt: &Prompt| prompt.bounds.clone().map(|(begin, end)| [begin, end]);
        let bounds = self.approach.prompts.iter().filter_map(bounds).flatten();
        let markers = self.approach.prompts.iter().map(|prompt| prompt.marker.clone());
        for mark in bounds.chain(markers).chain(self.ready.clone()) {
            said = said.replace(mark.trim(), "");
        }
        // A terminal or a program that is no shell gives back what was typed.
        for line in &self.approach.lines {
            said = said.replace(line.as_str(), "(what was typed)");
        }
        said.trim().to_owned()
    }

    /// What came instead of a stub, to be put behind an error.
    fn said(&self) -> String {
        let out = shortened(&self.without_prompts(&self.near.out.text()));
        let err = shortened(&self.without_prompts(&self.near.tail.text()));
        match (out.as_str(), err.as_str()) {
            ("", "") => String::new(),
            ("", said) | (said, "") => format!("; it said: {said}"),
            (out, err) => format!("; it said: {err}; and on stdout: {out}"),
        }
    }
}

/// The beginning and the end of a long text: what matters is mostly there.
fn shortened(text: &str) -> String {
    const BEGIN: usize = 200;
    const END: usize = 400;
    let length = text.chars().count();
    if length <= BEGIN + END {
        return text.to_owned();
    }
    let begin: String = text.chars().take(BEGIN).collect();
    let end: String = text.chars().skip(length - END).collect();
    format!("{} ... {}", begin.trim_end(), end.trim_start())
}

fn failed(kind: ErrorKind, text: String) -> Error {
    Error::new(kind, text)
}
