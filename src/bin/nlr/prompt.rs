//! Questions while connecting: put on the terminal or to an askpass program, or answered from a
//! file descriptor. And the progress of sending a stub.
//!
//! A secret is never an argument nor an environment variable: both are readable in /proc.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        termios::{SetArg, Termios, tcgetattr, tcsetattr},
    },
    unistd::getpid,
};
use zeroize::Zeroizing;

use super::{
    connection::ConnectionArgs,
    failure::{Failure, warn},
    inherited::was_closed,
    progress::Bar,
    table::shortened,
};
use netlink_remote::{
    Error, Origin, Prompter, Secret, Step,
    errno::{EBADF, words},
    prompter::{HostKeyQuestion, Progress, SecretRequest, inherited_descriptor},
    text::{lines, one_line},
};

/// Bytes of all secrets that are read from a file descriptor.
const MAX_SECRETS: usize = 64 << 10;

/// Time of sending a stub before its progress is shown.
const BAR_DELAY: Duration = Duration::from_millis(300);

/// The prompter that the command line asks for.
pub(crate) fn prompter(connection: &ConnectionArgs) -> Result<Prompter, Failure> {
    let prompter = Prompter::none().on_progress(show_progress());
    if let Some(fd) = connection.password_fd {
        let secrets = Mutex::new(read_secrets(fd)?);
        return Ok(prompter.on_secret(move |request| {
            // The next line is the answer to the next question. After a refusal it would go to
            // a host that must not have it.
            if request.attempt > 1 {
                return None;
            }
            secrets.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
        }));
    }
    if let Some(program) = askpass_program(connection) {
        return Ok(prompter.on_secret(move |request| askpass(&program, request)));
    }
    if connection.batch || terminal().is_err() {
        return Ok(prompter);
    }
    Ok(prompter.on_secret(secret_from_terminal).on_host_key(confirm_host_key))
}

/// The failure of an attempt to connect, with a remedy for a password that nobody could be asked for.
pub(crate) fn failure(error: Error, connection: &ConnectionArgs) -> Failure {
    let is_unasked = (error.origin(), error.step()) == (Origin::Caller, Some(Step::Privilege))
        && connection.password_fd.is_none()
        && askpass_program(connection).is_none()
        && (connection.batch || terminal().is_err());
    let remedy = "; nlr asks on a terminal without --batch, or takes --password-fd or --askpass";
    Failure::from(error).with_remedy(if is_unasked { remedy } else { "" })
}

/// The askpass program of the command line, or of the environment where no other option says who
/// answers.
fn askpass_program(connection: &ConnectionArgs) -> Option<OsString> {
    let variable = || std::env::var_os("NLR_ASKPASS").filter(|_| !connection.batch);
    connection.askpass.clone().or_else(variable).filter(|program| !program.is_empty())
}

/// The terminal while a secret is typed, and its settings before.
static CHANGED: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Gives the terminal the settings that it had before a secret was asked for, if it is asked for
/// still.
pub(crate) fn restore_terminal() {
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

/// The lines of a descriptor that the caller has opened.
fn read_secrets(fd: u32) -> Result<VecDeque<Secret>, Failure> {
    let failed = |error: &io::Error| {
        let text = match error.raw_os_error() {
            Some(EBADF) => "no such descriptor is open".to_owned(),
            _ => words(error),
        };
        Failure::usage(format_args!("--password-fd {fd}: {text}"))
    };
    if was_closed(fd) {
        return Err(failed(&io::Error::from_raw_os_error(EBADF)));
    }
    let file = inherited_descriptor(fd).map_err(|error| failed(&error))?;
    // A string that grows leaves copies in memory.
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRETS + 2));
    let read = File::from(file).take(MAX_SECRETS as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| failed(&error))?;
    if text.len() > MAX_SECRETS {
        return Err(Failure::usage(format_args!("--password-fd {fd}: more than 64 KiB")));
    }
    Ok(text.lines().map(|line| Secret::new(line.to_owned())).collect())
}

/// The answer of a program with the interface of ssh's askpass.
fn askpass(program: &OsStr, request: &SecretRequest) -> Option<Secret> {
    let output = Command::new(program)
        .arg(&*lines(&request.prompt))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let bytes = Zeroizing::new(output.stdout);
            let text = std::str::from_utf8(&bytes).ok()?;
            Some(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
        }
        // The user has cancelled the question.
        Ok(_) => None,
        Err(error) => {
            warn(&format!("{}: {}", OsString::from(program).display(), words(&error)));
            None
        }
    }
}

fn secret_from_terminal(request: &SecretRequest) -> Option<Secret> {
    if request.attempt > 1 {
        let mut terminal = terminal().ok()?;
        let hop = request.hop.trim_end_matches(':');
        writeln!(terminal, "{hop}: that was not accepted, please try again.").ok()?;
    }
    let prompt = one_line(request.prompt.trim());
    if request.echo {
        return line_from_terminal(&format!("{prompt} ")).map(Secret::new);
    }
    hidden_line_from_terminal(&format!("{prompt} ")).map(Secret::new)
}

fn line_from_terminal(prompt: &str) -> Option<String> {
    let mut terminal = terminal().ok()?;
    write!(terminal, "{prompt}").ok()?;
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

/// A callback that shows a bar on a terminal once sending has taken [`BAR_DELAY`].
fn show_progress() -> impl Fn(&Progress) + Send + Sync {
    let state = Mutex::new(None::<(Instant, Option<Bar>)>);
    move |progress| {
        if !io::stderr().is_terminal() {
            return;
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.sent >= progress.total {
            *state = None;
            return;
        }
        let (start, bar) = state.get_or_insert_with(|| (Instant::now(), None));
        if bar.is_none() && start.elapsed() >= BAR_DELAY {
            *bar = Some(new_bar(progress));
        }
        if let Some(bar) = bar {
            bar.set_position(progress.sent);
        }
    }
}

/// A bar on one line of 80 columns: on two lines it flickers.
fn new_bar(progress: &Progress) -> Bar {
    let bar = Bar::new(progress.total, "{msg} [{wide_bar}] {percent:>3} %, {eta} left");
    let target = shortened(&one_line(&progress.target), 30);
    bar.set_message(format!("sending the stub to {target}"));
    bar
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
            failure(error, &cli.connection).print().1
        };
        assert!(text("--batch", Origin::Caller).contains("--askpass"));
        assert!(!text("--batch", Origin::Peer).contains("--askpass"));
        assert!(!text("--password-fd 3", Origin::Caller).contains("--askpass"));
    }
}
