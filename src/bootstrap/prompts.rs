//! The questions that sudo and su may ask before a stub is there, and their markers.

use crate::{
    prompter::{SecretKind, SecretRequest},
    text::one_line,
    transport::End,
};

/// The questions of one hop.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    pub(crate) form: Form,
    /// The question for the password, for the callback; its attempt is filled in.
    pub(crate) request: SecretRequest,
    /// The hop, and whom it makes: `sudo: (to become root)`.
    pub(crate) asker: String,
    /// The hops before this one.
    pub(crate) via: Vec<String>,
}

/// The form of a hop's questions, on stdout or stderr.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Every question has this text, whatever it asks for (`sudo -p`). It carries a nonce of this hop
    /// and run, so that nothing else prints the same: not the next hop either.
    Marked(String),
    /// A question is any beginning of a line that ends like one, and that anything may print: it
    /// counts between these.
    Between(Bounds),
}

impl Form {
    fn bounds(&self) -> Option<&Bounds> {
        match self {
            Self::Between(bounds) => Some(bounds),
            Self::Marked(_) => None,
        }
    }
}

/// The lines that a hop's wrapper prints, on both streams, before the hop's program starts and
/// after it has let the user in. A prompt past the second line is another program's, which would
/// get the secret.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) begin: String,
    pub(crate) end: String,
}

/// One of the two output streams.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// A text that may be printed before the script's own lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// The shell of an `exec:` hop takes commands.
    ShellReady,
    /// A prompt begins to count.
    Begin(usize),
    /// A hop asks a question.
    Ask(usize),
    /// A prompt counts no more.
    End(usize),
}

/// The state of a prompt on one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NotBegun,
    Active,
    Over,
}

/// The questions that a hop has asked so far.
#[derive(Debug, Clone, Default)]
struct Asked {
    questions: u32,
    /// The attempt that the last question belongs to.
    attempt: u32,
    /// The texts of the questions that have no mark.
    texts: Vec<String>,
}

/// The most questions of one hop: a far end may ask for ever.
const MAX_QUESTIONS: u32 = 16;

/// sudo's words for a wrong password, in its English locale.
const TRY_AGAIN: &str = "Sorry, try again.";

/// The prompts of all hops, outermost first, and the state of each.
#[derive(Debug)]
pub(super) struct Prompts {
    prompts: Vec<Prompt>,
    asked: Vec<Asked>,
    stdout: Vec<State>,
    stderr: Vec<State>,
}

impl Prompts {
    pub(super) fn new(prompts: Vec<Prompt>) -> Self {
        let states = vec![State::NotBegun; prompts.len()];
        let asked = vec![Asked::default(); prompts.len()];
        Self { prompts, asked, stdout: states.clone(), stderr: states }
    }

    /// The markers that count on a stream now, with their texts.
    pub(super) fn markers(&self, stream: Stream) -> Vec<(Marker, &[u8])> {
        let states = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        let mut markers = Vec::new();
        for (index, (prompt, state)) in self.prompts.iter().zip(states).enumerate() {
            match (state, &prompt.form) {
                (State::NotBegun, Form::Between(bounds)) => {
                    markers.push((Marker::Begin(index), bounds.begin.as_bytes()));
                }
                (State::Active, Form::Between(bounds)) => {
                    markers.push((Marker::End(index), bounds.end.as_bytes()));
                }
                (State::Over, Form::Between(_)) => {}
                (_, Form::Marked(text)) => {
                    markers.push((Marker::Ask(index), text.as_bytes()));
                }
            }
        }
        markers
    }

    /// Takes note of a [`Marker::Begin`] or a [`Marker::End`] on a stream.
    pub(super) fn advance(&mut self, stream: Stream, marker: Marker) {
        let (index, state) = match marker {
            Marker::Begin(index) => (index, State::Active),
            Marker::End(index) => (index, State::Over),
            Marker::Ask(_) | Marker::ShellReady => return,
        };
        let states = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if let Some(old) = states.get_mut(index) {
            *old = state;
        }
    }

    /// The hop whose questions have no mark, and count on a stream now.
    pub(super) fn open(&self, stream: Stream) -> Option<usize> {
        let states = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        let mut states = self.prompts.iter().zip(states);
        states.position(|(prompt, state)| {
            *state == State::Active && matches!(prompt.form, Form::Between(_))
        })
    }

    /// Takes note of a question, with its text where it has no mark, and with what the hop has
    /// printed since the last answer. Gives the request, and the hops before the one that asks;
    /// `None` for more questions than a hop may ask.
    pub(super) fn ask(
        &mut self,
        index: usize,
        text: &str,
        since_answer: &str,
    ) -> Option<(SecretRequest, &[String])> {
        let said = self.remove_from(since_answer);
        let asked = self.asked.get_mut(index)?;
        let prompt = self.prompts.get(index)?;
        asked.questions += 1;
        let (said, text) = (said.trim(), text.trim());
        let (is_refused, is_further) = match prompt.form {
            _ if asked.questions == 1 => (false, !text.is_empty() && !is_for_password(text)),
            // A wrong password is always told; the modules of PAM ask one after the other silently.
            Form::Marked(_) => (!said.is_empty(), said.is_empty()),
            // su asks once. A question that comes again was not answered well.
            Form::Between(_) => (asked.texts.iter().any(|old| old == text), !is_for_password(text)),
        };
        asked.attempt += u32::from(is_refused || asked.questions == 1);
        if !text.is_empty() && !asked.texts.iter().any(|old| old == text) {
            asked.texts.push(text.to_owned());
        }
        let asker = &prompt.asker;
        let mut request = SecretRequest { attempt: asked.attempt, ..prompt.request.clone() };
        if is_further {
            request.kind = SecretKind::Interactive;
            request.prompt = match text {
                "" => format!("{asker} asks for more, such as a one-time code: "),
                text => format!("{asker} asks: {} ", one_line(text)),
            };
        } else if is_refused && !said.is_empty() && said != TRY_AGAIN {
            request.prompt = format!("{asker} says: {}; password: ", one_line(said));
        }
        (asked.questions <= MAX_QUESTIONS).then_some((request, &prompt.via))
    }

    /// The hop of a prompt for an error; with the hops before it where its text alone names two.
    pub(super) fn hop(&self, index: usize) -> String {
        let Some(prompt) = self.prompts.get(index) else { return String::new() };
        let hop = &prompt.request.hop;
        let alike = self.prompts.iter().filter(|other| other.request.hop == *hop);
        match alike.count() {
            ..=1 => hop.clone(),
            _ => prompt.via.iter().chain([hop]).map(String::as_str).collect::<Vec<_>>().join(","),
        }
    }

    /// Whether the program of a prompt may still have been judging its answer at the end. It prints
    /// why it refuses: other text since the answer, or an exit code, is of a program that it
    /// started.
    pub(super) fn is_pending(&self, end: &End, since_answer: Option<&str>) -> bool {
        let is_pending = |(index, prompt): (usize, &Prompt)| match prompt.form.bounds() {
            Some(_) => ![&self.stdout, &self.stderr]
                .iter()
                .any(|states| states.get(index) == Some(&State::Over)),
            None => since_answer == Some("") && !matches!(end, End::Code(_)),
        };
        let asked = self.prompts.iter().enumerate().zip(&self.asked);
        asked.filter(|(_, asked)| asked.questions > 0).any(|(prompt, _)| is_pending(prompt))
    }

    /// Text without the questions and their bounds, which carry nonces.
    pub(super) fn remove_from(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (prompt, asked) in self.prompts.iter().zip(&self.asked) {
            match &prompt.form {
                Form::Marked(mark) => text = text.replace(mark.trim(), ""),
                Form::Between(Bounds { begin, end }) => {
                    text = text.replace(begin.trim(), "").replace(end.trim(), "");
                }
            }
            for question in &asked.texts {
                text = text.replace(question.as_str(), "");
            }
        }
        text
    }
}

/// Whether a question of su's is the one for the password, in su's English locale.
fn is_for_password(text: &str) -> bool {
    text == "Password:"
}
