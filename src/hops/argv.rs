//! The command line that leads through hops.

use std::{ffi::OsString, path::Path};

use super::hop::{Hop, SshDestination};
use crate::{
    Error,
    bootstrap::{Bounds, Form, Prompt},
    prompter::{SecretKind, SecretRequest},
    shell,
};

/// A command line that leads through hops, and the dialog its processes need.
#[derive(Debug)]
pub(super) struct CommandLine {
    /// The program and its arguments.
    pub(super) argv: Vec<OsString>,
    /// The line to type into the shell of an `exec:` hop.
    pub(super) typed: Option<String>,
    /// The marker of that shell, where a hop before it may read a password.
    pub(super) shell_ready: Option<String>,
    /// The passwords that hops may ask for, outermost first.
    pub(super) prompts: Vec<Prompt>,
}

/// The parameters of a [`CommandLine`] besides its hops.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    /// Whether there is a callback for secrets.
    pub(super) has_secrets: bool,
    /// Whether an ssh that this process starts may ask. Others, on hosts without a terminal, would
    /// send empty passwords.
    pub(super) ssh_asks: bool,
    /// Makes the nonce of a prompt or marker. Each has its own: a host sees those of the hops after
    /// it, and could otherwise ask in the name of the hops before it.
    pub(super) nonce: fn() -> String,
    /// `ssh -F`.
    pub(super) ssh_config: Option<&'a Path>,
    /// The hops before the first one of the command line.
    pub(super) before: &'a [Hop],
}

/// Wraps `inner` into the hops, the last one first.
pub(super) fn wrap(
    hops: &[Hop],
    inner: Vec<OsString>,
    parameters: &Parameters<'_>,
) -> Result<CommandLine, Error> {
    let mut line = CommandLine { argv: inner, typed: None, shell_ready: None, prompts: Vec::new() };
    let mut rest = hops;
    while let [before @ .., hop] = rest {
        rest = before;
        match hop {
            Hop::OpenSsh(to) => {
                let jumps = trailing_jumps(&mut rest);
                let is_here = rest.is_empty() && parameters.before.is_empty();
                line.argv = openssh(to, &jumps, &line.argv, is_here, parameters)?;
            }
            Hop::Exec(command) => {
                line.typed = Some(format!("exec {}", quote(&line.argv)?));
                let asks = |hop: &Hop| matches!(hop, Hop::Sudo(_) | Hop::Su(_));
                line.argv = match rest.iter().any(asks) {
                    true => {
                        let (marker, echo) = marker(parameters, "ready");
                        line.shell_ready = Some(marker);
                        words(["sh", "-c", &format!("{echo}; {command}")])
                    }
                    false => words(["sh", "-c", command]),
                };
            }
            Hop::Sudo(_) | Hop::Su(_) => privileged(before, hop, &mut line, parameters)?,
            hop => {
                let mut argv = prefix(hop);
                argv.append(&mut line.argv);
                line.argv = argv;
            }
        }
    }
    line.prompts.reverse();
    Ok(line)
}

/// A command line for any shell.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a word that some shell cannot take.
pub(super) fn quote(argv: &[OsString]) -> Result<String, Error> {
    shell::quote(argv).map_err(|error| Error::invalid(error.to_string()))
}

/// Takes the openssh hops off the end, through which one ssh jumps by itself.
fn trailing_jumps<'a>(rest: &mut &'a [Hop]) -> Vec<&'a SshDestination> {
    let mut jumps = Vec::new();
    while let [before @ .., Hop::OpenSsh(jump)] = *rest {
        jumps.push(jump);
        *rest = before;
    }
    jumps.reverse();
    jumps
}

fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

fn openssh(
    to: &SshDestination,
    jumps: &[&SshDestination],
    inner: &[OsString],
    is_here: bool,
    parameters: &Parameters<'_>,
) -> Result<Vec<OsString>, Error> {
    let mut argv = words(["ssh", "-T", "-e", "none", "-o", "ClearAllForwardings=yes"]);
    if is_here {
        // The command of the user's configuration would be in the way of the stub's. OpenSSH before
        // 7.6, which a gateway may have, does not know the option.
        argv.extend(words(["-o", "RemoteCommand=none"]));
    }
    if !(is_here && parameters.ssh_asks) {
        argv.extend(words(["-o", "BatchMode=yes"]));
    }
    if let Some(file) = parameters.ssh_config {
        let file = file
            .to_str()
            .ok_or_else(|| Error::invalid("the path of ssh's configuration (-F) is not UTF-8"))?;
        argv.extend(words(["-F", file]));
    }
    if !jumps.is_empty() {
        let jumps: Vec<String> = jumps.iter().map(ToString::to_string).collect();
        argv.extend(words(["-J", &jumps.join(",")]));
    }
    if let Some(port) = to.port {
        argv.extend(words(["-p", &port.to_string()]));
    }
    if let Some(user) = &to.user {
        argv.extend(words(["-l", user]));
    }
    argv.extend(words(["--", &to.host, &quote(inner)?]));
    Ok(argv)
}

/// A marker, and the shell commands that print it on both streams. An echo of the commands does not
/// hold the marker.
fn marker(parameters: &Parameters<'_>, word: &str) -> (String, String) {
    let nonce = (parameters.nonce)();
    let echo = format!("echo \"nlr-\"\"{nonce}-{word}.\"");
    (format!("nlr-{nonce}-{word}."), format!("{echo}; {echo} >&2"))
}

/// Adds a sudo or su hop: with an English locale, since the hints need it, and with a prompt that is
/// recognized.
fn privileged(
    before: &[Hop],
    hop: &Hop,
    line: &mut CommandLine,
    parameters: &Parameters<'_>,
) -> Result<(), Error> {
    let mut argv = words(["env", "LC_ALL=C", "LANGUAGE="]);
    let user;
    let form;
    match hop {
        Hop::Sudo(to) => {
            user = to;
            // sudo prints `%` for `%%`, so that an echo of the command line is no prompt.
            let text = format!("nlr-{}%?", (parameters.nonce)());
            argv.push("sudo".into());
            match parameters.has_secrets {
                // -S has no effect where sudo needs no password.
                true => argv.extend(words(["-S", "-p", &text.replace('%', "%%")])),
                false => argv.push("-n".into()),
            }
            form = Form::Marked(text);
            if let Some(user) = to {
                argv.extend(words(["-u", user]));
            }
            argv.push("--".into());
            argv.append(&mut line.argv);
        }
        Hop::Su(to) => {
            user = to;
            // su takes no prompt, and anything may print its own: they count while su runs.
            let (begin, echo_begin) = marker(parameters, "su");
            let (end, echo_end) = marker(parameters, "done");
            form = Form::Between(Bounds { begin, end });
            let wrapper = words(["sh", "-c", &format!("{echo_begin}; exec \"$@\""), "sh"]);
            argv.splice(..0, wrapper);
            let inner = format!("{echo_end}; exec {}", quote(&line.argv)?);
            // -s replaces the account's own shell, which may be fish or nologin.
            argv.extend(words(["su", "-s", "/bin/sh", "-c", &inner, "--"]));
            argv.push(to.as_deref().unwrap_or("root").into());
        }
        _ => return Ok(()),
    }
    let user = user.as_deref().unwrap_or("root");
    let asker = format!("{hop} (to become {user})");
    let request = SecretRequest {
        kind: SecretKind::Privilege,
        hop: hop.to_string(),
        prompt: format!("Password for {asker}: "),
        key_file: None,
        echo: false,
        attempt: 1,
    };
    let via = parameters.before.iter().chain(before).map(Hop::to_string).collect();
    line.prompts.push(Prompt { form, request, asker, via });
    line.argv = argv;
    Ok(())
}

/// The words before the command, for the tools that take a command as separate words.
fn prefix(hop: &Hop) -> Vec<OsString> {
    match hop {
        Hop::Doas(user) => {
            // doas reads a password from a terminal only.
            let mut argv = words(["doas", "-n"]);
            if let Some(user) = user {
                argv.extend(words(["-u", user]));
            }
            argv.push("--".into());
            argv
        }
        Hop::Docker(name) => words(["docker", "exec", "-i", name]),
        Hop::Podman(name) => words(["podman", "exec", "-i", name]),
        Hop::Kubectl(pod) => {
            let mut argv = words(["kubectl"]);
            if let Some(context) = &pod.context {
                argv.push(format!("--context={context}").into());
            }
            argv.extend(words(["exec", "-i", "-n", &pod.namespace, &pod.name]));
            if let Some(container) = &pod.container {
                argv.extend(words(["-c", container]));
            }
            argv.push("--".into());
            argv
        }
        Hop::Lxc(name) => words(["lxc-attach", "-n", name, "--"]),
        Hop::Incus(name) => words(["incus", "exec", "-T", name, "--"]),
        // `machinectl shell` always makes a terminal, which alters bytes.
        Hop::Machinectl(name) => {
            let machine = format!("--machine={name}");
            words(["systemd-run", &machine, "--pipe", "--wait", "--collect", "--quiet", "--"])
        }
        Hop::Local
        | Hop::Ssh(_)
        | Hop::OpenSsh(_)
        | Hop::Sudo(_)
        | Hop::Su(_)
        | Hop::Exec(_)
        | Hop::Unix(_)
        | Hop::Stub(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    fn wrapped(target: &str, has_secrets: bool) -> CommandLine {
        let nonce = || "n0".to_owned();
        let parameters =
            Parameters { has_secrets, ssh_asks: has_secrets, nonce, ssh_config: None, before: &[] };
        let target: Target = target.parse().unwrap();
        wrap(target.hops(), words(["sh", "-c", "a b"]), &parameters).unwrap()
    }

    /// For the eye: quotes only around words with blanks.
    fn shown(argv: &[OsString]) -> String {
        let show = |word: &OsString| {
            let word = word.to_str().unwrap();
            if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
        };
        argv.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_hop_wraps_the_hops_after_it() {
        for (target, expected) in [
            ("local:", "sh -c 'a b'"),
            ("sudo:", "env LC_ALL=C LANGUAGE= sudo -n -- sh -c 'a b'"),
            ("sudo:ci", "env LC_ALL=C LANGUAGE= sudo -n -u ci -- sh -c 'a b'"),
            ("doas:", "doas -n -- sh -c 'a b'"),
            ("doas:ci,docker:web", "doas -n -u ci -- docker exec -i web sh -c 'a b'"),
            ("podman:web", "podman exec -i web sh -c 'a b'"),
            ("kubectl:ns/pod", "kubectl exec -i -n ns pod -- sh -c 'a b'"),
            ("kubectl:c/ns/pod/x", "kubectl --context=c exec -i -n ns pod -c x -- sh -c 'a b'"),
            ("lxc:a,incus:b", "lxc-attach -n a -- incus exec -T b -- sh -c 'a b'"),
            (
                "machinectl:m",
                "systemd-run --machine=m --pipe --wait --collect --quiet -- sh -c 'a b'",
            ),
        ] {
            let line = wrapped(target, false);
            assert_eq!(shown(&line.argv), expected);
            assert!(line.typed.is_none());
        }
    }

    #[test]
    fn openssh_jumps_by_itself_and_quotes_for_the_shell_there() {
        let line = wrapped("openssh://ci@a:22,openssh://b,sudo:", false);
        let (command, options) = line.argv.split_last().unwrap();
        assert_eq!(
            shown(options),
            "ssh -T -e none -o ClearAllForwardings=yes -o RemoteCommand=none -o BatchMode=yes -J ci@a:22 -- b"
        );
        let command = command.to_str().unwrap();
        assert!(command.contains("sudo -n -- sh -c 'a b'"), "{command}");
        // After another kind of hop it is the ssh of that host.
        let line = wrapped("openssh://a,sudo:,openssh://[::1]", true);
        assert_eq!(
            shown(&line.argv[..8]),
            "ssh -T -e none -o ClearAllForwardings=yes -o RemoteCommand=none"
        );
        let inner = line.argv.last().unwrap().to_str().unwrap();
        assert!(inner.contains("-- ssh -T -e none"), "{inner}");
        assert!(inner.contains("BatchMode=yes") && !shown(&line.argv[..8]).contains("Batch"));
        assert!(inner.contains("::1"), "{inner}");
    }

    #[test]
    fn prompts_come_outermost_first() {
        let line = wrapped("sudo:a,su:,sudo:b", true);
        let asked: Vec<_> = line.prompts.iter().map(|prompt| prompt.request.hop.as_str()).collect();
        assert_eq!(asked, ["sudo:a", "su:", "sudo:b"]);
        assert!(
            shown(&line.argv).starts_with("env LC_ALL=C LANGUAGE= sudo -S -p nlr-n0%%? -u a -- sh")
        );
        assert!(matches!(line.prompts[1].form, Form::Between(_)));
    }

    #[test]
    fn no_host_sees_the_prompts_of_the_hops_before_it() {
        let gateway = ["ssh://gateway".parse().unwrap()];
        let nonce = crate::bootstrap::nonce;
        let parameters = Parameters {
            has_secrets: true,
            ssh_asks: true,
            nonce,
            ssh_config: None,
            before: &gateway,
        };
        let target: Target = "sudo:,openssh://a,sudo:,su:".parse().unwrap();
        let line = wrap(target.hops(), words(["sh", "-c", "a b"]), &parameters).unwrap();
        let [first, second, su] = &line.prompts[..] else { panic!("{:?}", line.prompts) };
        let mark = |prompt: &Prompt| match &prompt.form {
            Form::Marked(text) => text.clone(),
            Form::Between(_) => panic!("{prompt:?}"),
        };
        assert_ne!(mark(first), mark(second));
        assert_eq!(first.via, ["ssh://gateway"]);
        assert_eq!(second.via, ["ssh://gateway", "sudo:", "openssh://a"]);
        let nonce = |prompt: &Prompt| mark(prompt).replace(['%', '?'], "");
        let sent = line.argv.last().unwrap().to_str().unwrap();
        assert!(sent.contains(&nonce(second)) && !sent.contains(&nonce(first)), "{sent}");
        // Nor is a marker part of the command line that prints it, which may be echoed.
        let Form::Between(Bounds { begin, end }) = &su.form else { panic!("{su:?}") };
        assert!(!sent.contains(begin.as_str()) && !sent.contains(end.as_str()), "{sent}");
    }

    #[test]
    fn a_line_waits_for_its_shell_where_a_hop_asks_for_a_password() {
        assert!(wrapped("doas:,exec:sh,sudo:", true).shell_ready.is_none());
        let line = wrapped("sudo:,exec:sh", true);
        assert_eq!(line.shell_ready.unwrap(), "nlr-n0-ready.");
        let saying = "echo \"nlr-\"\"n0-ready.\"";
        assert_eq!(line.argv.last().unwrap(), &*format!("{saying}; {saying} >&2; sh"));
    }

    #[test]
    fn the_command_is_typed_into_the_shell_of_exec() {
        let line = wrapped("doas:,exec:chroot /x sh,sudo:", false);
        assert_eq!(shown(&line.argv), "doas -n -- sh -c 'chroot /x sh'");
        let typed = line.typed.unwrap();
        assert!(
            typed.starts_with("exec env ") && typed.ends_with("sudo -n -- sh -c 'a b'"),
            "{typed}"
        );
    }
}
