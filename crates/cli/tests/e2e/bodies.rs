//! Slow clients before an application of three workers, and copies of requests, through the real
//! program.

use std::{path::PathBuf, process::Stdio, time::Duration};

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UnixStream},
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, interval, timeout},
};

use crate::{
    support::{eventually, file, manager, may_skip, ok, repository},
    web::Web,
};

/// Reads the body, and answers its length or 256 KiB.
const APPLICATION: &str = r#"
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    answer = b"x" * 262144 if environ["PATH_INFO"] == "/big" else str(len(body)).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"#;

/// What the answer to `/big` has at least, with its head.
const BIG: usize = 262_144;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_clients_do_not_hold_three_workers() {
    let Some(python) = python() else { return };
    let manager = manager().await;
    let _gunicorn = gunicorn(&manager, &python).await;
    let web = Web::of(&manager).await;
    let socket = manager.folder().join("app.sock");
    let text = format!(
        "sites:\n  quick:\n    hosts: [quick.localhost]\n    to: unix:{socket}\n  slow:\n    hosts: \
         [slow.localhost]\n    https: false\n    to: unix:{socket}\n  held:\n    hosts: \
         [held.localhost]\n    https: false\n    to: {{targets: ['unix:{socket}'], buffer: false}}\n"
    );
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &text), "--yes"]).await;

    let dripping = drip(&manager, "slow.localhost", 200).await;
    is_prompt(&web).await;
    drop(dripping);

    let mut readers = Vec::new();
    for _ in 0..200 {
        readers.push(ask_big(&manager).await);
    }
    is_prompt(&web).await;
    for mut reader in readers {
        let mut answer = Vec::new();
        timeout(Duration::from_secs(30), reader.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > BIG, "{}", answer.len());
    }

    // Without the buffer a few slow clients are enough.
    let _dripping = drip(&manager, "held.localhost", 20).await;
    let held = timeout(Duration::from_secs(2), web.get("quick.localhost", "/").send()).await;
    assert!(held.is_err(), "the workers are held: {held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gets_copies_over_both_versions() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let [shop, copies] =
        [Origin::tcp(Speaks::Http1).await.unwrap(), Origin::tcp(Speaks::Http1).await.unwrap()];
    let text = format!(
        "sites:\n  shop:\n    hosts: [shop.localhost]\n    to: {}\n    mirror: {{to: {}}}\n",
        shop.address().unwrap(),
        copies.address().unwrap(),
    );
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &text), "--yes"]).await;
    for http2 in [false, true] {
        let ask = web.ask("PUT", "shop.localhost", "/x").body("text/plain", "hello");
        let answer = if http2 { ask.http2() } else { ask }.send().await;
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("hello")));
    }
    eventually("the copies", async || (copies.seen().len() == 2).then_some(())).await;
    assert_eq!(shop.seen().len(), 2);
    for seen in copies.seen() {
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/x"));
        assert_eq!(seen.headers["x-portway-mirror"], "1");
        assert_eq!(seen.headers["content-length"], "5");
    }
}

/// Asks over both versions, and wants answers at once.
async fn is_prompt(web: &Web) {
    let begun = Instant::now();
    for n in 0..10 {
        let ask = web.ask("POST", "quick.localhost", "/").body("text/plain", "hello");
        let answer = if n % 2 == 0 { ask.http2() } else { ask }.send().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "5"));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
}

/// Begins uploads of a byte a second, each of which has sent its first.
async fn drip(manager: &Manager, host: &str, clients: usize) -> JoinSet<()> {
    let mut dripping = JoinSet::new();
    for _ in 0..clients {
        let mut stream = connect(manager).await;
        let head = format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000\r\n\r\nx");
        stream.write_all(head.as_bytes()).await.unwrap();
        dripping.spawn(async move {
            let mut ticks = interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                if stream.write_all(b"x").await.is_err() {
                    return;
                }
            }
        });
    }
    dripping
}

/// Asks for much, and reads nothing of it.
async fn ask_big(manager: &Manager) -> TcpStream {
    let mut stream = connect(manager).await;
    let head = b"GET /big HTTP/1.1\r\nhost: slow.localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await.unwrap();
    stream
}

/// Connects with little room for what is not read.
async fn connect(manager: &Manager) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(([127, 0, 0, 1], manager.http_port()).into()).await.unwrap()
}

/// Starts Gunicorn with three workers of one request each, and waits until it answers.
async fn gunicorn(manager: &Manager, python: &PathBuf) -> Child {
    file(manager, "app.py", APPLICATION);
    let socket = manager.folder().join("app.sock");
    let said = manager.folder().join("gunicorn.log");
    let started = Command::new(python)
        .args(["-m", "gunicorn", "--workers=3", "--worker-class=sync", "app:app"])
        .arg(format!("--bind=unix:{socket}"))
        .env_remove("GUNICORN_CMD_ARGS")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(manager.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        // Its workers end when they see that it is gone.
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually(&format!("gunicorn; see {said}"), async || UnixStream::connect(&socket).await.ok())
        .await;
    started
}

/// Returns the Python that has Gunicorn, unless there is none and the test may be left out.
fn python() -> Option<PathBuf> {
    let environment = std::env::var("PORTWAY_PYTHON_ENV")
        .map_or_else(|_| repository().join(".venv").into_std_path_buf(), PathBuf::from);
    let python = environment.join("bin/python");
    if python.exists() || !may_skip("slow clients", "Gunicorn (PORTWAY_PYTHON_ENV)") {
        return Some(python);
    }
    None
}
