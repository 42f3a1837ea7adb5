//! The password prompts that sudo and su may print before a stub is there, and their markers.

use crate::{prompter::SecretRequest, transport::End};

/// A password prompt of one hop.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    /// The prompt as the hop prints it, on stdout or stderr. Where the hop takes a prompt (`sudo
    /// -p`), it carries a nonce of this hop and run, so that nothing else prints the same: not the
    /// next hop either.
    pub(crate) text: String,
    /// For a prompt that anything may print: the prompt counts between these.
    pub(crate) bounds: Option<Bounds>,
    /// The question for the callback; its attempt is filled in.
    pub(crate) request: SecretRequest,
    /// The hops before this one.
    pub(crate) via: Vec<String>,
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
    /// A prompt asks for its secret.
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

/// The prompts of all hops, outermost first, and the state of each.
#[derive(Debug)]
pub(super) struct Prompts {
    prompts: Vec<Prompt>,
    /// How often each prompt has been printed.
    asked: Vec<u32>,
    stdout: Vec<State>,
    stderr: Vec<State>,
}

impl Prompts {
    pub(super) fn new(prompts: Vec<Prompt>) -> Self {
        let states = vec![State::NotBegun; prompts.len()];
        let asked = vec![0; prompts.len()];
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
            match (state, &prompt.bounds) {
                (State::NotBegun, Some(bounds)) => {
                    markers.push((Marker::Begin(index), bounds.begin.as_bytes()));
                }
                (State::Over, _) => {}
                (_, bounds) => {
                    markers.push((Marker::Ask(index), prompt.text.as_bytes()));
                    if let Some(bounds) = bounds {
                        markers.push((Marker::End(index), bounds.end.as_bytes()));
                    }
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

    /// Takes note of a [`Marker::Ask`]: the question, and the hops before the one that asks.
    pub(super) fn ask(&mut self, index: usize) -> Option<(SecretRequest, &[String])> {
        let asked = self.asked.get_mut(index)?;
        *asked += 1;
        let prompt = self.prompts.get(index)?;
        let request = SecretRequest { attempt: *asked, ..prompt.request.clone() };
        Some((request, &prompt.via))
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
        let is_pending = |(index, prompt): (usize, &Prompt)| match prompt.bounds {
            Some(_) => ![&self.stdout, &self.stderr]
                .iter()
                .any(|states| states.get(index) == Some(&State::Over)),
            None => since_answer == Some("") && !matches!(end, End::Code(_)),
        };
        let asked = self.prompts.iter().enumerate().zip(&self.asked);
        asked.filter(|(_, asked)| **asked > 0).any(|(prompt, _)| is_pending(prompt))
    }

    /// Text without the prompts and their bounds, which carry nonces.
    pub(super) fn remove_from(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for Prompt { text: prompt, bounds, .. } in &self.prompts {
            if let Some(Bounds { begin, end }) = bounds {
                text = text.replace(begin.trim(), "").replace(end.trim(), "");
            }
            text = text.replace(prompt.trim(), "");
        }
        text
    }
}
