//! Every way to log in, and what is said when none of them does.

use std::process::Command;

use portway_secrets::Redacted;
use portway_testkit::sshd::{Agent, Sshd, SshdOptions, make_key};
use portway_transport::{Credential, Hop, KeyError, PrivateKey, Ssh, TransportError};

use crate::far::{hop, key};

#[tokio::test]
async fn a_key_that_is_not_let_in_is_named() {
    let sshd = Sshd::run().unwrap();
    let stranger = PrivateKey::from_seed(&Redacted::new([7; 32]));

    let refused = connect(&sshd, vec![Credential::Key(stranger.clone())]).await;

    let Err(TransportError::LoginRefused { user, tried, takes, .. }) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(user, sshd.user());
    assert_eq!(tried, &[format!("the key {}", stranger.fingerprint())]);
    assert_eq!(takes, &["publickey"]);
}

#[tokio::test]
async fn the_manager_s_own_key_is_let_in_by_its_line() {
    let sshd = Sshd::run().unwrap();
    let own = PrivateKey::from_seed(&Redacted::new([9; 32]));
    sshd.authorize(&own.public_line("portway").unwrap()).unwrap();

    connect(&sshd, vec![Credential::Key(own)]).await.unwrap();
}

#[tokio::test]
async fn keys_of_every_kind_and_form_log_in() {
    let sshd = Sshd::run().unwrap();
    let forms = [
        ("ed25519", "RFC4716"),
        ("ecdsa", "PKCS8"),
        ("rsa", "PEM"),
        ("rsa", "PKCS8"),
        ("rsa", "RFC4716"),
    ];
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let made = sshd.folder().join(kind);
        make_key(&made, kind, "").unwrap();
        sshd.authorize(&std::fs::read_to_string(format!("{made}.pub")).unwrap()).unwrap();
    }
    for (kind, form) in forms {
        for passphrase in ["", "open sesame"] {
            let file = sshd.folder().join("key");
            std::fs::copy(sshd.folder().join(kind), &file).unwrap();
            let convert = ["-q", "-p", "-m", form, "-P", "", "-N", passphrase, "-f", file.as_str()];
            assert!(Command::new("ssh-keygen").args(convert).status().unwrap().success());
            let text = std::fs::read_to_string(&file).unwrap();

            let key = PrivateKey::read(&text, Some(passphrase).filter(|text| !text.is_empty()));

            let key = key.unwrap_or_else(|error| panic!("{kind} {form} {passphrase}: {error}"));
            connect(&sshd, vec![Credential::Key(key)]).await.unwrap();
            if !passphrase.is_empty() {
                assert_eq!(PrivateKey::read(&text, None).unwrap_err(), KeyError::Sealed);
                let wrong = PrivateKey::read(&text, Some("open barley")).unwrap_err();
                assert_eq!(wrong, KeyError::WrongPassphrase);
            }
        }
    }
}

#[tokio::test]
async fn an_agent_logs_in_with_the_key_that_fits() {
    let sshd = Sshd::run().unwrap();
    let other = sshd.folder().join("other");
    make_key(&other, "ed25519", "").unwrap();
    let agent = Agent::start(sshd.folder(), &[other, sshd.key()]).unwrap();

    connect(&sshd, vec![Credential::Agent(agent.socket().to_owned())]).await.unwrap();
}

#[tokio::test]
async fn an_agent_without_keys_or_without_itself_says_so() {
    let sshd = Sshd::run().unwrap();
    let agent = Agent::start(sshd.folder(), &[]).unwrap();

    let empty = connect(&sshd, vec![Credential::Agent(agent.socket().to_owned())]).await;
    let missing = connect(&sshd, vec![Credential::Agent(sshd.folder().join("nowhere"))]).await;

    for failed in [empty, missing] {
        assert!(matches!(failed, Err(TransportError::Agent { .. })), "{failed:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_never_shown() {
    let sshd = SshdOptions::default().with("PasswordAuthentication yes").start().unwrap();

    let refused = connect(&sshd, vec![password()]).await.unwrap_err();

    let TransportError::LoginRefused { tried, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(tried, &["the password"]);
    assert!(sshd.log().contains("Failed password"));
    assert!(!format!("{refused} {refused:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_password_is_not_sent_to_a_server_that_takes_none() {
    let sshd = Sshd::run().unwrap();

    let refused = connect(&sshd, vec![password()]).await;

    assert!(matches!(refused, Err(TransportError::LoginRefused { .. })), "{refused:?}");
    assert!(!sshd.log().contains("Failed password"));
}

#[tokio::test]
async fn the_next_way_is_tried_after_one_that_failed() {
    let sshd = SshdOptions::default().with("PasswordAuthentication yes").start().unwrap();
    let stranger = PrivateKey::from_seed(&Redacted::new([7; 32]));
    let ways = vec![Credential::Key(stranger), password(), Credential::Key(key(&sshd.key()))];

    connect(&sshd, ways).await.unwrap();
}

#[tokio::test]
async fn a_server_that_has_seen_enough_has_refused() {
    let sshd = SshdOptions::default().with("MaxAuthTries 2").start().unwrap();
    let strangers = (1..5).map(|n| PrivateKey::from_seed(&Redacted::new([n; 32])));

    let refused = connect(&sshd, strangers.map(Credential::Key).collect()).await;

    assert!(matches!(refused, Err(TransportError::LoginRefused { .. })), "{refused:?}");
}

#[tokio::test]
async fn who_has_no_way_to_log_in_is_told() {
    let sshd = Sshd::run().unwrap();

    let refused = connect(&sshd, Vec::new()).await;

    assert!(matches!(refused, Err(TransportError::LoginRefused { .. })), "{refused:?}");
}

async fn connect(sshd: &Sshd, credentials: Vec<Credential>) -> Result<(), TransportError> {
    Ssh::new(Hop { credentials, ..hop(sshd) }, Vec::new()).connect().await
}

fn password() -> Credential {
    Credential::Password(Redacted::new("hunter2".to_owned()))
}
