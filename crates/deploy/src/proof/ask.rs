//! One request to a site on a node: by the site's name, over the connection to the node.
//!
//! Whose certificate is shown is not judged: whether clients trust it is another matter than whether a
//! deployment did harm.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, response::Parts};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use portway_model::site::SiteProbe;
use portway_transport::{BoxStream, Transport};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Doors;
use crate::probe::chain;

/// So much of a body is read.
const MOST: usize = 64_000;

/// What a node answers to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The status.
    pub status: u16,
    /// Where it sends whoever asked.
    pub location: Option<String>,
}

/// Asks once. Returns what is wrong with the answer.
pub(super) async fn ask<T: Transport>(
    transport: &T,
    doors: &Doors,
    probe: &SiteProbe,
) -> Result<(), String> {
    let (head, body) = exchange(transport, doors, probe).await?;
    let status = head.status.as_u16();
    if !is_good(probe, status) {
        return Err(format!("it answers {status}"));
    }
    let is_in = probe.body.as_ref().is_none_or(|wanted| wanted.is_in(&body));
    if is_in { Ok(()) } else { Err(format!("it answers {status} with another body")) }
}

/// Asks once, whatever the answer is.
///
/// # Errors
/// When no answer comes; why.
pub async fn visit<T: Transport>(
    transport: &T,
    doors: &Doors,
    probe: &SiteProbe,
) -> Result<Visit, String> {
    let (head, _) = exchange(transport, doors, probe).await?;
    let location = head.headers.get(http::header::LOCATION);
    let location = location.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
    Ok(Visit { status: head.status.as_u16(), location })
}

fn is_good(probe: &SiteProbe, status: u16) -> bool {
    probe.statuses.iter().any(|range| range.contains(status))
}

/// Returns the head of an answer in time, and the beginning of its body where that matters.
async fn exchange<T: Transport>(
    transport: &T,
    doors: &Doors,
    probe: &SiteProbe,
) -> Result<(Parts, Vec<u8>), String> {
    let patience = Duration::from_secs(probe.timeout.0);
    match timeout(patience, talk(transport, doors, probe)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer came within {}", probe.timeout)),
    }
}

async fn talk<T: Transport>(
    transport: &T,
    doors: &Doors,
    probe: &SiteProbe,
) -> Result<(Parts, Vec<u8>), String> {
    let door = if probe.over_tls { &doors.https } else { &doors.http };
    let mut stream = transport.dial(door).await.map_err(|error| chain(&error))?;
    if probe.over_tls {
        stream = by_tls(stream, &probe.host).await?;
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(chain)?;
    let request = Request::get(&probe.path)
        .header(http::header::HOST, &probe.host)
        .header(http::header::USER_AGENT, "portway-probe")
        .body(Empty::<Bytes>::new())
        .map_err(chain)?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(chain)?;
        let (head, body) = answer.into_parts();
        let matters = probe.body.is_some() && is_good(probe, head.status.as_u16());
        let body = if matters { beginning(body).await? } else { Vec::new() };
        Ok((head, body))
    };
    let mut talk = std::pin::pin!(talk);
    // The connection is driven from here, so that nothing outlives the question. What it read before
    // it was closed is still to be had. Both are only borrowed or done, so nothing is lost.
    tokio::select! {
        biased;
        answer = &mut talk => answer,
        ended = connection => match ended {
            Ok(()) => talk.await,
            Err(error) => Err(chain(error)),
        },
    }
}

async fn beginning(mut body: hyper::body::Incoming) -> Result<Vec<u8>, String> {
    let mut read = Vec::new();
    while read.len() < MOST {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.map_err(chain)?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    read.truncate(MOST);
    Ok(read)
}

async fn by_tls(stream: BoxStream, host: &str) -> Result<BoxStream, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(chain)?;
    let stream = TlsConnector::from(config()?).connect(name, stream).await.map_err(chain)?;
    Ok(Box::new(stream))
}

fn config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(chain)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}

/// Takes every certificate whose key signed the handshake.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
