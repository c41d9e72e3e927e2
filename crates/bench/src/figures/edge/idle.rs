//! The memory of a kept TLS connection on which nothing happens.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Row,
    proxy::{Bed, Proxy},
};
use crate::{
    figures::Settings,
    process::{self, Memory},
    report::{Cell, Report, say},
};

/// A connection to a proxy.
type Connection = TlsStream<TcpStream>;

/// Measures how much the memory of each proxy grows by connections on which one request was made.
pub(super) async fn measure(
    settings: &Settings,
    bed: &Bed,
    report: &mut Report,
) -> anyhow::Result<()> {
    let many = settings.choose(4_000, 500);
    say(&format!("{many} idle TLS connections"));
    let mut grown = Vec::new();
    for proxy in &bed.proxies {
        // What the first connections bring along is not theirs.
        drop(open(proxy, 100).await?);
        let before = resident(proxy.pid)?;
        let connections = open(proxy, many).await?;
        let after = resident(proxy.pid)?;
        drop(connections);
        let bytes = after.saturating_sub(before) * 1024 / u64::try_from(many)?;
        grown.push((proxy.name, bytes));
    }
    let of = |name: &str| grown.iter().find(|(proxy, _)| *proxy == name).map(|(_, bytes)| *bytes);
    let [portway, nginx, haproxy, caddy] = ["Portway", "nginx", "HAProxy", "Caddy"].map(of);
    let ratio = match (portway, nginx) {
        (Some(ours), Some(theirs)) if theirs > 0 => Cell::ratio(ours, theirs),
        (Some(_) | None, _) => Cell::Nothing,
    };
    let cell = |bytes: Option<u64>| bytes.map_or(Cell::Nothing, Cell::Bytes);
    report.row([
        Cell::text(Row::Idle.title()),
        Cell::text(Row::Idle.target()),
        ratio,
        cell(portway),
        cell(nginx),
        cell(haproxy),
        cell(caddy),
        Cell::Nothing,
    ]);
    Ok(())
}

/// Returns the memory of a process and its children, in KiB.
fn resident(pid: u32) -> anyhow::Result<u64> {
    let all = process::family(pid)?;
    all.into_iter().map(|pid| Memory::of(pid).map(|memory| memory.pss)).sum()
}

/// Opens connections, and makes one request on each.
async fn open(proxy: &Proxy, many: usize) -> anyhow::Result<Vec<Connection>> {
    let connector = TlsConnector::from(Arc::new(believing()?));
    let mut connections = Vec::with_capacity(many);
    for _ in 0..many {
        connections.push(connect(&connector, proxy).await?);
    }
    Ok(connections)
}

async fn connect(connector: &TlsConnector, proxy: &Proxy) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(("127.0.0.1", proxy.https)).await?;
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(&[b'x'; 1024]) {
        let read = stream.read(&mut part).await?;
        anyhow::ensure!(read > 0, "{} closes an idle connection", proxy.name);
        answer.extend(part.iter().take(read));
    }
    Ok(stream)
}

/// The peers' certificate is no authority's; nothing secret is sent.
fn believing() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let verifier = Arc::new(Believing(provider));
    Ok(builder
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Believes whoever answers.
#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
