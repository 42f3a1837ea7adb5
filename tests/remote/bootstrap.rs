//! Sending the stub over real ssh.

use netlink_remote::{Connector, Netns, Step, Target};
use testing::{lab::Lab, remote::*};

const CACHE: &str = "/home/ci/.cache/netlink-remote";

#[test]
fn any_login_shell_does() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    for shell in ["sh", "bash", "dash", "ash", "tcsh", "fish"] {
        let host = lab.host(shell).shell(shell).start();
        for hop in ["ssh", "openssh"] {
            let target = format!("{hop}://{shell}");
            let shown = nlr_ok(&lab, &["show", "link", "--json", &target]);
            assert_eq!(link_names(&shown), links_of(&host), "{target}");
        }
        host.assert_idle();
    }
}

#[test]
fn a_host_of_busybox_alone_does() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("small").only_busybox().start();
    let shown = nlr_ok(&lab, &["show", "link", "--json", "ssh://small"]);
    assert!(link_names(&shown).contains(&"eth0".to_owned()));
    host.assert_idle();
}

#[test]
fn what_is_left_is_one_file_which_is_used_again_and_can_be_removed() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").sudoers("ci ALL=NOPASSWD: ALL").start();
    let files = |folder: &str| host.run(&format!("ls -A {folder} 2>&1 || true"));
    let temporary = files("/tmp /var/tmp /dev/shm");
    nlr_ok(&lab, &["show", "link", "ssh://test01"]);
    let cached = files(CACHE);
    assert!(cached.starts_with("stub-") && cached.lines().count() == 1, "{cached}");
    assert_eq!(files("/tmp /var/tmp /dev/shm"), temporary);
    let inode = host.run(&format!("stat -c '%i %U %a' {CACHE} {CACHE}/*"));
    assert!(inode.contains("ci 700"), "{inode}");
    nlr_ok(&lab, &["show", "link", "openssh://test01"]);
    assert_eq!(host.run(&format!("stat -c '%i %U %a' {CACHE} {CACHE}/*")), inode);

    let removed = nlr_ok(&lab, &["clean", "ssh://test01"]);
    assert!(removed.contains(CACHE) && removed.contains("netlink-remote/stub-"), "{removed}");
    assert!(files(CACHE).contains("No such file"), "{}", files(CACHE));
    assert_eq!(nlr_ok(&lab, &["clean", "ssh://test01", "--json"]), "[]\n");

    nlr_ok(&lab, &["show", "link", "ssh://test01,sudo:"]);
    assert!(files("/root/.cache/netlink-remote").starts_with("stub-"));
    let removed = nlr_ok(&lab, &["clean", "ssh://test01,sudo:"]);
    assert!(removed.contains("/root/.cache"), "{removed}");
    nlr_fails(&lab, &["clean", "local:"], 2, &["there is nothing to remove"]);
    host.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_ssh_connection_carries_many_stubs_and_tunnels() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let gateway = lab.host("gateway").on("public").on("inner").start();
    let inner = lab.host("inner").on("inner").start();
    let connector = Connector::new(options(&lab));
    let mut clients = Vec::new();
    for _ in 0..4 {
        for target in ["ssh://gateway", "ssh://gateway,ssh://inner"] {
            let target = target.parse().unwrap();
            clients.push(within(connector.connect(&target)).await.unwrap());
        }
    }
    let sessions = |host: &testing::lab::Host| {
        let is_session = |process: &&String| process.contains("sshd: ci");
        host.processes().iter().filter(is_session).count()
    };
    // One session of sshd for the connection; OpenSSH 9.8 and later have two processes for it.
    assert!(sessions(&gateway) <= 2, "{:?}", gateway.processes());
    assert!(sessions(&inner) <= 2, "{:?}", inner.processes());
    drop(connector);
    for (index, client) in clients.iter().enumerate() {
        let host = if index % 2 == 0 { &gateway } else { &inner };
        assert_eq!(dump_links(client, Netns::Current).await, links_of(host));
    }
    drop(clients);
    gateway.assert_idle();
    inner.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_stubs_than_a_connection_may_carry_get_another() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("few").sshd("MaxSessions 2").start();
    let connector = Connector::new(options(&lab));
    let target = "ssh://few".parse().unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(within(connector.connect(&target)).await.unwrap());
    }
    for client in &clients {
        assert!(dump_links(client, Netns::Current).await.contains(&"eth0".to_owned()));
    }
    drop((clients, connector));
    host.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_stubs_at_once_than_a_connection_may_carry_get_others() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("few").sshd("MaxSessions 2").start();
    let connector = Connector::new(options(&lab));
    let target: Target = "ssh://few".parse().unwrap();
    let all = (0..7).map(|_| within(connector.connect(&target)));
    let clients = futures_util::future::try_join_all(all).await.unwrap();
    for client in &clients {
        assert!(dump_links(client, Netns::Current).await.contains(&"eth0".to_owned()));
    }
    drop((clients, connector));
    host.assert_idle();
}

/// As with ssh, the configuration of a name applies to that name alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_made_under_another_name_vouches_for_nothing() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").start();
    let options = options(&lab);
    let client = lab.client();
    let address = &host.addresses()[0];
    let key = client.outside("/home/me/.ssh/id_ed25519").display().to_string();
    let to = format!("  HostName {address}\n  User ci\n  IdentityAgent none\n");
    let config = format!(
        "Host lax\n{to}  IdentityFile {key}\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n\
         Host strict\n{to}  IdentityFile {key}\n  HostKeyAlias other\n  StrictHostKeyChecking yes\n  UserKnownHostsFile none\n\
         Host keyless\n{to}  IdentityFile none\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n",
    );
    client.file("/home/me/config-of-test", &config, 0o600);
    let connector = Connector::new(options);
    let lax = within(connector.connect(&"ssh://lax".parse().unwrap())).await.unwrap();
    for (target, step) in [("ssh://strict", Step::HostKey), ("ssh://keyless", Step::Authentication)]
    {
        let error = within(connector.connect(&target.parse().unwrap())).await.unwrap_err();
        assert_eq!(error.step(), Some(step), "{error}");
    }
    drop((lax, connector));
    host.assert_idle();
}

#[test]
fn configuration_is_ssh_s_own() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let gateway = lab.host("gateway").on("public").on("inner").start();
    let inner = lab.host("inner").on("inner").start();
    let address = &inner.addresses()[0];
    let config = format!(
        "Host jump\n  HostName {}\n  User ci\nHost far\n  HostName {address}\n  User ci\n  \
         ProxyJump jump\nHost proxy\n  HostName {0}\n  User ci\n  ProxyCommand bash -c \
         'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3; kill $!'\nHost noway\n  ProxyCommand sh -c \
         'echo no way >&2'\n",
        gateway.addresses()[0],
    );
    lab.client().file("/home/me/other", &config, 0o600);
    let shown = nlr_ok(&lab, &["show", "link", "--json", "ssh://far", "-F", "/home/me/other"]);
    assert_eq!(link_names(&shown), links_of(&inner));
    let shown = nlr_ok(&lab, &["show", "link", "--json", "openssh://far", "-F", "/home/me/other"]);
    assert_eq!(link_names(&shown), links_of(&inner));
    let shown = nlr_ok(&lab, &["show", "link", "--json", "ssh://proxy", "-F", "/home/me/other"]);
    assert_eq!(link_names(&shown), links_of(&gateway));
    let arguments = ["show", "link", "ssh://noway", "-F", "/home/me/other"];
    nlr_fails(&lab, &arguments, 3, &["ssh://noway: host key: ", "its ProxyCommand says: no way"]);
    // Over IPv6, and with an agent behind a socket.
    let v6 = format!("ssh://ci@[{}]", gateway.addresses()[1]);
    assert_eq!(link_names(&nlr_ok(&lab, &["show", "link", "--json", &v6])), links_of(&gateway));
    let agent = lab.agent();
    lab.client().run("mv ~/.ssh/id_ed25519 ~/hidden");
    let mut command = lab.nlr(&["--stubs", stub(), "show", "link", "--json", "ssh://gateway"]);
    command.env("SSH_AUTH_SOCK", agent.socket());
    let ended = testing::finish(command);
    assert_eq!(ended.code(), 0, "{ended:?}");
    gateway.assert_idle();
    inner.assert_idle();
}
