//! Passwords, noise, ends and halts.

use std::{
    io,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Instant,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::*;
use crate::{
    ErrorKind, Step,
    bootstrap::{Bounds, Form, Prompt},
    prompter::{Progress, Secret, SecretKind, SecretRequest},
    transport::End,
};

const PROMPT: &str = "[nlr-0123] password: ";

/// Asks as `sudo -S` does, up to three times, and becomes its arguments if the answer is `right`.
pub(super) const SUDO: &str = "n=0
    while [ $n -lt 3 ]; do
        printf '%s' '[nlr-0123] password: ' >&2
        IFS= read -r answer || { echo 'sudo: no password was provided' >&2; exit 1; }
        [ \"$answer\" = right ] && exec \"$@\"
        echo 'Sorry, try again.' >&2
        n=$((n+1))
    done
    echo 'sudo: 3 incorrect password attempts' >&2
    exit 1";

fn sudo(script: &str, boot: &BootScript, home: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "far"]).args(boot.argv()).env("HOME", home);
    command
}

pub(super) fn prompt() -> Prompt {
    let request = SecretRequest {
        kind: SecretKind::Privilege,
        hop: "sudo:".to_owned(),
        prompt: "Password for sudo: ".to_owned(),
        key_file: None,
        echo: false,
        attempt: 1,
    };
    let asker = "sudo: (to become root)".to_owned();
    Prompt { form: Form::Marked(PROMPT.to_owned()), request, asker, via: Vec::new() }
}

/// A context that answers each attempt with the next of these, and the attempts so far.
fn answering(answers: &[&str]) -> (ConnectContext, Arc<Mutex<Vec<u32>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers: Vec<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let noted = Arc::clone(&asked);
    let ask = Prompter::none().on_secret(move |request| {
        noted.lock().unwrap().push(request.attempt);
        answers.get(request.attempt as usize - 1).cloned().map(Secret::new)
    });
    (ConnectContext::new(ask, Duration::from_secs(20)), asked)
}

async fn by_sudo(script: &str, context: &ConnectContext) -> Result<Option<String>, Error> {
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let running = process::spawn(sudo(script, &boot, home.path())).unwrap();
    let preamble = Preamble { script: Some(&boot), prompts: vec![prompt()], ..Default::default() };
    let (stream, exit_report) = start_stub(running, preamble, context).await?;
    Ok(converse(stream, exit_report).await)
}

#[tokio::test]
async fn the_right_password() {
    for (answers, attempts) in [(&["right"][..], &[1][..]), (&["wrong", "right"], &[1, 2])] {
        let (context, asked) = answering(answers);
        assert_eq!(by_sudo(SUDO, &context).await.unwrap(), None);
        assert_eq!(*asked.lock().unwrap(), attempts);
    }
    // The stub does not read a line end, or a second line, of the secret.
    let (context, _) = answering(&["right\r\nand more\n"]);
    by_sudo(SUDO, &context).await.unwrap();
    // Asked for on stdout.
    let (context, _) = answering(&["right"]);
    by_sudo(&SUDO.replacen(" >&2", "", 1), &context).await.unwrap();
}

#[tokio::test]
async fn a_missing_or_wrong_password() {
    let nobody = context();
    let endless = SUDO.replace("-lt 3", "-lt 100");
    let (none, _) = answering(&[]);
    let (one, asked_once) = answering(&["wrong"]);
    let (three, asked) = answering(&["a", "b", "c", "d", "e"]);
    for (context, script, expected) in [
        (&nobody, SUDO, "sudo: needs a password, and the prompter has no callback for secrets"),
        (&none, SUDO, "sudo: needs a password, and none was given"),
        (&one, SUDO, "wrong password for sudo:"),
        (&three, SUDO, "sudo: 3 incorrect password attempts"),
        (&three, &endless, "wrong password for sudo:"),
    ] {
        let error = by_sudo(script, context).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.step(), Some(Step::Privilege));
        assert!(error.to_string().starts_with("privilege: "), "{error}");
        assert!(!error.to_string().contains("nlr-0123"), "{error}");
    }
    assert_eq!(*asked_once.lock().unwrap(), [1, 2]);
    assert_eq!(*asked.lock().unwrap(), [1, 2, 3, 1, 2, 3]);
}

#[tokio::test]
async fn hops_of_the_same_text_are_told_apart() {
    let via = |via: &[&str]| via.iter().map(|&hop| hop.to_owned()).collect();
    let near = Prompt { via: via(&["ssh://a"]), ..prompt() };
    let form = Form::Marked("[nlr-4567] password: ".to_owned());
    let far = Prompt { form, via: via(&["ssh://a", "sudo:", "openssh://b"]), ..prompt() };
    for (prompts, expected) in [
        (vec![near.clone(), far], "wrong password for ssh://a,sudo:"),
        (vec![near], "wrong password for sudo:"),
    ] {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let running = process::spawn(sudo(SUDO, &boot, home.path())).unwrap();
        let (context, _) = answering(&["wrong"]);
        let preamble = Preamble { script: Some(&boot), prompts, ..Default::default() };
        let error = start_stub(running, preamble, &context).await.err().unwrap();
        assert_eq!(error.to_string(), format!("privilege: {expected}"));
    }
}

#[tokio::test]
async fn a_refusal_without_a_question() {
    let script = "echo 'sudo: a terminal is required to read the password' >&2; exit 1";
    let error = by_sudo(script, &context()).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Privilege));
    let text = error.to_string();
    assert!(text.starts_with("privilege: sudo: a terminal is required"), "{text}");
    assert!(text.contains("; sudo demands a terminal there: "), "{text}");
}

#[tokio::test]
async fn noise_before_the_stub() {
    let noisy = "i=0; while [ $i -lt 1000 ]; do
        echo 'Welcome, this is a line of about a hundred letters, and a message of the day'
        echo 'may have a good many of them'
        i=$((i+1)); done; printf 'no line end nlr-boot '; exec \"$@\"";
    by_sudo(noisy, &context()).await.unwrap();
    let endless =
        "while :; do echo 'and on and on and on and on and on and on and on and on'; done";
    let error = by_sudo(endless, &context()).await.unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::Handshake, Some(Step::Bootstrap)));
    let text = error.to_string();
    assert!(text.contains("startup files") && text.contains("and on"), "{text}");
    assert!(text.len() < 900, "{text}");
}

#[tokio::test]
async fn an_end_before_the_stub() {
    for (script, expected) in [
        ("exit 0", "the far end ended with exit code 0 before a stub was started"),
        ("exit 7", "; check that its account may run commands"),
        ("echo 'x@y: Permission denied (publickey).' >&2; exit 1", "it said: x@y: "),
        ("exit 127", "was not found"),
        ("exec /proc/nowhere-to-be-found", "exit code 127"),
        ("exit 126", "may not be executed"),
        ("kill -9 $$", "was killed by signal 9"),
        (
            "echo out; echo err >&2; exit 3",
            "exit code 3 before a stub was started; it said: err; and on stdout: out",
        ),
        ("exec >&-; exec sleep 60", "did not end by itself"),
    ] {
        let error = by_sudo(script, &context()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!((error.kind(), error.step()), (ErrorKind::Connect, Some(Step::Bootstrap)));
        assert!(!error.to_string().contains('\n'));
    }
}

/// As that of an ssh connection that is lost.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other("the network is gone")))
    }
}

#[tokio::test]
async fn a_stream_that_fails_says_why() {
    let boot = boot();
    let running = Running {
        stdio: Box::new(tokio::io::join(Broken, tokio::io::sink())),
        stderr: Box::new(tokio::io::empty()),
        end: Box::pin(async { End::Unknown }),
    };
    let preamble = Preamble { script: Some(&boot), ..Default::default() };
    let error = start_stub(running, preamble, &context()).await.err().unwrap();
    assert_eq!(error.step(), Some(Step::Bootstrap), "{error}");
    let text = format!("{error:#}");
    assert!(text.contains("the network is gone"), "{text}");
    assert!(!text.contains("its account may run commands"), "{text}");
}

#[tokio::test]
async fn an_end_after_the_password_is_no_fault_of_it() {
    let (context, _) = answering(&["right"]);
    let ends =
        SUDO.replace("exec \"$@\"", "{ script=$3; exec sh -c \"${script%%j=; has*} exit 9\"; }");
    let error = by_sudo(&ends, &context).await.unwrap_err();
    assert!(error.to_string().contains("exit code 9"), "{error}");
    assert_eq!(error.step(), Some(Step::Bootstrap));
    // Nor is the end of a hop before the script, after any words of sudo.
    for (before, behind, expected) in [
        ("", "echo 'Error: No such container: web' >&2; exit 1", "No such container"),
        ("", "echo 'on stdout'; exit 1", "on stdout"),
        ("", "exit 7", "exit code 7"),
        ("echo 'sudo: Authentication failed, try again.' >&2", "echo no >&2; exit 5", "no"),
        ("echo 'sudo: unable to resolve host h: Unknown' >&2", "echo no >&2; exit 5", "no"),
    ] {
        let (context, _) = answering(&["wrong", "right"]);
        let ends = SUDO.replace("exec \"$@\"", &format!("{{ {behind}; }}"));
        let again = "echo 'Sorry, try again.' >&2";
        let ends = ends.replace(again, &format!("{before}\n{again}"));
        let error = by_sudo(&ends, &context).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.step(), Some(Step::Bootstrap), "{behind}: {error}");
    }
}

#[tokio::test]
async fn a_warning_of_sudo_is_no_refusal() {
    let warning = "echo 'sudo: unable to resolve host h: Name or service not known' >&2";
    for (fails, step) in [
        ("echo 'Error: No such container: web' >&2; exit 1", Step::Bootstrap),
        ("echo 'sudo: docker: command not found' >&2; exit 1", Step::Bootstrap),
        ("echo 'sudo: a password is required' >&2; exit 1", Step::Privilege),
    ] {
        let error = by_sudo(&format!("{warning}; {fails}"), &context()).await.unwrap_err();
        assert_eq!(error.step(), Some(step), "{error}");
    }
}

#[tokio::test]
async fn sudo_that_dies_while_it_judges_the_answer() {
    // Killed while it judges the answer, and without a word.
    let (context, _) = answering(&["right"]);
    let dies = SUDO.replace("exec \"$@\"", "kill -9 $$");
    let error = by_sudo(&dies, &context).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Privilege), "{error}");
}

#[tokio::test]
async fn silence() {
    let short = ConnectContext::new(Prompter::none(), Duration::from_secs(1));
    let error = by_sudo("echo 'what now?'; exec sleep 60", &short).await.unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::Timeout, Some(Step::Bootstrap)));
    assert!(error.to_string().contains("within 1s; it said: what now?"), "{error}");
}

#[tokio::test]
async fn a_stalled_upload() {
    let short = ConnectContext::new(Prompter::none(), Duration::from_secs(2));
    let halt =
        "shift 2; script=$1; exec sh -c \"${script%%j=; has*} say need \\$x \\$d; exec sleep 60\"";
    let error = by_sudo(halt, &short).await.unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::Timeout, Some(Step::Bootstrap)));
    assert!(error.to_string().contains("of 300039 bytes, and no more within 2s"), "{error}");
}

#[tokio::test]
async fn a_slow_upload() {
    // Each piece within the limit, all of it in several times the limit.
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let context = ConnectContext::new(Prompter::none(), Duration::from_secs(2));
    let mut argv = plain(&boot);
    argv[2] = argv[2].replace("k=4;", "sleep 0.06; k=1;");
    let began = Instant::now();
    let running = process::spawn(command(&["sh"], home.path(), &argv)).unwrap();
    let preamble = Preamble { script: Some(&boot), ..Default::default() };
    go_with(running, preamble, &context).await.unwrap();
    assert!(began.elapsed() > context.limit());
}

#[tokio::test]
async fn progress_is_reported_from_the_first_byte_to_the_last() {
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let ask = Prompter::none().on_progress(move |progress: &Progress| {
        noted.lock().unwrap().push((progress.target.clone(), progress.sent, progress.total));
    });
    let context = ConnectContext::new(ask, Duration::from_secs(20));
    let running = process::spawn(command(&["sh"], home.path(), &plain(&boot))).unwrap();
    let preamble =
        Preamble { script: Some(&boot), target: "exec:x".to_owned(), ..Default::default() };
    go_with(running, preamble, &context).await.unwrap();
    let mut told = told.lock().unwrap().clone();
    assert_eq!(told.first().unwrap(), &("exec:x".to_owned(), 0, 0), "the begin of the step");
    told.retain(|(_, _, total)| *total > 0);
    let total = fake_stub("one").len() as u64;
    assert_eq!(told.first().unwrap(), &("exec:x".to_owned(), 0, total));
    assert_eq!(told.last().unwrap(), &("exec:x".to_owned(), total, total));
    assert!(told.is_sorted() && told.len() > 5, "{told:?}");
}

#[tokio::test]
async fn typed_into_a_shell() {
    use crate::shell::quote;
    for shell in shells() {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let lines = vec!["echo hello".to_owned(), format!("exec {}", quote(&boot.argv()).unwrap())];
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).env("HOME", home.path());
        let preamble = Preamble { script: Some(&boot), lines, ..Default::default() };
        go_with(process::spawn(command).unwrap(), preamble, &context()).await.unwrap();
    }
}

#[tokio::test]
async fn through_any_login_shell() {
    use crate::shell::quote;
    for shell in ["sh", "bash", "tcsh", "fish"] {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let mut command = Command::new(shell);
        command.args(["-c", &quote(&boot.argv()).unwrap()]).env("HOME", home.path());
        let Ok(running) = process::spawn(command) else { continue };
        let preamble = Preamble { script: Some(&boot), ..Default::default() };
        go_with(running, preamble, &context())
            .await
            .unwrap_or_else(|error| panic!("{shell}: {error}"));
    }
}

#[tokio::test]
async fn a_stub_without_any_script() {
    let running = |script| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        process::spawn(command).unwrap()
    };
    let script =
        "echo hi; printf '\\376nlr-hello\\000\\r\\n\\032\\377\\000'; cat; echo gone >&2; exit 3";
    let (stream, exit_report) =
        start_stub(running(script), Preamble::default(), &context()).await.unwrap();
    let said = converse(stream, exit_report).await.unwrap();
    assert_eq!(said, "the far end ended with exit code 3 and said: gone");
    let error = start_stub(running("exit 5"), Preamble::default(), &context()).await.err().unwrap();
    assert!(error.to_string().contains("exit code 5"), "{error}");
}

/// su's prompt, which anything may print.
fn bounded() -> Prompt {
    let bounds = Bounds { begin: "su begins.".to_owned(), end: "su is done.".to_owned() };
    let asker = "su: (to become root)".to_owned();
    Prompt { form: Form::Between(bounds), asker, ..prompt() }
}

#[tokio::test]
async fn a_program_that_prints_su_s_prompt_gets_no_password() {
    let say = "say() { echo \"$1\"; echo \"$1\" >&2; }; phish() { printf 'Password: '; \
               printf 'Password: ' >&2; };";
    let su = "printf 'Password: ' >&2; IFS= read -r answer; [ \"$answer\" = right ] || exit 1;";
    for asks in [su, &su.replace(" >&2", ""), ""] {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let script = format!(
            "{say} phish; say 'su begins.'; {asks} say 'su is done.'; phish; sleep 0.2; phish; \
             exec \"$@\""
        );
        let (context, asked) = answering(&["right", "another", "and another"]);
        let running = process::spawn(sudo(&script, &boot, home.path())).unwrap();
        let preamble =
            Preamble { script: Some(&boot), prompts: vec![bounded()], ..Default::default() };
        go_with(running, preamble, &context).await.unwrap();
        let times = usize::from(!asks.is_empty());
        assert_eq!(asked.lock().unwrap().len(), times, "{asks}");
    }
}

/// A line of stderr for each question, as `kind attempt prompt`, by a far end that asks so.
async fn questions(script: &str, prompt: Prompt) -> (Result<(), Error>, Vec<String>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let ask = Prompter::none().on_secret(move |request| {
        let SecretRequest { kind, attempt, prompt, .. } = request;
        let mut asked = noted.lock().unwrap();
        asked.push(format!("{kind:?} {attempt} {prompt}"));
        Some(Secret::new(format!("a{}", asked.len())))
    });
    let context = ConnectContext::new(ask, Duration::from_secs(20));
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let running = process::spawn(sudo(script, &boot, home.path())).unwrap();
    let preamble = Preamble { script: Some(&boot), prompts: vec![prompt], ..Default::default() };
    let done = match start_stub(running, preamble, &context).await {
        Ok((stream, exit_report)) => {
            converse(stream, exit_report).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    let asked = asked.lock().unwrap().clone();
    (done, asked)
}

#[tokio::test]
async fn a_further_question_of_sudo_is_no_refusal() {
    let ask = "ask() { printf '%s' '[nlr-0123] password: ' >&2; IFS= read -r answer; \
               [ \"$answer\" = $1 ] || exit 9; };";
    let base = "Privilege 1 Password for sudo: ";
    let more = "Interactive 1 sudo: (to become root) asks for more, such as a one-time code: ";
    for (script, expected) in [
        ("ask a1; ask a2; exec \"$@\"", &[base, more][..]),
        (
            "ask a1; ask a2; echo 'Sorry, try again.' >&2; ask a3; ask a4; exec \"$@\"",
            &[base, more, "Privilege 2 Password for sudo: ", &more.replace(" 1 ", " 2 ")],
        ),
        // As with `Defaults insults`, or a module that says something.
        (
            "ask a1; echo 'You silly, twisted boy you.' >&2; ask a2; exec \"$@\"",
            &[
                base,
                "Privilege 2 sudo: (to become root) says: You silly, twisted boy you.; password: ",
            ],
        ),
    ] {
        let (done, asked) = questions(&format!("{ask} {script}"), prompt()).await;
        done.unwrap();
        assert_eq!(asked, expected, "{script}");
    }
    let (done, asked) =
        questions(&format!("{ask} n=0; while :; do n=$((n+1)); ask a$n; done"), prompt()).await;
    assert!(done.unwrap_err().to_string().contains("one question after another"));
    assert_eq!(asked.len(), 16);
}

#[tokio::test]
async fn each_question_of_su_is_asked_as_what_it_is() {
    let ask =
        "ask() { printf '%s' \"$1\" >&2; IFS= read -r answer; [ \"$answer\" = $2 ] || exit 9; };
        begin() { echo 'su begins.'; echo 'su begins.' >&2; };
        end() { echo 'su is done.'; echo 'su is done.' >&2; };";
    let script = "begin; ask 'Password: ' a1; echo 'Enter a code or press Enter' >&2; \
        ask 'Verification code: ' a2; ask 'Really? ' a3; ask 'Password: ' a4; end; exec \"$@\"";
    let (done, asked) = questions(&format!("{ask} {script}"), bounded()).await;
    done.unwrap();
    let expected = [
        "Privilege 1 Password for sudo: ",
        "Interactive 1 su: (to become root) asks: Verification code: ",
        "Interactive 1 su: (to become root) asks: Really? ",
        "Privilege 2 Password for sudo: ",
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn no_prompt_counts_once_the_script_has_spoken() {
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let prefix = boot.prefix();
    let digest = boot.argv()[2].split_once("x=").unwrap().1[..64].to_owned();
    let script =
        format!("echo '{prefix}need {digest} /x'; sleep 0.3; echo '{PROMPT}' >&2; cat >&2");
    let asked = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&asked);
    let ask = Prompter::none().on_secret(move |_| {
        *noted.lock().unwrap() += 1;
        Some(Secret::new("right".to_owned()))
    });
    let context = ConnectContext::new(ask, Duration::from_secs(1));
    let running = process::spawn(sudo(&script, &boot, home.path())).unwrap();
    let preamble = Preamble { script: Some(&boot), prompts: vec![prompt()], ..Default::default() };
    start_stub(running, preamble, &context).await.err().unwrap();
    assert_eq!(*asked.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_line_is_not_typed_before_its_shell_is_there() {
    use crate::shell::quote;
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let script = SUDO.replace("exec \"$@\"", "{ echo 'the shell is there'; exec sh; }");
    let running = process::spawn(sudo(&script, &boot, home.path())).unwrap();
    let (context, asked) = answering(&["wrong", "right"]);
    let preamble = Preamble {
        script: Some(&boot),
        prompts: vec![prompt()],
        lines: vec![format!("exec {}", quote(&boot.argv()).unwrap())],
        shell_ready: Some("the shell is there".to_owned()),
        ..Default::default()
    };
    go_with(running, preamble, &context).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [1, 2]);
}
