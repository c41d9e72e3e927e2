//! TLS towards clients: which certificate answers a handshake, chosen while the client's hello
//! is read, and made ready when it is first needed.
//!
//! Sessions are resumed by tickets. Their keys are the edge's, not a site's: a ticket only resumes
//! under the server name it was made for, and no site asks for client certificates.

mod kept;
mod stream;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portway_model::site::TlsVersion;
use portway_policy::{CertificateObject, Digest};
use rustls::{
    ProtocolVersion, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{
        Acceptor, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
        ResolvesServerCertUsingSni,
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use self::kept::Kept;
pub(crate) use self::stream::TlsStream;
use crate::content::{Content, HostEntry, LOOKS, LoadError, TlsChoice};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The tickets that a client gets with each connection: it needs one for the next, and gets another
/// with that.
const TICKETS: usize = 1;

/// As many configurations are kept for sure while their sites are asked for, and at most twice as many. Each
/// takes a few KiB with its certificate and key; one that is not there is made anew from the disk.
const CONFIGS: usize = 2048;

/// Makes TLS connections of TCP connections.
pub(crate) struct TlsAcceptor {
    content: Arc<Content>,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    /// Answers with an alert instead of a certificate.
    refusing: Arc<ServerConfig>,
    configs: Mutex<Kept<TlsChoice, Arc<ServerConfig>>>,
}

/// What is known of a TLS connection.
#[derive(Clone, Debug)]
pub(crate) struct TlsFacts {
    /// The name that the client asked for, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// How the handshake was answered.
    pub(crate) choice: TlsChoice,
    /// The version, as logs name it.
    pub(crate) version: &'static str,
    /// Whether HTTP/2 was agreed on.
    pub(crate) http2: bool,
}

/// A handshake that came to nothing, and the sites it meant.
pub(crate) struct FailedHandshake {
    /// The sites, if any were meant.
    pub(crate) entry: Option<Arc<HostEntry>>,
    /// The name that the client asked for.
    pub(crate) server_name: Option<Box<str>>,
    /// Why.
    pub(crate) error: HandshakeError,
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The client said nothing at all, as port scans and health checks do.
    #[error("the client left before it began")]
    Nothing,
    /// It took too long.
    #[error("the handshake took longer than {} seconds", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    /// Client and edge cannot agree, or the connection broke.
    #[error("the handshake failed")]
    Failed(#[source] io::Error),
    /// No site and no fallback certificate.
    #[error("no site answers to this name and there is no fallback certificate")]
    NoSite,
    /// The site has none yet, or does not want TLS.
    #[error("the site has no certificate")]
    NoCertificate,
    /// The certificate cannot be made ready.
    #[error("the certificate cannot be used")]
    Certificate(#[from] CertificateError),
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// It cannot be read from the disk.
    #[error("it cannot be loaded")]
    Load(#[from] LoadError),
    /// Not PEM.
    #[error("the {what} is not PEM")]
    Pem {
        /// What is not.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The chain is empty.
    #[error("the chain has no certificate")]
    Empty,
    /// The key is of a kind that is not known, or certificate and key do not belong together.
    #[error("certificate or key is not valid")]
    Invalid(#[from] rustls::Error),
}

/// Tells whether a certificate can be used: its parts can be read and belong together.
pub(crate) fn check(certificate: &CertificateObject) -> Result<(), CertificateError> {
    certified_key(certificate, &aws_lc_rs::default_provider()).map(drop)
}

impl TlsAcceptor {
    /// Returns the acceptor for what `content` serves.
    pub(crate) fn new(content: Arc<Content>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let nobody = Arc::new(ResolvesServerCertUsingSni::new());
        let refusing = server_config(&provider, TlsVersion::V1_2, nobody)?;
        Ok(Self {
            content,
            tickets: aws_lc_rs::Ticketer::new()?,
            refusing: Arc::new(refusing),
            provider,
            configs: Mutex::new(Kept::new(CONFIGS)),
        })
    }

    /// Makes a TLS connection, or says why there is none.
    pub(crate) async fn accept<IO>(
        &self,
        io: IO,
        local: IpAddr,
    ) -> Result<(Box<TlsStream<IO>>, TlsFacts), FailedHandshake>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut meant = Meant::default();
        match timeout(HANDSHAKE_TIMEOUT, self.handshake(io, local, &mut meant)).await {
            Ok(Ok(accepted)) => Ok(accepted),
            Ok(Err(error)) => Err(meant.failed(error)),
            Err(_) => Err(meant.failed(HandshakeError::TimedOut)),
        }
    }

    async fn handshake<IO>(
        &self,
        io: IO,
        local: IpAddr,
        meant: &mut Meant,
    ) -> Result<(Box<TlsStream<IO>>, TlsFacts), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(before_hello)?;
        meant.server_name = start.client_hello().server_name().map(canonical);
        let (choice, config) = match self.choose_live(local, meant).await {
            Ok(chosen) => chosen,
            Err(error) => return Err(self.refuse(start, error).await),
        };
        let accepted = TlsStream::accept(start.io, start.accepted, config).await;
        let stream = accepted.map_err(HandshakeError::Failed)?;
        let facts = TlsFacts {
            server_name: meant.server_name.clone(),
            choice,
            version: version_name(stream.session().protocol_version()),
            http2: stream.session().alpn_protocol() == Some(b"h2"),
        };
        Ok((stream, facts))
    }

    /// Chooses anew while changes replace what was chosen before it could be read.
    async fn choose_live(
        &self,
        local: IpAddr,
        meant: &mut Meant,
    ) -> Result<(TlsChoice, Arc<ServerConfig>), HandshakeError> {
        let mut chosen = self.choose(local, meant).await;
        for _ in 1..LOOKS {
            let Err(HandshakeError::Certificate(CertificateError::Load(LoadError::Gone))) = chosen
            else {
                break;
            };
            chosen = self.choose(local, meant).await;
        }
        chosen
    }

    /// Chooses by name, without one by the address the client came in on, then `*`, then the
    /// fallback.
    async fn choose(
        &self,
        local: IpAddr,
        meant: &mut Meant,
    ) -> Result<(TlsChoice, Arc<ServerConfig>), HandshakeError> {
        let fallback = {
            let snapshot = self.content.snapshot();
            meant.entry = snapshot.find_tls(meant.server_name.as_deref(), local).map(Arc::clone);
            snapshot.settings.fallback_certificate
        };
        let of_site = meant.entry.as_ref().and_then(|entry| entry.tls());
        let choice = match (of_site, fallback, &meant.entry) {
            (Some(choice), _, _) => choice,
            (None, Some(certificate), _) => {
                TlsChoice { certificate, min_version: TlsVersion::V1_2, http2: true }
            }
            (None, None, Some(_)) => return Err(HandshakeError::NoCertificate),
            (None, None, None) => return Err(HandshakeError::NoSite),
        };
        Ok((choice, self.config(choice).await?))
    }

    async fn config(&self, choice: TlsChoice) -> Result<Arc<ServerConfig>, CertificateError> {
        if let Some(config) = self.configs().get(choice) {
            return Ok(config);
        }
        let key = self.load(choice.certificate).await?;
        let resolver = Arc::new(SingleCertAndKey::from(key));
        let mut config = server_config(&self.provider, choice.min_version, resolver)?;
        config.ticketer = Arc::clone(&self.tickets);
        config.alpn_protocols = alpn(choice.http2);
        let config = Arc::new(config);
        let is_held = |choice: &TlsChoice| self.content.holds_certificate(choice.certificate);
        self.configs().put(choice, Arc::clone(&config), is_held);
        Ok(config)
    }

    /// Reads and parses a certificate on a thread for that.
    async fn load(&self, digest: Digest) -> Result<CertifiedKey, CertificateError> {
        let (content, provider) = (Arc::clone(&self.content), Arc::clone(&self.provider));
        let load = move || certified_key(&content.certificate(digest)?, &provider);
        tokio::task::spawn_blocking(load).await.unwrap_or(Err(LoadError::Stopping.into()))
    }

    /// Tells the client by an alert that there is no certificate for it.
    async fn refuse<IO>(&self, start: StartHandshake<IO>, error: HandshakeError) -> HandshakeError
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // This handshake fails by design; the reason to be logged is the one we have.
        drop(TlsStream::accept(start.io, start.accepted, Arc::clone(&self.refusing)).await);
        error
    }

    fn configs(&self) -> std::sync::MutexGuard<'_, Kept<TlsChoice, Arc<ServerConfig>>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a handshake turned out to mean, as far as it came.
#[derive(Default)]
struct Meant {
    entry: Option<Arc<HostEntry>>,
    server_name: Option<Box<str>>,
}

impl Meant {
    fn failed(self, error: HandshakeError) -> FailedHandshake {
        FailedHandshake { entry: self.entry, server_name: self.server_name, error }
    }
}

/// Returns a name as sites have it. A dot at its end has no place in a handshake (RFC 6066 §3), and
/// changes nothing, as in `Host`.
fn canonical(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_boxed_str()
}

fn before_hello(error: io::Error) -> HandshakeError {
    let left = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    );
    if left { HandshakeError::Nothing } else { HandshakeError::Failed(error) }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    min_version: TlsVersion,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    Ok(config)
}

fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let http1 = b"http/1.1".to_vec();
    if http2 { vec![b"h2".to_vec(), http1] } else { vec![http1] }
}

fn certified_key(
    certificate: &CertificateObject,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let pem = |what| move |source| CertificateError::Pem { what, source };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(pem("chain"))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).map_err(pem("key"))?;
    // Refuses a key that does not belong to the certificate.
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "unknown",
    }
}
