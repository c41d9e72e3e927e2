//! Connections: how a manager is dialled, and what is trusted on the way.

use std::{io, net::IpAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, uri::Scheme};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::{ClientError, Endpoint};

/// The bytes that a socket's path may have, without its closing zero (`sun_path`, unix(7)).
const SOCKET_PATH: usize = 107;

/// Dials one manager.
pub(super) struct Connector {
    endpoint: Endpoint,
    host: HeaderValue,
    tls: Option<Tls>,
}

struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A connection that carries one request. It ends when this is dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Connector {
    pub(super) fn new(endpoint: Endpoint, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        let (host, tls) = match &endpoint {
            Endpoint::Unix(path) => (local(path)?, None),
            Endpoint::Http(url) => remote(url, ca_pem)?,
        };
        Ok(Self { endpoint, host, tls })
    }

    pub(super) fn describe(&self) -> String {
        match &self.endpoint {
            Endpoint::Unix(path) => path.display().to_string(),
            Endpoint::Http(url) => url.to_string().trim_end_matches('/').to_owned(),
        }
    }

    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    pub(super) async fn connect(&self) -> io::Result<Connection> {
        match &self.endpoint {
            Endpoint::Unix(path) => Connection::over(UnixStream::connect(path).await?).await,
            Endpoint::Http(url) => {
                let stream = TcpStream::connect(address(url)).await?;
                stream.set_nodelay(true)?;
                match &self.tls {
                    None => Connection::over(stream).await,
                    Some(tls) => {
                        let connector = TlsConnector::from(Arc::clone(&tls.config));
                        Connection::over(connector.connect(tls.name.clone(), stream).await?).await
                    }
                }
            }
        }
    }
}

fn local(path: &Path) -> Result<HeaderValue, ClientError> {
    if path.as_os_str().len() > SOCKET_PATH {
        return Err(ClientError::SocketPath { path: path.to_owned() });
    }
    Ok(HeaderValue::from_static("localhost"))
}

fn remote(url: &Uri, ca_pem: Option<&[u8]>) -> Result<(HeaderValue, Option<Tls>), ClientError> {
    let bad = || ClientError::Url { url: url.to_string() };
    let authority = url.authority().ok_or_else(bad)?;
    let has_more = url.path_and_query().is_some_and(|path| path.as_str() != "/");
    if has_more || authority.as_str().contains('@') {
        return Err(bad());
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
    let name = authority.host().trim_matches(['[', ']']);
    if url.scheme() == Some(&Scheme::HTTPS) {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| bad())?;
        return Ok((host, Some(Tls { config: trust(ca_pem)?, name })));
    }
    match (url.scheme() == Some(&Scheme::HTTP), is_this_machine(name)) {
        (true, true) => Ok((host, None)),
        (true, false) => Err(ClientError::Insecure { url: url.to_string() }),
        (false, _) => Err(bad()),
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn address(url: &Uri) -> (String, u16) {
    let default = if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    (host.to_owned(), url.port_u16().unwrap_or(default))
}

fn trust(ca_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, ClientError> {
    let unreadable = |reason: String| ClientError::Authorities { reason };
    let mut roots = RootCertStore::empty();
    // A machine without authorities of its own can still have been given one.
    let native = rustls_native_certs::load_native_certs();
    for fault in &native.errors {
        tracing::debug!(%fault, "an authority of this machine cannot be read");
    }
    let (_added, _ignored) = roots.add_parsable_certificates(native.certs);
    for certificate in CertificateDer::pem_slice_iter(ca_pem.unwrap_or_default()) {
        let certificate = certificate.map_err(|source| unreadable(source.to_string()))?;
        roots.add(certificate).map_err(|source| unreadable(source.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("this machine trusts none, and none was given".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| unreadable(source.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Connection {
    async fn over<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // The fault reaches whoever waits for the answer or reads it.
            if let Err(fault) = connection.await {
                tracing::debug!(%fault, "the connection to the manager ended");
            }
        });
        Ok(Self { sender, driver })
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
