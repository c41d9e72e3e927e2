//! What the edge tells of requests: the ends of those that a client broke off, and counts that go
//! with the sites and targets that are gone.

use portway_model::{
    ByteSize,
    site::{Action, Upstream},
};
use portway_policy::{SitePolicy, bundle::Change};
use portway_testkit::origin::{Origin, Speaks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{TestEdge, change, eventually, id, respond, route, site, to, upstream};

#[tokio::test]
async fn a_client_that_leaves_during_its_upload_is_logged_as_gone() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let streaming = Upstream { buffer: ByteSize(0), ..upstream(&origin) };
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(streaming))])]).await;
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        let begun =
            format!("POST /sink HTTP/1.1\r\nhost: a.example\r\n{head}\r\n\r\n5\r\nhello\r\n");
        stream.write_all(begun.as_bytes()).await.unwrap();
        let asked = origin.seen().len();
        eventually("the origin to be asked", || (origin.seen().len() > asked).then_some(())).await;
        drop(stream);
    }

    let lines = twice(&edge, "main.access.log", r#""status":499"#).await;

    assert!(lines.iter().all(|line| line.contains(r#""method":"POST""#)), "{lines:?}");
    let errors = twice(&edge, "main.error.log", r#""code":"client_gone""#).await;
    assert!(errors.iter().all(|line| line.contains(r#""kind":"client_gone""#)), "{errors:?}");
    assert!(errors.iter().all(|line| line.contains("the client")), "{errors:?}");
}

#[tokio::test]
async fn a_client_that_sends_nonsense_is_refused_and_not_taken_for_gone() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head = "POST /sink HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}no chunk\r\n").as_bytes()).await.unwrap();

    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();

    assert_eq!(&answer, b"HTTP/1.1 400");
    edge.log_has("main.error.log", r#""code":"bad_body""#).await;
}

#[tokio::test]
async fn a_site_that_is_renamed_or_removed_leaves_no_counts_behind() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("old", &["a.example"], vec![route("/", respond("a"))])]).await;
    edge.get("a.example", "/").await;
    wait_for_metric(&edge, r#"requests_total{site="old",status_class="2xx"} 1"#).await;
    assert!(metrics(&edge).await.contains("portway_edge_sites 1\n"));
    let renamed =
        SitePolicy { id: id("old"), ..site("new", &["a.example"], vec![route("/", respond("a"))]) };

    edge.put(vec![renamed]).await;
    edge.get("a.example", "/").await;

    wait_for_metric(&edge, r#"requests_total{site="new",status_class="2xx"} 1"#).await;
    assert!(!metrics(&edge).await.contains(r#"site="old""#));
    edge.change(Change { remove: vec![id("old")], ..change() }).await;
    let text = metrics(&edge).await;
    assert!(!text.contains(r#"site=""#) && text.contains("portway_edge_sites 0\n"), "{text}");
}

#[tokio::test]
async fn a_target_that_a_site_no_longer_has_leaves_no_state_behind() {
    let edge = TestEdge::start().await;
    let (one, two) = (Origin::tcp(Speaks::Http1).await.unwrap(), Origin::tcp(Speaks::Http1).await);
    let two = two.unwrap();
    let up = |origin: &Origin| {
        format!(r#"upstream_up{{site="a",target="{}"}} 1"#, origin.address().unwrap())
    };
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&one))])]).await;
    edge.get("a.example", "/").await;
    wait_for_metric(&edge, &up(&one)).await;

    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&two))])]).await;

    assert!(!metrics(&edge).await.contains(&up(&one)));
    edge.get("a.example", "/").await;
    wait_for_metric(&edge, &up(&two)).await;
    wait_for_metric(&edge, r#"requests_total{site="a",status_class="2xx"} 2"#).await;
}

/// Waits for two lines of a log of the only site.
async fn twice(edge: &TestEdge, file: &str, part: &str) -> Vec<String> {
    let folder = edge.dir.join("logs");
    let find = || {
        let folders = folder.read_dir_utf8().ok()?.flatten();
        let texts = folders.filter_map(|one| std::fs::read_to_string(one.path().join(file)).ok());
        let found: Vec<String> = texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.contains(part))
            .collect();
        (found.len() == 2).then_some(found)
    };
    eventually(&format!("two lines with {part} in {file}"), find).await
}

async fn metrics(edge: &TestEdge) -> String {
    edge.control("GET", "/v1/metrics", vec![]).await.1
}

/// The counts follow the last byte of an answer.
async fn wait_for_metric(edge: &TestEdge, part: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let text = metrics(edge).await;
        if text.contains(part) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{part} is not in {text}");
    }
}

#[tokio::test]
async fn a_log_is_put_aside_when_it_is_old_and_no_line_is_lost() {
    let edge = TestEdge::start().await;
    let mut aging = site("a", &["a.example"], vec![route("/", respond("a"))]);
    aging.log.max_age = portway_model::Seconds(1);
    edge.put(vec![aging]).await;
    let mut asked = 0;
    let logs = edge.dir.join("logs");
    let read = || -> Option<Vec<String>> {
        let folder = logs.read_dir_utf8().ok()?.flatten().next()?;
        let files = folder.path().read_dir_utf8().ok()?.flatten();
        files.map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    };
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while read().is_none_or(|files| files.len() < 3) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", read());
        edge.get("a.example", &format!("/{asked}")).await;
        asked += 1;
    }
    let written = || {
        let lines = read()?.iter().map(|text| text.lines().count()).sum::<usize>();
        (lines == asked).then_some(())
    };
    eventually("every line", written).await;
}
