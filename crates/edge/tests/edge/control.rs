//! The control socket and the life of the process behind it.

use std::os::unix::{fs::PermissionsExt as _, net::UnixListener};

use portway_edge::{ControlError, EdgeConfig, EdgeError, StateError};
use portway_policy::FORMAT;
use portway_testkit::origin::{Origin, Speaks};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::{TestEdge, client, eventually, read, request, respond, route, site, to};

#[tokio::test]
async fn the_status_tells_what_is_served_and_where() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;
    let status = edge.status().await;
    assert_eq!((status.format, status.sites, status.pid), (FORMAT, 1, std::process::id()));
    assert_eq!(status.listeners.len(), 2);
    assert_eq!(status.listeners[0].address, edge.http());
    assert_eq!(status.digest, edge.index().await.digest);
}

#[tokio::test]
async fn a_change_that_is_none_or_of_another_format_is_refused_with_words() {
    let edge = TestEdge::start().await;
    let (status, body) = edge.control("POST", "/v1/change", b"nonsense".to_vec()).await;
    assert_eq!(status, 400, "{body}");
    let later = format!(r#"{{"format":{},"base":null}}"#, FORMAT + 1);
    let (status, body) = edge.control("POST", "/v1/change", later.into_bytes()).await;
    assert_eq!(status, 400);
    assert!(body.contains("unknown_format") && body.contains("versions"), "{body}");
    assert_eq!(edge.control("GET", "/v1/other", vec![]).await.0, 404);
}

#[tokio::test]
async fn requests_are_counted_by_site() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;
    edge.get("a.example", "/").await;
    let line = r#"portway_edge_requests_total{site="a",status_class="2xx"} 1"#;
    let mut metrics = String::new();
    // The count follows the last byte of the answer.
    for _ in 0..100 {
        metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
        if metrics.contains(line) {
            return;
        }
    }
    panic!("{metrics}");
}

#[tokio::test]
async fn only_the_owner_reaches_the_socket_and_a_stale_one_is_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = camino::Utf8Path::from_path(temporary.path()).unwrap();
    let config = EdgeConfig::below(dir);
    std::fs::create_dir_all(config.control_socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&config.control_socket).unwrap());

    let edge = TestEdge::start_in(dir.to_owned(), |_| {}).await;

    let mode = std::fs::metadata(edge.handle.control_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(edge.status().await.sites, 0);
}

#[tokio::test]
async fn a_second_edge_on_the_same_socket_or_state_says_so() {
    let edge = TestEdge::start().await;
    let second = |edit: fn(&mut EdgeConfig)| {
        let mut config = EdgeConfig::below(&edge.dir);
        edit(&mut config);
        portway_edge::start(config, CancellationToken::new())
    };
    let same_socket = second(|config| config.state_dir.set_file_name("other")).await.unwrap_err();
    assert!(matches!(same_socket, EdgeError::Control(ControlError::InUse { .. })));
    let same_state = second(|_| {}).await.unwrap_err();
    assert!(matches!(same_state, EdgeError::State(StateError::InUse { .. })), "{same_state}");
    assert_eq!(edge.status().await.sites, 0);
}

#[tokio::test]
async fn told_to_stop_it_ends_the_requests_in_flight_first() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;
    let asked = request("GET", "a.example", "/big/50000000", "");
    let response = client.send_request(asked).await.unwrap();

    assert_eq!(edge.control("POST", "/v1/stop", vec![]).await.0, 202);

    let http = edge.http();
    let body = read(response).await.body;
    assert_eq!(body.len(), 50_000_000);
    edge.handle.wait().await.unwrap();
    eventually("the port is free", || std::net::TcpListener::bind(http).ok()).await;
}
