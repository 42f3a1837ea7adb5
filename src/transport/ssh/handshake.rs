//! Agreeing on a way to talk, and finding out whether it is the right host.

#![forbid(unsafe_code)]

use std::sync::Arc;

use async_ssh2_lite::{
    AsyncSession, SessionConfiguration,
    ssh2::{self, MethodType},
};

use super::{
    fault::{self, inner, words},
    host::SshHost,
    known_hosts::KnownHosts,
    thread::on_thread,
    wire::Wire,
};
use crate::{Error, ErrorKind, connect_context::ConnectContext};

/// A session whose host is the right one. No secret has been sent yet.
pub(super) async fn handshake(
    host: &Arc<SshHost>,
    wire: &Wire,
    context: &ConnectContext,
) -> Result<AsyncSession<Wire>, Error> {
    let known = read_known_hosts(host).await?;
    let session = AsyncSession::new(wire.clone(), configuration(host))
        .map_err(|error| failed(host, &inner(error)))?;
    let keys =
        host_key_preference(&session, &known).await.map_err(|error| failed(host, &inner(error)))?;
    let preferred = session.method_pref(MethodType::HostKey, &keys).await;
    preferred.map_err(|error| failed(host, &inner(error)))?;
    choose_ciphers(&session).await.map_err(|error| failed(host, &inner(error)))?;
    let shaken = on_thread(wire, |session| session.clone().handshake()).await;
    shaken.map_err(|error| failed(host, &error))?;
    let key = session.host_key().map(|(key, _)| key.to_vec());
    match key {
        Some(key) => known.check(host, &key, context).await?,
        None => return Err(protocol("the server has no host key")),
    }
    Ok(session)
}

async fn read_known_hosts(host: &Arc<SshHost>) -> Result<KnownHosts, Error> {
    let host = Arc::clone(host);
    let read = tokio::task::spawn_blocking(move || KnownHosts::read(&host)).await;
    read.map_err(|_| protocol("reading known_hosts broke off"))?
}

fn configuration(host: &SshHost) -> SessionConfiguration {
    let mut configuration = SessionConfiguration::new();
    configuration.set_compress(host.compression);
    // Pages of a server's release depend on the start only.
    configuration.set_banner(concat!("SSH-2.0-netlink_remote_", env!("CARGO_PKG_VERSION")));
    configuration
}

/// The kinds of key that are known first: another one would look like a change. Certificates are
/// left out, since nothing here can tell which authority to trust; so is DSA.
async fn host_key_preference(
    session: &AsyncSession<Wire>,
    known: &KnownHosts,
) -> Result<String, async_ssh2_lite::Error> {
    let mut rest = session.supported_algs(MethodType::HostKey).await?;
    rest.retain(|name| !name.contains("-cert-") && *name != "ssh-dss");
    let (mut names, rest): (Vec<_>, Vec<_>) = {
        let preferred = known.preferred();
        let first = preferred.into_iter().filter(|name| rest.contains(name)).collect::<Vec<_>>();
        let rest = rest.into_iter().filter(|name| !first.contains(name)).collect::<Vec<_>>();
        (first, rest)
    };
    names.extend(rest);
    Ok(names.join(","))
}

/// As OpenSSH, offers no cipher in CBC mode or older, and no MAC by MD5 or RIPEMD.
///
/// Where the processor has instructions for AES, AES-GCM takes a fraction of the time that libssh2's
/// first choice does, which is the best one elsewhere. Neither is the safer one.
async fn choose_ciphers(session: &AsyncSession<Wire>) -> Result<(), async_ssh2_lite::Error> {
    for direction in [MethodType::CryptCs, MethodType::CryptSc] {
        let mut names = session.supported_algs(direction).await?;
        names.retain(|name| ["-gcm@", "-ctr", "-poly1305@"].iter().any(|mode| name.contains(mode)));
        if has_aes_instructions() {
            names.sort_by_key(|name| !name.contains("-gcm@"));
        }
        session.method_pref(direction, &names.join(",")).await?;
    }
    for direction in [MethodType::MacCs, MethodType::MacSc] {
        let mut names = session.supported_algs(direction).await?;
        names.retain(|name| name.starts_with("hmac-sha"));
        session.method_pref(direction, &names.join(",")).await?;
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

fn failed(host: &SshHost, error: &ssh2::Error) -> Error {
    let said = words(error);
    let (name, port) = (&host.host_name, host.port);
    let kex = said.contains("exchange encryption keys") || said.contains("kex");
    let text = if said.contains("banner") {
        format!("what answers at {name} port {port} is not an ssh server; check the port")
    } else if fault::is_loss(error) && !kex {
        format!(
            "{name} closed the connection before it was up; see the server's log (MaxStartups?)"
        )
    } else if kex {
        format!(
            "no way to talk that both sides know ({said}); an old server needs `openssh:` in \
             place of `ssh:`"
        )
    } else {
        said
    };
    protocol(text)
}

fn protocol(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Connect, text)
}
