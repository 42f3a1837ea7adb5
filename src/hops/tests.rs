use crate::ErrorKind;
use crate::{Hop, Target};

#[test]
fn text_and_back() {
    for text in [
        "local:",
        "unix:/run/nlr.sock",
        "unix:relative",
        "unix:/a%2Cb%25c",
        "ssh://host",
        "ssh://ci@gateway:2222,ssh://ci@test01,sudo:",
        "ssh://[::1]:22",
        "ssh://[fe80::1%25eth0]",
        "openssh://ci@DOMAIN@host,sudo:operator,docker:web-1",
        "local:,sudo:",
        "doas:,su:ci",
        "kubectl:default/web",
        "kubectl:arn:aws:eks/cluster/default/web/app",
        "kubectl:/default/web/app",
        "kubectl:kind/default/web/",
        "exec:chroot /srv/a%2Cb sh,stub:/usr/bin/nlr-stub",
        "podman:a,lxc:b,incus:c,machinectl:d",
    ] {
        let target: Target = text.parse().unwrap();
        assert_eq!(target.to_string(), text);
        assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
    }
    assert_eq!(
        "unix:/a%2Cb".parse::<Target>().unwrap(),
        Target::builder().hop(Hop::Unix("/a,b".into())).build().unwrap()
    );
    assert_eq!("ssh://host/".parse::<Target>().unwrap().to_string(), "ssh://host");
}

#[test]
fn a_builder_makes_the_target_of_a_text() {
    let built = Target::ssh("ci@gateway").ssh("ci@test01").sudo().build().unwrap();
    assert_eq!(built.to_string(), "ssh://ci@gateway,ssh://ci@test01,sudo:");
    assert_eq!(built, "ssh://ci@gateway,ssh://ci@test01,sudo:".parse().unwrap());
    let built = Target::openssh("[::1]:22").docker("web").stub("/nlr-stub").build().unwrap();
    assert_eq!(built.to_string(), "openssh://[::1]:22,docker:web,stub:/nlr-stub");
    let built = Target::builder()
        .hop(Hop::Local)
        .hop(Hop::Sudo(Some("ci".into())))
        .exec("chroot /a sh")
        .build()
        .unwrap();
    assert_eq!(built.to_string(), "local:,sudo:ci,exec:chroot /a sh");
}

#[test]
fn a_malformed_target_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "a hop is empty"),
        ("local", "write `local:`"),
        ("test01", "write `ssh://test01`"),
        ("local:x", "takes nothing"),
        ("unix:", "needs a path"),
        ("local:,local:", "hop 2, `local:`, can only come first"),
        ("ssh://a,,sudo:", "target `ssh://a,,sudo:`: a hop is empty"),
        ("host:22", "write `ssh://host:22`"),
        ("ssh//host", "write `ssh://HOST`"),
        ("ssh://host;sudo:", "separated by commas"),
        ("carrier-pigeon:", "expected local:, ssh://"),
        ("ssh:host", "write `ssh://host`"),
        ("ssh://", "the host is missing"),
        ("ssh://@host", "the user is missing"),
        ("ssh://-oProxyCommand=x", "cannot begin with `-`"),
        ("ssh://-l@host", "cannot begin with `-`"),
        ("openssh://a b", "cannot hold ' '"),
        ("ssh://a;b", "cannot hold ';'"),
        ("ssh://user:secret@host", "must not contain a password"),
        ("ssh://host:0", "1 to 65535"),
        ("ssh://host:ssh", "1 to 65535"),
        ("ssh://::1", "in brackets"),
        ("ssh://[::1", "`]` is missing"),
        ("ssh://host/path", "separated by commas"),
        ("ssh://a,unix:/run/x", "has to be alone"),
        ("unix:/run/x,sudo:", "has to be alone"),
        ("stub:/x,sudo:", "hop 1, `stub:/x`, has to come last"),
        ("ssh://a,stub:x", "has to begin with `/`"),
        ("sudo:,ssh://a", "write `openssh://`"),
        ("openssh://a,ssh://b", "can only follow other ssh:// hops"),
        ("exec:a,exec:b", "into one command"),
        ("exec: ", "needs a command"),
        ("docker:", "the name is missing"),
        ("docker:-v", "cannot begin with `-`"),
        ("sudo:-s", "cannot begin with `-`"),
        ("kubectl:pod", "expected `NAMESPACE/POD` or `[CONTEXT]/NAMESPACE/POD/[CONTAINER]`"),
        ("kubectl:a/b/c", "three parts are ambiguous"),
        ("kubectl:/a//c", "the pod is missing"),
    ] {
        let error = text.parse::<Target>().unwrap_err();
        assert!(error.to_string().contains(reason), "{text}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    for text in [
        "a\u{202e}b",
        "a\u{7}:22",
        "ssh:\u{1b}[2J",
        "sudo:,exec:a\u{7},local:",
        "exec:\u{9b}1m,unix:/x",
    ] {
        let shown = text.parse::<Target>().unwrap_err().to_string();
        assert!(!shown.contains(crate::text::is_harmful), "{shown:?}");
    }
    let many = vec!["sudo:"; 17].join(",");
    assert!(many.parse::<Target>().unwrap_err().to_string().contains("16 hops"));
    let error = Target::builder().ssh("-x").sudo().build().unwrap_err();
    assert!(error.to_string().contains("begin with `-`"), "{error}");
    let error = Target::builder().sudo().ssh("host").build().unwrap_err();
    assert!(error.to_string().contains("write `openssh://`"), "{error}");
}
