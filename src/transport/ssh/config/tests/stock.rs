//! The system-wide configurations that distributions ship.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{of, world};
use crate::transport::ssh::{algorithms::AlgorithmList, host::StrictChecking};

/// Of the drop-in of systemd from 256 on, in Fedora and Arch.
const SYSTEMD: &str = "\
Host .host machine/.host
        ProxyCommand /usr/lib/systemd/systemd-ssh-proxy unix/run/ssh-unix-local/socket %p
        ProxyUseFdpass yes
        CheckHostIP no

Host unix/* unix%* vsock/* vsock%* vsock-mux/* vsock-mux%* machine/* machine%*
        ProxyCommand /usr/lib/systemd/systemd-ssh-proxy %h %p
        ProxyUseFdpass yes
        CheckHostIP no

        StrictHostKeyChecking no
        UserKnownHostsFile /dev/null
";

const RED_HAT: &str = "\
# The options here are in the \"Match final block\" to be applied as the last
# options and could be potentially overwritten by the user configuration
Match final all
	# Follow system-wide Crypto Policy, if defined:
	Include /etc/crypto-policies/back-ends/openssh.config

	GSSAPIAuthentication yes

	ForwardX11Trusted yes
";

/// Of RHEL 8 and 9.
const SEND_ENV: &str = "\
# Send locale-related environment variables
	SendEnv LANG LC_CTYPE LC_NUMERIC LC_TIME LC_COLLATE LC_MONETARY LC_MESSAGES
	SendEnv LC_PAPER LC_NAME LC_ADDRESS LC_TELEPHONE LC_MEASUREMENT
	SendEnv LC_IDENTIFICATION LC_ALL LANGUAGE
	SendEnv XMODIFIERS
";

/// The DEFAULT policy of RHEL 9.
const POLICY: &str = "\
Ciphers aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes128-gcm@openssh.com,aes128-ctr
MACs hmac-sha2-256-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha1,umac-128@openssh.com,hmac-sha2-512
GSSAPIKexAlgorithms gss-curve25519-sha256-,gss-nistp256-sha256-,gss-group14-sha256-,gss-group16-sha512-
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512
PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256,ecdsa-sha2-nistp256-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521,ecdsa-sha2-nistp521-cert-v01@openssh.com,ssh-ed25519,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-256,rsa-sha2-256-cert-v01@openssh.com,rsa-sha2-512,rsa-sha2-512-cert-v01@openssh.com
HostbasedAcceptedAlgorithms ecdsa-sha2-nistp256,ecdsa-sha2-nistp256-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-256,rsa-sha2-512
CASignatureAlgorithms ecdsa-sha2-nistp256,sk-ecdsa-sha2-nistp256@openssh.com,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-ed25519,rsa-sha2-256,rsa-sha2-512
RequiredRSASize 2048
";

/// Of RHEL 8, whose policy is one line a keyword too, in older names.
const POLICY_8: &str = "\
Ciphers aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes256-cbc,aes128-gcm@openssh.com,aes128-ctr,aes128-cbc
MACs hmac-sha2-256-etm@openssh.com,hmac-sha1-etm@openssh.com,hmac-sha2-256,hmac-sha1
GSSAPIKexAlgorithms gss-gex-sha1-,gss-group14-sha1-
KexAlgorithms curve25519-sha256,ecdh-sha2-nistp256,diffie-hellman-group14-sha256,diffie-hellman-group14-sha1
PubkeyAcceptedKeyTypes rsa-sha2-256,rsa-sha2-512,ecdsa-sha2-nistp256,ssh-ed25519,ssh-rsa
CASignatureAlgorithms rsa-sha2-256,rsa-sha2-512,ecdsa-sha2-nistp256,ssh-ed25519
";

const DEBIAN: &str = "\
Include /etc/ssh/ssh_config.d/*.conf

Host *
#   ForwardAgent no
#   Port 22
    SendEnv LANG LC_* COLORTERM NO_COLOR
    HashKnownHosts yes
    GSSAPIAuthentication yes
";

/// Of Arch and Alpine: all else is a comment.
const UPSTREAM: &str = "\
# This is the ssh client system-wide configuration file.
Include /etc/ssh/ssh_config.d/*.conf

# Host *
#   ForwardAgent no
#   IdentityFile ~/.ssh/id_rsa
#   Ciphers aes128-ctr,aes192-ctr,aes256-ctr,aes128-cbc,3des-cbc
";

#[test]
fn stock_configurations_serve_every_host() {
    let red_hat = format!("{RED_HAT}\n{SEND_ENV}");
    let include = "Include /etc/ssh/ssh_config.d/*.conf\n";
    let systemd = ("ssh_config.d/20-systemd-ssh-proxy.conf", SYSTEMD);
    let policy = |text| ("crypto-policies/back-ends/openssh.config", text);
    type Distribution<'a> = (&'a str, Vec<(&'a str, &'a str)>, bool, usize);
    let distributions: [Distribution<'_>; 6] = [
        (
            "Fedora",
            vec![
                ("ssh_config", include),
                ("ssh_config.d/50-redhat.conf", RED_HAT),
                systemd,
                policy(POLICY),
            ],
            false,
            2048,
        ),
        (
            "RHEL 9",
            vec![
                ("ssh_config", include),
                ("ssh_config.d/50-redhat.conf", &red_hat),
                policy(POLICY),
            ],
            false,
            2048,
        ),
        (
            "RHEL 8",
            vec![
                ("ssh_config", include),
                ("ssh_config.d/05-redhat.conf", &red_hat),
                policy(POLICY_8),
            ],
            false,
            1024,
        ),
        ("Debian, Ubuntu", vec![("ssh_config", DEBIAN)], true, 1024),
        ("Arch", vec![("ssh_config", UPSTREAM), systemd], false, 1024),
        ("Alpine", vec![("ssh_config", UPSTREAM)], false, 1024),
    ];
    for (name, files, hashes, rsa_bits) in distributions {
        let (folder, here) =
            world(&[("home/.ssh/config", "Host b\n Port 5\nHost c\n HostName d\n")]);
        let root = folder.path();
        for (file, text) in files {
            let path = match file.strip_prefix("crypto-policies/") {
                Some(_) => root.join(file),
                None => root.join("etc").join(file),
            };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = text
                .replace("/etc/ssh/", &format!("{}/etc/", root.display()))
                .replace("/etc/crypto-policies/", &format!("{}/crypto-policies/", root.display()));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        for (host, port, host_name) in [("a", 22, "a"), ("b", 5, "b"), ("c", 22, "d")] {
            let host = of(&here, host).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert_eq!((host.port, &*host.host_name), (port, host_name), "{name}");
            assert_eq!(host.hash_known_hosts, hashes, "{name}");
            assert_eq!(host.required_rsa_bits as usize, rsa_bits, "{name}");
            assert_eq!(host.strict, StrictChecking::Ask, "{name}");
            assert_eq!(host.proxy_command, None, "{name}");
            let has_policy = ["Fedora", "RHEL 9", "RHEL 8"].contains(&name);
            for list in [&host.algorithms.ciphers, &host.algorithms.user_keys] {
                assert_eq!(matches!(list, Some(AlgorithmList::Only(_))), has_policy, "{name}");
            }
        }
    }
}
