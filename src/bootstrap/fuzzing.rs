//! What a hostile far end says before a stub speaks, for the fuzzers.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how these functions say that they have found something"
)]

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    runtime::Builder,
};

use super::{
    BootScript, Bounds, Form, Preamble, Prompt,
    arch::Arch,
    clean::clean,
    script::Offer,
    source::{Content, Image},
    start_stub,
    stubs::Stub,
};
use crate::{
    connect_context::ConnectContext,
    prompter::{Prompter, Secret, SecretKind, SecretRequest},
    sync::lock,
    text::is_harmful,
    transport::{End, Running},
    wire::{MARKER, MAX_NOISE},
};

const SECRET: &str = "correct-horse";
const MARK: &str = "[nlr-0123456789abcdef] password: ";
const BEGIN: &str = "nlr-begin-0123456789abcdef";
const END: &str = "nlr-end-0123456789abcdef";
const READY: &str = "nlr-ready-0123456789abcdef";
const TYPED: &str = "exec sh -c typed";

/// Bytes of the stub: more than the far end takes at once.
const STUB: usize = 3000;

/// What a far end says at most: its pieces, and the bytes after which it says no more.
const MOST_SAID: (usize, usize) = (64, 8 << 10);

/// The most bytes of an error: a hostile far end fills no terminal.
const MOST_SHOWN: usize = 8 << 10;

/// Plays a far end against the start of a stub, or against the removal of stubs. The first byte
/// chooses what is expected, the others are what the far end says on which stream.
///
/// A password goes only where one is asked for, and never into an error; the stub is sent whole or
/// in part, once, and nothing else is; an error is one harmless, short line; all comes to an end.
pub(crate) fn bootstrap(data: &[u8]) {
    let Some((&setup, said)) = data.split_first() else { return };
    // A runtime that lasts keeps memory, after which the leak sanitizer would look each time.
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(setup, said));
}

async fn play(setup: u8, said: &[u8]) {
    let is = |bit: u8| setup & (1 << bit) != 0;
    let image = Arc::new(Image::new(vec![b'#'; STUB].into()));
    let digest = image.sha256.clone();
    let content = Content::File(PathBuf::new());
    let arch = Arch::named("x86_64").unwrap();
    let stub = Stub { arch, content, arguments: Vec::new(), is_dynamic: is(0) };
    let script = BootScript::offering(vec![Offer { stub, image }], "stubs were found".to_owned());

    let is_clean = is(1);
    let prefix = if is_clean { "nlr-clean ".to_owned() } else { script.prefix() };
    let far = Arc::new(Mutex::new(FarEnd::new(said, &prefix, &digest, usize::from(setup))));
    let end = match setup % 5 {
        0 => End::Code(0),
        1 => End::Code(1),
        2 => End::Code(127),
        3 => End::Signal("KILL".to_owned()),
        _ => End::Unknown,
    };
    let running = Running::new(Stream { far: Arc::clone(&far), is_stderr: false })
        .with_stderr(Stream { far: Arc::clone(&far), is_stderr: true })
        .with_end(std::future::ready(end));
    let prompter = match is(2) {
        true => Prompter::none().on_secret(|_| Some(Secret::new(SECRET.to_owned()))),
        false => Prompter::none(),
    };
    let context = ConnectContext::new(prompter, Duration::from_secs(20));
    let bounds = Bounds { begin: BEGIN.to_owned(), end: END.to_owned() };
    let forms = [Form::Marked(MARK.to_owned()), Form::Between(bounds)];
    let prompts: Vec<_> = forms.into_iter().map(prompt).filter(|_| is(3)).collect();
    let hops = prompts.len();
    let preamble = Preamble {
        script: (!is_clean && is(4)).then_some(&script),
        prompts,
        lines: if is(5) { vec![TYPED.to_owned()] } else { Vec::new() },
        shell_ready: is(6).then(|| READY.to_owned()),
        target: "local:".to_owned(),
    };
    let mut has_stub = false;
    let result = if is_clean {
        clean(running, preamble, &context).await.map(|cleaned| {
            let paths = cleaned.removed.iter().chain(&cleaned.kept);
            paths.for_each(|path| assert!(!path.contains(is_harmful), "{path:?}"));
        })
    } else {
        match start_stub(running, preamble, &context).await {
            Ok((mut stream, report)) => {
                let mut first = [0; MARKER.len()];
                stream.read_exact(&mut first).await.unwrap();
                assert_eq!(first, MARKER);
                has_stub = true;
                drop(report);
                Ok(())
            }
            Err(error) => Err(error),
        }
    };
    if let Err(error) = result {
        let shown = format!("{error:#}");
        assert!(!shown.contains(is_harmful), "{shown:?}");
        assert!(!shown.contains(SECRET) || lock(&far).says_secret, "{shown:?}");
        assert!(shown.len() < MOST_SHOWN, "{} bytes: {shown}", shown.len());
        assert!(error.step().is_some() || is_clean, "{shown}");
    }
    let far = lock(&far);
    let text = String::from_utf8_lossy(&far.written);
    let (lines, sent) = text.split_at(text.find('#').unwrap_or(text.len()));
    let secrets = lines.lines().filter(|line| *line == SECRET).count();
    assert!(secrets <= hops * 16, "{secrets} passwords for {hops} hops");
    assert!(lines.split_inclusive('\n').all(|line| {
        [SECRET, TYPED].iter().any(|known| known.starts_with(line.trim_end_matches('\n')))
    }));
    assert!(lines.lines().filter(|line| *line == TYPED).count() <= 1);
    assert!(sent.bytes().all(|byte| byte == b'#') && sent.len() <= STUB, "{} bytes", sent.len());
    assert!(sent.is_empty() || sent.len() == STUB || !has_stub, "{} bytes", sent.len());
    assert!(is(3) && is(2) || secrets == 0, "nobody has asked");
}

fn prompt(form: Form) -> Prompt {
    let request = SecretRequest {
        kind: SecretKind::Privilege,
        hop: "sudo:".to_owned(),
        prompt: "Password for sudo: ".to_owned(),
        key_file: None,
        echo: false,
        attempt: 1,
    };
    Prompt { form, request, asker: "sudo: (to become root)".to_owned(), via: Vec::new() }
}

/// What is said, in order: whether on stderr, and the bytes.
type Sayings = VecDeque<(bool, Vec<u8>)>;

/// A far end that says one thing after the other, whatever is written to it.
struct FarEnd {
    sayings: Sayings,
    /// The readers that wait for their turn: that of stdout, and that of stderr.
    wakers: [Option<Waker>; 2],
    /// Whether it halts at the end, where others end.
    halts: bool,
    /// Bytes that it takes at once.
    takes: usize,
    written: Vec<u8>,
    says_secret: bool,
}

impl FarEnd {
    fn new(mut said: &[u8], prefix: &str, digest: &str, setup: usize) -> Self {
        let mut sayings = Sayings::new();
        let mut all = Vec::new();
        while let [op, rest @ ..] = said
            && sayings.len() < MOST_SAID.0
            && all.len() <= MOST_SAID.1
        {
            said = rest;
            let bytes = match op / 2 % 20 {
                0 => MARKER.to_vec(),
                1 => prefix.as_bytes().to_vec(),
                2 => format!("{prefix}need {digest} /tmp\r\n").into_bytes(),
                3 => format!("{prefix}fail ").into_bytes(),
                4 => MARK.into(),
                5 => BEGIN.into(),
                6 => END.into(),
                7 => READY.into(),
                8 => b"Password:".to_vec(),
                9 => b"Sorry, try again.\n".to_vec(),
                10 => b"\n".to_vec(),
                11 => {
                    let code = ["arch", "folder", "eof", "io", "sum", "run", "mv", "done"];
                    code[usize::from(op / 40) % code.len()].as_bytes().to_vec()
                }
                12 => format!("{prefix}removed ").into_bytes(),
                13 => format!("{prefix}done\n").into_bytes(),
                // The first piece may be above the limit of what may come.
                14 => {
                    let is_long = op / 40 == 5 && sayings.is_empty();
                    let length = if is_long { MAX_NOISE + 1 } else { 500 };
                    vec![b"a:\n?"[usize::from(op / 40) % 4]; length]
                }
                15 => b"sudo: a password is required\n".to_vec(),
                16 => b"ssh: connect to host h port 22: Connection refused\n".to_vec(),
                _ => {
                    let length = said.first().map_or(0, |length| usize::from(*length) % 64);
                    let literal = said.get(1..).unwrap_or_default();
                    let literal = &literal[..length.min(literal.len())];
                    said = said.get(1 + literal.len()..).unwrap_or_default();
                    literal.to_vec()
                }
            };
            all.extend_from_slice(&bytes);
            if !bytes.is_empty() {
                sayings.push_back((op % 2 == 1, bytes));
            }
        }
        let says_secret = String::from_utf8_lossy(&all).contains(SECRET);
        let (wakers, written) = ([None, None], Vec::new());
        let (halts, takes) = (setup & 128 != 0, 1 + setup % 7 * 200);
        Self { sayings, wakers, halts, takes, written, says_secret }
    }
}

/// One stream of a far end: stdin and stdout, or stderr.
struct Stream {
    far: Arc<Mutex<FarEnd>>,
    is_stderr: bool,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut far = lock(&self.far);
        let is_halted = far.halts && far.sayings.is_empty();
        match far.sayings.front_mut() {
            Some((is_stderr, bytes)) if *is_stderr == self.is_stderr => {
                let length = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..length]);
                bytes.drain(..length);
                if bytes.is_empty() {
                    far.sayings.pop_front();
                    far.wakers.iter_mut().filter_map(Option::take).for_each(Waker::wake);
                }
                Poll::Ready(Ok(()))
            }
            None if !is_halted => Poll::Ready(Ok(())),
            _ => {
                far.wakers[usize::from(self.is_stderr)] = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut far = lock(&self.far);
        let length = bytes.len().min(far.takes);
        far.written.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
