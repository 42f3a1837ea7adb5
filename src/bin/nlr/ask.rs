//! Questions on the way to a target, put on the terminal, to an askpass program, or answered from a
//! file descriptor; and the progress bar.
//!
//! A secret is never an argument nor an environment variable, which others can read in /proc.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use zeroize::Zeroizing;

use super::{
    args::ConnectionArgs,
    failure::{Failure, complain, describe, one_line},
};
use netlink_remote::{
    kernel::descriptors,
    prompter::{HostKeyQuestion, Progress, Prompter, Secret, SecretRequest},
};

/// Bytes of secrets that a file descriptor may hold.
const MAX_SECRETS: usize = 64 << 10;

/// How long the sending of a stub may take before a bar is shown.
const PATIENCE: Duration = Duration::from_millis(300);

/// Whom the command line says to ask.
pub(super) fn whom(connection: &ConnectionArgs) -> Result<Prompter, Failure> {
    let ask = Prompter::none().on_progress(progress());
    if let Some(fd) = connection.password_fd {
        let secrets = Mutex::new(read_secrets(fd)?);
        return Ok(ask.on_secret(move |request| {
            // The next line is meant for the next question, and must not get to who refuses this
            // one's answer.
            if request.attempt > 1 {
                return None;
            }
            secrets.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
        }));
    }
    if let Some(program) = connection.askpass.clone().filter(|program| !program.is_empty()) {
        return Ok(ask.on_secret(move |request| from_program(&program, request)));
    }
    if connection.batch || terminal().is_err() {
        return Ok(ask);
    }
    Ok(ask.on_secret(from_terminal).on_host_key(judge))
}

/// The terminal that controls this process, whatever stdin and stdout are.
fn terminal() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// The lines of a descriptor that the caller has opened. Each question takes the next.
fn read_secrets(fd: u32) -> Result<VecDeque<Secret>, Failure> {
    let failed =
        |error: &io::Error| Failure::usage(format_args!("--password-fd {fd}: {}", describe(error)));
    let file = descriptors::inherited(fd).map_err(|errno| failed(&errno.into()))?;
    // Growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRETS + 2));
    let read = File::from(file).take(MAX_SECRETS as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| failed(&error))?;
    if text.len() > MAX_SECRETS {
        return Err(Failure::usage(format_args!("--password-fd {fd}: more than 64 KiB")));
    }
    Ok(text.lines().map(|line| Secret::new(line.to_owned())).collect())
}

/// What a program prints that is called as ssh calls its askpass: with the prompt.
fn from_program(program: &OsStr, request: &SecretRequest) -> Option<Secret> {
    let output = Command::new(program)
        .arg(&request.prompt)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let bytes = Zeroizing::new(output.stdout);
            let text = std::str::from_utf8(&bytes).ok()?;
            Some(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
        }
        // That is how such a program says that its user does not want to.
        Ok(_) => None,
        Err(error) => {
            complain(&format!("{}: {}", OsString::from(program).display(), describe(&error)));
            None
        }
    }
}

fn from_terminal(request: &SecretRequest) -> Option<Secret> {
    if request.attempt > 1 {
        let mut terminal = terminal().ok()?;
        let hop = request.hop.trim_end_matches(':');
        writeln!(terminal, "{hop}: that was not accepted, please try again.").ok()?;
    }
    let prompt = one_line(&request.prompt);
    if request.echo {
        return line_from_terminal(&format!("{prompt} ")).map(Secret::new);
    }
    rpassword::prompt_password(format!("{prompt} ")).ok().map(Secret::new)
}

fn line_from_terminal(prompt: &str) -> Option<String> {
    let mut terminal = terminal().ok()?;
    write!(terminal, "{prompt}").ok()?;
    terminal.flush().ok()?;
    let mut line = String::new();
    let length = BufReader::new(terminal.take(4096)).read_line(&mut line).ok()?;
    (length > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn judge(question: &HostKeyQuestion) -> bool {
    let HostKeyQuestion { hop, host, key_type, fingerprint, .. } = question;
    let way = match hop.rsplit_once(',') {
        Some((before, _)) => format!(", behind {before},"),
        None => String::new(),
    };
    let text = format!(
        "The host {host}{way} is not known yet.\n\
         Its {key_type} key has the fingerprint {fingerprint}.\n\
         Connect, and know it from now on? (yes/no) "
    );
    let mut text = text;
    for _ in 0..3 {
        match line_from_terminal(&text).as_deref().map(str::trim) {
            Some("yes") => return true,
            Some("no") | None => return false,
            // As ssh does: somebody who knows the fingerprint may type it.
            Some(typed) if typed == fingerprint => return true,
            Some(_) => text = "Please type yes or no: ".to_owned(),
        }
    }
    false
}

/// Shows a bar on a terminal, if it takes long.
fn progress() -> impl Fn(&Progress) + Send + Sync {
    let began = Mutex::new(None::<(Instant, Option<ProgressBar>)>);
    move |progress| {
        if !io::stderr().is_terminal() {
            return;
        }
        let mut began = began.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, bar) = began.get_or_insert_with(|| (Instant::now(), None));
        if progress.sent >= progress.total {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            *began = None;
            return;
        }
        if bar.is_none() && since.elapsed() >= PATIENCE {
            *bar = Some(new_bar(progress));
        }
        if let Some(bar) = bar {
            bar.set_position(progress.sent);
        }
    }
}

fn new_bar(progress: &Progress) -> ProgressBar {
    let bar = ProgressBar::new(progress.total);
    let template =
        "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(format!("sending the stub to {}", one_line(&progress.target)));
    bar
}
