use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{lookup::*, *};
use crate::{
    connect_context::ConnectContext,
    prompter::Prompter,
    transport::ssh::{
        host::{SshHost, StrictChecking},
        key_blob::fingerprint,
    },
};

fn host(file: &Path, name: &str, port: u16, strict: StrictChecking) -> SshHost {
    SshHost {
        hop: format!("ssh://{name}"),
        user_known_hosts: vec![file.to_owned()],
        strict,
        ..SshHost::bare(name, port, "u")
    }
}

/// The blob of a made-up key.
fn key(key_type: &str, seed: usize) -> Vec<u8> {
    let mut key = u32::try_from(key_type.len()).unwrap().to_be_bytes().to_vec();
    key.extend_from_slice(key_type.as_bytes());
    key.extend_from_slice(&seed.to_be_bytes());
    key
}

fn ed(seed: usize) -> Vec<u8> {
    key("ssh-ed25519", seed)
}

fn written(names: &str, key: &[u8]) -> String {
    line::format(names, key).unwrap()
}

fn nobody() -> ConnectContext {
    ConnectContext::new(Prompter::none(), Duration::from_secs(20))
}

fn file_with(content: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known_hosts");
    fs::write(&file, content).unwrap();
    (folder, file)
}

async fn check(host: &SshHost, key: &[u8], context: &ConnectContext) -> Result<(), String> {
    let known = KnownHosts::read(host).map_err(|error| error.to_string())?;
    let result = verify(&known, host, key, false, context).await.map_err(|error| error.to_string());
    assert!(!result.as_ref().is_err_and(|error| error.contains('\n')), "{result:?}");
    result
}

/// The result of a verification for the host `h`, without a callback.
async fn answer(content: &str, port: u16, strict: StrictChecking, key: &[u8]) -> String {
    let (_folder, file) = file_with(content);
    let said = check(&host(&file, "h", port, strict), key, &nobody()).await;
    let untouched = fs::read_to_string(&file).unwrap() == content;
    match said {
        Ok(()) if untouched => "known".to_owned(),
        Ok(()) => "added".to_owned(),
        Err(error) => {
            assert!(untouched, "refused, yet appended");
            let name = file.display().to_string();
            error.replace(&name, "FILE")
        }
    }
}

#[tokio::test]
async fn verdicts() {
    let (first, second, ecdsa) = (ed(1), ed(2), key("ecdsa-sha2-nistp256", 3));
    let of = |names: &str| written(names, &first);
    let other = |names: &str| written(names, &second);
    let all =
        [StrictChecking::Ask, StrictChecking::Yes, StrictChecking::AcceptNew, StrictChecking::No];
    for (content, port, expected) in [
        (of("h"), 22, "known"),
        (of("H"), 22, "known"),
        (of("x,h,y"), 22, "known"),
        (of("?"), 22, "known"),
        (of("*,!x"), 22, "known"),
        (of("[h]:2222"), 2222, "known"),
        (of("[h]:*"), 2222, "known"),
        // As for ssh, the name without the port counts if the one with it is unknown.
        (of("h"), 2222, "known"),
        (of("h") + &other("[h]:2222"), 2222, "the host key of [h]:2222 has CHANGED"),
        (other("h") + &of("h"), 22, "known"),
        (other("h"), 22, "the host key of h has CHANGED"),
        (format!("# a\n\n{}", other("h")), 22, "the host key of h has CHANGED"),
        (written("h", &ecdsa), 22, "the host key of h has CHANGED"),
        (format!("@revoked * {}", of("").trim_start()), 22, "the host key of h, SHA256:"),
        (of("h") + "@revoked h " + of("").trim_start(), 22, "the host key of h, SHA256:"),
        (format!("@revoked h {}", of("").trim_start()), 2222, "the host key of h, SHA256:"),
        ("@revoked h ".to_owned() + other("").trim_start() + &of("h"), 22, "known"),
        (of("h").trim_end().to_owned() + " a comment", 22, "known"),
        (format!(" \t{}", of("h").replace(' ', "\t ").replace('\n', "\r\n")), 22, "known"),
    ] {
        for strict in all {
            let said = answer(&content, port, strict, &first).await;
            assert!(said.starts_with(expected), "{content:?} {strict:?}: {said}");
        }
    }
    for (content, port) in [
        (String::new(), 22),
        (of("x"), 22),
        (of("!h,*"), 22),
        (of("[h]:22"), 22),
        (of("[h]:2223"), 2222),
        (other("h"), 2222),
        (format!("#{}", of("h")), 22),
        (format!("@cert-authority h {}", of("").trim_start()), 22),
        (format!("@revoked h {}", other("").trim_start()), 22),
        // Malformed, and so skipped.
        (format!("@nothing h {}", of("").trim_start()), 22),
        (format!("@revoked @revoked h {}", of("").trim_start()), 22),
        (of("h").replace('=', ""), 22),
        ("h".to_owned(), 22),
        ("h ssh-ed25519".to_owned(), 22),
        ("h ssh-ed25519 #".to_owned(), 22),
        ("h ssh-ed25519 !!!!".to_owned(), 22),
        ("h 1024 35 123456".to_owned(), 22),
        (of("h").replace("ssh-ed25519", "ssh-rsa"), 22),
        (of("h").replace("ssh-ed25519", "ssh-new"), 22),
        (format!("|1|AAAA|AAAA {}", of("").trim_start()), 22),
        (format!("|2|AAAA|AAAA {}", of("").trim_start()), 22),
    ] {
        let answers = all.map(|strict| answer(&content, port, strict, &first));
        for (strict, said) in all.into_iter().zip(answers) {
            let said = said.await;
            let right = match strict {
                StrictChecking::Ask | StrictChecking::Yes => {
                    said.contains(" is not known") || said.contains(" only known")
                }
                StrictChecking::AcceptNew | StrictChecking::No => said == "added",
            };
            assert!(right, "{content:?} {strict:?}: {said}");
        }
    }
}

#[tokio::test]
async fn the_text_of_a_refusal() {
    let print = |seed| fingerprint(&ed(seed));
    assert_eq!(
        answer(&format!("\n{}", written("[h]:23", &ed(2))), 23, StrictChecking::No, &ed(1)).await,
        format!(
            "the host key of [h]:23 has CHANGED: it now shows ssh-ed25519 {}, but FILE:2 has ssh-ed25519 {}; \
             someone may be listening in; if the change is known to be right, `ssh-keygen -R '[h]:23' -f FILE`",
            print(1),
            print(2)
        )
    );
    assert_eq!(
        answer("", 23, StrictChecking::Ask, &ed(1)).await,
        format!(
            "[h]:23 is not known, and there is nobody to ask; its key is ssh-ed25519 {}; if that is right, \
             connect to it once with `ssh`, or add what `ssh-keyscan -p 23 h` says to FILE",
            print(1)
        )
    );
    let authority = format!("@cert-authority * {}", written("", &ed(2)).trim_start());
    let said = answer(&authority, 22, StrictChecking::Yes, &ed(1)).await;
    assert!(said.starts_with("h is only known by the certificate authority at FILE:1"), "{said}");
}

#[tokio::test]
async fn the_callback_decides() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    for answer in [false, true] {
        let (_folder, file) = file_with("");
        let note = Arc::clone(&asked);
        let ask = Prompter::none().on_host_key(move |question| {
            note.lock().unwrap().push(question.clone());
            answer
        });
        let context = ConnectContext::new(ask, Duration::from_secs(20));
        let host = host(&file, "h", 23, StrictChecking::Ask);
        assert_eq!(check(&host, &ed(1), &context).await.is_ok(), answer);
        assert_eq!(fs::read_to_string(&file).unwrap().is_empty(), !answer);
        // The second time the key is known; another one is a changed one.
        assert_eq!(check(&host, &ed(1), &context).await.is_ok(), answer);
        assert!(!answer || check(&host, &ed(2), &context).await.is_err());
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    let question = &asked[0];
    assert_eq!((&*question.hop, &*question.host), ("ssh://h", "[h]:23"));
    assert_eq!((&*question.key_type, &question.fingerprint), ("ssh-ed25519", &fingerprint(&ed(1))));
}

#[tokio::test]
async fn the_form_of_an_appended_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/known_hosts");
    let mut host = host(&file, "H.example", 22, StrictChecking::AcceptNew);
    check(&host, &ed(1), &nobody()).await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), written("h.example", &ed(1)));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    // After a last line without a newline.
    fs::write(&file, "# no end").unwrap();
    host.host_key_alias = Some("Alias".to_owned());
    host.port = 99;
    check(&host, &ed(2), &nobody()).await.unwrap();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("# no end\n{}", written("alias", &ed(2)))
    );

    fs::write(&file, "").unwrap();
    host.hash_known_hosts = true;
    host.host_key_alias = None;
    check(&host, &ed(3), &nobody()).await.unwrap();
    let content = fs::read_to_string(&file).unwrap();
    assert!(content.starts_with("|1|") && !content.contains("example"), "{content}");
    check(&host, &ed(3), &nobody()).await.unwrap();
    assert!(check(&host, &ed(4), &nobody()).await.is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), content);
}

#[tokio::test]
async fn files_that_cannot_be_written() {
    let (_folder, file) = file_with("");
    let below = file.join("known_hosts");
    let result = check(&host(&below, "h", 22, StrictChecking::AcceptNew), &ed(1), &nobody()).await;
    assert!(result.unwrap_err().starts_with("writing the key of h to "));
    check(&host(&below, "h", 22, StrictChecking::No), &ed(1), &nobody()).await.unwrap();
    for strict in [StrictChecking::AcceptNew, StrictChecking::No] {
        let null = host(Path::new("/dev/null"), "h", 22, strict);
        check(&null, &ed(1), &nobody()).await.unwrap();
        let mut none = null;
        none.user_known_hosts.clear();
        check(&none, &ed(1), &nobody()).await.unwrap();
    }
    // A folder is no file.
    let folder = file.parent().unwrap();
    let error =
        check(&host(folder, "h", 22, StrictChecking::No), &ed(1), &nobody()).await.unwrap_err();
    assert!(error.starts_with("reading "), "{error}");
}

#[tokio::test]
async fn all_files_count() {
    let (folder, file) = file_with(&written("a", &ed(1)));
    let global = folder.path().join("global");
    fs::write(&global, written("h", &ed(2)) + &written("h", &key("ssh-rsa", 1))).unwrap();
    let mut host = host(&file, "h", 22, StrictChecking::AcceptNew);
    host.user_known_hosts.push(folder.path().join("missing"));
    host.global_known_hosts.push(global.clone());
    check(&host, &ed(2), &nobody()).await.unwrap();
    let error = check(&host, &ed(3), &nobody()).await.unwrap_err();
    assert!(error.contains(&format!("{}:1 ", global.display())), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), written("a", &ed(1)));
    let known = KnownHosts::read(&host).unwrap();
    assert_eq!(known.preferred(), ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]);
    host.host_name = "x".to_owned();
    assert!(KnownHosts::read(&host).unwrap().preferred().is_empty());
    (host.host_name, host.port) = ("a".to_owned(), 23);
    assert_eq!(KnownHosts::read(&host).unwrap().preferred(), ["ssh-ed25519"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once() {
    let (_folder, file) = file_with("# kept");
    let accepted = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for index in 0..200 {
        // Every second one is the same host, with two keys: either can be accepted, not both.
        let (name, key) = match index % 2 {
            0 => (format!("h{index}"), ed(index)),
            _ => ("same".to_owned(), ed(index % 4)),
        };
        let host = host(&file, &name, 22, StrictChecking::AcceptNew);
        let accepted = Arc::clone(&accepted);
        tasks.push(tokio::spawn(async move {
            if check(&host, &key, &nobody()).await.is_ok() {
                accepted.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 150);
    let content = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<_> = content.lines().collect();
    assert_eq!(lines.remove(0), "# kept");
    assert_eq!(lines.len(), 101);
    assert_eq!(lines.iter().filter(|line| line.starts_with("same ")).count(), 1);
    for index in (0..200).step_by(2) {
        let wanted = written(&format!("h{index}"), &ed(index));
        assert!(lines.contains(&wanted.trim_end()), "{wanted}");
    }
}

/// As by several processes, which do not exclude each other.
#[test]
fn appended_lines_stay_whole() {
    let (_folder, file) = file_with("");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let file = &file;
            scope.spawn(move || {
                for index in 0..50 {
                    append::append(file, &format!("h{thread}-{index}"), &ed(index), false).unwrap();
                }
            });
        }
    });
    let content = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = content.lines().collect();
    for thread in 0..8 {
        for index in 0..50 {
            let wanted = written(&format!("h{thread}-{index}"), &ed(index));
            assert_eq!(lines.iter().filter(|line| **line == wanted.trim_end()).count(), 1);
        }
    }
}

/// The output of `ssh-keygen`, if it is installed.
fn keygen(args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("ssh-keygen").args(args).output() else {
        eprintln!("skipped: there is no ssh-keygen to compare with");
        return None;
    };
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A real key: its blob, and the output of `ssh-keygen -l`.
fn real_key(folder: &Path, kind: &str) -> Option<(Vec<u8>, String)> {
    let file = folder.join(kind);
    let path = file.to_str().unwrap();
    keygen(&["-q", "-t", kind, "-N", "", "-f", path])?;
    let line = fs::read_to_string(file.with_extension("pub")).unwrap();
    let line = line::parse_for(format!("h {line}").as_bytes(), "h").unwrap();
    Some((line.key, keygen(&["-l", "-f", path])?))
}

#[test]
fn fingerprints_are_as_ssh_keygen_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let Some((key, shown)) = real_key(folder.path(), kind) else { return };
        assert_eq!(shown.split(' ').nth(1), Some(&*fingerprint(&key)));
    }
}

#[tokio::test]
async fn ssh_keygen_finds_the_same_lines() {
    let folder = tempfile::tempdir().unwrap();
    let Some((key, _)) = real_key(folder.path(), "ed25519") else { return };
    let file = folder.path().join("known_hosts");
    let path = file.to_str().unwrap();
    let lists = [
        "a",
        "b,a",
        "*",
        "!a,*",
        "a,!a",
        "?",
        "[a]:23",
        "[a]:*",
        "[*]:23",
        "A.Example.com",
        "*.example.com",
        "192.0.2.1",
        "192.0.2.*",
        "::1",
        "[::1]:23",
        "a,",
        ",a",
        "a*",
        "**a",
    ];
    let names =
        ["a", "b", "[a]:23", "[b]:24", "a.example.com", "192.0.2.1", "::1", "[::1]:23", "aa"];
    let compare = |name: &str| {
        let shown = keygen(&["-F", name, "-f", path]).unwrap();
        let theirs: Vec<usize> = shown
            .lines()
            .filter_map(|line| line.split_once(" found: line "))
            .map(|(_, number)| number.split(' ').next().unwrap().parse().unwrap())
            .collect();
        let mut host = host(&file, "x", 22, StrictChecking::Yes);
        host.host_key_alias = Some(name.to_owned());
        let known = KnownHosts::read(&host).unwrap();
        let ours: Vec<usize> = known.keys.iter().map(|key| key.number).collect();
        assert_eq!(ours, theirs, "{name}");
        ours.len()
    };
    let content: String = lists.iter().map(|names| written(names, &key)).collect();
    fs::write(&file, &content).unwrap();
    assert!(names.map(compare).iter().all(|count| *count > 0));

    // Hashed by ssh-keygen, except for patterns.
    keygen(&["-q", "-H", "-f", path]);
    let hashed = fs::read_to_string(&file).unwrap();
    assert!(hashed.lines().filter(|line| line.starts_with("|1|")).count() >= 5, "{hashed}");
    assert!(names.map(compare).iter().all(|count| *count > 0));

    // Hashed by this crate.
    fs::write(&file, "").unwrap();
    for (name, port) in [("a", 22), ("a", 23), ("::1", 23)] {
        let mut host = host(&file, name, port, StrictChecking::AcceptNew);
        host.hash_known_hosts = true;
        check(&host, &key, &nobody()).await.unwrap();
    }
    assert_eq!(["a", "[a]:23", "[::1]:23", "b"].map(compare), [1, 0, 1, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = line::parse_for(&bytes, "h");
        let _ = crate::transport::ssh::key_blob::key_type(&bytes);
    }

    #[test]
    fn no_line_makes_it_panic(text in "(@revoked |@cert-authority |@)?(h|\\|1\\|[A-Za-z+/=|]{0,60}|[*?!,]{0,9}) ssh-(rsa|ed25519) [A-Za-z+/=]{0,60}") {
        let _ = line::parse_for(text.as_bytes(), "h");
    }

    #[test]
    fn appended_lines_are_found(name in "[a-z0-9.:\\[\\]-]{1,30}", seed: usize, salt: [u8; line::SALT_LEN]) {
        let key = ed(seed);
        let hashed = line::hashed(&salt, &name).unwrap();
        for names in [&name, &hashed] {
            let found = line::parse_for(written(names, &key).as_bytes(), &name);
            prop_assert_eq!(found.map(|line| line.key), Some(key.clone()));
            prop_assert!(line::parse_for(written(names, &key).as_bytes(), "other_").is_none());
        }
    }
}
