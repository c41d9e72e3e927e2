//! The HTTP client that speaks to the collector, and the certificates it trusts and shows.

use std::{fs, io, thread, time::Duration};

use reqwest::{Certificate, Identity, blocking::Client};

const AUTHORITY: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const OWN: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"];
const KEY: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"];

/// Files in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    /// The only authorities that may vouch for the collector; the machine's own without it.
    authority: Option<Pem>,
    /// What is shown to a collector that asks: certificate, then key.
    own: Option<(Pem, Pem)>,
}

#[derive(Clone, PartialEq, Eq)]
struct Pem {
    path: String,
    bytes: Vec<u8>,
}

/// Why the collector cannot be spoken to as the environment wants it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is not there, or not for us.
    #[error("cannot read {path}, which the environment names for the collector of spans")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM")]
    Content {
        /// The file.
        path: String,
        /// What should be in it.
        what: &'static str,
        /// Why.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// Half of a pair.
    #[error(
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go together; one \
         is missing"
    )]
    Pair,
    /// The client does not work with these settings.
    #[error("the client for the collector of spans cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The machine gives no thread.
    #[error("the client for the collector of spans cannot be started")]
    Thread(#[source] io::Error),
}

impl Certificates {
    /// Reads the files that the environment names; `named` looks up the variable for traces and
    /// the common one.
    pub(super) fn from_environment(
        named: impl Fn(&'static str, &'static str) -> Option<String>,
    ) -> Result<Self, CertificateError> {
        let path = |[own, common]: [&'static str; 2]| named(own, common);
        let own = match (path(OWN), path(KEY)) {
            (Some(certificate), Some(key)) => Some((Pem::read(certificate)?, Pem::read(key)?)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(CertificateError::Pair),
        };
        Ok(Self { authority: path(AUTHORITY).map(Pem::read).transpose()?, own })
    }
}

impl Pem {
    fn read(path: String) -> Result<Self, CertificateError> {
        match fs::read(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(source) => Err(CertificateError::Read { path, source }),
        }
    }

    fn holds_no(&self, what: &'static str, source: Option<reqwest::Error>) -> CertificateError {
        CertificateError::Content { path: self.path.clone(), what, source }
    }
}

/// Makes a client. A client that blocks must not be made on a thread of an async runtime.
pub(super) fn build(
    certificates: &Certificates,
    timeout: Duration,
) -> Result<Client, CertificateError> {
    // A collector answers; it does not send us elsewhere with what we tell it.
    let mut builder =
        Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    if let Some(authority) = &certificates.authority {
        let what = "certificate";
        let found = Certificate::from_pem_bundle(&authority.bytes)
            .map_err(|source| authority.holds_no(what, Some(source)))?;
        if found.is_empty() {
            return Err(authority.holds_no(what, None));
        }
        builder = builder.tls_certs_only(found);
    }
    if let Some((certificate, key)) = &certificates.own {
        let whole = [certificate.bytes.as_slice(), b"\n", key.bytes.as_slice()].concat();
        let identity = Identity::from_pem(&whole)
            .map_err(|source| certificate.holds_no("certificate with its key", Some(source)))?;
        builder = builder.identity(identity);
    }
    let built =
        thread::Builder::new().spawn(|| builder.build()).map_err(CertificateError::Thread)?;
    built
        .join()
        .map_err(|_| CertificateError::Thread(io::Error::other("it panicked")))?
        .map_err(CertificateError::Client)
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = |pem: &Pem| pem.path.clone();
        f.debug_struct("Certificates")
            .field("authority", &self.authority.as_ref().map(path))
            .field("own", &self.own.as_ref().map(|(certificate, _)| path(certificate)))
            .finish()
    }
}
