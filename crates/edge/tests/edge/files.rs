//! Static files over real sockets: what is sent, however it travels.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::site::{Action, FileRoot};
use portway_policy::{SitePolicy, bundle::Change};
use portway_testkit::ca::TestCa;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Answer, TestEdge, certificate, change, client, client2, read, request, route, send, sent, site,
    tls, with_https,
};

/// More than sockets take while nobody reads.
const HUGE: u64 = 64 * 1024 * 1024;

#[tokio::test]
async fn a_large_file_arrives_whole_by_every_way() {
    let folder = Folder::new();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    folder.write("big.bin", &content);
    let ca = TestCa::new().unwrap();
    let edge = folder.edge_with_tls(&ca, |_| {}).await;

    let plain = TcpStream::connect(edge.http()).await.unwrap();
    assert!(fetch(plain, "plain.example", "/big.bin", "").await.body == content);
    let secure = tls(edge.https(), &ca, "a.example", &["http/1.1"]).await.unwrap();
    assert!(fetch(secure, "a.example", "/big.bin", "").await.body == content);
    let secure = tls(edge.https(), &ca, "a.example", &["h2"]).await.unwrap();
    let mut client = client2(secure).await;
    let asked = client.send_request(by_http2("/big.bin")).await.unwrap();
    let received = http_body_util::BodyExt::collect(asked.into_body()).await.unwrap().to_bytes();
    assert!(received == content);
}

#[tokio::test]
async fn a_connection_goes_on_after_files_and_ranges_of_them() {
    let folder = Folder::new();
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    folder.write("big.bin", &content);
    let edge = folder.edge().await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();

    for _ in 0..3 {
        let whole = ask(&mut stream, "plain.example", "/big.bin", "").await;
        assert!(whole.status == 200 && whole.body == content);
        let part = ask(&mut stream, "plain.example", "/big.bin", "range: bytes=7-700000\r\n").await;
        assert!(part.status == 206 && part.body == content[7..=700_000]);
        let ranges = "range: bytes=0-99999,500000-600000,-3\r\n";
        let parts = ask(&mut stream, "plain.example", "/big.bin", ranges).await;
        assert_eq!(parts.status, 206);
        for part in [&content[..100_000], &content[500_000..=600_000], &content[999_997..]] {
            assert!(parts.body.windows(part.len()).any(|window| window == part));
        }
    }
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_sent_breaks_the_connection_off() {
    let folder = Folder::new();
    folder.write_zeros("big.bin", HUGE);
    let edge = folder.edge().await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head = begin(&mut stream, "plain.example", "/big.bin", "").await;
    assert!(head.contains(&format!("content-length: {HUGE}\r\n")), "{head}");

    let file = fs::File::options().write(true).open(folder.root.join("big.bin")).unwrap();
    file.set_len(1000).unwrap();

    let mut rest = Vec::new();
    // A reset is as good an end as a close.
    stream.read_to_end(&mut rest).await.unwrap_or_default();
    assert!((rest.len() as u64) < HUGE, "{} bytes", rest.len());
    let line = edge.log_has("main.error.log", r#""code":"answer_broke_off""#).await;
    assert!(line.contains("the file became shorter while it was sent"), "{line}");
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_sent_is_sent_as_it_was() {
    let folder = Folder::new();
    folder.write_zeros("big.bin", HUGE);
    let edge = folder.edge().await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    begin(&mut stream, "plain.example", "/big.bin", "connection: close\r\n").await;

    folder.write("new", b"new");
    fs::rename(folder.root.join("new"), folder.root.join("big.bin")).unwrap();

    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len() as u64, HUGE);
    assert!(rest.iter().all(|byte| *byte == 0));
    assert_eq!(edge.get("plain.example", "/big.bin").await.body, "new");
    let line = edge.log_has("main.access.log", &format!(r#""bytes_out":{HUGE}"#)).await;
    assert!(line.contains(r#""status":200"#), "{line}");
}

#[tokio::test]
async fn a_client_that_leaves_during_a_file_is_told_of_in_the_log() {
    let folder = Folder::new();
    folder.write_zeros("big.bin", HUGE);
    let edge = folder.edge().await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    begin(&mut stream, "plain.example", "/big.bin", "").await;

    drop(stream);

    edge.log_has("main.error.log", r#""code":"client_gone""#).await;
}

#[tokio::test]
async fn forms_conditions_and_pages_are_the_same_over_both_versions_of_http() {
    let folder = Folder::new();
    for (path, content) in
        [("index.html", "the app"), ("app.js", "original"), ("app.js.gz", "as gzip")]
    {
        folder.write(path, content.as_bytes());
    }
    let ca = TestCa::new().unwrap();
    let edge = folder.edge_with_tls(&ca, |files| files.spa = true).await;
    for alpn in ["http/1.1", "h2"] {
        let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
            asked(&edge, &ca, alpn, method, path, headers).await
        };
        let coded = ("accept-encoding", "gzip, deflate");

        let form = ask("GET", "/app.js", &[coded]).await;
        assert_eq!((form.status, form.body.as_str()), (200, "as gzip"));
        assert_eq!(form.header("content-encoding"), "gzip");
        let head = ask("HEAD", "/app.js", &[coded]).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        for name in ["content-length", "content-encoding", "etag", "content-type", "vary"] {
            assert_eq!(head.header(name), form.header(name), "{name}");
        }
        let known = ask("GET", "/app.js", &[coded, ("if-none-match", form.header("etag"))]).await;
        assert_eq!((known.status, known.body.as_str()), (304, ""));
        assert_eq!(known.header("etag"), form.header("etag"));
        let outside = ask("GET", "/app.js", &[coded, ("range", "bytes=7-")]).await;
        assert_eq!((outside.status, outside.header("content-range")), (416, "bytes */7"));
        let other = ask("GET", "/app.js", &[coded, ("if-match", "\"x\"")]).await;
        assert_eq!(other.status, 412);
        assert_eq!(ask("GET", "/app.js", &[]).await.body, "original");
        assert_eq!(ask("GET", "/users/5", &[("accept", "text/html")]).await.body, "the app");
        assert_eq!(ask("GET", "/users/5", &[("accept", "image/png")]).await.status, 404);
        assert_eq!(ask("DELETE", "/app.js", &[]).await.header("allow"), "GET, HEAD");
    }
}

#[tokio::test]
async fn a_folder_leads_to_its_slash_and_is_listed_for_whoever_asks() {
    let folder = Folder::new();
    folder.write("pub/a.txt", b"a");
    let ca = TestCa::new().unwrap();
    let edge = folder.edge_with_tls(&ca, |files| files.listing = true).await;
    for alpn in ["http/1.1", "h2"] {
        let ask = async |path: &str, headers: &[(&str, &str)]| {
            asked(&edge, &ca, alpn, "GET", path, headers).await
        };
        let led = ask("/pub?sort=size", &[]).await;
        assert_eq!((led.status, led.header("location")), (301, "/pub/?sort=size"));
        assert!(ask("/pub/", &[("accept", "text/html")]).await.body.contains("a.txt</a>"));
        let listing = ask("/pub/", &[("accept", "application/json")]).await.body;
        assert!(listing.contains(r#""name":"a.txt","type":"file","size":1"#), "{listing}");
    }
}

/// A folder with a site on it.
struct Folder {
    root: Utf8PathBuf,
    _temporary: tempfile::TempDir,
}

/// An answer with its bytes.
struct Bytes {
    status: u16,
    body: Vec<u8>,
}

impl Folder {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temporary.path()).unwrap().join("root");
        fs::create_dir(&root).unwrap();
        Self { root, _temporary: temporary }
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn write_zeros(&self, path: &str, length: u64) {
        fs::File::create(self.root.join(path)).unwrap().set_len(length).unwrap();
    }

    async fn edge(&self) -> TestEdge {
        let edge = TestEdge::start().await;
        edge.put(vec![self.site("plain", "plain.example", |_| {})]).await;
        edge
    }

    async fn edge_with_tls(&self, ca: &TestCa, edit: impl FnOnce(&mut FileRoot)) -> TestEdge {
        let edge = self.edge().await;
        let certificate = certificate(ca, &["a.example"]);
        let put = vec![with_https(self.site("a", "a.example", edit), &certificate)];
        edge.change(Change { put, certificates: vec![certificate], ..change() }).await;
        edge
    }

    fn site(&self, name: &str, host: &str, edit: impl FnOnce(&mut FileRoot)) -> SitePolicy {
        let mut files = FileRoot::of(self.root.clone());
        edit(&mut files);
        site(name, &[host], vec![route("/", Action::Files(files))])
    }
}

/// Asks over TLS by one version of HTTP.
async fn asked(
    edge: &TestEdge,
    ca: &TestCa,
    alpn: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let stream = tls(edge.https(), ca, "a.example", &[alpn]).await.unwrap();
    let is_2 = alpn == "h2";
    let mut asked = if is_2 { by_http2(path) } else { request(method, "a.example", path, "") };
    *asked.method_mut() = method.parse().unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::try_from(*name).unwrap();
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    if is_2 {
        read(client2(stream).await.send_request(asked).await.unwrap()).await
    } else {
        send(&mut client(stream).await, asked).await
    }
}

fn by_http2(path: &str) -> http::Request<crate::support::Sent> {
    let uri = format!("https://a.example{path}");
    http::Request::builder().uri(uri).body(sent(vec![])).unwrap()
}

/// Asks on a connection of its own.
async fn fetch<S>(mut stream: S, host: &str, path: &str, headers: &str) -> Bytes
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    ask(&mut stream, host, path, headers).await
}

/// Asks, and reads as much as the answer says it has.
async fn ask<S>(stream: &mut S, host: &str, path: &str, headers: &str) -> Bytes
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = begin(stream, host, path, headers).await;
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    Bytes { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body }
}

/// Asks, and reads the head of the answer.
async fn begin<S>(stream: &mut S, host: &str, path: &str, headers: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}
