//! One machine for each engine, and how each is changed without Portway.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{nginx::Nginx, peer::Peer, port::Port, sshd::Sshd};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::Instant,
};

use crate::{fleet::GROUP, process::EVERY, report::say};

/// The host under load.
pub(super) const HOST: &str = "app.bench.test";
/// How long an engine may take until it answers with what it was given.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine with an engine.
pub(super) struct Engine {
    sshd: Sshd,
    kind: Kind,
}

enum Kind {
    Nginx(Nginx),
    Other(Peer),
    Edge(Edge),
}

/// An edge that is reached over SSH.
struct Edge {
    http: Port,
    https: Port,
    socket: Utf8PathBuf,
    home: Utf8PathBuf,
    /// Ends with this.
    _process: Child,
}

impl Engine {
    /// Starts one of each that is there.
    pub(super) async fn all(
        portway: &Path,
        caddy: Option<&Path>,
        traefik: Option<&Path>,
    ) -> anyhow::Result<Vec<Self>> {
        let mut all = vec![Self { sshd: Sshd::run()?, kind: Kind::Nginx(Nginx::start()?) }];
        match caddy {
            Some(program) => all.push(Self::of(Peer::caddy_of(program)?)?),
            None => say("  Caddy is left out: no program was named"),
        }
        match traefik {
            Some(program) => all.push(Self::of(Peer::traefik_of(program)?)?),
            None => say("  Traefik is left out: no program was named"),
        }
        let sshd = Sshd::run()?;
        let edge = Edge::start(portway, sshd.folder()).await?;
        all.push(Self { sshd, kind: Kind::Edge(edge) });
        Ok(all)
    }

    fn of(peer: Peer) -> anyhow::Result<Self> {
        Ok(Self { sshd: Sshd::run()?, kind: Kind::Other(peer) })
    }

    pub(super) fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Nginx(_) => "nginx",
            Kind::Other(peer) => peer.name(),
            Kind::Edge(_) => "edge",
        }
    }

    pub(super) fn sshd(&self) -> &Sshd {
        &self.sshd
    }

    pub(super) fn http(&self) -> u16 {
        match &self.kind {
            Kind::Nginx(nginx) => nginx.http(),
            Kind::Other(peer) => peer.http(),
            Kind::Edge(edge) => edge.http.number(),
        }
    }

    /// Returns it as a node is declared.
    pub(super) fn spec(&self) -> anyhow::Result<Value> {
        let (ports, paths) = match &self.kind {
            Kind::Nginx(nginx) => (
                json!({ "http": nginx.http(), "https": nginx.https(), "probe": nginx.probe() }),
                json!({
                    "home": nginx.folder().join("portway"),
                    "config": nginx.top_level(),
                    "include": nginx.folder().join("conf.d/portway.conf"),
                    "logs": nginx.folder().join("logs"),
                }),
            ),
            Kind::Other(peer) => (
                json!({ "http": peer.http(), "https": peer.https(), "probe": peer.probe() }),
                json!({
                    "home": peer.folder().join("portway"),
                    "config": peer.top_level(),
                    "include": peer.include(),
                    "logs": peer.folder().join("logs"),
                    "program": peer.program(),
                }),
            ),
            Kind::Edge(edge) => (
                json!({ "http": edge.http.number(), "https": edge.https.number() }),
                json!({ "home": edge.home, "socket": edge.socket }),
            ),
        };
        Ok(json!({
            "engine": self.name(),
            "ssh": {
                "address": format!("{}@127.0.0.1:{}", self.sshd.user(), self.sshd.port()),
                "host_keys": [self.sshd.fingerprint("ed25519")?],
            },
            "groups": [GROUP],
            "ports": ports,
            "paths": paths,
        }))
    }

    /// Tells whether it reads files, and can be told to read them anew.
    pub(super) fn reloads_by_itself(&self) -> bool {
        match &self.kind {
            Kind::Nginx(_) | Kind::Other(_) => true,
            Kind::Edge(_) => false,
        }
    }

    /// Changes what it serves without Portway, as its makers say: the files are written anew, it is told
    /// to read them, and asked until it answers with what is new.
    pub(super) async fn change(&self, first: &str, version: &str) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Nginx(nginx) => {
                rewrite(&nginx.folder().join("portway"), first, version)?;
                let (folder, config) = (nginx.folder(), nginx.top_level());
                let words = ["-p", folder.as_str(), "-c", config.as_str(), "-s", "reload"];
                run("nginx".into(), &words, folder).await?;
            }
            Kind::Other(peer) if peer.name() == "caddy" => {
                rewrite(&peer.folder().join("portway"), first, version)?;
                let (config, socket) = (peer.top_level(), peer.folder().join("admin.sock"));
                let address = format!("unix/{socket}");
                let words = [
                    "reload",
                    "--adapter",
                    "caddyfile",
                    "--config",
                    config.as_str(),
                    "--address",
                    &address,
                ];
                run(peer.program(), &words, peer.folder()).await?;
            }
            // It watches the folder.
            Kind::Other(peer) => replace(&peer.include(), first, version)?,
            Kind::Edge(_) => {}
        }
        let end = Instant::now() + PATIENCE;
        while self.version().await.as_deref() != Some(version) {
            anyhow::ensure!(Instant::now() < end, "{} never answers {version}", self.name());
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Returns the version of which an answer tells.
    async fn version(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http())).await.ok()?;
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let line = answer.lines().find(|line| line.to_lowercase().starts_with("x-version:"))?;
        line.split_once(": ").map(|(_, version)| version.trim().to_owned())
    }
}

impl Edge {
    async fn start(portway: &Path, folder: &Utf8Path) -> anyhow::Result<Self> {
        let (http, https) = (Port::take()?, Port::take()?);
        let socket = folder.join("run/edge.sock");
        let log = File::create(folder.join("edge.log"))?;
        let process = Command::new(portway)
            .env_clear()
            .arg(format!("--data={}", folder.join("edge")))
            .args(["edge", "--bind=127.0.0.1"])
            .arg(format!("--control-socket={socket}"))
            .arg(format!("--http-port={}", http.number()))
            .arg(format!("--https-port={}", https.number()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("an edge cannot be started")?;
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", http.number())).await.is_err() {
            anyhow::ensure!(Instant::now() < end, "the edge does not start");
            tokio::time::sleep(EVERY).await;
        }
        let home = folder.join("portway");
        Ok(Self { http, https, socket, home, _process: process })
    }
}

/// Changes a word in every file below a folder that has it. What it was first stands in the names of
/// files too, so those that were changed before are found by what stands in them.
fn rewrite(folder: &Utf8Path, first: &str, version: &str) -> anyhow::Result<()> {
    for folder in [folder.join("objects"), folder.join("releases")] {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let path = Utf8Path::from_path(&path).context("an odd name")?;
            if path.extension() != Some("next") {
                replace(path, first, version)?;
            }
        }
    }
    Ok(())
}

/// Puts a file with another version in the place of one, in one step. Links are replaced by files.
fn replace(path: &Utf8Path, first: &str, version: &str) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let before = [first, "own-"].into_iter().find_map(|known| {
        let (_, rest) = text.split_once(known)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(if known == first { first.to_owned() } else { format!("{known}{digits}") })
    });
    let Some(before) = before else { return Ok(()) };
    let mode = fs::metadata(path)?.permissions();
    let next = path.with_file_name(format!(".{}.next", path.file_name().unwrap_or_default()));
    fs::write(&next, text.replace(&before, version))?;
    fs::set_permissions(&next, mode)?;
    Ok(fs::rename(&next, path)?)
}

async fn run(program: &Utf8Path, words: &[&str], home: &Utf8Path) -> anyhow::Result<()> {
    let ended = Command::new(program)
        .args(words)
        .env("HOME", home)
        .env("XDG_DATA_HOME", home)
        .stdin(Stdio::null())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "{program} {words:?}: {said}");
    Ok(())
}
