//! clap's errors, on the one line that every error of the tool has; help and version unchanged.

use std::ffi::OsString;

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

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
            let hint = hint(error, arguments);
            let name = subcommand(command, arguments);
            Err(Failure::usage(format_args!("{text}{hint}; see `{name} --help`")))
        }
    }
}

/// What was probably meant by a word that is no subcommand: words of `ip`, and of later versions.
fn hint(error: &clap::Error, arguments: &[OsString]) -> String {
    let word = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => word.as_str(),
        _ => return String::new(),
    };
    let is_netns = arguments.iter().any(|argument| argument == "netns");
    let after = arguments.iter().skip_while(|argument| *argument != word).nth(1);
    let object = OBJECTS.iter().find(|(_, words)| words.contains(&word)).map(|(object, _)| *object);
    match (word, object) {
        ("help", _) => {
            let topic = after.and_then(|topic| topic.to_str()).unwrap_or("COMMAND");
            format!(": `nlr --help` has the subcommands, `nlr {topic} --help` has one of them")
        }
        ("exec", _) if is_netns => {
            ": a command is run by `ip netns exec`; nlr's own take the namespace by -n".to_owned()
        }
        ("add" | "set" | "change" | "replace" | "append" | "del" | "delete" | "flush", _) => {
            ": nlr changes nothing but namespaces (`nlr netns`); a program changes others by the library".to_owned()
        }
        ("list" | "ls" | "get" | "dump", _) => ": `nlr show OBJECT` lists objects".to_owned(),
        ("watch" | "events" | "mon" | "tail", _) => ": `nlr monitor` prints changes".to_owned(),
        ("connect" | "ssh" | "test" | "info" | "status", _) => {
            ": `nlr ping TARGET` shows whether a target can be reached".to_owned()
        }
        (_, Some(object)) => format!(": objects are listed by `nlr show {object}`"),
        _ => String::new(),
    }
}

/// The objects of `nlr show`, each with the words for it.
const OBJECTS: [(&str, &[&str]); 5] = [
    ("link", &["link", "links", "l", "interface", "interfaces", "if", "dev"]),
    ("addr", &["addr", "address", "addresses", "addrs", "a", "ip"]),
    ("route", &["route", "routes", "r", "ro"]),
    ("neigh", &["neigh", "neighbor", "neighbors", "neighbour", "neighbours", "n", "arp"]),
    ("rule", &["rule", "rules", "ru"]),
];

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
    let tips = paragraphs.filter(|paragraph| paragraph.trim_start().starts_with("tip: "));
    // That a wrong option could be a value is of no use: no value begins so.
    for tip in tips.filter(|tip| !tip.contains("as a value")) {
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
