//! Machines with nginx, and what tests do with them.

use std::time::Duration;

use portway_testkit::{manager::Manager, nginx::Nginx, sshd::Sshd};
use serde_json::{Value, json};

use crate::support::{eventually, ok};

/// A machine with nginx and an SSH server.
pub(crate) struct Machine {
    pub(crate) nginx: Nginx,
    pub(crate) sshd: Sshd,
}

impl Machine {
    pub(crate) fn start() -> Self {
        Self { nginx: Nginx::start().unwrap(), sshd: Sshd::run().unwrap() }
    }

    /// Declares it as a node. `more` is added to the command.
    pub(crate) async fn add(&self, manager: &Manager, name: &str, more: &[&str]) {
        let key = ok(manager, &["node", "key"]).await.out;
        self.sshd.authorize(&key).unwrap();
        let address = format!("{}@127.0.0.1:{}", self.sshd.user(), self.sshd.port());
        let folder = self.nginx.folder();
        let port = |port: u16| port.to_string();
        let (http, https) = (port(self.nginx.http()), port(self.nginx.https()));
        let probe = port(self.nginx.probe());
        let (config, logs) = (self.nginx.top_level(), folder.join("logs"));
        let (home, include) = (folder.join("portway"), folder.join("conf.d/portway.conf"));
        let words = [
            "node",
            "add",
            name,
            "--engine",
            "nginx",
            "--ssh",
            &address,
            "--http-port",
            &http,
            "--https-port",
            &https,
            "--probe-port",
            &probe,
            "--home",
            home.as_str(),
            "--config",
            config.as_str(),
            "--include",
            include.as_str(),
            "--logs",
            logs.as_str(),
        ];
        ok(manager, &[&words[..], more].concat()).await;
    }

    pub(crate) fn pin(&self) -> String {
        self.sshd.fingerprint("ed25519").unwrap()
    }

    /// Asks nginx for a page of a host. Returns status and body.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Option<(u16, String)> {
        get(self.nginx.http(), host, path).await
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?
}
