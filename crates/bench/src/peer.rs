//! The proxies that Portway is measured beside, each as its own documentation runs it: changed by
//! writing its configuration anew and reloading it.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use portway_testkit::client::{Speech, Web};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use crate::{
    ports,
    process::{self, EVERY},
    report::say,
};

/// How long a peer may take to start or to reload.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long `HAProxy` may take to act on a signal, and how often it is sent one.
const NOTICE: Duration = Duration::from_secs(5);
const SIGNALS: usize = 3;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// nginx.
    Nginx,
    /// `HAProxy`.
    Haproxy,
    /// Caddy.
    Caddy,
}

/// Where the peers are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Programs {
    /// nginx
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,
    /// `HAProxy`
    #[arg(long, value_name = "PATH")]
    pub(crate) haproxy: Option<PathBuf>,
    /// Caddy
    #[arg(long, value_name = "PATH")]
    pub(crate) caddy: Option<PathBuf>,
}

/// What a peer is to serve.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// The hosts that answer their own name.
    pub(crate) names: Vec<String>,
    /// A host that is passed on to an application, which is at one address or at several.
    pub(crate) proxied: Option<(String, Vec<SocketAddr>)>,
}

/// A peer that runs.
pub(crate) struct Peer {
    kind: Kind,
    program: PathBuf,
    folder: TempDir,
    port: u16,
    admin: u16,
    process: Child,
}

impl Kind {
    /// Returns the name as its makers write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Caddy => "Caddy",
        }
    }
}

impl Programs {
    /// Returns the peers that are there.
    pub(crate) fn found(&self) -> Vec<(Kind, &Path)> {
        let all = [
            (Kind::Nginx, &self.nginx),
            (Kind::Haproxy, &self.haproxy),
            (Kind::Caddy, &self.caddy),
        ];
        let mut found = Vec::new();
        for (kind, program) in all {
            match program {
                Some(program) => found.push((kind, program.as_path())),
                None => say(&format!("  {} is left out: no program was named", kind.name())),
            }
        }
        found
    }
}

impl Peer {
    /// Starts a peer and waits until it serves.
    pub(crate) async fn start(
        kind: Kind,
        program: &Path,
        content: &Content,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portway-bench-peer-").tempdir()?;
        let (port, admin) = (ports::take()?, ports::take()?);
        let config = folder.path().join("config");
        fs::write(&config, configuration(kind, folder.path(), port, admin, content)?)?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(program);
        command.args(starting(kind, folder.path(), &config));
        command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("cannot start {}", kind.name()))?;
        let program = program.to_owned();
        let peer = Self { kind, program, folder, port, admin, process };
        let host = content.names.first().context("a peer serves at least one name")?;
        peer.serves(host).await?;
        Ok(peer)
    }

    /// Writes the configuration anew. Nothing is changed yet.
    pub(crate) fn write(&self, content: &Content) -> anyhow::Result<()> {
        let text = configuration(self.kind, self.folder.path(), self.port, self.admin, content)?;
        Ok(fs::write(self.config(), text)?)
    }

    /// Has the peer take its configuration, as its documentation says.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        let folder = self.folder.path();
        match self.kind {
            Kind::Nginx => command.arg("-p").arg(folder).args(["-c", "config", "-s", "reload"]),
            Kind::Haproxy => return self.reload_haproxy().await,
            Kind::Caddy => command
                .args(["reload", "--adapter", "caddyfile", "--config"])
                .arg(self.config())
                .args(["--address", &format!("127.0.0.1:{}", self.admin)]),
        };
        command.env("HOME", folder).env("XDG_DATA_HOME", folder).stdin(Stdio::null());
        let ended = command.output().await?;
        let text = String::from_utf8_lossy(&ended.stderr);
        anyhow::ensure!(ended.status.success(), "{} does not reload: {text}", self.kind.name());
        Ok(())
    }

    /// `HAProxy` misses a signal while it still carries out the one before, and says nothing then.
    async fn reload_haproxy(&self) -> anyhow::Result<()> {
        let master = self.process.id().context("HAProxy has ended")?;
        let loads = || {
            let log = fs::read_to_string(self.log());
            log.map(|log| log.matches("Loading success").count()).context("HAProxy has no log")
        };
        let before = loads()?;
        for _ in 0..SIGNALS {
            process::signal(master, Signal::USR2)?;
            let deadline = Instant::now() + NOTICE;
            while Instant::now() < deadline {
                if loads()? > before {
                    return Ok(());
                }
                tokio::time::sleep(EVERY).await;
            }
        }
        anyhow::bail!("HAProxy does not reload")
    }

    /// Waits until a host answers its name.
    pub(crate) async fn serves(&self, host: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut web = Web::new(self.port, Speech::Http1);
        while !web.get(host).await.is_ok_and(|answer| answer.is(host)) {
            if Instant::now() >= deadline {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                anyhow::bail!("{} does not serve {host}: {log}", self.kind.name());
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Returns the port of HTTP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the peer.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.process.id().context("the peer has ended by itself")?;
        process::signal(pid, Signal::TERM)?;
        if tokio::time::timeout(Duration::from_secs(10), self.process.wait()).await.is_err() {
            self.process.kill().await?;
        }
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends its workers itself, which a kill would not let it do.
        let Some(pid) = self.process.id() else { return };
        if let Err(error) = process::signal(pid, Signal::TERM) {
            say(&format!("{} is left behind: {error:#}", self.kind.name()));
        }
    }
}

fn starting(kind: Kind, folder: &Path, config: &Path) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    match kind {
        Kind::Nginx => vec!["-p".to_owned(), path(folder), "-c".to_owned(), "config".to_owned()],
        Kind::Haproxy => vec!["-W".to_owned(), "-db".to_owned(), "-f".to_owned(), path(config)],
        Kind::Caddy => {
            let words = ["run", "--adapter", "caddyfile", "--config"].map(str::to_owned);
            words.into_iter().chain([path(config)]).collect()
        }
    }
}

fn configuration(
    kind: Kind,
    folder: &Path,
    port: u16,
    admin: u16,
    content: &Content,
) -> anyhow::Result<String> {
    let mut text = String::new();
    match kind {
        Kind::Nginx => nginx(&mut text, port, content)?,
        Kind::Haproxy => haproxy(&mut text, folder, port, content)?,
        Kind::Caddy => caddy(&mut text, port, admin, content)?,
    }
    Ok(text)
}

fn nginx(text: &mut String, port: u16, content: &Content) -> std::fmt::Result {
    writeln!(
        text,
        "daemon off;\nuser root;\nworker_processes auto;\npid nginx.pid;\nerror_log log warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\n\
         keepalive_requests 1000000;\nserver_names_hash_max_size 262144;\n\
         server_names_hash_bucket_size 128;\nclient_body_temp_path body;\nproxy_temp_path proxy;\n\
         fastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;"
    )?;
    if let Some((host, origins)) = &content.proxied {
        let servers = origins.iter().map(|origin| format!("server {origin}; "));
        let servers = servers.collect::<Vec<_>>().concat();
        writeln!(
            text,
            "upstream origin {{ {servers}keepalive 64; }}\n\
             server {{ listen 127.0.0.1:{port}; server_name {host};\nlocation / {{\n\
             proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Forwarded-Proto $scheme; }} }}"
        )?;
    }
    for name in &content.names {
        writeln!(
            text,
            "server {{ listen 127.0.0.1:{port}; server_name {name}; return 200 {name}; }}"
        )?;
    }
    writeln!(text, "}}")
}

fn haproxy(text: &mut String, folder: &Path, port: u16, content: &Content) -> std::fmt::Result {
    let socket = folder.join("admin.sock");
    let socket = socket.display();
    writeln!(
        text,
        "global\n stats socket {socket} mode 600 level admin expose-fd listeners\n\
         defaults\n mode http\n option forwardfor\n timeout connect 5s\n timeout client 60s\n \
         timeout server 60s\nfrontend web\n bind 127.0.0.1:{port}\n \
         http-request set-header X-Forwarded-Proto http"
    )?;
    for name in &content.names {
        writeln!(
            text,
            " http-request return status 200 content-type text/plain string {name} \
             if {{ hdr(host) -i {name} }}"
        )?;
    }
    if let Some((host, origins)) = &content.proxied {
        writeln!(
            text,
            " use_backend origin if {{ hdr(host) -i {host} }}\nbackend origin\n http-reuse safe\n \
             balance roundrobin\n option redispatch 1"
        )?;
        // Where there is another one, a server that is gone is noticed.
        let check = if origins.len() > 1 { " check inter 1s" } else { "" };
        for (number, origin) in (1..).zip(origins) {
            writeln!(text, " server s{number} {origin}{check}")?;
        }
    }
    Ok(())
}

fn caddy(text: &mut String, port: u16, admin: u16, content: &Content) -> std::fmt::Result {
    writeln!(
        text,
        "{{\nadmin 127.0.0.1:{admin}\nauto_https off\npersist_config off\n\
         default_bind 127.0.0.1\n}}"
    )?;
    if let Some((host, origins)) = &content.proxied {
        let to = origins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let more = if origins.len() > 1 {
            " {\nlb_policy round_robin\nlb_try_duration 2s\nfail_duration 10s\n}"
        } else {
            ""
        };
        writeln!(text, "http://{host}:{port} {{\nreverse_proxy {to}{more}\n}}")?;
    }
    for name in &content.names {
        writeln!(text, "http://{name}:{port} {{\nrespond {name}\n}}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_told_of_every_name_and_of_the_application() {
        let content = Content {
            names: vec!["one.test".to_owned(), "two.test".to_owned()],
            proxied: Some((
                "app.test".to_owned(),
                vec!["127.0.0.1:9".parse().unwrap(), "127.0.0.1:8".parse().unwrap()],
            )),
        };
        for kind in [Kind::Nginx, Kind::Haproxy, Kind::Caddy] {
            let text = configuration(kind, Path::new("/tmp/x"), 1, 2, &content).unwrap();
            for wanted in ["one.test", "two.test", "app.test", "127.0.0.1:9", "127.0.0.1:8"] {
                assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
            }
            let port = if kind == Kind::Caddy { ":1 " } else { "127.0.0.1:1" };
            assert!(text.contains(port), "no port:\n{text}");
        }
    }

    #[test]
    fn a_peer_without_a_program_is_left_out() {
        let programs = Programs { nginx: None, haproxy: Some("/x".into()), caddy: None };
        assert_eq!(programs.found(), [(Kind::Haproxy, Path::new("/x"))]);
    }
}
