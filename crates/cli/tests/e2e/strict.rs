//! Strictness through the real program: what a site file says of limits and odd paths holds over
//! HTTP/1.1 and HTTP/2, and the log says what was refused.

use std::time::{Duration, Instant};

use portway_testkit::{
    frames::client::Client,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    support::{apply, file, log_line, manager, ok},
    web::Web,
};

const PATIENCE: Duration = Duration::from_secs(20);

const SITE: &str = "
sites:
  app:
    hosts: [app.localhost]
    https: {redirect: false}
    limits: {headers: 24, body_grace: 1s}
    paths: {encoded_slash: allow}
    routes:
      - path: /
        to: APPLICATION
      - path: /closed
        to: APPLICATION
        access: {allow: []}
";

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_odd_paths_of_a_site_hold_over_both_protocols() {
    let manager = manager().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap();
    let text = SITE.replace("APPLICATION", &to.to_string());
    let path = file(&manager, "app.yaml", &text);
    ok(&manager, &["apply", "-f", &path]).await;
    let web = Web::of(&manager).await;
    for http2 in [false, true] {
        let get = |path: &str| {
            let ask = web.get("app.localhost", path);
            if http2 { ask.http2() } else { ask }
        };
        let echo = get("/a%2fb").send().await.json();
        assert_eq!(echo["target"], "/a%2Fb");
        assert_eq!(get("/closed%2Fb").send().await.status, 400, "another route if it is decoded");
        assert_eq!(get("/a%5Cb").send().await.status, 400);
        let mut many = get("/many");
        for _ in 0..25 {
            many = many.header("x-many", "1");
        }
        assert_eq!(many.send().await.status, 431);
    }
    let line = log_line(&manager, "main.error.log", "the site takes 24").await;
    assert_eq!(line["code"], "malformed_request");

    let begun = Instant::now();
    let mut slow = TcpStream::connect(("127.0.0.1", manager.http_port())).await.unwrap();
    let head = "POST /slow HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 100\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let answered = async {
        loop {
            tokio::select! {
                read = slow.read_buf(&mut answer) => return read,
                () = sleep(Duration::from_millis(400)) => {}
            }
            slow.write_all(b"x").await?;
        }
    };
    timeout(Duration::from_secs(15), answered).await.expect("it is cut").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    log_line(&manager, "main.error.log", "bytes a second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_one_site_is_not_used_for_another_with_its_own_certificate() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let text = "sites:\n  one: {hosts: [one.localhost, also.localhost], respond: {body: one}}\n  other: \
                {hosts: [other.localhost], respond: {body: other}}\n";
    apply(&manager, text).await;
    for (host, status) in
        [("one.localhost", 200), ("also.localhost", 200), ("other.localhost", 421)]
    {
        let from = [127, 0, 0, 1].into();
        let mut stream = web.connect("one.localhost", from, b"http/1.1").await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");

        let stream = web.connect("one.localhost", from, b"h2").await.unwrap();
        let mut client = Client::silent(stream, host);
        client.greet(&[]).await.expect("the edge speaks HTTP/2");
        client.get(1, "/").await;
        assert_eq!(client.status(1).await, Ok(status), "{host} over HTTP/2");
    }
    log_line(&manager, "main.error.log", "the connection was made for one.localhost").await;
}
