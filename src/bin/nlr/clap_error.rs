//! clap's errors, on the one line that every error of the tool has; help and version unchanged.

use std::ffi::OsString;

use clap::{Command, error::ErrorKind};

use super::{failure::Failure, output};

/// Prints help or version, or makes a failure of a wrong command line.
pub(crate) fn print(
    error: &clap::Error,
    command: Command,
    arguments: &[OsString],
) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render();
            let color = anstream::AutoStream::choice(&std::io::stdout());
            let text = match color {
                anstream::ColorChoice::Never => text.to_string(),
                _ => text.ansi().to_string(),
            };
            output::print(text.as_bytes())
        }
        kind => {
            let text = match kind {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::MissingSubcommand => "a subcommand is missing".to_owned(),
                _ => line(&error.render().to_string()),
            };
            let name = subcommand(command, arguments);
            Err(Failure::usage(format_args!("{text}; see `{name} --help`")))
        }
    }
}

/// The first paragraph and the tips on one line. The paragraphs on usage are left out.
fn line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let mut paragraphs = text.split("\n\n");
    let join = |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut line = paragraphs.next().map(join).unwrap_or_default();
    // The library's error names the target itself, and leaves out a password inside it.
    if line.starts_with("invalid value ")
        && let Some((_, rest)) = line.split_once("': target")
    {
        line = format!("target{rest}");
    }
    for tip in paragraphs.filter(|paragraph| paragraph.trim_start().starts_with("tip: ")) {
        line.push_str("; ");
        line.push_str(join(tip).trim_start_matches("tip: "));
    }
    line
}

/// The subcommand in the arguments, as far as they name one.
fn subcommand(mut command: Command, arguments: &[OsString]) -> String {
    let mut words = vec![command.get_name().to_owned()];
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        if let Some(found) = command.find_subcommand(argument) {
            words.push(found.get_name().to_owned());
            command = found.clone();
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    fn message(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let error = Cli::try_parse_from(&arguments).unwrap_err();
        let text = line(&error.render().to_string());
        format!("{text}; see `{} --help`", subcommand(Cli::command(), &arguments))
    }

    #[test]
    fn a_usage_error_is_one_line_that_names_the_help() {
        assert_eq!(
            message(&["nlr", "show", "link", "--jsn"]),
            "unexpected argument '--jsn' found; a similar argument exists: '--json'; \
             see `nlr show --help`"
        );
        assert_eq!(
            message(&["nlr", "netns", "add"]),
            "the following required arguments were not provided: <NAME>; \
             see `nlr netns add --help`"
        );
        assert_eq!(
            message(&["nlr", "show", "link", "ssh://ci:secret@host"]),
            "target: must not contain a password; the hop that needs one asks for it; \
             see `nlr show --help`"
        );
        for arguments in [
            ["nlr", "show", "lnk"].as_slice(),
            &["nlr", "show", "link", "carrier-pigeon:"],
            &["nlr", "monitor", "--group", "nosuch"],
            &["nlr", "monitor", "--count", "0"],
            &["nlr", "show", "link", "-4", "-6"],
            &["nlr", "nosuch"],
        ] {
            let message = message(arguments);
            assert!(!message.contains(['\n', '\r']) && !message.starts_with("error"), "{message}");
        }
    }
}
