//! `--inventory`: many targets at once.

use std::fs;

use testing::{
    Namespace, finish, temporary,
    tool::{Server, json_lines, nlr},
};

#[test]
fn lists_of_many_targets_are_labelled_and_failures_counted() {
    let (first, second) = (Namespace::new(), Namespace::new());
    first.ip("link add b0 type bridge");
    second.ip("link add b1 type bridge");
    let server = Server::start(&[]);
    let file = temporary("inventory");
    let path = file.to_str().unwrap();
    let good = format!(
        "one local: -n {0} -n {1}\ntwo {2} # without a namespace\n",
        first.0,
        second.0,
        server.target()
    );
    fs::write(&file, &good).unwrap();
    let words = ["show", "link", "--inventory", path, "--json", "-n", &second.0];
    let mut lines = json_lines(&finish(nlr(&words)).printed());
    lines.sort_by_key(|line| format!("{}{}", line["target"], line["netns"]));
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, netns, link) in
        [(&lines[0], &first, "b0"), (&lines[1], &second, "b1"), (&lines[2], &second, "b1")]
    {
        assert_eq!(line["netns"], *netns.0, "{line}");
        assert_eq!(line["list"][1]["ifname"], link, "{line}");
    }
    assert_eq!(lines[2]["target"], "two");
    let text = finish(nlr(&["show", "link", "--inventory", path, "-n", &second.0])).printed();
    for label in [format!("== one/{}\n", first.0), format!("== two/{}\n", second.0)] {
        assert_eq!(text.matches(&label).count(), 1, "{text}");
    }
    // Two that fail beside those that do not.
    fs::write(&file, good + "bad unix:/nosuch/socket\nworse local: -n nosuch\n").unwrap();
    let ended = finish(nlr(&["show", "link", "--inventory", path, "-n", &second.0]));
    assert_eq!(ended.code(), 22, "{ended:?}");
    assert!(ended.stdout.contains("== two/"), "{ended:?}");
    for words in ["nlr: bad/", "/nosuch/socket", "nlr: worse/nosuch: ", "2 of 5 targets failed"] {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
    let ended = finish(nlr(&["show", "link", "--inventory", path, "--json", "-n", &second.0]));
    let failed: Vec<_> = json_lines(&ended.stdout)
        .into_iter()
        .filter(|line| line["error"].is_string())
        .map(|line| line["target"].as_str().unwrap().to_owned())
        .collect();
    assert!(failed.len() == 2 && failed.contains(&"bad".to_owned()), "{failed:?}");
    let ended = finish(nlr(&["ping", "--inventory", path, "--interval", "0.01", "--json"]));
    assert_eq!(ended.code(), 21, "a namespace that is not there does no harm to a ping: {ended:?}");
    let lines = json_lines(&ended.stdout);
    let counts = lines.iter().filter(|line| line["summary"]["count"] == 3).count();
    assert_eq!(counts, 3, "{lines:?}");
    fs::remove_file(file).unwrap();
}

#[test]
fn many_targets_are_worked_at_a_few_at_a_time() {
    let server = Server::start(&[]);
    let mut text = String::new();
    for number in 0..300 {
        text += &format!("n{number} {}\n", server.target());
    }
    let mut command = nlr(&["ping", "--inventory", "-", "--count", "1"]);
    command.stdin(std::process::Stdio::piped());
    let ended = testing::finish_with(command, &text);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(ended.stdout.matches("== n").count(), 300);
    assert_eq!(ended.stdout.matches("1 round trips").count(), 300);
}
