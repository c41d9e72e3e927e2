//! Machines with engines, and what tests do with them.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{manager::Manager, nginx::Nginx, peer::Peer, sshd::Sshd};
use serde_json::{Value, json};

use crate::support::{eventually, ok};

/// A machine with an engine and an SSH server.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) sshd: Sshd,
}

/// What serves on a machine.
pub(crate) enum Engine {
    Nginx(Nginx),
    Other(Peer),
}

impl Engine {
    pub(crate) fn folder(&self) -> &Utf8Path {
        match self {
            Self::Nginx(nginx) => nginx.folder(),
            Self::Other(peer) => peer.folder(),
        }
    }

    pub(crate) fn http(&self) -> u16 {
        match self {
            Self::Nginx(nginx) => nginx.http(),
            Self::Other(peer) => peer.http(),
        }
    }

    pub(crate) fn probe(&self) -> u16 {
        match self {
            Self::Nginx(nginx) => nginx.probe(),
            Self::Other(peer) => peer.probe(),
        }
    }

    pub(crate) fn top_level(&self) -> Utf8PathBuf {
        match self {
            Self::Nginx(nginx) => nginx.top_level(),
            Self::Other(peer) => peer.top_level(),
        }
    }

    /// Returns its name, its ports for HTTPS and the probe, and what reaches Portway's part.
    fn told(&self) -> (&'static str, u16, u16, Utf8PathBuf) {
        match self {
            Self::Nginx(nginx) => {
                let include = nginx.folder().join("conf.d/portway.conf");
                ("nginx", nginx.https(), nginx.probe(), include)
            }
            Self::Other(peer) => (peer.name(), peer.https(), peer.probe(), peer.include()),
        }
    }
}

impl Machine {
    pub(crate) fn start() -> Self {
        Self::with(Engine::Nginx(Nginx::start().unwrap()))
    }

    pub(crate) fn with(engine: Engine) -> Self {
        Self { engine, sshd: Sshd::run().unwrap() }
    }

    /// Has its nginx read what somebody wrote there by hand.
    pub(crate) fn nginx_reads_anew(&self) {
        let Engine::Nginx(nginx) = &self.engine else { panic!("it has no nginx") };
        let pid = rustix::process::Pid::from_raw(i32::try_from(nginx.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Returns its nginx.
    pub(crate) fn nginx(&mut self) -> &mut Nginx {
        match &mut self.engine {
            Engine::Nginx(nginx) => nginx,
            Engine::Other(peer) => panic!("it has {}", peer.name()),
        }
    }

    /// Declares it as a node. `more` is added to the command.
    pub(crate) async fn add(&self, manager: &Manager, name: &str, more: &[&str]) {
        let key = ok(manager, &["node", "key"]).await.out;
        self.sshd.authorize(&key).unwrap();
        let address = format!("{}@127.0.0.1:{}", self.sshd.user(), self.sshd.port());
        let (engine, https, probe, include) = self.engine.told();
        let folder = self.engine.folder();
        let options = [
            ("--engine", engine.to_owned()),
            ("--ssh", address),
            ("--http-port", self.engine.http().to_string()),
            ("--https-port", https.to_string()),
            ("--probe-port", probe.to_string()),
            ("--home", folder.join("portway").into_string()),
            ("--config", self.engine.top_level().into_string()),
            ("--include", include.into_string()),
            ("--logs", folder.join("logs").into_string()),
        ];
        let mut words = vec!["node", "add", name];
        words.extend(options.iter().flat_map(|(option, value)| [*option, value.as_str()]));
        if let Engine::Other(peer) = &self.engine {
            words.extend(["--program", peer.program().as_str()]);
        }
        words.extend(more);
        ok(manager, &words).await;
    }

    pub(crate) fn pin(&self) -> String {
        self.sshd.fingerprint("ed25519").unwrap()
    }

    /// Asks nginx for a page of a host. Returns status and body.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Option<(u16, String)> {
        get(self.engine.http(), host, path).await
    }

    pub(crate) async fn serves(&self, host: &str, wanted: &(u16, &str)) {
        eventually(&format!("{wanted:?} of {host}"), async || {
            let (status, body) = self.get(host, "/").await?;
            (status == wanted.0 && body.contains(wanted.1)).then_some(())
        })
        .await;
    }
}

/// Writes a site and waits for its nodes. Returns what was said.
pub(crate) async fn put(manager: &Manager, name: &str, spec: &Value) -> String {
    let ran = apply(manager, name, spec, &["--wait"]).await;
    format!("{}{}", ran.out, ran.err)
}

pub(crate) async fn put_without_waiting(manager: &Manager, name: &str, spec: &Value) {
    let ran = apply(manager, name, spec, &["--no-wait"]).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

async fn apply(
    manager: &Manager,
    name: &str,
    spec: &Value,
    more: &[&str],
) -> portway_testkit::manager::Ran {
    let text = json!({"sites": {name: spec}}).to_string();
    let path = crate::support::file(manager, &format!("{name}.yaml"), &text);
    manager.run(&[&["apply", "-f", &path], more].concat()).await.unwrap()
}

pub(crate) async fn get(port: u16, host: &str, path: &str) -> Option<(u16, String)> {
    ask(port, host, path, &[]).await
}

/// Asks for a page with more headers. Returns status and body.
pub(crate) async fn ask(
    port: u16,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines = lines.collect::<String>();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?
}
