//! The ssh handshake: agreement on algorithms, and verification of the host key.

use std::sync::{Arc, Mutex};

use async_ssh2_lite::{
    AsyncSession, SessionConfiguration,
    ssh2::{self, MethodType},
};

use super::{
    algorithms::AlgorithmList,
    callbacks,
    fault::{self, ssh2_error, words},
    greeting::Greeting,
    host::SshHost,
    known_hosts::{KnownHosts, verify},
    socket::SshSocket,
    thread::on_thread,
};
use crate::{
    Error, blocking,
    connect_context::ConnectContext,
    sync::lock,
    text::{one_line, one_line_of},
};

/// What the server has said so far, for the error of a handshake that fails or does not end.
pub(super) type Heard = Arc<Mutex<Vec<u8>>>;

/// A session with the right host. No secret has been sent yet.
pub(super) async fn handshake(
    host: &Arc<SshHost>,
    socket: &SshSocket,
    heard: &Heard,
    context: &ConnectContext,
) -> Result<AsyncSession<SshSocket>, Error> {
    let known = read_known_hosts(host).await?;
    let session = AsyncSession::new(socket.clone(), configuration(host))
        .map_err(|error| failed(host, &ssh2_error(error), false, &[]))?;
    let offers = set_preferences(&session, &known, host).await?;
    let (recorded, progress) = (Arc::clone(heard), context.clone());
    let agreed = on_thread(socket, move |session| {
        callbacks::install(session);
        let (result, heard) = callbacks::overhear(|| session.clone().handshake());
        if !heard.is_empty() {
            progress.note_progress();
            lock(&recorded).extend(heard);
        }
        result
    });
    agreed.await.map_err(|error| {
        let heard = lock(heard);
        let theirs = Greeting::parse(&heard).offers;
        let disagreement = theirs.and_then(|theirs| no_agreement(&offers, &theirs));
        disagreement.unwrap_or_else(|| {
            let is_lost = fault::is_loss(&error) || socket.is_closed();
            failed(host, &error, is_lost, &heard)
        })
    })?;
    log_agreement(&session);
    let key = session.host_key().map(|(key, _)| key.to_vec());
    match key {
        Some(key) => verify(&known, host, &key, socket.is_local(), context).await?,
        None => return Err(fault::connect("the server has no host key")),
    }
    Ok(session)
}

/// The words for a handshake that was not done in time.
pub(super) fn unfinished(heard: &Heard) -> String {
    let heard = lock(heard);
    let greeting = Greeting::parse(&heard);
    match (heard.is_empty(), greeting.version) {
        (true, _) => {
            "; the connection is up, but no ssh server has greeted on it: check the port, and \
                      whether something on the way takes connections for a host that is down"
                .to_owned()
        }
        (false, None) => "; what answers there is not an ssh server; check the port".to_owned(),
        (false, Some(version)) => format!(
            "; {version} has greeted, and its key exchange does not come to an end: the server is busy, or \
             large packets are lost on the way (an MTU that is too high)"
        ),
    }
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

/// Chooses the algorithms to offer: by the lists of the configuration, or by this crate's own order.
async fn set_preferences(
    session: &AsyncSession<SshSocket>,
    known: &KnownHosts,
    host: &SshHost,
) -> Result<Offers, Error> {
    const CIPHERS: [MethodType; 2] = [MethodType::CryptCs, MethodType::CryptSc];
    const MACS: [MethodType; 2] = [MethodType::MacCs, MethodType::MacSc];
    let offer = Offer { session, host };
    let lists = &host.algorithms;
    offer.without_early_compression().await?;
    let offers = Offers {
        key_exchanges: offer.key_exchanges(lists.key_exchanges.as_ref()).await?,
        host_keys: offer.host_keys(known).await?,
        ciphers: offer.both("Ciphers", CIPHERS, lists.ciphers.as_ref(), usual_ciphers).await?,
        macs: offer.both("MACs", MACS, lists.macs.as_ref(), usual_macs).await?,
    };
    if let Some(list) = &lists.user_keys {
        // The algorithms by which an RSA key signs.
        let rsa = ["rsa-sha2-512", "rsa-sha2-256"];
        let names = list.apply(&rsa, &[rsa.as_slice(), &["ssh-rsa"]].concat());
        if !names.is_empty() {
            offer.set(MethodType::SignAlgo, &names).await?;
        }
    }
    Ok(offers)
}

/// As OpenSSH, no cipher in CBC mode or older.
///
/// Prefers AES-GCM where the processor has instructions for AES: it takes a fraction of the time of
/// libssh2's first choice, which is the fastest elsewhere. Both are equally safe.
fn usual_ciphers(names: &mut Vec<&'static str>) {
    names.retain(|name| ["-gcm@", "-ctr", "-poly1305@"].iter().any(|mode| name.contains(mode)));
    if has_aes_instructions() {
        names.sort_by_key(|name| !name.contains("-gcm@"));
    }
}

/// As OpenSSH, no MAC by MD5 or RIPEMD.
fn usual_macs(names: &mut Vec<&'static str>) {
    names.retain(|name| name.starts_with("hmac-sha"));
}

/// The algorithms offered to one host.
struct Offer<'a> {
    session: &'a AsyncSession<SshSocket>,
    host: &'a SshHost,
}

impl Offer<'_> {
    async fn supported(&self, kind: MethodType) -> Result<Vec<&'static str>, Error> {
        self.session
            .supported_algs(kind)
            .await
            .map_err(|error| failed(self.host, &ssh2_error(error), false, &[]))
    }

    async fn set(&self, kind: MethodType, names: &[&str]) -> Result<(), Error> {
        self.session
            .method_pref(kind, &names.join(","))
            .await
            .map_err(|error| failed(self.host, &ssh2_error(error), false, &[]))
    }

    /// Offers the same names in both directions.
    async fn both(
        &self,
        keyword: &'static str,
        kinds: [MethodType; 2],
        list: Option<&AlgorithmList>,
        usual: fn(&mut Vec<&'static str>),
    ) -> Result<Vec<&'static str>, Error> {
        let mut names = Vec::new();
        for kind in kinds {
            let supported = self.supported(kind).await?;
            names.clone_from(&supported);
            usual(&mut names);
            if let Some(list) = list {
                names = list.apply(&names, &supported);
            }
            self.check(keyword, &names)?;
            self.set(kind, &names).await?;
        }
        Ok(names)
    }

    /// Offers key exchanges, with libssh2's two marks that are no exchange.
    async fn key_exchanges(
        &self,
        list: Option<&AlgorithmList>,
    ) -> Result<Vec<&'static str>, Error> {
        let supported = self.supported(MethodType::Kex).await?;
        let is_mark =
            |name: &&str| name.starts_with("ext-info-") || name.starts_with("kex-strict-");
        let (marks, supported): (Vec<_>, Vec<_>) = supported.into_iter().partition(is_mark);
        let Some(list) = list else { return Ok(supported) };
        let names = list.apply(&supported, &supported);
        self.check("KexAlgorithms", &names)?;
        self.set(MethodType::Kex, &[names.clone(), marks].concat()).await?;
        Ok(names)
    }

    /// Prefers the types of the keys that are known: a key of another type would look like a changed
    /// one. As for ssh, a list that states an order comes before that. Leaves out certificates, since
    /// no authority is trusted here, and DSA.
    async fn host_keys(&self, known: &KnownHosts) -> Result<Vec<&'static str>, Error> {
        let mut supported = self.supported(MethodType::HostKey).await?;
        supported.retain(|name| !name.contains("-cert-") && *name != "ssh-dss");
        let list = self.host.algorithms.host_keys.as_ref();
        let mut names = match list {
            Some(list) => list.apply(&supported, &supported),
            None => supported,
        };
        if !list.is_some_and(AlgorithmList::is_order) {
            let preferred = known.preferred();
            let rank = |name: &&str| preferred.iter().position(|known| known == name);
            names.sort_by_key(|name| rank(name).unwrap_or(usize::MAX));
        }
        self.check("HostKeyAlgorithms", &names)?;
        self.set(MethodType::HostKey, &names).await?;
        Ok(names)
    }

    /// Offers compression after authentication alone, as OpenSSH does: `zlib@openssh.com` and not
    /// `zlib`. The length of a compressed packet would tell something of the password in it.
    async fn without_early_compression(&self) -> Result<(), Error> {
        for direction in [MethodType::CompCs, MethodType::CompSc] {
            let mut names = self.supported(direction).await?;
            names.retain(|name| *name != "zlib");
            self.set(direction, &names).await?;
        }
        Ok(())
    }

    fn check(&self, keyword: &'static str, names: &[&str]) -> Result<(), Error> {
        if !names.is_empty() {
            return Ok(());
        }
        Err(fault::refused(format!(
            "{keyword} of the ssh configuration leaves nothing that `ssh://` can offer; write `openssh:` in \
             place of `ssh:` to use the program ssh, or add to the list for {}",
            one_line(&self.host.host_name),
        )))
    }
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

/// The names offered to a server, each kind in the order of preference.
struct Offers {
    key_exchanges: Vec<&'static str>,
    host_keys: Vec<&'static str>,
    ciphers: Vec<&'static str>,
    macs: Vec<&'static str>,
}

/// The error of a server with which there is no algorithm in common, with both offers; `None` for one
/// with which there is.
fn no_agreement(ours: &Offers, theirs: &[String; 8]) -> Option<Error> {
    let [key_exchanges, host_keys, ciphers_out, ciphers_in, macs_out, macs_in, ..] = theirs;
    let kinds = [
        ("key exchange", &ours.key_exchanges, key_exchanges),
        ("type of host key", &ours.host_keys, host_keys),
        ("cipher", &ours.ciphers, ciphers_out),
        ("cipher", &ours.ciphers, ciphers_in),
        ("MAC", &ours.macs, macs_out),
        ("MAC", &ours.macs, macs_in),
    ];
    let is_common =
        |ours: &[&str], theirs: &str| theirs.split(',').any(|name| ours.contains(&name));
    let mut kinds = kinds.into_iter();
    let (kind, ours, theirs) = kinds.find(|(_, ours, theirs)| !is_common(ours, theirs))?;
    Some(fault::refused(format!(
        "no {kind} in common: the server offers {}, and ssh:// offers {}; write `openssh:` in place of \
         `ssh:` to use the program ssh, which may know one of the server's",
        one_line(theirs),
        ours.join(","),
    )))
}

fn failed(host: &SshHost, error: &ssh2::Error, is_lost: bool, heard: &[u8]) -> Error {
    let (name, port) = (&host.host_name, host.port);
    let greeting = Greeting::parse(heard);
    let text = match (is_lost, &greeting.version) {
        (true, None) if heard.is_empty() => format!(
            "{name} port {port} closed the connection before it greeted as an ssh server does: it is \
             none, or it ends, or has too many connections; check the port, and the server's log \
             (MaxStartups?)"
        ),
        (_, None) if !heard.is_empty() || !is_lost && words(error).contains("banner") => {
            if heard.starts_with(b"Exceeded MaxStartups") {
                return fault::connect(format!(
                    "the server at {name} port {port} is busy: it takes no more connections that have not \
                     logged in yet (MaxStartups in its sshd_config); try again later, or make fewer at a time"
                ));
            }
            if heard.starts_with(b"Not allowed at this time") {
                return fault::connect(format!(
                    "the server at {name} port {port} takes no connection from here for a while \
                     (PerSourcePenalties in its sshd_config): too many logins from this address have failed"
                ));
            }
            let said = greeting.said.map(|said| format!(" (it says: {said})")).unwrap_or_default();
            format!("what answers at {name} port {port} is not an ssh server{said}; check the port")
        }
        (true, Some(version)) => format!(
            "{name} closed the connection within the key exchange, after its greeting {version}: it refuses this \
             host (fail2ban, PerSourcePenalties, a firewall on the way), or it ends; see the server's log"
        ),
        _ => words(error),
    };
    fault::connect(text)
}

/// Whether a server has said that it has no room for another connection just now.
pub(super) fn is_busy(heard: &Heard) -> bool {
    lock(heard).starts_with(b"Exceeded MaxStartups")
}
