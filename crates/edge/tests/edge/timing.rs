//! What the log tells of the time that the steps of a request took, and that it tells nothing of those
//! that took none.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use camino::Utf8Path;
use portway_model::site::{Access, Action, BasicAuth, FileRoot, Password, Route};
use portway_testkit::origin::{Origin, Speaks};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{TestEdge, request, respond, route, site, to};

/// So many that they cannot be listed or compiled in no time.
const MANY: usize = 2_000;

#[tokio::test]
async fn a_plain_request_has_no_step_that_took_time() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    edge.get("a.example", "/first").await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let asked = "POST /post HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\n\r\nabc";
    stream.write_all(asked.as_bytes()).await.unwrap();
    let line = line(&edge, "/post").await;
    assert_eq!(line["status"], 200);
    let steps = ["head_ms", "load_ms", "password_ms", "cache_ms", "body_ms", "files_ms"];
    assert!(steps.iter().all(|step| line["way"][step].is_null()), "{line}");
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_have_their_times() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;

    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head = "POST /body HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\n\
                expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    // The edge waits for the body now, while it answers this.
    edge.get("a.example", "/between").await;
    stream.write_all(b"abc").await.unwrap();
    let line = line(&edge, "/body").await;
    let (took, whole) = (number(&line["way"]["body_ms"]), number(&line["duration_ms"]));
    assert!(took > 0.0 && took + number(&line["upstream_ms"]) <= whole, "{line}");

    // Nobody can see when the edge has read a part of a head, so it is tried until it had.
    for attempt in 0.. {
        assert!(attempt < 1_000, "no head was slow");
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let path = format!("/head-{attempt}");
        stream.write_all(format!("GET {path} HTTP/1.1\r\n").as_bytes()).await.unwrap();
        edge.get("a.example", "/between").await;
        stream.write_all(b"host: a.example\r\n\r\n").await.unwrap();
        let line = self::line(&edge, &path).await;
        if line["way"]["head_ms"].is_number() {
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_its_body_is_told_with_the_time_that_it_was_read() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head = "PUT /left HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\n\
                expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    edge.get("a.example", "/between").await;
    drop(stream);
    let line = line(&edge, "/left").await;
    assert_eq!(line["status"], 499);
    assert!(number(&line["way"]["body_ms"]) > 0.0, "{line}");
}

#[tokio::test]
async fn a_password_has_its_time_when_it_is_checked_and_none_when_it_is_known() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![closed()])]).await;
    let ask = async |path: &str, credentials: &str| {
        let mut asked = request("GET", "a.example", path, "");
        let value = format!("Basic {}", STANDARD.encode(credentials));
        asked.headers_mut().insert("authorization", value.parse().unwrap());
        let status = edge.ask(asked).await.status;
        (status, line(&edge, path).await["way"]["password_ms"].clone())
    };
    let (status, took) = ask("/wrong", "ada:wrong").await;
    assert!(status == 401 && number(&took) > 0.0, "{status} {took}");
    let (status, took) = ask("/right", "ada:secret").await;
    assert!(status == 200 && number(&took) > 0.0, "{status} {took}");
    assert_eq!(ask("/again", "ada:secret").await, (200, Value::Null));
}

#[tokio::test]
async fn the_first_request_to_a_large_site_is_told_how_long_it_took_to_load() {
    let edge = TestEdge::start().await;
    let routes = (0..MANY).map(|number| route(&format!("/{number}/"), respond("one of many")));
    edge.put(vec![site("a", &["a.example"], routes.collect())]).await;
    for path in ["/1/first", "/2/second"] {
        assert_eq!(edge.get("a.example", path).await.body, "one of many");
    }
    assert!(number(&line(&edge, "/1/first").await["way"]["load_ms"]) > 0.0);
    assert!(line(&edge, "/2/second").await["way"]["load_ms"].is_null());
}

#[tokio::test]
async fn a_long_listing_is_told_with_the_time_that_the_disk_took() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..MANY {
        fs::write(folder.path().join(number.to_string()), "").unwrap();
    }
    let mut files = FileRoot::of(Utf8Path::from_path(folder.path()).unwrap().to_owned());
    files.listing = true;
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Files(files))])]).await;

    assert_eq!(edge.get("a.example", "/").await.status, 200);

    let line = line(&edge, "/").await;
    assert_eq!(line["way"]["stage"], "files");
    assert!(number(&line["way"]["files_ms"]) > 0.0, "{line}");
}

fn closed() -> Route {
    let mut closed = route("/", respond("inside"));
    let users = [("ada".into(), Password::Hash(bcrypt::hash("secret", 6).unwrap()))].into();
    let basic = Some(BasicAuth { realm: "inside".into(), users });
    closed.filters.access = Some(Access { allow: None, deny: vec![], basic });
    closed
}

/// The line of the only request for a path.
async fn line(edge: &TestEdge, path: &str) -> Value {
    let line = edge.log_has("main.access.log", &format!("\"path\":\"{path}\"")).await;
    serde_json::from_str(&line).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}
