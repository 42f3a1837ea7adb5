//! What the tests of remote targets share.

#![allow(unreachable_pub, reason = "it is for all of the program")]

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use netlink_remote::{
    Client, Error, Event, Netns, Target,
    hops::{Connector, TargetOptions},
    prompter::{Prompter, Secret, SecretRequest},
};
use serde_json::Value;

pub(crate) use crate::lab::stub::stripped as stub;
use crate::lab::{Ended, Host, Lab, finish};

const NETLINK_ROUTE: u32 = 0;

/// Runs nlr on the lab's client.
#[track_caller]
pub fn nlr(lab: &Lab, arguments: &[&str]) -> Ended {
    let mut words = vec!["--stubs", stub()];
    words.extend(arguments);
    finish(lab.nlr(&words))
}

/// Runs nlr, which must succeed and say nothing on stderr.
#[track_caller]
pub fn nlr_ok(lab: &Lab, arguments: &[&str]) -> String {
    let ended = nlr(lab, arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}: {ended:?}");
    ended.stdout
}

/// Runs nlr, which must fail with an exit code and one line that holds all these texts.
#[track_caller]
pub fn nlr_fails(lab: &Lab, arguments: &[&str], code: i32, texts: &[&str]) -> String {
    let ended = nlr(lab, arguments);
    assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{arguments:?}");
    let said = ended.stderr;
    assert!(said.starts_with("nlr: ") && said.lines().count() == 1, "{said}");
    for text in texts {
        assert!(said.contains(text), "{arguments:?}: {text:?} is not in: {said}");
    }
    said
}

/// The names of the links in what `nlr show link --json` or `ip -j link` printed.
#[track_caller]
pub fn link_names(json: &str) -> Vec<String> {
    let links: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let names = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

/// The names of a host's own links.
#[track_caller]
pub fn links_of(host: &Host) -> Vec<String> {
    link_names(&host.run("ip -j link"))
}

/// Options for connecting from the test itself as the lab's user would: the same key, the same
/// names and the same known hosts.
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

/// Answers every question for a secret with the next of these; and says what was asked.
pub fn answers(secrets: &[&str]) -> (Prompter, Arc<Mutex<Vec<SecretRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&asked);
    let mut left: Vec<String> = secrets.iter().rev().map(|&secret| secret.to_owned()).collect();
    left.shrink_to_fit();
    let left = Mutex::new(left);
    let ask = Prompter::none().on_secret(move |request| {
        theirs.lock().unwrap().push(request.clone());
        left.lock().unwrap().pop().map(Secret::new)
    });
    (ask, asked)
}

pub async fn connect(target: &str, options: &TargetOptions) -> Result<Client, Error> {
    let target = target.parse::<Target>()?;
    within(Connector::new(options.clone()).connect(&target)).await
}

/// The names of the links in a far namespace, by a dump over the client.
pub async fn dump_links(client: &Client, netns: Netns) -> Vec<String> {
    let socket = client.socket(NETLINK_ROUTE).netns(netns).open().await.unwrap();
    // struct nlmsghdr and struct ifinfomsg: RTM_GETLINK with NLM_F_REQUEST | NLM_F_DUMP.
    let mut request = vec![32, 0, 0, 0, 18, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0];
    request.resize(32, 0);
    socket.send(&request).await.unwrap();
    let mut names = Vec::new();
    loop {
        let Event::Datagram(datagram) = within(socket.recv()).await.unwrap() else {
            panic!("no datagram")
        };
        let mut rest = &datagram.data[..];
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            match u16::from_ne_bytes(rest[4..6].try_into().unwrap()) {
                // NLMSG_DONE
                3 => return names,
                // RTM_NEWLINK
                16 => names.push(link_name(&rest[32..length])),
                other => panic!("message type {other}"),
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn link_name(mut attributes: &[u8]) -> String {
    loop {
        let length = u16::from_ne_bytes(attributes[..2].try_into().unwrap()) as usize;
        // IFLA_IFNAME
        if u16::from_ne_bytes(attributes[2..4].try_into().unwrap()) == 3 {
            return String::from_utf8(attributes[4..length - 1].to_vec()).unwrap();
        }
        attributes = &attributes[length.next_multiple_of(4)..];
    }
}

/// Fails rather than hangs.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("this hangs")
}
