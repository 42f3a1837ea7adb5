//! Questions while connecting: put on the terminal or to an askpass program, or answered from a
//! file descriptor. And the progress of sending a stub.
//!
//! A secret is never an argument nor an environment variable: both are readable in /proc.

mod connecting;
mod given;

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    mem,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        termios::{SetArg, Termios, tcgetattr, tcsetattr},
    },
    unistd::getpid,
};
use zeroize::Zeroizing;

use self::{connecting::Connecting, given::Given};
use super::{
    connection::ConnectionArgs,
    failure::{Failure, warn},
    progress,
};
use netlink_remote::{
    Error, Origin, Prompter, Secret, Step, Target,
    errno::words,
    prompter::{HostKeyQuestion, Notice, SecretKind, SecretRequest},
    text::{lines, one_line},
};

/// The questions of connecting, and who answers them.
pub(crate) struct Questions {
    pub(crate) prompter: Prompter,
    /// The lines of `--password-fd`.
    given: Option<Arc<Given>>,
    /// Nobody answers.
    is_quiet: bool,
    connecting: Connecting,
}

impl Questions {
    /// The questions on the way to targets, answered as the command line asks for.
    pub(crate) fn new(connection: &ConnectionArgs, targets: &[Target]) -> Result<Self, Failure> {
        let connecting = Connecting::new();
        let reporter = connecting.reporter();
        let prompter = Prompter::none().on_notice(show_notice).on_progress({
            let reporter = reporter.clone();
            move |progress| reporter.report(progress)
        });
        if let Some(fd) = connection.password_fd {
            hide_memory();
            let given = Arc::new(Given::read(fd, targets)?);
            let lines = Arc::clone(&given);
            let prompter = prompter.on_secret(move |request| {
                let mut answer = lines.answer(&request.into())?;
                Some(Secret::new(mem::take(&mut *answer)))
            });
            return Ok(Self { prompter, given: Some(given), is_quiet: false, connecting });
        }
        let answered =
            |prompter, connecting| Ok(Self { prompter, given: None, is_quiet: false, connecting });
        if let Some(program) = askpass_program(connection) {
            let prompter = prompter.on_secret(move |request| askpass(&program, request));
            return answered(prompter, connecting);
        }
        if connection.batch || terminal().is_err() {
            return Ok(Self { prompter, given: None, is_quiet: true, connecting });
        }
        let told = Mutex::new(None);
        let (of_secrets, of_keys) = (reporter.clone(), reporter);
        let prompter = prompter
            .on_secret(move |request| of_secrets.asking(|| secret_from_terminal(request, &told)));
        let prompter =
            prompter.on_host_key(move |question| of_keys.asking(|| confirm_host_key(question)));
        answered(prompter, connecting)
    }

    /// Forgets the secrets that were given for connecting.
    pub(crate) fn forget(&self) {
        if let Some(given) = &self.given {
            given.forget();
        }
    }

    /// Ends the line about the progress of connecting.
    pub(crate) fn connected(&self) {
        self.connecting.done();
    }

    /// The failure of an attempt to connect, with a remedy for a question that was not answered.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        let is_unasked = (error.origin(), error.step()) == (Origin::Caller, Some(Step::Privilege));
        let is_about_secrets = matches!(error.step(), Some(Step::Privilege | Step::Authentication));
        let remedy = match &self.given {
            Some(given) if is_about_secrets => given.remedy(),
            None if self.is_quiet && is_unasked => {
                "; nlr asks on a terminal without --batch, or takes --password-fd or --askpass"
                    .to_owned()
            }
            _ => String::new(),
        };
        Failure::from(error).with_remedy(&remedy)
    }
}

/// Lets no other process of the user read this one's memory, and no core file hold it. Called
/// before a secret is read, and for good: libraries may leave copies.
fn hide_memory() {
    // Fails for no argument that it takes.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// The askpass program of the command line, or of the environment where no other option says who
/// answers.
fn askpass_program(connection: &ConnectionArgs) -> Option<OsString> {
    let variable = || std::env::var_os("NLR_ASKPASS").filter(|_| !connection.batch);
    connection.askpass.clone().or_else(variable).filter(|program| !program.is_empty())
}

/// Bytes of the answer of an askpass program, at most.
const LONGEST_ANSWER: usize = 64 << 10;

/// The terminal while a secret is typed, and its settings before.
static CHANGED: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// The askpass program: none may start once the tool ends.
static ASKING: Mutex<Asking> = Mutex::new(Asking::Nobody);

enum Asking {
    Nobody,
    Program(Child),
    Ended,
}

fn asking() -> MutexGuard<'static, Asking> {
    ASKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest that the end of the tool waits for an askpass program that is just being started, in
/// hundredths of a second: its file may be on a file system that hangs.
const START: u32 = 30;

/// Ends the question that is being asked, if there is one, and any later one: the askpass program is
/// killed, and the terminal gets its settings back.
pub(crate) fn end_question() {
    for _ in 0..START {
        let mut asking = match ASKING.try_lock() {
            Ok(asking) => asking,
            Err(TryLockError::Poisoned(asking)) => asking.into_inner(),
            Err(TryLockError::WouldBlock) => {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        if let Asking::Program(mut program) = mem::replace(&mut *asking, Asking::Ended) {
            // Fails for one that has ended.
            let _ = program.kill();
        }
        break;
    }
    restore_terminal();
}

/// Gives the terminal the settings that it had before a secret was asked for.
fn restore_terminal() {
    let changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, settings)) = changed {
        // A terminal that has gone has none.
        let _ = tcsetattr(&terminal, SetArg::TCSANOW, &settings);
    }
}

/// Asks for a secret, which is not shown.
fn hidden_line_from_terminal(prompt: &str) -> Option<String> {
    let terminal = terminal().ok()?;
    let settings = tcgetattr(&terminal).ok()?;
    *CHANGED.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal, settings));
    let typed = rpassword::prompt_password(prompt);
    restore_terminal();
    if typed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
        // Ctrl-C is a letter while the terminal's settings are changed.
        let _ = kill(getpid(), Signal::SIGINT);
    }
    typed.ok()
}

/// The controlling terminal, wherever stdin and stdout lead.
fn terminal() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// The answer of a program with the interface of ssh's askpass.
fn askpass(program: &OsStr, request: &SecretRequest) -> Option<Secret> {
    hide_memory();
    let kind = match request.kind {
        SecretKind::Password => "password",
        SecretKind::Passphrase => "passphrase",
        SecretKind::Privilege => "privilege",
        _ => "interactive",
    };
    let mut command = Command::new(program);
    command.arg(&*lines(&request.prompt)).stdin(Stdio::null()).stdout(Stdio::piped());
    command.env("NLR_ASKPASS_HOP", &request.hop).env("NLR_ASKPASS_KIND", kind);
    command.env("NLR_ASKPASS_ATTEMPT", request.attempt.to_string());
    match answer_of(&mut command) {
        Ok(answer) => answer,
        Err(error) => {
            warn(&format!("{}: {}", OsString::from(program).display(), words(&error)));
            None
        }
    }
}

/// The first line that a program prints; `None` where the user has cancelled the question, and where
/// the tool ends.
fn answer_of(command: &mut Command) -> io::Result<Option<Secret>> {
    let output = {
        // Held while the program starts, which may be when the tool ends: it would outlive the tool.
        let mut asking = asking();
        if matches!(*asking, Asking::Ended) {
            return Ok(None);
        }
        let mut program = command.spawn()?;
        let output = program.stdout.take();
        *asking = Asking::Program(program);
        output
    };
    // A vector that grows leaves copies of a secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_ANSWER));
    if let Some(output) = output {
        output.take(LONGEST_ANSWER as u64).read_to_end(&mut bytes)?;
    }
    let mut program = {
        let mut asking = asking();
        match mem::replace(&mut *asking, Asking::Nobody) {
            Asking::Program(program) => program,
            ended => {
                *asking = ended;
                return Ok(None);
            }
        }
    };
    if !program.wait()?.success() {
        return Ok(None);
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Ok(text.lines().next().map(|line| Secret::new(line.to_owned())))
}

/// The line that the user types on the terminal. `told` is the hop and the attempt whose refusal was
/// told last: a conversation has several questions.
fn secret_from_terminal(
    request: &SecretRequest,
    told: &Mutex<Option<(String, u32)>>,
) -> Option<Secret> {
    hide_memory();
    let news = Some((request.hop.clone(), request.attempt));
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if request.attempt > 1 && *told != news {
        let mut terminal = terminal().ok()?;
        let hop = request.hop.trim_end_matches(':');
        writeln!(terminal, "{hop}: that was not accepted, please try again.").ok()?;
        *told = news;
    }
    let prompt = one_line(request.prompt.trim());
    if request.echo {
        return line_from_terminal(&format!("{prompt} ")).map(Secret::new);
    }
    hidden_line_from_terminal(&format!("{prompt} ")).map(Secret::new)
}

fn line_from_terminal(prompt: &str) -> Option<String> {
    let mut terminal = terminal().ok()?;
    write!(terminal, "{}", lines(prompt)).ok()?;
    terminal.flush().ok()?;
    let mut line = String::new();
    let length = BufReader::new(terminal.take(4096)).read_line(&mut line).ok()?;
    (length > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn confirm_host_key(question: &HostKeyQuestion) -> bool {
    let HostKeyQuestion { hop, host, key_type, fingerprint, .. } = question;
    let via = match hop.rsplit_once(',') {
        Some((before, _)) => format!(" (via {before})"),
        None => String::new(),
    };
    let mut text = format!(
        "The host {host}{via} is not known yet.\n\
         Its {key_type} key has the fingerprint {fingerprint}.\n\
         Connect, and add the key to the known hosts? (yes/no) "
    );
    for _ in 0..3 {
        match line_from_terminal(&text).as_deref().map(str::trim) {
            Some("yes") => return true,
            Some("no") | None => return false,
            // As with ssh, the fingerprint is an answer too.
            Some(typed) if typed == fingerprint => return true,
            Some(_) => text = "Please type yes or no: ".to_owned(),
        }
    }
    false
}

/// Shows what a server says before the login, to a user at a terminal: as a line of a script's log it
/// would come with every run. A login that fails quotes it in any case.
fn show_notice(notice: &Notice) {
    if io::stderr().is_terminal() {
        for line in notice.text.trim_end().lines() {
            progress::print_line(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;
    use netlink_remote::ErrorKind;

    #[test]
    fn a_password_that_nobody_was_asked_for_has_a_remedy() {
        let text = |options: &str, origin| {
            let words = format!("nlr ping {options}");
            let cli = Cli::try_parse_from(words.split_whitespace()).unwrap();
            let error = Error::new(ErrorKind::Connect, "su: needs a password");
            let error = error.with_origin(origin).with_step(Step::Privilege);
            let questions = Questions::new(&cli.connection, &[Target::local()]).unwrap();
            questions.failure(error).print().1
        };
        assert!(text("--batch", Origin::Caller).contains("--askpass"));
        assert!(!text("--batch", Origin::Peer).contains("--askpass"));
        assert!(!text("--askpass x", Origin::Caller).contains("--askpass"));
    }
}
