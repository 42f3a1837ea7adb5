//! The questions of the program `ssh` on this host, which come by the helper of
//! [`serve_askpass_if_asked`](crate::prompter::serve_askpass_if_asked).

use std::{
    collections::HashMap,
    fs,
    future::Future,
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    process::Command,
    sync::OnceCell,
    time::timeout,
};
use tracing::debug;
use zeroize::Zeroizing;

use super::hop::Hop;
use crate::{
    Error, ErrorKind, Origin, Step,
    bootstrap::nonce,
    connect_context::ConnectContext,
    prompter::{HostKeyQuestion, SecretKind, SecretRequest, askpass},
};

/// The first OpenSSH that marks the words of a server, by `(user@host) ` before them. In an older
/// one a server can ask as ssh itself does, for the passphrase of a key.
const OLDEST: (u32, u32) = (8, 5);

/// The most questions of one start of ssh: a server may ask for ever, and a callback may answer.
const MAX_QUESTIONS: u32 = 64;

/// The time in which a helper says its question.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket at which helpers ask, for one target.
pub(super) struct Askpass {
    /// `openssh://` hops alone, of which all but the last are jump hosts.
    hops: Vec<Hop>,
    listener: UnixListener,
    name: String,
    program: &'static Path,
    /// Whether the prompter answers. Otherwise every ssh that asks is ended: `BatchMode` does not
    /// reach the ssh of a jump host, which would send an empty password.
    is_answered: bool,
    /// Only for the age of ssh it does not.
    is_old: bool,
}

impl Askpass {
    /// Listens for the questions of an ssh; `None` where the program is no helper.
    pub(super) async fn listen(
        hops: Vec<Hop>,
        context: &ConnectContext,
    ) -> Result<Option<Self>, Error> {
        let Some(program) = askpass::program() else { return Ok(None) };
        let name = format!("netlink-remote-{}{}", nonce(), nonce());
        let bound = SocketAddr::from_abstract_name(&name)
            .and_then(|address| std::os::unix::net::UnixListener::bind_addr(&address))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(UnixListener::from_std);
        let listener = bound.map_err(|error| {
            Error::new(ErrorKind::Connect, "listening for the questions of ssh").with_source(error)
        })?;
        let is_old = context.has_secrets() && !is_new_enough().await;
        let is_answered = context.has_secrets() && !is_old;
        Ok(Some(Self { hops, listener, name, program, is_answered, is_old }))
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Makes an ssh, and those that it starts, ask here and nowhere else.
    pub(super) fn attach(&self, command: &mut Command) {
        command.env("SSH_ASKPASS", self.program).env("SSH_ASKPASS_REQUIRE", "force");
        command.env(askpass::VARIABLE, &self.name);
    }

    /// Answers questions while `work` goes on. The error for a question without an answer comes
    /// before that of an ssh that has ended for it.
    pub(super) async fn during<T>(
        &self,
        context: &ConnectContext,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let done = tokio::select! {
            biased;
            error = self.answer_all(context) => Err(error),
            done = work => done,
        };
        done.map_err(|error| match error.step() {
            Some(Step::Authentication) if self.is_old => error.with_note(&format!(
                "; an ssh before OpenSSH {}.{} asks nothing here, since a server could ask in its \
                 words: use an agent, or `ssh:` in place of `openssh:`",
                OLDEST.0, OLDEST.1
            )),
            _ => error,
        })
    }

    /// Answers until a question has no answer.
    async fn answer_all(&self, context: &ConnectContext) -> Error {
        let mut asked = Asked::default();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                // EMFILE, say: the helper waits in the queue.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Anybody on this host may connect to an abstract socket.
            let Ok(peer) = stream.peer_cred() else { continue };
            if peer.uid() != nix::unistd::geteuid().as_raw() {
                continue;
            }
            let ssh = peer.pid().and_then(parent_of);
            let is_jump = ssh.and_then(parent_of) != Some(std::process::id().cast_signed());
            let asker = Asker { hops: &self.hops, context, ssh: ssh.unwrap_or_default(), is_jump };
            if let Err(error) = self.answer(stream, &asker, &mut asked).await {
                return error;
            }
        }
    }

    /// Answers one question. Dropping the stream without an answer ends the ssh that asks.
    async fn answer(
        &self,
        mut stream: UnixStream,
        asker: &Asker<'_>,
        asked: &mut Asked,
    ) -> Result<(), Error> {
        let mut text = String::new();
        let mut reader = (&mut stream).take(askpass::LONGEST);
        if !matches!(timeout(PATIENCE, reader.read_to_string(&mut text)).await, Ok(Ok(_))) {
            return Ok(());
        }
        let question = Question::parse(&text);
        debug!(?question, is_jump = asker.is_jump, "ssh asks");
        let bytes = match &question {
            Question::Secret { kind, account, key_file } => {
                let (hop, context) = asker.place(account.as_deref());
                let attempt = asked.attempt(asker.ssh, *kind, &text);
                let request = SecretRequest {
                    kind: *kind,
                    hop,
                    prompt: text.trim_start().to_owned(),
                    key_file: key_file.map(Into::into),
                    echo: false,
                    attempt,
                };
                let secret = match self.is_answered && asked.count <= MAX_QUESTIONS {
                    true => context.secret(request).await,
                    false => None,
                };
                match (secret, key_file) {
                    (Some(secret), _) => Zeroizing::new(secret.expose().as_bytes().to_vec()),
                    // ssh takes an empty passphrase for none, and goes on to the next key.
                    (None, Some(_)) => Zeroizing::default(),
                    (None, None) => return Err(self.unanswered(&question, attempt)),
                }
            }
            Question::HostKey { host, key_type, fingerprint } => {
                let (hop, context) = asker.place(None);
                let question = HostKeyQuestion {
                    hop,
                    host: (*host).to_owned(),
                    key_type: (*key_type).to_owned(),
                    fingerprint: (*fingerprint).to_owned(),
                };
                let accepted = context.host_key(question).await;
                Zeroizing::new(if accepted { b"yes".to_vec() } else { b"no".to_vec() })
            }
            Question::Decision => Zeroizing::new(b"no".to_vec()),
            Question::Unknown => return Err(self.unanswered(&question, 1)),
        };
        let _ = stream.write_all(&[askpass::GIVEN]).await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        Ok(())
    }

    fn unanswered(&self, question: &Question<'_>, attempt: u32) -> Error {
        let thing = match question {
            Question::Secret { kind: SecretKind::Interactive, account: Some(account), .. } => {
                format!("an answer to a question of {account}")
            }
            Question::Secret { account: Some(account), .. } => {
                format!("the password of {account}")
            }
            Question::Secret { .. } => "a PIN".to_owned(),
            _ => "an answer that this program does not know".to_owned(),
        };
        let thing = crate::text::one_line(&thing).into_owned();
        let text = match attempt {
            1 if !self.is_answered => {
                format!("ssh needs {thing}, and nobody can be asked")
            }
            1 => format!("ssh needs {thing}, and none was given"),
            _ => format!("ssh needs {thing}; what was given was refused"),
        };
        Error::new(ErrorKind::Connect, text)
            .with_origin(Origin::Caller)
            .prefix_step(Step::Authentication)
    }
}

/// The ssh that asks.
struct Asker<'a> {
    hops: &'a [Hop],
    context: &'a ConnectContext,
    /// Its pid.
    ssh: i32,
    /// It is no child of this process, but of the ssh that jumps by it.
    is_jump: bool,
}

impl Asker<'_> {
    /// The hop that asks, and the context with the hops before it. A jump host may be one of ssh's
    /// configuration, and has the name that ssh gives it.
    fn place(&self, account: Option<&str>) -> (String, ConnectContext) {
        match self.hops.split_last() {
            Some((last, jumps)) if !self.is_jump => {
                let through = |context: ConnectContext, hop: &Hop| context.through(hop);
                (last.to_string(), jumps.iter().fold(self.context.clone(), through))
            }
            _ => {
                let account = account.unwrap_or("a jump host");
                (format!("openssh://{account}"), self.context.clone())
            }
        }
    }
}

/// The questions so far, each by the pid of the ssh that asks.
#[derive(Default)]
struct Asked {
    count: u32,
    texts: HashMap<(i32, String), u32>,
    /// Those that have held a conversation, which comes before the method `password`.
    conversed: HashMap<i32, u32>,
}

impl Asked {
    /// The attempt that a question belongs to. ssh asks in the same words again where an answer was
    /// refused, and by another method.
    fn attempt(&mut self, ssh: i32, kind: SecretKind, text: &str) -> u32 {
        self.count += 1;
        let times = self.texts.entry((ssh, text.to_owned())).or_default();
        *times += 1;
        let conversed = self.conversed.entry(ssh).or_default();
        match kind {
            SecretKind::Interactive => {
                *conversed = (*conversed).max(*times);
                *conversed
            }
            SecretKind::Password => *conversed + *times,
            _ => *times,
        }
    }
}

/// A question of ssh's, from its text: OpenSSH has no other language.
#[derive(Debug, PartialEq, Eq)]
enum Question<'a> {
    Secret {
        kind: SecretKind,
        account: Option<String>,
        key_file: Option<&'a str>,
    },
    HostKey {
        host: &'a str,
        key_type: &'a str,
        fingerprint: &'a str,
    },
    /// About anything else, with yes or no.
    Decision,
    Unknown,
}

impl<'a> Question<'a> {
    fn parse(text: &'a str) -> Self {
        let secret = |kind, account: Option<&str>, key_file| {
            let account = account.map(str::to_owned);
            Self::Secret { kind, account, key_file }
        };
        // First: what follows are the words of the server.
        if let Some(rest) = text.strip_prefix('(') {
            return match rest.split_once(") ") {
                Some((account, _)) if account.contains('@') => {
                    secret(SecretKind::Interactive, Some(account), None)
                }
                _ => Self::Unknown,
            };
        }
        if let Some(rest) = text.strip_prefix("Enter passphrase for key '") {
            return match rest.rsplit_once("': ") {
                Some((file, "")) => secret(SecretKind::Passphrase, None, Some(file)),
                _ => Self::Unknown,
            };
        }
        if text.starts_with("Enter PIN for ") {
            return secret(SecretKind::Passphrase, None, None);
        }
        if let Some(account) = text.strip_suffix("'s password: ").filter(|text| is_account(text)) {
            return secret(SecretKind::Password, Some(account), None);
        }
        if let Some(rest) = text.strip_prefix("The authenticity of host '") {
            return Self::host_key(rest).unwrap_or(Self::Decision);
        }
        let is_decision = text.contains("(yes/no") || text.starts_with("Please type 'yes', 'no'");
        if is_decision { Self::Decision } else { Self::Unknown }
    }

    fn host_key(rest: &'a str) -> Option<Self> {
        let (host, rest) = rest.split_once('\'')?;
        // `host (address)`, or `[host]:port ([address]:port)`.
        let host = host.split_once(" (").map_or(host, |(name, _)| name);
        let (before, rest) = rest.split_once(" key fingerprint is ")?;
        let key_type = before.lines().next_back()?;
        let fingerprint = rest.lines().next()?.trim_end_matches('.');
        Some(Self::HostKey { host, key_type, fingerprint })
    }
}

fn is_account(text: &str) -> bool {
    text.contains('@') && !text.contains(char::is_whitespace)
}

/// The parent of a process, from proc_pid_stat(5).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name, may hold anything.
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Whether the program ssh marks the words of servers, by its own word: `OpenSSH_9.2p1 Debian-2`.
async fn is_new_enough() -> bool {
    static VERSION: OnceCell<Option<(u32, u32)>> = OnceCell::const_new();
    let ask = async || {
        let output = Command::new("ssh").arg("-V").stdin(Stdio::null()).kill_on_drop(true).output();
        let version = match timeout(PATIENCE, output).await {
            Ok(Ok(output)) => version(&String::from_utf8_lossy(&output.stderr)),
            _ => None,
        };
        debug!(?version, "version of ssh");
        version
    };
    VERSION.get_or_init(ask).await.is_some_and(|version| version >= OLDEST)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("OpenSSH_")?.split_once('.')?;
    let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_told_by_its_words() {
        let secret = |kind, account: Option<&str>, key_file| Question::Secret {
            kind,
            account: account.map(str::to_owned),
            key_file,
        };
        let key = "The authenticity of host '[h]:2222 ([10.2.0.2]:2222)' can't be established.\n\
                   ED25519 key fingerprint is SHA256:abc+/.\nThis key is not known by any other \
                   names.\nAre you sure you want to continue connecting (yes/no/[fingerprint])? ";
        for (text, expected) in [
            ("ci@h's password: ", secret(SecretKind::Password, Some("ci@h"), None)),
            (
                "Enter passphrase for key '/home/me/.ssh/a'b': ",
                secret(SecretKind::Passphrase, None, Some("/home/me/.ssh/a'b")),
            ),
            ("(ci@h) Password: ", secret(SecretKind::Interactive, Some("ci@h"), None)),
            // A server that asks as ssh does.
            (
                "(ci@h) Enter passphrase for key '/home/me/.ssh/id': ",
                secret(SecretKind::Interactive, Some("ci@h"), None),
            ),
            ("(ci@h) x@y's password: ", secret(SecretKind::Interactive, Some("ci@h"), None)),
            ("Say x@y's password: ", Question::Unknown),
            ("Enter PIN for ED25519-SK key /a: ", secret(SecretKind::Passphrase, None, None)),
            (
                key,
                Question::HostKey {
                    host: "[h]:2222",
                    key_type: "ED25519",
                    fingerprint: "SHA256:abc+/",
                },
            ),
            ("Please type 'yes', 'no' or the fingerprint: ", Question::Decision),
            ("Accept updated hostkeys? (yes/no): ", Question::Decision),
            ("Password: ", Question::Unknown),
            ("Enter ci@h's new password: ", Question::Unknown),
            ("", Question::Unknown),
        ] {
            assert_eq!(Question::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(version("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19"), Some((9, 2)));
        assert_eq!(version("OpenSSH_10.0p2, LibreSSL"), Some((10, 0)));
        assert_eq!(version("Dropbear v2022.83"), None);
    }

    #[test]
    fn a_refusal_is_told_by_the_same_words_again() {
        let mut asked = Asked::default();
        let mut attempt = |kind, text| asked.attempt(7, kind, text);
        assert_eq!(attempt(SecretKind::Interactive, "(ci@h) Password: "), 1);
        assert_eq!(attempt(SecretKind::Interactive, "(ci@h) Code: "), 1);
        assert_eq!(attempt(SecretKind::Interactive, "(ci@h) Password: "), 2);
        assert_eq!(attempt(SecretKind::Interactive, "(ci@h) Code: "), 2);
        assert_eq!(attempt(SecretKind::Password, "ci@h's password: "), 3);
        assert_eq!(attempt(SecretKind::Passphrase, "Enter passphrase for key '/k': "), 1);
        assert_eq!(asked.attempt(8, SecretKind::Password, "ci@h's password: "), 1);
    }
}
