//! Lists the links of wherever a TARGET leads, by rtnetlink.
//!
//! ```text
//! cargo run --example remote --features rust-netlink,ssh -- ssh://ci@test01,sudo:
//! ```
//!
//! Passwords are asked for by `ASKPASS`, a program that gets the prompt as its argument and prints
//! the answer. The stub that is sent to hosts is looked for as the tool does; see README.md.

use std::{env, error::Error, process::Command};

use futures_util::TryStreamExt;
use netlink_remote::{
    Connector, NetlinkSocket, Prompter, Protocol, Secret, Target, TargetOptions,
    prompter::SecretRequest,
};
use rtnetlink::packet_route::link::LinkAttribute;

/// Called on a thread of its own, where it may block.
fn password(request: &SecretRequest) -> Option<Secret> {
    // Whoever answers without looking has no better answer for the second time.
    let program = env::var_os("ASKPASS").filter(|_| request.attempt == 1)?;
    let output = Command::new(program).arg(&request.prompt).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(Secret::new(text.trim_end_matches('\n').to_owned()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The program `ssh` of an `openssh://` hop starts this program to ask.
    netlink_remote::prompter::serve_askpass_if_asked();
    let target = env::args().nth(1).ok_or("which target? such as `ssh://ci@test01,sudo:`")?;
    let target: Target = target.parse()?;
    let mut options = TargetOptions::default();
    options.prompter = Prompter::none().on_secret(password);
    // A stub to send, where none is installed beside this program: a file or a folder of such.
    options.stubs.extend(env::args_os().nth(2).map(Into::into));
    let client = Connector::new(options).connect(&target).await?;

    let host = client.host();
    println!("{} {} as uid {}", host.host_name, host.kernel_release, host.uid);
    let socket = client.socket(Protocol::ROUTE).open().await?;
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    tokio::spawn(connection);
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        for attribute in &link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                println!("{}: {name}", link.header.index);
            }
        }
    }
    client.close().await;
    Ok(())
}
