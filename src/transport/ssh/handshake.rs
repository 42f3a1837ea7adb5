//! The ssh handshake: agreement on algorithms, and verification of the host key.

use std::sync::Arc;

use async_ssh2_lite::{
    AsyncSession, SessionConfiguration,
    ssh2::{self, MethodType},
};

use super::{
    fault::{self, ssh2_error, words},
    host::SshHost,
    known_hosts::{KnownHosts, verify},
    socket::SshSocket,
    thread::on_thread,
};
use crate::{Error, blocking, connect_context::ConnectContext, text::one_line_of};

/// A session with the right host. No secret has been sent yet.
pub(super) async fn handshake(
    host: &Arc<SshHost>,
    socket: &SshSocket,
    context: &ConnectContext,
) -> Result<AsyncSession<SshSocket>, Error> {
    let known = read_known_hosts(host).await?;
    let session = AsyncSession::new(socket.clone(), configuration(host))
        .map_err(|error| failed(host, &ssh2_error(error)))?;
    set_preferences(&session, &known).await.map_err(|error| failed(host, &ssh2_error(error)))?;
    let agreed = on_thread(socket, |session| session.clone().handshake()).await;
    agreed.map_err(|error| failed(host, &error))?;
    log_agreement(&session);
    let key = session.host_key().map(|(key, _)| key.to_vec());
    match key {
        Some(key) => verify(&known, host, &key, context).await?,
        None => return Err(fault::connect("the server has no host key")),
    }
    Ok(session)
}

async fn read_known_hosts(host: &Arc<SshHost>) -> Result<KnownHosts, Error> {
    let host = Arc::clone(host);
    let read = blocking::run(move || KnownHosts::read(&host)).await;
    read.map_err(|error| fault::connect("reading known_hosts").with_source(error))?
}

fn configuration(host: &SshHost) -> SessionConfiguration {
    let mut configuration = SessionConfiguration::new();
    configuration.set_compress(host.compression);
    // Servers that adapt to a client's release compare the start only.
    configuration.set_banner(concat!("SSH-2.0-netlink_remote_", env!("CARGO_PKG_VERSION")));
    configuration
}

async fn set_preferences(
    session: &AsyncSession<SshSocket>,
    known: &KnownHosts,
) -> Result<(), async_ssh2_lite::Error> {
    prefer_known_keys(session, known).await?;
    choose_compression(session).await?;
    choose_ciphers(session).await
}

/// Prefers the types of the keys that are known: a key of another type would look like a changed
/// one. Leaves out certificates, since no authority is trusted here, and DSA.
async fn prefer_known_keys(
    session: &AsyncSession<SshSocket>,
    known: &KnownHosts,
) -> Result<(), async_ssh2_lite::Error> {
    let mut names = session.supported_algs(MethodType::HostKey).await?;
    names.retain(|name| !name.contains("-cert-") && *name != "ssh-dss");
    let preferred = known.preferred();
    let rank = |name: &&str| preferred.iter().position(|known| known == name);
    names.sort_by_key(|name| rank(name).unwrap_or(usize::MAX));
    session.method_pref(MethodType::HostKey, &names.join(",")).await
}

/// Offers compression after authentication alone, as OpenSSH does: `zlib@openssh.com` and not
/// `zlib`. The length of a compressed packet would tell something of the password in it.
async fn choose_compression(
    session: &AsyncSession<SshSocket>,
) -> Result<(), async_ssh2_lite::Error> {
    for direction in [MethodType::CompCs, MethodType::CompSc] {
        let mut names = session.supported_algs(direction).await?;
        names.retain(|name| *name != "zlib");
        session.method_pref(direction, &names.join(",")).await?;
    }
    Ok(())
}

/// Offers, as OpenSSH does, no cipher in CBC mode or older, and no MAC by MD5 or RIPEMD.
///
/// Prefers AES-GCM where the processor has instructions for AES: it takes a fraction of the time of
/// libssh2's first choice, which is the fastest elsewhere. Both are equally safe.
async fn choose_ciphers(session: &AsyncSession<SshSocket>) -> Result<(), async_ssh2_lite::Error> {
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

fn log_agreement(session: &AsyncSession<SshSocket>) {
    let method = |kind| session.methods(kind);
    tracing::debug!(
        server = session.banner_bytes().map(one_line_of),
        key_exchange = method(MethodType::Kex),
        cipher_out = method(MethodType::CryptCs),
        cipher_in = method(MethodType::CryptSc),
        "algorithms agreed on",
    );
}

fn failed(host: &SshHost, error: &ssh2::Error) -> Error {
    let said = words(error);
    let (name, port) = (&host.host_name, host.port);
    let is_key_exchange = said.contains("exchange encryption keys") || said.contains("kex");
    let text = if said.contains("banner") && fault::is_loss(error) {
        format!(
            "{name} port {port} closed the connection before it greeted as an ssh server does: it is \
             none, or it ends, or has too many connections; check the port, and the server's log \
             (MaxStartups?)"
        )
    } else if said.contains("banner") {
        format!("what answers at {name} port {port} is not an ssh server; check the port")
    } else if fault::is_loss(error) && !is_key_exchange {
        format!(
            "{name} closed the connection before it was up; see the server's log (MaxStartups?)"
        )
    } else if is_key_exchange {
        format!(
            "no key exchange or cipher in common with the server ({said}); write `openssh:` in \
             place of `ssh:` to use the program ssh, which knows more of them"
        )
    } else {
        said
    };
    fault::connect(text)
}
