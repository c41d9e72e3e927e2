//! The API on real sockets, used by the real client.

use std::{path::Path, time::Duration};

use portway_api::{Listeners, ServeError, serve};
use portway_model::{Bounds, Role};
use portway_wire::{
    auth::Tokens,
    client::{Client, ClientConfig, Endpoint},
    logs::LogQuery,
    site::NewSite,
    user::EditUser,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Bed, proxy};

/// An API that listens until it is stopped.
struct Running {
    bed: Bed,
    port: u16,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn new() -> Self {
        let bed = Bed::new().await;
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = Some(UnixListener::bind(socket(&bed)).unwrap());
        let stop = CancellationToken::new();
        let listeners = Listeners { tcp: vec![tcp], unix };
        let task = tokio::spawn(serve(listeners, bed.state.clone(), stop.clone()));
        Self { bed, port, stop, task }
    }

    fn local(&self) -> Client {
        Client::new(ClientConfig::new(Endpoint::Unix(socket(&self.bed)))).unwrap()
    }

    fn over_tcp(&self, token: Option<String>) -> Client {
        let url = format!("http://localhost:{}", self.port).parse().unwrap();
        Client::new(ClientConfig { token, ..ClientConfig::new(Endpoint::Http(url)) }).unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), self.task).await;
        ended.expect("the API ends when it is told to").unwrap().unwrap();
    }
}

fn socket(bed: &Bed) -> std::path::PathBuf {
    let folder: &Path = bed.folder.path();
    folder.join("portway.sock")
}

#[tokio::test]
async fn the_local_socket_knows_its_caller() {
    let api = Running::new().await;
    let me = api.local().whoami().await.unwrap();
    assert_eq!((me.role, me.via.as_str()), (Role::Admin, "local"));
    let new = NewSite {
        name: None,
        owner: None,
        spec: proxy("blog.example"),
        message: None,
        rollout: None,
    };
    let site = api.local().create_site(&new, Uuid::now_v7()).await.unwrap();
    assert_eq!(site.summary.name, "blog.example");
    api.stop().await;
}

#[tokio::test]
async fn over_tcp_one_logs_in() {
    let api = Running::new().await;
    api.bed.user("ann", Role::Viewer, Bounds::default()).await;
    let refused = api.over_tcp(None).whoami().await.unwrap_err();
    assert_eq!(refused.problem().unwrap().status, 401);
    let tokens = api.bed.log_in("ann").await;
    let client = api.over_tcp(Some(tokens.access_token));
    assert_eq!(client.whoami().await.unwrap().name, "ann");
    client.log_out().await.unwrap();
    assert!(client.whoami().await.is_err());
    api.stop().await;
}

#[tokio::test]
async fn a_followed_log_ends_with_the_api() {
    let api = Running::new().await;
    api.bed.user("ann", Role::Admin, Bounds::default()).await;
    api.bed.site("blog", "blog.example", "ann").await;
    let mut lines = api.local().follow_logs("blog", &LogQuery::default()).await.unwrap();
    let reading = tokio::spawn(async move { lines.next().await });
    api.stop().await;
    let end = tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap().unwrap();
    assert!(end.unwrap().is_none(), "the stream ends as it should");
}

#[tokio::test]
async fn a_followed_log_ends_with_the_login() {
    let api = Running::new().await;
    api.bed.user("ann", Role::Viewer, Bounds::default()).await;
    api.bed.user("bob", Role::Viewer, Bounds::default()).await;
    api.bed.site("blog", "blog.example", "ann").await;
    let (ann, bob) = (api.bed.log_in("ann").await, api.bed.log_in("bob").await);
    let follow = async |tokens: Tokens| {
        let client = api.over_tcp(Some(tokens.access_token));
        client.follow_logs("blog", &LogQuery::default()).await.unwrap()
    };
    let (mut of_ann, mut of_bob) = (follow(ann).await, follow(bob).await);
    let of_ann = tokio::spawn(async move { of_ann.next().await });
    let of_bob = tokio::spawn(async move { of_bob.next().await });
    let block = EditUser { active: Some(false), ..EditUser::default() };

    api.local().edit_user("ann", &block).await.unwrap();

    let end = tokio::time::timeout(Duration::from_secs(20), of_ann).await.unwrap().unwrap();
    assert!(end.unwrap().is_none(), "the stream ends as it should");
    assert!(!of_bob.is_finished(), "another reader goes on reading");
    api.stop().await;
}

#[tokio::test]
async fn a_change_is_finished_though_its_caller_went_away() {
    let api = Running::new().await;
    api.bed.user("ann", Role::Admin, Bounds::default()).await;
    let token = api.bed.log_in("ann").await.access_token;
    let body = serde_json::json!({ "spec": proxy("blog.example") }).to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", api.port)).await.unwrap();
    let request = format!(
        "POST /api/v1/sites HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\nidempotency-key: k-1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    let client = api.over_tcp(Some(token));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while client.site("blog.example").await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the site was not made");
        tokio::task::yield_now().await;
    }
    api.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_harms_nobody() {
    let api = Running::new().await;
    for nonsense in ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00", "GET /\r\nx"] {
        let mut stream = TcpStream::connect(("127.0.0.1", api.port)).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(api.over_tcp(None).health().await.is_ok());
    api.stop().await;
}

#[tokio::test]
async fn nothing_listens_beyond_this_machine_without_tls() {
    let bed = Bed::new().await;
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let listeners = Listeners { tcp: vec![open], unix: None };
    let refused = serve(listeners, bed.state.clone(), CancellationToken::new()).await;
    assert!(matches!(refused, Err(ServeError::NotLoopback(_))), "{refused:?}");
}
