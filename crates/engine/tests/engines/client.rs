//! A client that sends what it is told, byte by byte, since other clients mend paths.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use portway_testkit::ca::TestCa;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{bed::PATIENCE, cases::Asked};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status; nothing where no connection came about.
    pub(crate) status: Option<u16>,
    /// The headers, names in lower case, values of one name joined by commas.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    fn none() -> Self {
        Self { status: None, headers: BTreeMap::new(), body: String::new() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Asks over plain HTTP, or over TLS where the request names a server.
pub(crate) async fn ask(doors: crate::bed::Doors, ca: &TestCa, asked: &Asked) -> Answer {
    timeout(PATIENCE, ask_at(doors, ca, asked)).await.unwrap_or_else(|_| Answer::none())
}

async fn ask_at(doors: crate::bed::Doors, ca: &TestCa, asked: &Asked) -> Answer {
    match &asked.tls {
        None => {
            let stream = TcpStream::connect(doors.http).await.unwrap();
            converse(stream, asked).await
        }
        Some(name) => match shake_hands(doors.https, ca, name, asked.tls_1_2, &[]).await {
            Ok(stream) => converse(stream, asked).await,
            Err(_) => Answer::none(),
        },
    }
}

/// Asks over HTTP/2 and returns the statuses, all over one connection that was made for `name`.
pub(crate) async fn ask_by_http2(
    doors: crate::bed::Doors,
    ca: &TestCa,
    name: &str,
    asked: &[(&str, &str)],
) -> Vec<u16> {
    let stream = shake_hands(doors.https, ca, name, false, &[b"h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut statuses = Vec::new();
    for (host, path) in asked {
        let request = http::Request::get(format!("https://{host}{path}")).body(()).unwrap();
        let mut ready = sender.clone().ready().await.unwrap();
        let (answer, _) = ready.send_request(request, true).unwrap();
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        statuses.push(answer.status().as_u16());
    }
    connection.abort();
    statuses
}

async fn shake_hands(
    address: SocketAddr,
    ca: &TestCa,
    name: &str,
    only_1_2: bool,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.root()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] =
        if only_1_2 { &[&rustls::version::TLS12] } else { rustls::DEFAULT_VERSIONS };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, asked: &Asked) -> Answer {
    let mut text = format!("{} {} HTTP/1.1\r\n", asked.method, asked.target);
    if let Some(host) = &asked.host {
        text.extend(["Host: ", host, "\r\n"]);
    }
    for (name, value) in &asked.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    if !asked.headers.keys().any(|name| name.eq_ignore_ascii_case("connection")) {
        text.push_str("Connection: close\r\n");
    }
    let is_chunked =
        asked.headers.keys().any(|name| name.eq_ignore_ascii_case("transfer-encoding"));
    if let Some(body) = asked.body.as_ref().filter(|_| is_chunked) {
        // The case has written the chunks itself.
        text.extend(["\r\n", body]);
    } else if let Some(body) = &asked.body {
        text.extend(["Content-Length: ", &body.len().to_string(), "\r\n\r\n", body]);
    } else {
        text.push_str("\r\n");
    }
    if stream.write_all(text.as_bytes()).await.is_err() {
        return Answer::none();
    }
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    // An end without a goodbye is an end.
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        bytes.extend_from_slice(&piece[..length]);
        if is_whole(&bytes, &asked.method) {
            break;
        }
    }
    parse(&bytes)
}

/// Tells whether an answer has come wholly, on a connection that may stay open.
fn is_whole(bytes: &[u8], method: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let bodiless = ["http/1.1 101", "http/1.1 204", "http/1.1 304"];
    if method == "HEAD" || bodiless.iter().any(|status| head.starts_with(status)) {
        return true;
    }
    match head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()) {
        Some(length) => length.trim().parse().is_ok_and(|length: usize| body.len() >= length),
        None => head.contains("transfer-encoding: chunked") && body.ends_with("0\r\n\r\n"),
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Answer::none() };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        headers
            .entry(name.to_ascii_lowercase())
            .and_modify(|all| all.extend([", ", value.trim()]))
            .or_insert_with(|| value.trim().to_owned());
    }
    let is_chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, headers, body }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, tail)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        body.push_str(tail.get(..length).unwrap_or_default());
        rest = tail.get(length + 2..).unwrap_or_default();
    }
    body
}
