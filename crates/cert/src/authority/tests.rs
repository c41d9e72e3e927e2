//! The authority judged by its clients: rustls, webpki and OpenSSL.

use std::{
    fs,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    time_provider::TimeProvider,
};
use uuid::Uuid;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[test]
fn a_client_that_trusts_the_root_trusts_the_leaf_for_its_names_only() {
    let authority = authority();
    let leaf = issue(&authority, &["a.test", "*.b.test", "127.0.0.1", "::1"]);
    for name in ["a.test", "www.b.test", "127.0.0.1", "::1"] {
        handshake(&authority, &leaf, name, now()).unwrap();
    }
    for name in ["b.test", "www.www.b.test", "c.test", "127.0.0.2"] {
        assert!(handshake(&authority, &leaf, name, now()).is_err(), "{name}");
    }
}

#[test]
fn a_leaf_is_valid_from_an_hour_ago_for_its_lifetime() {
    let authority = authority();
    let leaf = issue(&authority, &["a.test"]);
    let at = |time| handshake(&authority, &leaf, "a.test", time);
    let end = now() + 90 * DAY - BACKDATED;
    at(now() - BACKDATED).unwrap();
    at(end - SignedDuration::from_secs(1)).unwrap();
    assert!(at(now() - BACKDATED - SignedDuration::from_secs(1)).is_err());
    assert!(at(end).is_err());
}

#[test]
fn a_client_of_another_root_refuses_the_leaf() {
    let leaf = issue(&authority(), &["a.test"]);
    assert!(handshake(&authority(), &leaf, "a.test", now()).is_err());
}

#[test]
fn an_authority_knows_what_it_issued() {
    let (one, other) = (authority(), authority());
    let leaf = issue(&one, &["a.test"]).record(Id::from_uuid(Uuid::nil()));
    assert!(one.issued(&leaf));
    assert!(!other.issued(&leaf), "two roots of one machine are two");
}

#[test]
fn the_authority_is_the_same_after_it_was_kept() {
    let before = authority();
    let after = Authority::load(before.root_pem(), &before.key_pem()).unwrap();
    handshake(&before, &issue(&after, &["a.test"]), "a.test", now()).unwrap();
}

#[test]
fn the_root_may_sign_leaves_only_and_lives_ten_years() {
    let authority = Authority::create("workshop", now()).unwrap();
    let der = CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap();
    let (_, root) = X509Certificate::from_der(&der).unwrap();

    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert!(!usage.value.digital_signature());
    assert!(authority.root().subject.contains("CN=Portway local authority workshop "));
    let life = authority.root().not_after.duration_since(now());
    assert!((3650 * DAY..3653 * DAY).contains(&life), "{life}");
}

#[test]
fn a_leaf_is_a_leaf_for_servers_with_an_unpredictable_serial() {
    let authority = authority();
    let mut serials = Vec::new();
    for _ in 0..3 {
        let leaf = issue(&authority, &["a.test"]);
        let der = CertificateDer::from_pem_slice(leaf.chain_pem.as_bytes()).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        assert!(!leaf.is_ca());
        let extended = leaf.extended_key_usage().unwrap().unwrap().value.clone();
        assert!(extended.server_auth && !extended.client_auth && !extended.any);
        assert_eq!(leaf.subject().iter().count(), 0);
        // Nobody but browsers reads the names, and they read them here (RFC 5280 §4.2.1.6).
        assert!(leaf.subject_alternative_name().unwrap().unwrap().critical);
        assert_eq!(leaf.raw_serial().len(), 16);
        serials.push(leaf.raw_serial().to_vec());
    }
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials.len(), 3);
}

#[test]
fn a_leaf_never_outlives_its_root() {
    let authority = authority();
    let end = authority.root().not_after;
    let late = authority.issue(&names(&["a.test"]), end - DAY, Lifetime::default()).unwrap();
    assert_eq!(late.not_after, end);
    let error = authority.issue(&names(&["a.test"]), end, Lifetime::default()).unwrap_err();
    assert!(matches!(error, AuthorityError::RootEnded(at) if at == end), "{error}");
}

#[test]
fn no_lifetime_is_longer_than_browsers_accept() {
    assert_eq!(Lifetime::from_days(399), Err(LifetimeError(399)));
    assert_eq!(Lifetime::from_days(0), Err(LifetimeError(0)));
    let longest = Lifetime::from_days(398).unwrap();
    let leaf = authority().issue(&names(&["a.test"]), now(), longest).unwrap();
    let inclusive = leaf.not_after.duration_since(leaf.not_before) + SignedDuration::from_secs(1);
    assert_eq!(inclusive, 398 * DAY);
}

#[test]
fn what_is_kept_says_what_the_certificate_says() {
    let authority = authority();
    let id = Id::from_uuid(Uuid::nil());
    let leaf = issue(&authority, &["b.test", "a.test"]);
    let read = crate::certificate(id, CertificateSource::Local, &leaf.chain_pem).unwrap();
    assert_eq!(leaf.record(id), read);
    assert_eq!(read.names, names(&["a.test", "b.test"]).as_slice());
    matches_key(&leaf.object().chain_pem, &leaf.key_pem).unwrap();

    let root = authority.record(id);
    assert_eq!((root.source, root.names.len()), (CertificateSource::LocalRoot, 0));
}

#[test]
fn a_wrong_root_or_key_is_refused() {
    let [one, other] = [authority(), authority()];
    let error = Authority::load(one.root_pem(), &other.key_pem()).unwrap_err();
    assert!(matches!(error, AuthorityError::Key(KeyMatchError::Other)), "{error}");

    let leaf = issue(&one, &["a.test"]);
    let error = Authority::load(&leaf.chain_pem, &leaf.key_pem).unwrap_err();
    assert!(matches!(error, AuthorityError::NotARoot(_)), "{error}");
}

#[test]
fn a_long_or_odd_label_still_makes_a_name() {
    for label in ["", &"x".repeat(300), "ä\n\tö", "   "] {
        let authority = Authority::create(label, now()).unwrap();
        let name = authority.root().subject.split("CN=").nth(1).unwrap().to_owned();
        assert!(name.chars().count() <= 64, "{name}");
        assert!(!name.contains("  "), "{name}");
    }
}

#[test]
fn a_clock_far_off_is_an_error() {
    let error = Authority::create("host", Timestamp::MAX).unwrap_err();
    assert!(matches!(error, AuthorityError::Time(_)), "{error}");
}

/// Runs only where OpenSSL is installed, as the second opinion on the whole.
#[test]
fn openssl_agrees() {
    let Ok(probe) = Command::new("openssl").arg("version").stdout(Stdio::null()).status() else {
        return;
    };
    assert!(probe.success());
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let leaf = issue(&authority, &["a.test", "10.1.2.3"]);
    let [root_file, leaf_file] = ["root.pem", "leaf.pem"].map(|name| folder.path().join(name));
    fs::write(&root_file, authority.root_pem()).unwrap();
    fs::write(&leaf_file, &leaf.chain_pem).unwrap();
    let verify = |check: [&str; 2]| {
        let at = now().as_second().to_string();
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", "sslserver", "-attime", &at]);
        command.args(check).arg("-CAfile").arg(&root_file).arg(&leaf_file);
        command.output().unwrap()
    };
    for check in [["-verify_hostname", "a.test"], ["-verify_ip", "10.1.2.3"]] {
        let output = verify(check);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!verify(["-verify_hostname", "b.test"]).status.success());
}

/// The time of all tests; no clock is read.
fn now() -> Timestamp {
    "2026-06-15T12:00:00.75Z".parse().unwrap()
}

fn authority() -> Authority {
    Authority::create("host", now()).unwrap()
}

fn names(names: &[&str]) -> CertificateNames {
    let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
    CertificateNames::choose(&names, &[]).unwrap()
}

fn issue(authority: &Authority, hosts: &[&str]) -> IssuedCertificate {
    authority.issue(&names(hosts), now(), Lifetime::default()).unwrap()
}

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(UnixTime);

impl TimeProvider for Stopped {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// Lets a client that trusts the authority alone ask a server with the certificate for `name`.
fn handshake(
    authority: &Authority,
    leaf: &IssuedCertificate,
    name: &str,
    time: Timestamp,
) -> Result<(), rustls::Error> {
    let mut client = client(authority, name, time);
    let mut server = server(leaf);
    while client.is_handshaking() || server.is_handshaking() {
        feed(&written(|out| client.write_tls(out)), |part| server.read_tls(part));
        server.process_new_packets()?;
        feed(&written(|out| server.write_tls(out)), |part| client.read_tls(part));
        client.process_new_packets()?;
    }
    Ok(())
}

fn client(authority: &Authority, name: &str, time: Timestamp) -> ClientConnection {
    let seconds = std::time::Duration::from_secs(time.as_second().try_into().unwrap());
    let clock = Arc::new(Stopped(UnixTime::since_unix_epoch(seconds)));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

fn server(leaf: &IssuedCertificate) -> ServerConnection {
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.expose().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

fn written(mut write: impl FnMut(&mut Vec<u8>) -> std::io::Result<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while write(&mut bytes).unwrap() > 0 {}
    bytes
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
    while !bytes.is_empty() {
        read(&mut bytes).unwrap();
    }
}
