//! TLS to upstreams: whom to believe, and who Portway is.

use std::net::IpAddr;

use super::{Checked, Faulty, Scheme};
use crate::{
    FieldPath, FindingCode, Findings, Hostname,
    site::{
        ClientCertificate, ClientKey, UpstreamTls,
        spec::{ClientKeySpec, UpstreamTlsSpec},
    },
};

/// Reads how the certificates of targets are verified.
pub(super) fn read(
    spec: Option<&UpstreamTlsSpec>,
    scheme: Scheme,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<UpstreamTls>> {
    let plain = UpstreamTlsSpec::default();
    let spec = match (spec, scheme) {
        (None, Scheme::Http | Scheme::H2c) => return Ok(None),
        (Some(_), Scheme::Http | Scheme::H2c) => {
            findings
                .error(
                    FindingCode::Conflict,
                    path,
                    "`tls` is set, but the targets speak plain HTTP",
                )
                .remedy("write the targets as `https://…`, or remove `tls`");
            return Err(Faulty);
        }
        (spec, Scheme::Https | Scheme::H2) => spec.unwrap_or(&plain),
    };
    let verify = spec.verify.unwrap_or(true);
    if !verify {
        advise_on_verify(spec, path, findings);
    }
    let ca_pem = spec.ca.as_deref().map(|ca| pem(ca, &path.key("ca"), findings)).transpose();
    let name_path = path.key("server_name");
    let server_name =
        spec.server_name.as_deref().map(|name| server_name(name, &name_path, findings)).transpose();
    Ok(Some(UpstreamTls { verify, ca_pem: ca_pem?, server_name: server_name? }))
}

fn advise_on_verify(spec: &UpstreamTlsSpec, path: &FieldPath, findings: &mut Findings) {
    let mut text = "whoever sits between can read and change what goes to this upstream".to_owned();
    if spec.ca.is_some() {
        text.push_str(", and `ca` has no effect");
    }
    findings.warning(FindingCode::Advice, &path.key("verify"), text).remedy(
        "remove `verify: false`, and name the upstream's authority with `ca` if it has one",
    );
}

fn pem(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let begin = text.find("-----BEGIN CERTIFICATE-----");
    let end = text.rfind("-----END CERTIFICATE-----");
    if begin.zip(end).is_some_and(|(begin, end)| begin < end) {
        return Ok(text.to_owned());
    }
    findings
        .error(FindingCode::InvalidValue, path, "this is not a certificate in PEM")
        .remedy("give the text from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`");
    Err(Faulty)
}

fn server_name(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    text.parse::<Hostname>().map(|name| name.to_string()).map_err(|error| {
        findings
            .error(FindingCode::InvalidHost, path, error.to_string())
            .remedy("write the name that stands in the upstream's certificate");
        Faulty
    })
}

/// Reads who Portway is towards the upstream.
pub(super) fn client(
    spec: Option<&UpstreamTlsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<ClientCertificate>> {
    let certificate = spec.and_then(|spec| spec.client_certificate.as_deref());
    let key = spec.and_then(|spec| spec.client_key.as_ref());
    let certificate_path = path.key("client_certificate");
    let chain_pem = certificate.map(|text| pem(text, &certificate_path, findings)).transpose();
    let key_path = path.key("client_key");
    let key = key.map(|key| client_key(key, &key_path, findings)).transpose();
    match (chain_pem?, key?) {
        (Some(chain_pem), Some(key)) => Ok(Some(ClientCertificate { chain_pem, key })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            findings
                .error(FindingCode::MissingField, &key_path, "the client certificate has no key")
                .remedy("add `client_key` with the private key in PEM");
            Err(Faulty)
        }
        (None, Some(_)) => {
            findings
                .error(FindingCode::MissingField, &certificate_path, "the key has no certificate")
                .remedy("add `client_certificate` with the chain in PEM, leaf first");
            Err(Faulty)
        }
    }
}

/// Checks the form of a private key. The key itself is never repeated in a finding.
fn client_key(
    spec: &ClientKeySpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<ClientKey> {
    let text = match spec {
        ClientKeySpec::Pem(text) => text,
        ClientKeySpec::Kept(kept) if !kept.secret.is_empty() => {
            return Ok(ClientKey::Secret(kept.secret.clone()));
        }
        ClientKeySpec::Kept(_) => {
            findings
                .error(FindingCode::UnknownSecret, &path.key("secret"), "the secret has no name")
                .remedy("write the name that `portway export` gave it");
            return Err(Faulty);
        }
    };
    let problem = if text.contains("ENCRYPTED") {
        "the private key is protected by a passphrase"
    } else if !text.contains("PRIVATE KEY-----") || !text.contains("-----END") {
        "this is not a private key in PEM"
    } else {
        return Ok(ClientKey::Pem(text.clone()));
    };
    findings
        .error(FindingCode::InvalidValue, path, problem)
        .remedy("give it as `openssl pkey -in KEY` prints it; it is sealed at once");
    Err(Faulty)
}
