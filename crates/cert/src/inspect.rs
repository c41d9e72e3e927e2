//! What a certificate says, and whether a key is its own.

use std::net::IpAddr;

use jiff::Timestamp;
use portway_model::{Certificate, CertificateSource, HostPattern, Id};
use portway_secrets::Redacted;
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, time::ASN1Time};

/// What the first certificate of a chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The names and addresses it is for, sorted; those that no site can have are left out.
    pub names: Vec<HostPattern>,
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
    /// SHA-256 of it in DER, in lower-case hexadecimal.
    pub fingerprint: String,
    /// Whether it is one of an authority.
    pub is_ca: bool,
    /// How many certificates the chain has.
    pub chain_len: usize,
}

/// Why a text is not a chain of certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// There is none in it.
    #[error("there is no certificate in the text; it begins with `-----BEGIN CERTIFICATE-----`")]
    Empty,
    /// The frame or the base64 of one is broken.
    #[error("certificate {0} of the chain is not readable PEM")]
    Pem(usize),
    /// The bytes of one are not a certificate.
    #[error("certificate {0} of the chain is damaged")]
    Der(usize),
    /// One is not signed by the next.
    #[error("certificate {0} of the chain is not signed by the one after it; put the leaf first")]
    Order(usize),
    /// Its dates are outside all years.
    #[error("the certificate has dates that no clock knows")]
    Dates,
}

/// Why a key does not serve a certificate.
#[derive(Debug, thiserror::Error)]
pub enum KeyMatchError {
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] InspectError),
    /// There is no key in the text, or only one under a passphrase.
    #[error(
        "there is no usable private key in the text; a key under a passphrase must be opened first"
    )]
    Missing,
    /// The key is of a kind that Portway does not know.
    #[error("the private key cannot be read")]
    Unreadable(#[source] rcgen::Error),
    /// It is the key of another certificate.
    #[error("the private key belongs to another certificate")]
    Other,
}

/// Reads a chain in PEM, leaf first.
pub fn inspect(chain_pem: &str) -> Result<Inspected, InspectError> {
    let chain = read_chain(chain_pem)?;
    let parsed: Vec<_> = chain
        .iter()
        .enumerate()
        .map(|(index, der)| parse(der).ok_or(InspectError::Der(index + 1)))
        .collect::<Result<_, _>>()?;
    for (index, (one, next)) in parsed.iter().zip(parsed.iter().skip(1)).enumerate() {
        let signed = one.verify_signature(Some(next.public_key())).is_ok();
        if one.issuer().as_raw() != next.subject().as_raw() || !signed {
            return Err(InspectError::Order(index + 1));
        }
    }
    let (Some(der), Some(leaf)) = (chain.first(), parsed.first()) else {
        return Err(InspectError::Empty);
    };
    Ok(Inspected {
        names: names(leaf),
        subject: leaf.subject().to_string(),
        issuer: leaf.issuer().to_string(),
        not_before: timestamp(leaf.validity().not_before)?,
        not_after: timestamp(leaf.validity().not_after)?,
        fingerprint: hex::encode(Sha256::digest(der)),
        is_ca: leaf.is_ca(),
        chain_len: chain.len(),
    })
}

/// Reads a chain in PEM into what Portway keeps of a certificate.
pub fn certificate(
    id: Id<Certificate>,
    source: CertificateSource,
    chain_pem: &str,
) -> Result<Certificate, InspectError> {
    Ok(inspect(chain_pem)?.record(id, source, chain_pem))
}

/// Verifies that a private key in PEM is that of the first certificate of a chain.
pub fn matches_key(chain_pem: &str, key_pem: &Redacted<String>) -> Result<(), KeyMatchError> {
    let chain = read_chain(chain_pem)?;
    let leaf = chain.first().and_then(|der| parse(der)).ok_or(InspectError::Der(1))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes())
        .map_err(|_| KeyMatchError::Missing)?;
    let key = KeyPair::try_from(&key).map_err(KeyMatchError::Unreadable)?;
    // The whole key info, algorithm included: two algorithms may have keys of the same bytes.
    if key.subject_public_key_info() == leaf.public_key().raw {
        Ok(())
    } else {
        Err(KeyMatchError::Other)
    }
}

impl Inspected {
    pub(crate) fn record(
        &self,
        id: Id<Certificate>,
        source: CertificateSource,
        chain_pem: &str,
    ) -> Certificate {
        Certificate {
            id,
            source,
            names: self.names.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            fingerprint: self.fingerprint.clone(),
            chain_pem: chain_pem.to_owned(),
        }
    }
}

fn read_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, InspectError> {
    let mut chain = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        chain.push(der.map_err(|_| InspectError::Pem(chain.len() + 1))?);
    }
    if chain.is_empty() { Err(InspectError::Empty) } else { Ok(chain) }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    rest.is_empty().then_some(certificate)
}

fn names(leaf: &X509Certificate<'_>) -> Vec<HostPattern> {
    let Ok(Some(san)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let mut names: Vec<_> = san.value.general_names.iter().filter_map(host).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a site answers to names and addresses only")]
fn host(name: &GeneralName<'_>) -> Option<HostPattern> {
    match name {
        GeneralName::DNSName(name) => name.parse().ok(),
        GeneralName::IPAddress(bytes) => address(bytes).map(HostPattern::Ip),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn timestamp(time: ASN1Time) -> Result<Timestamp, InspectError> {
    Timestamp::from_second(time.timestamp()).map_err(|_| InspectError::Dates)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

    use super::*;

    /// A self-signed certificate of another maker, for `names`, with its key.
    fn foreign(
        algorithm: &'static SignatureAlgorithm,
        names: &[&str],
    ) -> (String, Redacted<String>) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), Redacted::new(key.serialize_pem()))
    }

    #[test]
    fn names_that_no_site_can_have_are_left_out() {
        let (pem, _) =
            foreign(&PKCS_ED25519, &["_odd_.test", "b.test", "10.0.0.1", "*.a.test", "::1"]);
        let names: Vec<_> = inspect(&pem).unwrap().names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["b.test", "*.a.test", "10.0.0.1", "::1"]);
    }

    #[test]
    fn a_key_is_told_from_another_for_every_algorithm() {
        for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
            let (pem, key) = foreign(algorithm, &["a.test"]);
            let (_, other) = foreign(algorithm, &["a.test"]);
            matches_key(&pem, &key).unwrap();
            assert!(matches!(matches_key(&pem, &other), Err(KeyMatchError::Other)));
        }
    }

    #[test]
    fn a_missing_or_locked_key_is_named_as_such() {
        let (pem, _) = foreign(&PKCS_ED25519, &["a.test"]);
        let locked =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
        for text in ["", locked, &pem] {
            let key = Redacted::new(text.to_owned());
            assert!(matches!(matches_key(&pem, &key), Err(KeyMatchError::Missing)), "{text}");
        }
    }

    #[test]
    fn a_chain_out_of_order_is_refused() {
        let [(one, _), (other, _)] = [(); 2].map(|()| foreign(&PKCS_ED25519, &["a.test"]));
        assert_eq!(inspect(&format!("{one}{other}")), Err(InspectError::Order(1)));
    }

    #[test]
    fn each_fault_of_the_text_is_named() {
        assert_eq!(inspect(""), Err(InspectError::Empty));
        let broken = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        assert_eq!(inspect(broken), Err(InspectError::Pem(1)));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(inspect(empty), Err(InspectError::Der(1)));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_harm(bytes: Vec<u8>, text: String) {
            prop_assert!(inspect(&text).is_err());
            let framed = pem("CERTIFICATE", &bytes);
            prop_assert!(inspect(&framed).is_err());
        }
    }

    fn pem(label: &str, bytes: &[u8]) -> String {
        // Hexadecimal digits are base64 of something, too.
        let body = hex::encode(bytes);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }
}
