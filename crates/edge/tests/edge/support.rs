//! An edge in this process, with real sockets, and clients to talk to it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portway_edge::{EdgeConfig, EdgeHandle};
use portway_model::{
    ByteSize, HostPort, Id, Site,
    site::{
        Action, Filters, HeaderEdits, Limits, LogSettings, Match, PathMatch, PathRules, Respond,
        Route, Target, TlsVersion, Upstream, UpstreamProtocol,
    },
};
use portway_policy::{
    CertificateObject, Digest, FORMAT, HttpsPolicy, NodeSettings, SitePolicy,
    bundle::{Change, ChangeReport, IndexListing, PROTOCOL, SUCCEEDED, Status},
};
use portway_testkit::{ca::TestCa, origin::Origin};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub(crate) type Sent = UnsyncBoxBody<Bytes, std::io::Error>;

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestEdge {
    pub(crate) handle: EdgeHandle,
    pub(crate) dir: Utf8PathBuf,
    temporary: Option<tempfile::TempDir>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl TestEdge {
    pub(crate) async fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(temporary.path()).unwrap().to_owned();
        let mut edge = Self::start_in(dir, |_| {}).await;
        edge.temporary = Some(temporary);
        edge
    }

    pub(crate) async fn start_in(dir: Utf8PathBuf, edit: impl FnOnce(&mut EdgeConfig)) -> Self {
        let mut config = EdgeConfig::below(&dir);
        config.http = vec!["127.0.0.1:0".parse().unwrap()];
        config.https = vec!["127.0.0.1:0".parse().unwrap()];
        config.workers = std::num::NonZeroUsize::new(2);
        config.drain = Duration::from_secs(5);
        edit(&mut config);
        let handle = portway_edge::start(config, CancellationToken::new()).await.unwrap();
        Self { handle, dir, temporary: None }
    }

    /// An edge that took the place of this one.
    pub(crate) fn like(&self, handle: EdgeHandle) -> Self {
        Self { handle, dir: self.dir.clone(), temporary: None }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.handle.http()[0]
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.handle.https()[0]
    }

    pub(crate) async fn put(&self, sites: Vec<SitePolicy>) {
        let report = self.change(Change { put: sites, ..change() }).await;
        assert!(report.refused.is_empty(), "{:?}", report.refused);
    }

    pub(crate) async fn change(&self, change: Change) -> ChangeReport {
        let body = serde_json::to_vec(&change).unwrap();
        let (status, body) = self.control("POST", "/v1/change", body).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn status(&self) -> Status {
        serde_json::from_str(&self.control("GET", "/v1/status", vec![]).await.1).unwrap()
    }

    pub(crate) async fn index(&self) -> IndexListing {
        serde_json::from_str(&self.control("GET", "/v1/index", vec![]).await.1).unwrap()
    }

    pub(crate) async fn control(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> (StatusCode, String) {
        loop {
            let stream = UnixStream::connect(self.handle.control_socket()).await.unwrap();
            let mut client = client(stream).await;
            let request = Request::builder().method(method).uri(path).header("host", "edge");
            let answer = send(&mut client, request.body(sent(body.clone())).unwrap()).await;
            // An edge that gave its place away says so until it has closed its socket.
            if answer.status != 503 || !answer.body.contains(SUCCEEDED) {
                return (StatusCode::from_u16(answer.status).unwrap(), answer.body);
            }
        }
    }

    /// Asks over plain HTTP.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Answer {
        self.ask(request("GET", host, path, "")).await
    }

    /// Asks over plain HTTP on a connection of its own.
    pub(crate) async fn ask(&self, request: Request<Sent>) -> Answer {
        let stream = TcpStream::connect(self.http()).await.unwrap();
        send(&mut client(stream).await, request).await
    }

    /// Reads the lines of a log of a site.
    pub(crate) async fn log_has(&self, file: &str, part: &str) -> String {
        let logs = self.dir.join("logs");
        let find = || {
            let mut folders: Vec<_> = std::fs::read_dir(&logs).ok()?.flatten().collect();
            folders.sort_by_key(std::fs::DirEntry::file_name);
            folders.iter().find_map(|folder| {
                let text = std::fs::read_to_string(folder.path().join(file)).ok()?;
                text.lines().find(|line| line.contains(part)).map(str::to_owned)
            })
        };
        eventually(&format!("`{part}` in {file}"), find).await
    }

    pub(crate) async fn stop(self) -> Option<tempfile::TempDir> {
        self.handle.stop();
        self.handle.wait().await.unwrap();
        self.temporary
    }
}

/// Waits until a condition gives a value.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a value stays what it is, and returns it.
pub(crate) async fn settled(what: &str, mut value: impl FnMut() -> u64) -> u64 {
    const STILL: usize = 50;
    let (mut last, mut still) = (value(), 0);
    eventually(what, || {
        let now = value();
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (still >= STILL).then_some(now)
    })
    .await
}

pub(crate) async fn client<S>(stream: S) -> http1::SendRequest<Sent>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(crate) async fn client2<S>(stream: S) -> http2::SendRequest<Sent>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let executor = TokioExecutor::new();
    let (sender, connection) = http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn send(client: &mut http1::SendRequest<Sent>, request: Request<Sent>) -> Answer {
    client.ready().await.unwrap();
    let answered = tokio::time::timeout(PATIENCE, client.send_request(request)).await;
    read(answered.expect("no answer in time").unwrap()).await
}

pub(crate) async fn read(response: Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("no end in time");
    let body = String::from_utf8_lossy(&body.unwrap().to_bytes()).into_owned();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) fn request(method: &str, host: &str, path: &str, body: &str) -> Request<Sent> {
    let request = Request::builder().method(method).uri(path).header("host", host);
    request.body(sent(body.as_bytes().to_vec())).unwrap()
}

pub(crate) fn sent(body: Vec<u8>) -> Sent {
    Full::from(body).map_err(|never| match never {}).boxed_unsync()
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What an echoing origin was asked.
    pub(crate) fn echoed(&self) -> Echo {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[derive(Debug, serde::Deserialize)]
pub(crate) struct Echo {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// A TLS connection to an address, asking for a name unless it is an address itself.
pub(crate) async fn tls(
    address: SocketAddr,
    ca: &TestCa,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.root()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub(crate) fn change() -> Change {
    Change { format: PROTOCOL, ..Change::default() }
}

/// A site over plain HTTP.
pub(crate) fn site(name: &str, hosts: &[&str], routes: Vec<Route>) -> SitePolicy {
    SitePolicy {
        format: FORMAT,
        id: id(name),
        name: name.parse().unwrap(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        https: None,
        log: LogSettings::default(),
        routes,
        limits: Limits::default(),
        paths: PathRules::default(),
        snippets: portway_model::site::Snippets::default(),
        maintenance: None,
        blocked: None,
        guard: None,
    }
}

/// The id of a site is made from its name, so that tests can speak of it.
pub(crate) fn id(name: &str) -> Id<Site> {
    let digest = Digest::of(name.as_bytes());
    let bytes: [u8; 16] = digest.as_bytes()[..16].try_into().unwrap();
    Id::from_uuid(uuid::Uuid::from_bytes(bytes))
}

pub(crate) fn with_https(mut site: SitePolicy, certificate: &CertificateObject) -> SitePolicy {
    site.https = Some(HttpsPolicy {
        redirect: true,
        min_version: TlsVersion::V1_2,
        http2: true,
        certificate: Some(certificate.digest()),
    });
    site
}

pub(crate) fn certificate(ca: &TestCa, names: &[&str]) -> CertificateObject {
    let issued = ca.issue(names).unwrap();
    CertificateObject { chain_pem: issued.chain_pem, key_pem: issued.key_pem }
}

pub(crate) fn route(path: &str, action: Action) -> Route {
    Route {
        matches: Match {
            path: PathMatch::Prefix(path.parse().unwrap()),
            methods: vec![],
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
        },
        log: "main".parse().unwrap(),
        filters: Filters {
            access: None,
            max_body: ByteSize(100_000_000),
            strip_prefix: false,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            compress: false,
            mirror: None,
            rate_limits: Vec::new(),
            connection_limit: None,
            cache: None,
        },
        action,
    }
}

pub(crate) fn respond(body: &str) -> Action {
    Action::Respond(Respond {
        status: 200,
        body: body.to_owned(),
        content_type: "text/plain".to_owned(),
    })
}

pub(crate) fn to(origin: &Origin) -> Action {
    Action::Proxy(upstream(origin))
}

pub(crate) fn upstream(origin: &Origin) -> Upstream {
    Upstream::of(tcp(origin.address().unwrap()))
}

/// An upstream that is spoken to in HTTP/2.
pub(crate) fn upstream2(origin: &Origin) -> Upstream {
    Upstream::new(vec![tcp(origin.address().unwrap()).into()], UpstreamProtocol::H2c)
}

pub(crate) fn tcp(address: SocketAddr) -> Target {
    Target::Tcp(HostPort { host: address.ip().to_string(), port: address.port() })
}

pub(crate) fn trusting(networks: &[&str]) -> NodeSettings {
    NodeSettings {
        trusted_proxies: networks.iter().map(|network| network.parse().unwrap()).collect(),
        ..NodeSettings::default()
    }
}
