//! Host keys: nobody logs in where the key was not confirmed.

use portway_testkit::sshd::{Sshd, SshdOptions};
use portway_transport::{Hop, HostKey, Ssh, TransportError};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::{
    conformance::{Place as _, put, sh, upload},
    far::{Far, hasty, hop, pin},
};

#[tokio::test]
async fn a_host_that_is_not_known_is_shown_before_anyone_logs_in() {
    let sshd = Sshd::run().unwrap();
    let ssh = Ssh::new(Hop { pins: Vec::new(), ..hop(&sshd) }, Vec::new());

    let error = ssh.connect().await.unwrap_err();

    let TransportError::HostKeyUnknown { offered, .. } = &error else { panic!("{error:?}") };
    assert_eq!(offered.fingerprint(), &pin(&sshd, "ed25519"));
    assert_eq!(offered.algorithm(), "ssh-ed25519");
    assert!(sshd.host_key("ed25519").unwrap().starts_with(offered.line()));
    assert!(error.to_string().contains("SHA256:") && error.remedy().contains("ssh-keygen -lf"));
    assert_nobody_logged_in(&sshd);
}

#[tokio::test]
async fn a_host_key_that_changed_stops_everything() {
    let mut far = Far::run();
    put(&far, &[upload(&far, "file", "before")]).await;
    let before = pin(&far.sshd, "ed25519");
    far.sshd.kill().unwrap();
    far.sshd.change_host_keys().unwrap();
    far.sshd.start().unwrap();
    let logins = far.sshd.logins();

    let refused =
        portway_transport::Transport::put(&far.ssh, &[upload(&far, "file", "after")]).await;

    let error = refused.unwrap_err();
    let TransportError::HostKeyChanged { pinned, offered, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(pinned, std::slice::from_ref(&before));
    assert_eq!(offered.fingerprint(), &pin(&far.sshd, "ed25519"));
    let text = error.to_string();
    assert!(
        text.contains(before.as_str()) && text.contains(offered.fingerprint().as_str()),
        "{text}"
    );
    assert_eq!(far.sshd.logins(), logins);
    assert_eq!(std::fs::read_to_string(far.dir().join("file")).unwrap(), "before");
}

#[tokio::test]
async fn a_key_of_any_kind_may_be_the_one_that_was_confirmed() {
    let kinds = ["ed25519", "ecdsa", "rsa"];
    let sshd = SshdOptions::default().with_host_keys(&kinds).start().unwrap();

    for kind in kinds {
        let ssh = Ssh::new(Hop { pins: vec![pin(&sshd, kind)], ..hop(&sshd) }, Vec::new());
        ssh.connect().await.unwrap();
    }
}

#[tokio::test]
async fn a_host_without_the_preferred_kind_of_key_is_recognised_and_told_apart() {
    let sshd = SshdOptions::default().with_host_keys(&["rsa"]).start().unwrap();
    let other = Sshd::run().unwrap();
    let known = Hop { pins: vec![pin(&sshd, "rsa")], ..hop_of_rsa(&sshd) };
    let changed = Hop { pins: vec![pin(&other, "ed25519")], ..hop_of_rsa(&sshd) };

    Ssh::new(known, Vec::new()).connect().await.unwrap();
    let refused = Ssh::new(changed, Vec::new()).connect().await;

    let offered = offered(refused.unwrap_err());
    assert_eq!(offered.algorithm(), "ssh-rsa");
}

#[tokio::test]
async fn a_chain_of_jump_hosts_leads_to_the_node() {
    let (first, second, node) = (Sshd::run().unwrap(), Sshd::run().unwrap(), Far::run());
    let ssh = Ssh::new(hop(&node.sshd), vec![hop(&first), hop(&second)]);
    let far = Beyond { ssh, node };

    assert_eq!(sh(&far, "echo there").await, "there\n");
    put(&far, &[upload(&far, "file", "x")]).await;
    crate::conformance::standard_input_and_output_carry_any_bytes(&far).await;

    let logins = [&first, &second, &far.node.sshd].map(Sshd::logins);
    assert_eq!(logins, [1, 1, 1]);
}

#[tokio::test]
async fn every_host_on_the_way_must_be_known() {
    let (jump, node) = (Sshd::run().unwrap(), Sshd::run().unwrap());
    let unknown = |sshd: &Sshd| Hop { pins: Vec::new(), ..hop(sshd) };

    let at_jump = Ssh::new(hop(&node), vec![unknown(&jump)]).connect().await;
    let at_node = Ssh::new(unknown(&node), vec![hop(&jump)]).connect().await;

    assert_eq!(offered(at_jump.unwrap_err()).fingerprint(), &pin(&jump, "ed25519"));
    assert_eq!(offered(at_node.unwrap_err()).fingerprint(), &pin(&node, "ed25519"));
    assert_nobody_logged_in(&node);
}

#[tokio::test]
async fn what_does_not_speak_ssh_is_told_apart() {
    let sshd = Sshd::run().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut to = hop(&sshd);
    to.address.port = listener.local_addr().unwrap().port();
    let speaking = tokio::spawn(async move {
        let mut first = listener.accept().await.unwrap().0;
        first.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        drop(first);
        // The second one says nothing at all.
        listener.accept().await.unwrap()
    });

    let wrong = Ssh::with_timing(to.clone(), Vec::new(), hasty()).connect().await;
    let silent = Ssh::with_timing(to, Vec::new(), hasty()).connect().await;

    assert!(
        matches!(wrong, Err(TransportError::Lost { .. } | TransportError::Incompatible { .. })),
        "{wrong:?}"
    );
    assert!(matches!(silent, Err(TransportError::TimedOut { .. })), "{silent:?}");
    drop(speaking.await.unwrap());
}

/// A node beyond others.
struct Beyond {
    ssh: Ssh,
    node: Far,
}

impl crate::conformance::Place for Beyond {
    type Transport = Ssh;

    async fn begin(_test: &str) -> Option<Self> {
        None
    }

    fn transport(&self) -> &Ssh {
        &self.ssh
    }

    fn dir(&self) -> &camino::Utf8Path {
        self.node.dir()
    }
}

fn hop_of_rsa(sshd: &Sshd) -> Hop {
    let key = portway_transport::Credential::Key(crate::far::key(&sshd.key()));
    Hop {
        address: portway_model::HostPort { host: "127.0.0.1".to_owned(), port: sshd.port() },
        user: sshd.user().parse().unwrap(),
        pins: Vec::new(),
        credentials: vec![key],
    }
}

fn offered(error: TransportError) -> HostKey {
    let (TransportError::HostKeyUnknown { offered, .. }
    | TransportError::HostKeyChanged { offered, .. }) = error
    else {
        panic!("{error:?}")
    };
    offered
}

fn assert_nobody_logged_in(sshd: &Sshd) {
    let log = sshd.log();
    let has_tried =
        ["Accepted", "Failed", "Postponed", "Invalid user"].map(|word| log.contains(word));
    assert_eq!(has_tried, [false; 4], "{log}");
}
