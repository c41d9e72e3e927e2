//! Portway's own authority: a root on this machine that issues certificates for any name.
//!
//! The root may sign leaves only (path length 0). A leaf follows what browsers ask of every server
//! certificate: names in the alternative names alone, `serverAuth`, a random serial number, at most
//! 398 days. Keys are ECDSA on P-256, which every client can verify and which cost little.

use jiff::{SignedDuration, Timestamp};
use portway_model::{Certificate, CertificateSource, HostPattern, Id};
use portway_policy::CertificateObject;
use portway_secrets::Redacted;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::{CertificateNames, InspectError, Inspected, KeyMatchError, inspect, matches_key};

/// The local authority: its root certificate and key.
pub struct Authority {
    root_pem: String,
    root: Inspected,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was just issued, with its key.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// The chain in PEM, leaf first.
    pub chain_pem: String,
    /// The private key in PEM (PKCS #8).
    pub key_pem: Redacted<String>,
    /// The names and addresses it is for, sorted.
    pub names: Vec<HostPattern>,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
    /// SHA-256 of the leaf in DER, in lower-case hexadecimal.
    pub fingerprint: String,
}

/// For how long a certificate is issued: whole days, at most [`Lifetime::MAX_DAYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(u16);

/// A lifetime that clients would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a certificate is issued for 1 to {max} days, not {0}", max = Lifetime::MAX_DAYS)]
pub struct LifetimeError(u16);

/// Why the authority cannot be made, loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The root is over; a new one is needed.
    #[error("the root of the local authority ended on {0}; make a new one and trust it")]
    RootEnded(Timestamp),
    /// What was kept is not a root certificate.
    #[error("the certificate of the local authority cannot be used: {0}")]
    NotARoot(&'static str),
    /// What was kept cannot be read.
    #[error("the certificate of the local authority cannot be read")]
    Unreadable(#[from] InspectError),
    /// The key is not that of the root.
    #[error("the key of the local authority cannot be used")]
    Key(#[from] KeyMatchError),
    /// The clock says something that fits no certificate.
    #[error("the time {0} cannot stand in a certificate; set the clock of this machine")]
    Time(Timestamp),
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// Making or signing failed.
    #[error("cannot make the certificate")]
    Sign(#[from] rcgen::Error),
}

/// How long a root lives: ten years, leap days included.
const ROOT_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 3652);
/// Certificates begin in the past, for clients whose clock is behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
/// A common name has at most 64 characters (RFC 5280, `ub-common-name`); this many are left for
/// the label beside the fixed words and the short id.
const LABEL_CHARS: usize = 31;

impl Lifetime {
    /// The longest that browsers accept.
    pub const MAX_DAYS: u16 = 398;

    /// Checks a number of days.
    pub fn from_days(days: u16) -> Result<Self, LifetimeError> {
        if (1..=Self::MAX_DAYS).contains(&days) { Ok(Self(days)) } else { Err(LifetimeError(days)) }
    }

    fn duration(self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.0))
    }
}

impl Default for Lifetime {
    /// 90 days.
    fn default() -> Self {
        Self(90)
    }
}

impl Authority {
    /// Makes a new authority. The label, usually the name of the machine, tells people in a list
    /// of trusted roots whose this is.
    pub fn create(label: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let (not_before, not_after) = validity(now, ROOT_LIFETIME)?;
        let serial = random_serial()?;
        let mut params = params(&serial, not_before, not_after)?;
        params.distinguished_name = root_name(label, &serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key()?;
        let root_pem = params.self_signed(&key)?.pem();
        Self::load(&root_pem, &key_pem(&key))
    }

    /// Loads an authority that was kept.
    pub fn load(root_pem: &str, key_pem: &Redacted<String>) -> Result<Self, AuthorityError> {
        let root = inspect(root_pem)?;
        if !root.is_ca {
            return Err(AuthorityError::NotARoot("it is not one of an authority"));
        }
        if root.chain_len != 1 {
            return Err(AuthorityError::NotARoot("it holds more than one certificate"));
        }
        matches_key(root_pem, key_pem)?;
        let key = KeyPair::from_pem(key_pem.expose())?;
        let issuer = Issuer::from_ca_cert_pem(root_pem, key)?;
        Ok(Self { root_pem: root_pem.to_owned(), root, issuer })
    }

    /// Returns the root certificate in PEM, as clients download it.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Returns the private key of the root in PEM (PKCS #8), to be sealed.
    pub fn key_pem(&self) -> Redacted<String> {
        key_pem(self.issuer.key())
    }

    /// Returns what the root certificate says.
    pub fn root(&self) -> &Inspected {
        &self.root
    }

    /// Tells whether a certificate was issued by this root, by the name it gives: no two roots share
    /// one.
    pub fn issued(&self, certificate: &Certificate) -> bool {
        inspect(&certificate.chain_pem).is_ok_and(|leaf| leaf.issuer == self.root.subject)
    }

    /// Returns the root as it is kept.
    pub fn record(&self, id: Id<Certificate>) -> Certificate {
        self.root.record(id, CertificateSource::LocalRoot, &self.root_pem)
    }

    /// Issues a certificate. It never outlives the root.
    pub fn issue(
        &self,
        names: &CertificateNames,
        now: Timestamp,
        lifetime: Lifetime,
    ) -> Result<IssuedCertificate, AuthorityError> {
        if now >= self.root.not_after {
            return Err(AuthorityError::RootEnded(self.root.not_after));
        }
        let (not_before, not_after) = validity(now, lifetime.duration())?;
        let not_after = not_after.min(self.root.not_after);
        let mut params = params(&random_serial()?, not_before, not_after)?;
        params.subject_alt_names = names
            .as_slice()
            .iter()
            .filter_map(|name| san(name).transpose())
            .collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let chain_pem = params.signed_by(&key, &self.issuer)?.pem();
        let leaf = inspect(&chain_pem)?;
        Ok(IssuedCertificate {
            chain_pem,
            key_pem: key_pem(&key),
            names: leaf.names,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            fingerprint: leaf.fingerprint,
        })
    }
}

impl IssuedCertificate {
    /// Returns the certificate as it is kept, without its key.
    pub fn record(&self, id: Id<Certificate>) -> Certificate {
        Certificate {
            id,
            source: CertificateSource::Local,
            names: self.names.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            fingerprint: self.fingerprint.clone(),
            chain_pem: self.chain_pem.clone(),
        }
    }

    /// Returns the certificate as nodes are given it, with its key.
    pub fn object(&self) -> CertificateObject {
        CertificateObject {
            chain_pem: self.chain_pem.clone(),
            key_pem: self.key_pem.expose().clone(),
        }
    }
}

/// Returns begin and end of a certificate in whole seconds. Both ends count (RFC 5280 §4.1.2.5),
/// so the last second is left out to keep within the lifetime.
fn validity(
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<(Timestamp, Timestamp), AuthorityError> {
    let error = |_| AuthorityError::Time(now);
    let begin = Timestamp::from_second(now.as_second()).map_err(error)?;
    let begin = begin.checked_sub(BACKDATED).map_err(error)?;
    let end = begin.checked_add(lifetime - SignedDuration::from_secs(1)).map_err(error)?;
    Ok((begin, end))
}

fn params(
    serial: &[u8; 16],
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

fn date(time: Timestamp) -> Result<OffsetDateTime, AuthorityError> {
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| AuthorityError::Time(time))
}

/// A serial number is positive and unpredictable (RFC 5280 §4.1.2.2, CA/B baseline §7.1).
fn random_serial() -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(AuthorityError::Random)?;
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    Ok(serial)
}

/// The short id keeps roots of one machine apart, for people and for NSS, which knows them by name.
fn root_name(label: &str, serial: &[u8; 16]) -> DistinguishedName {
    let label: String = label.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect();
    let id: String = hex::encode(serial).chars().take(8).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Portway");
    let words = ["Portway local authority", label.trim(), &id];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    name.push(DnType::CommonName, words.join(" "));
    name
}

fn san(name: &HostPattern) -> Result<Option<SanType>, AuthorityError> {
    let dns = |text: String| -> Result<_, AuthorityError> {
        Ok(Some(SanType::DnsName(text.try_into()?)))
    };
    match name {
        HostPattern::Exact(_) | HostPattern::Wildcard(_) => dns(name.to_string()),
        HostPattern::Ip(address) => Ok(Some(SanType::IpAddress(*address))),
        HostPattern::Any => Ok(None),
    }
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn key_pem(key: &KeyPair) -> Redacted<String> {
    Redacted::new(key.serialize_pem())
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("root", &self.root).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
