//! A manager and its edge as a user starts them, on free ports and in a folder of their own.
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use portway_control::EdgeClient;
use portway_policy::bundle::Status;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "a long enough passphrase\n";

#[test]
fn a_fresh_installation_serves_its_first_site_and_survives_the_end_of_either_process() {
    let mut installation = Installation::start();
    let origin = origin();

    // From nothing to an administrator and a site.
    let setup = installation.with_input(&["setup", "--name", "ann", "--password-stdin"], PASSWORD);
    assert_eq!(setup.status.code(), Some(0), "{setup:?}");
    let target = origin.to_string();
    let added = installation.json(&["site", "add", "app.localhost", "--no-https", "--to", &target]);
    let url = added.pointer("/urls/0").and_then(|url| url.as_str()).unwrap().to_owned();
    assert_eq!(added.get("held"), Some(&false.into()), "{added:#}");
    let edge = installation.edge().unwrap();
    assert_eq!(url, format!("http://app.localhost:{}/", http(&edge).port()));
    assert!(installation.serves(), "the site answers");

    // What was declared is listed, exported, and an empty plan when applied again.
    let sites = installation.json(&["site", "list"]);
    assert_eq!(sites.pointer("/0/name").and_then(|name| name.as_str()), Some("app.localhost"));
    let export = installation.run(&["export", "-o", "export.yaml"]);
    assert_eq!(export.status.code(), Some(0), "{export:?}");
    let plan = installation.json(&["plan", "-f", "export.yaml"]);
    assert_eq!(plan.pointer("/changes"), Some(&serde_json::json!([])), "{plan:#}");

    // A file is applied, and what it lacks is removed only when told.
    let file = installation.folder.path().join("more.yaml");
    let text = "sites:\n  more:\n    hosts: [more.localhost]\n    respond: { body: more }\n";
    std::fs::write(&file, text).unwrap();
    let applied = installation.json(&["apply", "-f", "more.yaml"]);
    assert_eq!(applied.pointer("/sites/0").and_then(|site| site.as_str()), Some("more"));
    std::fs::write(&file, text.replace("more:", "other:").replace("more.l", "other.l")).unwrap();
    let unasked = installation.run(&["apply", "-f", "more.yaml", "--prune"]);
    assert_eq!(unasked.status.code(), Some(2), "nobody can be asked: {unasked:?}");
    let pruned = installation.json(&["apply", "-f", "more.yaml", "--prune", "--yes"]);
    assert_eq!(pruned.pointer("/sites").map(|sites| sites.as_array().unwrap().len()), Some(2));

    // What is not there is 4, what is declared wrongly 3, what is taken 6.
    assert_eq!(installation.run(&["site", "show", "nothing"]).status.code(), Some(4));
    let again = installation.run(&["site", "add", "app.localhost", "--to", &target]);
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    let again = installation.run(&["user", "add", "ann"]);
    assert_eq!(again.status.code(), Some(6), "{again:?}");

    // The edge is killed: it is back with what it had.
    kill(edge.pid, Signal::KILL);
    wait("another edge", || installation.edge().is_some_and(|now| now.pid != edge.pid));
    wait("the site again", || installation.serves());

    // The manager is killed: the edge serves on, and the next manager adopts it.
    let edge = installation.edge().unwrap();
    installation.manager.kill().unwrap();
    installation.manager.wait().unwrap();
    assert!(installation.serves(), "the edge serves without a manager");
    installation.restart();
    assert_eq!(installation.edge().unwrap().pid, edge.pid, "the edge was adopted");

    // Another manager on the same folder says so.
    let second = installation.command(&SERVE).output().unwrap();
    assert_eq!(second.status.code(), Some(6), "{second:?}");

    // In order, the manager ends with 0 and leaves the edge; the edge ends when it is told.
    kill(installation.manager.id(), Signal::TERM);
    assert_eq!(installation.manager.wait().unwrap().code(), Some(0));
    assert!(installation.serves(), "the edge serves on");
    assert_eq!(installation.run(&["edge", "--stop"]).status.code(), Some(0));
    wait("the end of the edge", || installation.edge().is_none());
}

const SERVE: [&str; 9] = [
    "serve",
    "--http-port",
    "0",
    "--https-port",
    "0",
    "--bind",
    "127.0.0.1",
    "--api",
    "127.0.0.1:0",
];

/// A manager, its edge and their folder. All end with it.
struct Installation {
    folder: tempfile::TempDir,
    manager: Child,
    runtime: tokio::runtime::Runtime,
}

impl Installation {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manager = serve(&folder);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let installation = Self { folder, manager, runtime };
        installation.wait();
        installation
    }

    fn restart(&mut self) {
        self.manager = serve(&self.folder);
        self.wait();
    }

    fn wait(&self) {
        wait("the manager", || self.run(&["whoami"]).status.code() == Some(0));
        wait("the edge", || self.edge().is_some());
    }

    fn command(&self, words: &[&str]) -> Command {
        command(&self.folder, words)
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    fn with_input(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let output = self.command(words).args(["--output", "json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn edge(&self) -> Option<Status> {
        let socket = self.folder.path().join("data/edge/run/edge.sock");
        let client = EdgeClient::new(camino::Utf8PathBuf::from_path_buf(socket).unwrap());
        self.runtime.block_on(client.status()).ok()
    }

    /// Tells whether the site answers through the edge.
    fn serves(&self) -> bool {
        let Some(edge) = self.edge() else { return false };
        let request = "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        TcpStream::connect(http(&edge))
            .and_then(|mut stream| {
                stream.write_all(request.as_bytes())?;
                stream.read_to_string(&mut answer)
            })
            .is_ok_and(|_| answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"))
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.manager.kill().ok();
        self.manager.wait().ok();
        if let Some(edge) = self.edge() {
            kill(edge.pid, Signal::KILL);
        }
    }
}

fn serve(folder: &tempfile::TempDir) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.path().join("manager.log"))
        .unwrap();
    command(folder, &SERVE)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn command(folder: &tempfile::TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portway"));
    command
        .args(words)
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("PORTWAY_DATA", folder.path().join("data"));
    command
}

/// Answers every request with `hello`, until the test ends.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // One read holds the whole request of the edge; a broken one is the test's to see.
            let read = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            read.and_then(|_| stream.write_all(answer.as_bytes())).ok();
        }
    });
    address
}

fn http(edge: &Status) -> SocketAddr {
    edge.listeners.iter().find(|listener| !listener.tls).unwrap().address
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn wait(what: &str, is_there: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_there() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
