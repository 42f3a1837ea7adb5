//! What clap says, in the one line that every error here has; help and version as they are.

use std::ffi::OsString;

use clap::{CommandFactory, error::ErrorKind};

use super::{args::Cli, failure::Failure, output};

/// Prints help or version, or makes a failure of a wrong command line.
pub(super) fn explain(error: &clap::Error, arguments: &[OsString]) -> Result<(), Failure> {
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
            let command = command(arguments);
            let text = match kind {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::MissingSubcommand => "a subcommand is missing".to_owned(),
                _ => line(&error.render().to_string()),
            };
            Err(Failure::usage(format_args!("{text}; see `{command} --help`")))
        }
    }
}

/// The first paragraph as one line, with the tips that may follow; the rest is usage.
fn line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let mut paragraphs = text.split("\n\n");
    let join = |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut line = paragraphs.next().map(join).unwrap_or_default();
    // An error of a target's names it, and must not show a password that was put into one.
    if line.starts_with("invalid value ")
        && let Some((_, said)) = line.split_once("': target")
    {
        line = format!("target{said}");
    }
    for tip in paragraphs.filter(|paragraph| paragraph.trim_start().starts_with("tip: ")) {
        line.push_str("; ");
        line.push_str(join(tip).trim_start_matches("tip: "));
    }
    line
}

/// The command whose help is wanted: as far as the arguments name subcommands.
fn command(arguments: &[OsString]) -> String {
    let mut words = vec!["nlr".to_owned()];
    let mut command = Cli::command();
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
    use super::*;
    use clap::Parser;

    fn said(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let error = Cli::try_parse_from(&arguments).unwrap_err();
        let text = line(&error.render().to_string());
        format!("{text}; see `{} --help`", command(&arguments))
    }

    #[test]
    fn a_usage_error_is_one_line_that_names_the_help() {
        assert_eq!(
            said(&["nlr", "show", "link", "--jsn"]),
            "unexpected argument '--jsn' found; a similar argument exists: '--json'; \
             see `nlr show --help`"
        );
        assert_eq!(
            said(&["nlr", "netns", "add"]),
            "the following required arguments were not provided: <NAME>; \
             see `nlr netns add --help`"
        );
        assert_eq!(
            said(&["nlr", "show", "link", "ssh://ci:secret@host"]),
            "target: a password does not belong into a target; it is asked for, or see \
             --password-fd; see `nlr show --help`"
        );
        for arguments in [
            ["nlr", "show", "lnk"].as_slice(),
            &["nlr", "show", "link", "carrier-pigeon:"],
            &["nlr", "monitor", "--group", "nosuch"],
            &["nlr", "monitor", "--count", "0"],
            &["nlr", "show", "link", "-4", "-6"],
            &["nlr", "nosuch"],
        ] {
            let said = said(arguments);
            assert!(!said.contains(['\n', '\r']) && !said.starts_with("error"), "{said}");
        }
    }
}
