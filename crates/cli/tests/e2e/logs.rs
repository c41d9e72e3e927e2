//! Access and error logs of the real program: what is written of requests that go wrong, rotation
//! under load, following over a rotation, and a disk that is full.

use std::{
    collections::{BTreeSet, HashSet},
    process::Stdio,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{
    manager::{Manager, signal},
    origin::{Origin, Speaks},
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpStream, UnixStream},
};

use crate::{
    support::{PROGRAM, eventually, file, log_line, log_lines, manager, ok},
    web::Web,
};

const CLIENTS: usize = 8;
const EACH: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_lost_when_files_are_put_aside_under_load() {
    let manager = manager().await;
    let _origin = publish(&manager, "log: { max_size: 16KiB, keep: 1000 }").await;
    let web = Web::of(&manager).await;

    load(&web).await;

    let all = CLIENTS * EACH;
    let lines = eventually("every line", async || {
        let lines = all_lines(&manager, "main.access");
        (lines.len() >= all).then_some(lines)
    })
    .await;
    let ids: HashSet<String> = lines.iter().map(|line| field(line, "request_id")).collect();
    assert_eq!((lines.len(), ids.len()), (all, all), "each once");
    let files = files(&manager, "main.access");
    assert!(files.len() > 4, "{files:?}");
    for path in files {
        let length = path.metadata().unwrap().len();
        assert!(length <= 16 * 1024, "{path} has {length} bytes");
    }
    assert!(metrics(&manager).await.contains("portway_edge_log_dropped_total 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_files_are_kept() {
    let manager = manager().await;
    let _origin = publish(&manager, "log: { max_size: 4KiB, keep: 2 }").await;
    load(&Web::of(&manager).await).await;
    eventually("the oldest to go", async || {
        // The current one and two that were put aside; for a moment one more.
        (files(&manager, "main.access").len() == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_over_a_rotation() {
    let manager = manager().await;
    let _origin = publish(&manager, "log: { max_size: 4KiB, keep: 1000 }").await;
    let web = Web::of(&manager).await;
    web.get("app.localhost", "/first").send().await;
    log_line(&manager, "main.access.log", "/first").await;
    let mut follow = manager
        .command(&["logs", "app", "-f", "-n", "1"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        field(&line.expect("no line in time").unwrap().unwrap(), "path")
    };
    assert_eq!(next().await, "/first");

    for number in 0..60 {
        web.get("app.localhost", &format!("/{number}")).send().await;
    }

    for number in 0..60 {
        assert_eq!(next().await, format!("/{number}"));
    }
    assert!(files(&manager, "main.access").len() > 2, "files were put aside meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_or_is_refused_stands_in_the_log_of_the_site_that_was_meant() {
    let manager = manager().await;
    let _origin = publish(&manager, "access: { deny: [127.0.0.9] }").await;
    let web = Web::of(&manager).await;
    let plain = |head: &'static str| {
        let port = manager.http_port();
        async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream
        }
    };

    // During the answer: its head was sent, so the status stays.
    let mut stream = plain("GET /big/10000000000 HTTP/1.1\r\nhost: app.localhost\r\n\r\n").await;
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    drop(stream);
    let gone = error(&manager, "during the answer").await;
    assert_eq!((&gone["kind"], &gone["code"]), (&"client_gone".into(), &"client_gone".into()));
    let line = log_line(&manager, "main.access.log", "/big/").await;
    assert_eq!((&line["status"], &line["request_id"]), (&200.into(), &gone["request_id"]));

    // During the upload, and before any answer.
    drop(plain("POST /sink HTTP/1.1\r\nhost: app.localhost\r\ncontent-length: 9\r\n\r\nhal").await);
    let line = log_line(&manager, "main.access.log", "/sink").await;
    assert_eq!(line["status"], 499, "{line}");
    drop(plain("GET /hang HTTP/1.1\r\nhost: app.localhost\r\n\r\n").await);
    let line = log_line(&manager, "main.access.log", "/hang").await;
    assert_eq!(line["status"], 499, "{line}");
    error(&manager, "the client left before the answer").await;

    // A handshake that fails on the name of the site, by a client that trusts another root.
    assert!(handshake_without_trust(&manager).await.is_err());
    let failed = error(&manager, "handshake_failed").await;
    assert_eq!((&failed["host"], &failed["kind"]), (&"app.localhost".into(), &"handshake".into()));
    assert!(failed["message"].as_str().unwrap().len() > 10, "{failed}");

    // A refusal.
    let refused = web.get("app.localhost", "/").from([127, 0, 0, 9]).send().await;
    assert_eq!(refused.status, 403);
    let line = error(&manager, "127.0.0.9 is not allowed").await;
    assert_eq!((&line["kind"], &line["client"]), (&"refused".into(), &"127.0.0.9".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn combined_lines_are_what_parsers_of_nginx_take() {
    let manager = manager().await;
    let _origin = publish(&manager, "log: { format: combined }").await;
    let web = Web::of(&manager).await;
    for (path, agent) in [
        ("/plain?a=b", "curl/8.0"),
        ("/quote", "say \"hi\" \\ [x] - -"),
        ("/utf8/%C3%BC", "n\u{e4}vigator"),
        ("/none", ""),
    ] {
        let asked = web.get("app.localhost", path).header("referer", "https://from.example/\"x\"");
        let asked = if agent.is_empty() { asked } else { asked.header("user-agent", agent) };
        assert_eq!(asked.send().await.status, 200, "{path}");
    }
    let lines = eventually("four lines", async || {
        let lines = log_lines(&manager, "main.access.log");
        (lines.len() == 4).then_some(lines)
    })
    .await;

    let parsed: Vec<Combined> =
        lines.iter().map(|line| combined(line).unwrap_or_else(|| panic!("{line}"))).collect();

    let requests: Vec<&str> = parsed.iter().map(|line| line.request.as_str()).collect();
    let get = |path: &str| format!("GET {path} HTTP/1.1");
    assert_eq!(requests, [get("/plain?a=b"), get("/quote"), get("/utf8/%C3%BC"), get("/none")]);
    let agents: Vec<&str> = parsed.iter().map(|line| line.agent.as_str()).collect();
    assert_eq!(agents[0], "curl/8.0");
    assert_eq!(agents[1], r"say \x22hi\x22 \x5C [x] - -");
    assert_eq!(agents[3], "-");
    for line in parsed {
        assert_eq!(
            (line.client.as_str(), line.user.as_str(), line.status),
            ("127.0.0.1", "-", 200)
        );
        assert_eq!(line.referer, r"https://from.example/\x22x\x22");
        assert!(line.bytes > 0);
    }
}

/// The logs are on a disk of their own that fills up; where none can be mounted, a pipe that nobody
/// reads is in the place of the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_log_lines_and_no_request() {
    let mut manager = manager().await;
    let _origin = publish(&manager, "log: { max_size: 100MB }").await;
    let web = Web::of(&manager).await;
    web.get("app.localhost", "/before").send().await;
    log_line(&manager, "main.access.log", "/before").await;
    manager.stop().await.unwrap();
    let edge = manager.edge_pid().await.unwrap();
    ok(&manager, &["edge", "--stop"]).await;
    eventually("the edge to stop", async || (!portway_testkit::manager::runs(edge)).then_some(()))
        .await;
    let disk = Disk::fill_soon(&manager);
    let mut edge = disk.start_edge(&manager);
    let pid = edge.id().unwrap();
    eventually("the edge to serve", async || web.get("app.localhost", "/").try_send().await.ok())
        .await;

    eventually("lines to be lost", async || {
        load(&web).await;
        let lost = metrics(&manager).await;
        let lost = lost.lines().find_map(|l| l.strip_prefix("portway_edge_log_dropped_total "))?;
        (lost != "0").then_some(())
    })
    .await;

    let said = || std::fs::read_to_string(manager.folder().join("edge.err")).unwrap();
    let told = eventually("word of it", async || {
        Some(said()).filter(|said| said.contains("cannot write the log"))
    })
    .await;
    assert_eq!(told.matches("cannot write the log").count(), 1, "{told}");
    disk.make_room(&manager, pid);
    eventually("lines to be written again", async || {
        web.get("app.localhost", "/after").send().await;
        said().contains("log lines are written again").then_some(())
    })
    .await;
    assert_eq!(said().matches("cannot write the log").count(), 1, "{}", said());
    signal(pid, Signal::TERM).unwrap();
    assert!(edge.wait().await.unwrap().success());
}

/// What holds the logs of an edge.
enum Disk {
    /// A file system of 64 KiB that only the edge sees.
    Small(Utf8PathBuf),
    /// A pipe in the place of the log.
    Pipe(Utf8PathBuf),
}

impl Disk {
    fn fill_soon(manager: &Manager) -> Self {
        let log = files(manager, "main.access").pop().unwrap();
        let mounts = std::process::Command::new("unshare")
            .args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .stderr(Stdio::null())
            .status();
        if mounts.is_ok_and(|status| status.success()) {
            return Self::Small(manager.data().join("edge/logs"));
        }
        std::fs::remove_file(&log).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, log.as_std_path(), mode).unwrap();
        Self::Pipe(log)
    }

    fn start_edge(&self, manager: &Manager) -> tokio::process::Child {
        let words = [
            "edge".to_owned(),
            "--bind=127.0.0.1".to_owned(),
            format!("--http-port={}", manager.http_port()),
            format!("--https-port={}", manager.https_port()),
        ];
        let edge = manager.command(&words);
        let mut command = match self {
            Self::Pipe(_) => edge,
            Self::Small(logs) => {
                let mut command = tokio::process::Command::new("unshare");
                let script = format!("mount -t tmpfs -o size=64k tmpfs {logs} && exec \"$@\"");
                command.args(["--mount", "sh", "-c", &script, "sh", PROGRAM]);
                command.args(edge.as_std().get_args());
                command
            }
        };
        let said = std::fs::File::create(manager.folder().join("edge.err")).unwrap();
        command.stderr(said).kill_on_drop(true).spawn().unwrap()
    }

    fn make_room(&self, manager: &Manager, edge: u32) {
        match self {
            Self::Pipe(path) => std::fs::remove_file(path).unwrap(),
            Self::Small(_) => {
                let seen_by_edge = Utf8PathBuf::from(format!("/proc/{edge}/root"));
                let logs = manager.data().join("edge/logs");
                let logs = seen_by_edge.join(logs.strip_prefix("/").unwrap());
                for folder in logs.read_dir_utf8().unwrap() {
                    std::fs::remove_dir_all(folder.unwrap().path()).unwrap();
                }
            }
        }
    }
}

/// Publishes an origin as `app`, with one more line of the site. The origin ends when it is dropped.
async fn publish(manager: &Manager, line: &str) -> Origin {
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap();
    let text = format!(
        "sites:\n  app:\n    hosts: [app.localhost]\n    https: {{ redirect: false }}\n    to: {to}\n    \
         {line}\n"
    );
    let path = file(manager, "app.yaml", &text);
    ok(manager, &["apply", "-f", &path]).await;
    origin
}

/// Asks from several clients at once; every request is answered.
async fn load(web: &Web) {
    let clients = (0..CLIENTS).map(|client| {
        let web = web.clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                let asked = web.get("app.localhost", &format!("/load/{client}/{number}")).plain();
                assert_eq!(asked.send().await.status, 200);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

/// Waits for a line of the site's error log.
async fn error(manager: &Manager, part: &str) -> Value {
    log_line(manager, "main.error.log", part).await
}

/// Begins TLS as a client that knows no root at all.
async fn handshake_without_trust(manager: &Manager) -> std::io::Result<()> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", manager.https_port())).await?;
    let name = rustls_pki_types::ServerName::try_from("app.localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect(name, stream).await.map(drop)
}

/// Returns the files of a log of the site `app`, those put aside first.
fn files(manager: &Manager, log: &str) -> Vec<Utf8PathBuf> {
    let Ok(folders) = manager.data().join("edge/logs").read_dir_utf8() else { return Vec::new() };
    let is_app =
        |folder: &Utf8Path| folder.file_name().is_some_and(|name| name.starts_with("app-"));
    let folders = folders.flatten().map(|folder| folder.path().to_owned());
    let files = folders.filter(|folder| is_app(folder)).flat_map(|folder| {
        let entries = folder.read_dir_utf8().unwrap();
        entries.flatten().map(|entry| entry.path().to_owned()).collect::<Vec<_>>()
    });
    let sorted: BTreeSet<Utf8PathBuf> =
        files.filter(|path| path.file_name().unwrap().starts_with(log)).collect();
    sorted.into_iter().collect()
}

fn all_lines(manager: &Manager, log: &str) -> Vec<String> {
    let texts = files(manager, log).into_iter().map(std::fs::read_to_string);
    let texts: Vec<String> = texts.filter_map(Result::ok).collect();
    texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
}

fn field(line: &str, name: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    line[name].as_str().unwrap().to_owned()
}

/// Asks the edge itself, as the manager may not run.
async fn metrics(manager: &Manager) -> String {
    let socket = manager.data().join("edge/run/edge.sock");
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = b"GET /v1/metrics HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// A line as nginx documents it: `$remote_addr - $remote_user [$time_local] "$request" $status
/// $body_bytes_sent "$http_referer" "$http_user_agent"`.
struct Combined {
    client: String,
    user: String,
    request: String,
    status: u16,
    bytes: u64,
    referer: String,
    agent: String,
}

/// Reads as log analysers do: words between blanks, one in brackets, others in quotes that no quote
/// inside ends.
fn combined(line: &str) -> Option<Combined> {
    let (client, rest) = line.split_once(' ')?;
    let (user, rest) = rest.strip_prefix("- ")?.split_once(" [")?;
    let (time, rest) = rest.split_once("] ")?;
    jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).ok()?;
    let (request, rest) = quoted(rest)?;
    let (status, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let (bytes, rest) = rest.split_once(' ')?;
    let (referer, rest) = quoted(rest)?;
    let (agent, rest) = quoted(rest.strip_prefix(' ')?)?;
    client.parse::<std::net::IpAddr>().ok()?;
    rest.is_empty().then_some(Combined {
        client: client.to_owned(),
        user: user.to_owned(),
        request: request.to_owned(),
        status: status.parse().ok()?,
        bytes: bytes.parse().ok()?,
        referer: referer.to_owned(),
        agent: agent.to_owned(),
    })
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('"')?.split_once('"')
}
