//! HTTPS of both engines, as curl meets it.

use std::process::Command;

use portway_engine::{Engine, caddy::Caddy, traefik::Traefik};
use portway_policy::{CertificateObject, CompileInput, SitePolicy};

use crate::{
    bed::{Bed, Certificates, site},
    caddy, client, origin, traefik,
};

/// Returns two sites with HTTPS, and their certificates.
fn sites(origin: u16) -> (Vec<SitePolicy>, Certificates) {
    let mut certificates = Certificates::new();
    let sites = [("a", "1.2"), ("b", "1.3")].map(|(name, oldest)| {
        let host = format!("{name}.example");
        let made = rcgen::generate_simple_self_signed([host.clone()]).unwrap();
        let certificate = CertificateObject {
            chain_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        };
        let digest = certificate.digest();
        certificates.insert(digest, certificate);
        let spec = format!(
            r#"{{"hosts": ["{host}"], "to": "{origin}", "https": {{"min_version": "{oldest}"}}}}"#
        );
        let input = CompileInput { certificate: Some(digest), ..CompileInput::default() };
        site(name, &spec, &input)
    });
    (sites.to_vec(), certificates)
}

fn speaks_https(engine: &dyn Engine, bed: &Bed) {
    let (http, https) = (bed.facts.ports.http, bed.facts.ports.https);
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sk", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]);
        for host in ["a.example", "b.example", "c.example"] {
            command.arg("--resolve").arg(format!("{host}:{https}:127.0.0.1"));
        }
        let output = command.args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let name = engine.name();
    let to = |host: &str| format!("https://{host}:{https}/x");
    assert_eq!(curl(&[&to("a.example")]), "200 2", "{name}");
    assert_eq!(curl(&["--http1.1", &to("a.example")]), "200 1.1", "{name}");
    assert_eq!(curl(&["--tls-max", "1.2", &to("a.example")]), "200 2", "{name}");
    assert_eq!(curl(&[&to("b.example")]), "200 2", "{name}");
    assert_eq!(curl(&["--tls-max", "1.2", &to("b.example")]), "000 0", "{name}");
    let unknown = curl(&[&to("c.example")]);
    assert!(unknown.starts_with("000") || unknown.starts_with("404"), "{name}: {unknown}");
    let answer = client::get(http, "a.example", "/x?y=1");
    let location = format!("https://a.example:{https}/x?y=1");
    assert_eq!(
        (answer.status, answer.header("Location")),
        (301, Some(location.as_str())),
        "{name}"
    );
    let posted = client::send(http, "POST /x HTTP/1.1\r\nHost: a.example", "").unwrap();
    assert_eq!(posted.status, 308, "{name}");
}

#[test]
fn caddy_serves_https_with_the_certificate_it_is_given() {
    let (sites, certificates) = sites(origin::start());
    let Some(bed) = caddy::serve(&sites, &certificates) else { return };
    speaks_https(&Caddy, &bed);
    assert!(!bed.log().contains("obtaining certificate"), "{}", bed.log());
}

#[test]
fn traefik_serves_https_with_the_certificate_it_is_given() {
    let (sites, certificates) = sites(origin::start());
    let Some(bed) = traefik::serve_with(&sites, &certificates) else { return };
    speaks_https(&Traefik, &bed);
}
