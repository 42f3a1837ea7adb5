//! What each hop adds to a command line.

#![forbid(unsafe_code)]

use std::{ffi::OsString, path::Path};

use super::{Hop, SshDestination};
use crate::{
    Error,
    bootstrap::{bootstrap::Prompt, quote::quote},
    prompter::{SecretKind, SecretRequest},
};

/// A command line, and what has to be done with the process it starts.
#[derive(Debug)]
pub(super) struct Plan {
    /// The program and its arguments.
    pub(super) argv: Vec<OsString>,
    /// The line to type into the shell behind an `exec:` hop.
    pub(super) line: Option<String>,
    /// What says that this shell is there, where something before it may read a password.
    pub(super) ready: Option<String>,
    /// What will be asked for on the way.
    pub(super) prompts: Vec<Prompt>,
}

/// What a plan depends on besides its hops.
#[derive(Debug)]
pub(super) struct Means<'a> {
    /// Whether anyone answers prompts.
    pub(super) has_secrets: bool,
    /// What makes prompts ones that nothing else prints: each has its own, as a host sees those
    /// of the hops behind it, and could ask in the name of the hops before it.
    pub(super) nonce: fn() -> String,
    /// `ssh -F`.
    pub(super) ssh_config: Option<&'a Path>,
    /// The hops before those of the plan.
    pub(super) before: &'a [Hop],
}

/// Wraps `inner` into the hops, the last one first.
pub(super) fn plan(hops: &[Hop], inner: Vec<OsString>, means: &Means<'_>) -> Result<Plan, Error> {
    let mut plan = Plan { argv: inner, line: None, ready: None, prompts: Vec::new() };
    let mut rest = hops;
    while let [before @ .., hop] = rest {
        rest = before;
        match hop {
            Hop::OpenSsh(to) => {
                let jumps = trailing_jumps(&mut rest);
                plan.argv = openssh(to, &jumps, &plan.argv, means)?;
            }
            Hop::Exec(command) => {
                plan.line = Some(format!("exec {}", quote(&plan.argv)?));
                let asks = |hop: &Hop| matches!(hop, Hop::Sudo(_) | Hop::Su(_));
                plan.argv = match rest.iter().any(asks) {
                    true => {
                        let (mark, saying) = mark(means, "ready");
                        plan.ready = Some(mark);
                        words(["sh", "-c", &format!("{saying}; {command}")])
                    }
                    false => words(["sh", "-c", command]),
                };
            }
            Hop::Sudo(_) | Hop::Su(_) => privileged(before, hop, &mut plan, means)?,
            hop => {
                let mut argv = prefix(hop);
                argv.append(&mut plan.argv);
                plan.argv = argv;
            }
        }
    }
    // The outermost asks first.
    plan.prompts.reverse();
    Ok(plan)
}

/// Takes the openssh hops at the end: those one ssh can jump over by itself.
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
    means: &Means<'_>,
) -> Result<Vec<OsString>, Error> {
    let mut argv = words(["ssh", "-T", "-e", "none", "-o", "ClearAllForwardings=yes"]);
    if !means.has_secrets {
        argv.extend(words(["-o", "BatchMode=yes"]));
    }
    if let Some(file) = means.ssh_config {
        let file = file.to_str().ok_or_else(|| Error::invalid("the path behind -F is no UTF-8"))?;
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

/// A mark, and what says it on both streams of a shell: an echo of that is none itself.
fn mark(means: &Means<'_>, word: &str) -> (String, String) {
    let nonce = (means.nonce)();
    let saying = format!("echo \"nlr-\"\"{nonce}-{word}.\"");
    (format!("nlr-{nonce}-{word}."), format!("{saying}; {saying} >&2"))
}

/// sudo and su: in English, since what they say is read; and with a prompt that is recognized.
fn privileged(before: &[Hop], hop: &Hop, plan: &mut Plan, means: &Means<'_>) -> Result<(), Error> {
    let mut argv = words(["env", "LC_ALL=C", "LANGUAGE="]);
    let mut bounds = None;
    let user;
    let marker;
    match hop {
        Hop::Sudo(to) => {
            user = to;
            // sudo writes `%` for `%%`, so that an echo of the command line is no prompt.
            marker = format!("nlr-{}%?", (means.nonce)());
            argv.push("sudo".into());
            match means.has_secrets {
                // Even where nothing is asked: then -S does nothing.
                true => argv.extend(words(["-S", "-p", &marker.replace('%', "%%")])),
                false => argv.push("-n".into()),
            }
            if let Some(user) = to {
                argv.extend(words(["-u", user]));
            }
            argv.push("--".into());
            argv.append(&mut plan.argv);
        }
        Hop::Su(to) => {
            user = to;
            marker = "Password: ".to_owned();
            // Anything can say that. It counts while su runs, and nothing else does.
            let (begin, begins) = mark(means, "su");
            let (end, ends) = mark(means, "done");
            bounds = Some((begin, end));
            let before = words(["sh", "-c", &format!("{begins}; exec \"$@\""), "sh"]);
            argv.splice(..0, before);
            let inner = format!("{ends}; exec {}", quote(&plan.argv)?);
            // Its option for the shell makes it independent of the account's own.
            argv.extend(words(["su", "-s", "/bin/sh", "-c", &inner, "--"]));
            argv.push(to.as_deref().unwrap_or("root").into());
        }
        _ => return Ok(()),
    }
    let who = user.as_deref().unwrap_or("root");
    let prompt = format!("Password for {hop} (to become {who}): ");
    let request = SecretRequest {
        kind: SecretKind::Privilege,
        hop: hop.to_string(),
        prompt,
        echo: false,
        attempt: 1,
    };
    let way = means.before.iter().chain(before).map(Hop::to_string).collect();
    plan.prompts.push(Prompt { marker, bounds, request, way });
    plan.argv = argv;
    Ok(())
}

/// What stands before the command in the tools that take it as it is.
fn prefix(hop: &Hop) -> Vec<OsString> {
    match hop {
        Hop::Doas(user) => {
            // It reads a password from a terminal only.
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
        // `machinectl shell` always makes a terminal, which would change the bytes.
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

    fn planned(target: &str, has_secrets: bool) -> Plan {
        let nonce = || "n0".to_owned();
        let means = Means { has_secrets, nonce, ssh_config: None, before: &[] };
        let target: Target = target.parse().unwrap();
        plan(target.hops(), words(["sh", "-c", "a b"]), &means).unwrap()
    }

    /// For the eye: only words with blanks are quoted.
    fn shown(argv: &[OsString]) -> String {
        let show = |word: &OsString| {
            let word = word.to_str().unwrap();
            if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
        };
        argv.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_hop_wraps_what_is_behind_it() {
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
            let plan = planned(target, false);
            assert_eq!(shown(&plan.argv), expected);
            assert!(plan.line.is_none());
        }
    }

    #[test]
    fn openssh_jumps_by_itself_and_quotes_for_the_shell_there() {
        let plan = planned("openssh://ci@a:22,openssh://b,sudo:", false);
        let (command, options) = plan.argv.split_last().unwrap();
        assert_eq!(
            shown(options),
            "ssh -T -e none -o ClearAllForwardings=yes -o BatchMode=yes -J ci@a:22 -- b"
        );
        let command = command.to_str().unwrap();
        assert!(command.contains("sudo -n -- sh -c 'a b'"), "{command}");
        // Behind another kind of hop it is that place's own ssh.
        let plan = planned("openssh://a,sudo:,openssh://[::1]", true);
        assert_eq!(shown(&plan.argv[..6]), "ssh -T -e none -o ClearAllForwardings=yes");
        let inner = plan.argv.last().unwrap().to_str().unwrap();
        assert!(inner.contains("-- ssh -T"), "{inner}");
        assert!(inner.contains("::1"), "{inner}");
    }

    #[test]
    fn prompts_come_outermost_first_and_only_where_someone_answers() {
        let plan = planned("sudo:a,su:,sudo:b", true);
        let asked: Vec<_> = plan.prompts.iter().map(|prompt| prompt.request.hop.as_str()).collect();
        assert_eq!(asked, ["sudo:a", "su:", "sudo:b"]);
        assert!(
            shown(&plan.argv).starts_with("env LC_ALL=C LANGUAGE= sudo -S -p nlr-n0%%? -u a -- sh")
        );
        assert_eq!(plan.prompts[1].marker, "Password: ");
    }

    #[test]
    fn no_host_knows_the_prompts_of_another() {
        let gateway = ["ssh://gateway".parse().unwrap()];
        let nonce = crate::bootstrap::script::nonce;
        let means = Means { has_secrets: true, nonce, ssh_config: None, before: &gateway };
        let target: Target = "sudo:,openssh://a,sudo:,su:".parse().unwrap();
        let plan = plan(target.hops(), words(["sh", "-c", "a b"]), &means).unwrap();
        let [first, second, su] = &plan.prompts[..] else { panic!("{:?}", plan.prompts) };
        assert_ne!(first.marker, second.marker);
        assert_eq!(first.way, ["ssh://gateway"]);
        assert_eq!(second.way, ["ssh://gateway", "sudo:", "openssh://a"]);
        let nonce = |prompt: &Prompt| prompt.marker.replace(['%', '?'], "");
        let sent = plan.argv.last().unwrap().to_str().unwrap();
        assert!(sent.contains(&nonce(second)) && !sent.contains(&nonce(first)), "{sent}");
        // Nor is a mark in the command line that says it, which may be echoed.
        let (begin, end) = su.bounds.as_ref().unwrap();
        assert!(!sent.contains(begin.as_str()) && !sent.contains(end.as_str()), "{sent}");
    }

    #[test]
    fn what_is_typed_waits_for_those_who_ask_for_a_password() {
        assert!(planned("doas:,exec:sh,sudo:", true).ready.is_none());
        let plan = planned("sudo:,exec:sh", true);
        assert_eq!(plan.ready.unwrap(), "nlr-n0-ready.");
        let saying = "echo \"nlr-\"\"n0-ready.\"";
        assert_eq!(plan.argv.last().unwrap(), &*format!("{saying}; {saying} >&2; sh"));
    }

    #[test]
    fn behind_exec_the_command_is_typed() {
        let plan = planned("doas:,exec:chroot /x sh,sudo:", false);
        assert_eq!(shown(&plan.argv), "doas -n -- sh -c 'chroot /x sh'");
        let line = plan.line.unwrap();
        assert!(
            line.starts_with("exec env ") && line.ends_with("sudo -n -- sh -c 'a b'"),
            "{line}"
        );
    }
}
