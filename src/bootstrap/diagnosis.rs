//! Errors for a stub that did not start: from the output and the end of a command to a cause and a
//! remedy.

use std::{io, time::Duration};

use super::{
    hints,
    script::BootScript,
    stubs::{Stub, how_to_build},
};
use crate::{Error, ErrorKind, Step, transport::End, wire::MAX_NOISE};

/// The far end's output, without the markers of this side.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Output {
    /// The output as the end of an error; empty where there is none.
    fn quoted(&self) -> String {
        let (out, err) = (shortened(&self.stdout), shortened(&self.stderr));
        match (out.as_str(), err.as_str()) {
            ("", "") => String::new(),
            ("", said) | (said, "") => format!("; it said: {said}"),
            (out, err) => format!("; it said: {err}; and on stdout: {out}"),
        }
    }
}

/// The error for no message within `limit`.
pub(super) fn silence(
    limit: Duration,
    output: &Output,
    has_script: bool,
    has_spoken: bool,
) -> Error {
    let hint = match output.quoted() {
        // A startup file runs before the script.
        said if has_spoken => format!("; the shell there had answered before{said}"),
        said if said.is_empty() && has_script => {
            "; check the network to it, and whether a startup file of the shell there waits for input"
                .to_owned()
        }
        said => said,
    };
    failed(ErrorKind::Timeout, format!("no stub was started there within {limit:?}{hint}"))
}

/// The error for more text than [`MAX_NOISE`] before a stub speaks.
pub(super) fn noise(output: &Output) -> Error {
    let text = format!(
        "more than {MAX_NOISE} bytes of text came before a stub was started; silence the startup \
         files of the shell there{}",
        output.quoted()
    );
    failed(ErrorKind::Handshake, text)
}

/// The error for a far end that takes no more bytes of the stub.
pub(super) fn stalled_upload(sent: usize, total: usize, limit: Duration, output: &Output) -> Error {
    let text = format!(
        "sending the stub has stalled: {sent} of {total} bytes, and no more within {limit:?}{}",
        output.quoted()
    );
    failed(ErrorKind::Timeout, text)
}

/// The error for a line of the script that is none of the expected ones.
pub(super) fn refusal(
    line: &str,
    script: Option<&BootScript>,
    sent: Option<&Stub>,
    stderr: &str,
) -> Error {
    let text = match (line.strip_prefix("fail "), script) {
        (Some(reason), Some(script)) => script.failure(reason, sent),
        _ => format!("the far end sent an unknown line: {line}"),
    };
    // Stdout before the line is noise: the script itself has spoken.
    let said = match stderr {
        "" => String::new(),
        said => format!("; before that it said: {}", shortened(said)),
    };
    let error = failed(ErrorKind::Connect, format!("{text}{said}"));
    match line.starts_with("fail arch") {
        true => error.lasting(),
        false => error,
    }
}

/// An end before a stub spoke.
pub(super) struct EarlyEnd<'a> {
    pub(super) end: &'a End,
    /// The error that ended stdout, if it was no end of file.
    pub(super) fault: Option<io::Error>,
    pub(super) output: Output,
    /// The last text on stderr, with the markers.
    pub(super) raw_stderr: &'a str,
    /// The part of it since the last answer. Text before the answer is no cause: that of an earlier
    /// attempt, for instance.
    pub(super) since_answer: Option<&'a str>,
    /// Whether sudo or su may have been judging an answer.
    pub(super) is_asking: bool,
    /// Whether the script was started, and not a stub.
    pub(super) has_script: bool,
    /// Whether the script has printed a line.
    pub(super) has_spoken: bool,
    /// The stub that was sent.
    pub(super) sent: Option<&'a Stub>,
}

impl EarlyEnd<'_> {
    /// The error, at [`Step::Privilege`] where sudo, doas or su are the cause, at the step of ssh
    /// where the program ssh is, and otherwise at [`Step::Bootstrap`].
    pub(super) fn error(self) -> Error {
        let output = self.output.quoted();
        if let (End::Unknown, Some(fault)) = (self.end, self.fault) {
            let step = if self.is_asking { Step::Privilege } else { Step::Bootstrap };
            let text = "the stream failed before a stub was started".to_owned();
            return failed_at(step, text).with_source(fault).with_note(&output);
        }
        let code = match self.end {
            End::Code(code) => Some(*code),
            _ => None,
        };
        let privilege_hint = hints::privilege(self.since_answer.unwrap_or(self.raw_stderr), code)
            .filter(|_| !self.has_spoken);
        let is_privilege = privilege_hint.is_some() || self.is_asking;
        let ssh = hints::ssh(self.raw_stderr, code).filter(|_| !self.has_spoken && !is_privilege);
        let stderr = shortened(&self.output.stderr);
        // Their own words name the failure, and are enough with the hint.
        match (ssh, &privilege_hint) {
            (Some((step, hint)), _) if !stderr.is_empty() => {
                let error = failed_at(step, format!("{stderr}{hint}"));
                return match step {
                    Step::HostKey | Step::Authentication => error.lasting(),
                    _ => error,
                };
            }
            (_, Some(hint)) if !stderr.is_empty() => {
                let gap = if hint.is_empty() { "" } else { "; " };
                return failed_at(Step::Privilege, format!("{stderr}{gap}{hint}")).lasting();
            }
            _ => {}
        }
        let meaning = match code {
            Some(127) => " (`sh`, or the program of a hop, was not found)",
            Some(126) => " (`sh`, or the program of a hop, may not be executed)",
            _ => "",
        };
        let has_meaning = !meaning.is_empty() || is_privilege || !output.is_empty();
        // docker prints on stdout why it fails.
        let hint = match (privilege_hint.as_deref(), hints::container(&output), self.sent) {
            // Somebody's doing, and no fault of the stub or the account.
            _ if self.end.is_kill() => String::new(),
            (Some(hint), ..) if !hint.is_empty() => format!("; {hint}"),
            (_, Some(hint), _) => format!("; {hint}"),
            (_, _, Some(stub)) if stub.is_dynamic && !is_privilege => {
                format!("; {}", how_to_build(Some(stub.arch)))
            }
            (_, _, None) if !has_meaning && self.has_script => {
                "; check that its account may run commands".to_owned()
            }
            (_, _, None) if !has_meaning => "; check that the program is a stub".to_owned(),
            _ => String::new(),
        };
        let end = self.end;
        let text = format!("the far end {end}{meaning} before a stub was started{output}{hint}");
        failed_at(if is_privilege { Step::Privilege } else { Step::Bootstrap }, text)
    }
}

/// The beginning and the end of a long text, which mostly hold its cause.
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
    Error::new(kind, text).prefix_step(Step::Bootstrap)
}

fn failed_at(step: Step, text: String) -> Error {
    Error::new(ErrorKind::Connect, text).prefix_step(step)
}
