//! `-v`, `-vv` and `NLR_LOG`: the steps of connecting and the frames, on standard error.

use testing::{
    Ended, finish,
    tool::{Server, nlr, nlr_words},
};

/// The lines of a log; panics at any other line.
#[track_caller]
fn log_lines(ended: &Ended) -> Vec<&str> {
    let lines: Vec<_> = ended.stderr.lines().collect();
    for line in &lines {
        let head = line.strip_prefix('[').and_then(|line| line.split_once("] "));
        let (time, module) = head.and_then(|(head, _)| head.split_once("s ")).unwrap_or_default();
        assert!(time.parse::<f64>().is_ok() && !module.is_empty(), "{line}");
    }
    lines
}

fn has_frames(lines: &[&str]) -> bool {
    lines.iter().any(|line| line.contains("s frames] "))
}

#[test]
fn steps_with_v_and_frames_with_vv_beside_the_same_output() {
    let server = Server::start(&[]);
    let target = server.target();
    let quiet = nlr_words(&format!("show link --json {target}")).printed();
    for words in
        [format!("-v show link --json {target}"), format!("show link --json {target} --verbose")]
    {
        let ended = nlr_words(&words);
        assert_eq!((ended.code(), &ended.stdout), (0, &quiet), "{ended:?}");
        let lines = log_lines(&ended);
        assert!(lines.iter().any(|line| line.contains(&server.path.display().to_string())));
        assert!(lines.iter().any(|line| line.contains("netlink-remote ")), "{lines:#?}");
        assert!(!has_frames(&lines), "{lines:#?}");
    }
    let ended = nlr_words(&format!("show link --json {target} -vv"));
    assert_eq!((ended.code(), &ended.stdout), (0, &quiet), "{ended:?}");
    let lines = log_lines(&ended);
    for direction in ["sent", "received"] {
        assert!(lines.iter().any(|line| line.contains("frames] ") && line.contains(direction)));
    }
}

#[test]
fn an_error_comes_after_the_log() {
    let ended = nlr_words("-v show link unix:/nonexistent");
    let (log, error) = ended.stderr.trim_end().rsplit_once('\n').unwrap();
    assert!(log.contains("/nonexistent") && error.starts_with("nlr: unix:/nonexistent: "), "{log}");
    assert_eq!(ended.code(), 3);
}

#[test]
fn a_variable_has_filters_of_tracing() {
    let with = |filters: &str, words: &[&str]| {
        let mut command = nlr(words);
        command.env("NLR_LOG", filters);
        finish(command)
    };
    let words = ["ping", "--count", "1"];
    let ended = with("netlink_remote::frames=trace", &words);
    let lines = log_lines(&ended);
    assert!(has_frames(&lines) && lines.iter().all(|line| has_frames(&[line])), "{ended:?}");
    let ended = with("netlink_remote::frames=trace", &[&words[..], &["-v"]].concat());
    assert!(!has_frames(&log_lines(&ended)), "the option comes first: {ended:?}");
    with("", &words).printed();
    with("off", &words).printed();
    with("netlink_remote=loud", &words).failed(2, &["NLR_LOG", "netlink_remote=debug"]);
}
