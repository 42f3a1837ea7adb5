//! Hosts of the lab as targets of the tool and of the library.

use std::sync::{Arc, Mutex};

use netlink_remote::{
    Client, Connector, Error, Event, Netns, Prompter, Secret, Target, TargetOptions,
    prompter::SecretRequest,
};
use serde_json::Value;

use crate::{
    Ended, finish,
    lab::{Host, Lab},
    netlink::{self, NETLINK_ROUTE},
};
pub use crate::{programs::stripped_stub as stub, within};

/// Runs `nlr` on the lab's client, with the stripped stub to send.
#[track_caller]
pub fn nlr(lab: &Lab, arguments: &[&str]) -> Ended {
    let mut words = vec!["--stubs", stub()];
    words.extend(arguments);
    finish(lab.nlr(&words))
}

/// Runs `nlr` on the lab's client, which must succeed with an empty stderr; gives its stdout.
#[track_caller]
pub fn nlr_ok(lab: &Lab, arguments: &[&str]) -> String {
    let ended = nlr(lab, arguments);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{arguments:?}: {ended:?}");
    ended.stdout
}

/// Runs `nlr` on the lab's client, which must fail with an exit code, an empty stdout, and one line
/// on stderr that has all the texts; gives the line.
#[track_caller]
pub fn nlr_fails(lab: &Lab, arguments: &[&str], code: i32, texts: &[&str]) -> String {
    let ended = nlr(lab, arguments);
    assert_eq!(ended.code(), code, "{arguments:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{arguments:?}");
    let said = ended.stderr;
    assert!(said.starts_with("nlr: ") && said.lines().count() == 1, "{said}");
    for text in texts {
        assert!(said.contains(text), "{arguments:?}: {text:?} is not in: {said}");
    }
    said
}

/// The names of the links in the output of `nlr show link --json` or `ip -j link`.
#[track_caller]
pub fn link_names(json: &str) -> Vec<String> {
    let links: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let names = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

/// The names of the links of a host.
#[track_caller]
pub fn links_of(host: &Host) -> Vec<String> {
    link_names(&host.run("ip -j link"))
}

/// Options for connections from the test itself with the key, names and known hosts of the lab's
/// client.
pub fn options(lab: &Lab) -> TargetOptions {
    let client = lab.client();
    let outside = |path: &str| client.outside(path).display().to_string();
    let mut config = format!(
        "Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         UserKnownHostsFile {}\n",
        outside("/home/me/.ssh/id_ed25519"),
        outside("/home/me/.ssh/known_hosts"),
    );
    config += &client.read("/home/me/.ssh/config");
    client.file("/home/me/config-of-test", &config, 0o600);
    let mut options = TargetOptions::default();
    options.ssh_config = Some(client.outside("/home/me/config-of-test"));
    options.stub = Some(vec![stub().into()]);
    options.stubs = vec![stub().into()];
    options
}

/// A prompter that answers each question with the next of the secrets, and the questions so far.
pub fn answers(secrets: &[&str]) -> (Prompter, Arc<Mutex<Vec<SecretRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&asked);
    let mut left: Vec<String> = secrets.iter().rev().map(|&secret| secret.to_owned()).collect();
    left.shrink_to_fit();
    let left = Mutex::new(left);
    let prompter = Prompter::none().on_secret(move |request| {
        theirs.lock().unwrap().push(request.clone());
        left.lock().unwrap().pop().map(Secret::new)
    });
    (prompter, asked)
}

/// Connects to a target.
pub async fn connect(target: &str, options: &TargetOptions) -> Result<Client, Error> {
    let target = target.parse::<Target>()?;
    within(Connector::new(options.clone()).connect(&target)).await
}

/// The names of the links in a far namespace, by a dump over the client.
pub async fn dump_links(client: &Client, netns: Netns) -> Vec<String> {
    let socket = client.socket(NETLINK_ROUTE).netns(netns).open().await.unwrap();
    socket.send(&netlink::dump_links(1)).await.unwrap();
    let mut names = Vec::new();
    loop {
        let Event::Datagram(datagram) = within(socket.recv()).await.unwrap() else {
            panic!("no datagram")
        };
        names.extend(netlink::link_names(&datagram.data));
        if netlink::is_done(&datagram.data) {
            return names;
        }
    }
}
