//! WebSocket through the real program: with nothing set in the site file, over HTTP and HTTPS, told by
//! `explain` when it has ended, and not offered over HTTP/2.

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    support::{eventually, file, manager, ok},
    web::Web,
};

const HOST: &str = "chat.localhost";

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_a_tunnel_that_explain_tells_of_when_it_has_ended() {
    let manager = manager().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap();
    let text =
        format!("sites:\n  chat: {{hosts: [{HOST}], to: '{to}', https: {{redirect: false}}}}\n");
    ok(&manager, &["apply", "-f", &file(&manager, "chat.yaml", &text)]).await;
    let web = Web::of(&manager).await;
    let plain = TcpStream::connect(("127.0.0.1", manager.http_port())).await.unwrap();
    let secure = web.connect(HOST, [127, 0, 0, 1].into(), b"http/1.1").await.unwrap();

    let first = talk(plain).await;
    let second = talk(secure).await;

    let plain = told(&manager, &first).await;
    assert!(plain.contains("101, 5 bytes taken, 5 bytes sent"), "{plain}");
    let secure = told(&manager, &second).await;
    assert!(secure.contains("over TLS 1.3 and HTTP/1.1"), "{secure}");
    assert!(secure.contains(&format!("{to} began its answer")), "{secure}");

    // Over HTTP/2 it is a request like any other, to which the application says what it wants.
    let other = web.get(HOST, "/ws").http2().header("sec-websocket-version", "13").send().await;
    assert_eq!(other.status, 426);
    assert_eq!((other.header("upgrade"), other.header("connection")), ("", ""));
}

/// Opens a tunnel, sends five bytes through it and back, closes it, and returns the request's id.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut back).await.unwrap(), 0);
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    id.unwrap_or_else(|| panic!("no id in {head}")).to_owned()
}

async fn told(manager: &Manager, id: &str) -> String {
    eventually("the tunnel to be told of", async || {
        let ran = manager.run(&["explain", id]).await.unwrap();
        (ran.code == 0).then_some(ran.out)
    })
    .await
}
