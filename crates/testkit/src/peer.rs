//! Caddy and Traefik in a folder and on ports of their own, as they are on machines of their own: each
//! with a configuration that reads Portway's part, and a page of its own where it can have one.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{port::Port, skip::skip};

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Caddy,
    Traefik,
}

/// An engine that runs. It ends when it is dropped.
#[derive(Debug)]
pub struct Peer {
    kind: Kind,
    folder: TempDir,
    program: Utf8PathBuf,
    http: Port,
    https: Port,
    own: Port,
    /// Traefik is tested on the port beside that of the probe.
    probe: [Port; 2],
    process: Option<Child>,
}

impl Peer {
    /// Starts Caddy; nothing where it is not there and `test` may be left out.
    pub fn caddy(test: &str) -> anyhow::Result<Option<Self>> {
        let Some(program) = program_of("caddy", test)? else { return Ok(None) };
        Self::caddy_of(&program).map(Some)
    }

    /// Starts a Caddy whose program is named.
    pub fn caddy_of(program: impl AsRef<Path>) -> anyhow::Result<Self> {
        let mut peer = Self::new(Kind::Caddy, program.as_ref())?;
        let own = peer.usual_caddyfile();
        fs::write(peer.top_level(), &own)?;
        let config = peer.top_level();
        peer.run(&["run", "--adapter", "caddyfile", "--config", config.as_str()], peer.own())?;
        // As on a machine whose Caddy runs already: it reads the line with its next reload.
        fs::write(config, format!("{own}import {}/portway/current.caddy\n", peer.folder()))?;
        Ok(peer)
    }

    /// Starts Traefik; nothing where it is not there and `test` may be left out.
    pub fn traefik(test: &str) -> anyhow::Result<Option<Self>> {
        let Some(program) = program_of("traefik", test)? else { return Ok(None) };
        Self::traefik_of(&program).map(Some)
    }

    /// Starts a Traefik whose program is named.
    pub fn traefik_of(program: impl AsRef<Path>) -> anyhow::Result<Self> {
        let mut peer = Self::new(Kind::Traefik, program.as_ref())?;
        fs::create_dir(peer.folder().join("watched"))?;
        fs::write(peer.top_level(), peer.usual_traefik())?;
        let config = format!("--configFile={}", peer.top_level());
        peer.run(&[&config], peer.http())?;
        Ok(peer)
    }

    fn new(kind: Kind, program: &Path) -> anyhow::Result<Self> {
        let program = Utf8Path::from_path(program).context("the program's name is no UTF-8")?;
        let folder = tempfile::Builder::new().prefix("portway-peer-").tempdir()?;
        let (http, https, own) = (Port::take()?, Port::take()?, Port::take()?);
        let (program, probe) = (program.to_owned(), Port::take_pair()?);
        Ok(Self { kind, folder, program, http, https, own, probe, process: None })
    }

    fn run(&mut self, arguments: &[&str], port: u16) -> anyhow::Result<()> {
        let log = File::create(self.folder().join("engine.log"))?;
        let process = Command::new(&self.program)
            .args(arguments)
            .env("HOME", self.folder())
            .env("XDG_DATA_HOME", self.folder())
            .env("XDG_CONFIG_HOME", self.folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program))?;
        self.process = Some(process);
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > end {
                let log = fs::read_to_string(self.folder().join("engine.log"))?;
                bail!("{} does not start: {log}", self.program);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }

    fn usual_caddyfile(&self) -> String {
        format!(
            "{{\n\tadmin unix/{}/admin.sock\n\thttp_port {}\n\thttps_port {}\n}}\n\
             http://:{} {{\n\tbind 127.0.0.1\n\trespond \"its own\"\n}}\n",
            self.folder(),
            self.http(),
            self.https(),
            self.own()
        )
    }

    fn usual_traefik(&self) -> String {
        format!(
            "global: {{checkNewVersion: false, sendAnonymousUsage: false}}\nentryPoints:\n  \
             web: {{address: \"127.0.0.1:{}\"}}\n  websecure: {{address: \"127.0.0.1:{}\"}}\n  \
             portway: {{address: \"127.0.0.1:{}\"}}\n\
             providers: {{file: {{directory: {folder}/watched, watch: true}}}}\n\
             accessLog:\n  filePath: {folder}/access.log\n  format: json\n  \
             fields: {{headers: {{names: {{X-Request-Id: keep}}}}}}\n",
            self.http(),
            self.https(),
            self.probe(),
            folder = self.folder()
        )
    }

    /// Returns its name.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Caddy => "caddy",
            Kind::Traefik => "traefik",
        }
    }

    /// Has it write to its log under the log's name again, after that was renamed.
    pub fn reopen_log(&self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("it does not run")?;
        let pid = Pid::from_raw(i32::try_from(process.id())?).context("it has no id")?;
        Ok(kill_process(pid, Signal::USR1)?)
    }

    /// Returns its program.
    pub fn program(&self) -> &Utf8Path {
        &self.program
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap_or(Utf8Path::new("/"))
    }

    /// Returns its top-level configuration.
    pub fn top_level(&self) -> Utf8PathBuf {
        match self.kind {
            Kind::Caddy => self.folder().join("Caddyfile"),
            Kind::Traefik => self.folder().join("traefik.yml"),
        }
    }

    /// Returns what stands in its configuration for Portway's part.
    pub fn include(&self) -> Utf8PathBuf {
        match self.kind {
            Kind::Caddy => self.folder().join("portway/current.caddy"),
            Kind::Traefik => self.folder().join("watched/portway.yml"),
        }
    }

    /// Returns a port for plain HTTP that is kept for it.
    pub const fn http(&self) -> u16 {
        self.http.number()
    }

    /// Returns a port for HTTPS that is kept for it.
    pub const fn https(&self) -> u16 {
        self.https.number()
    }

    /// Returns the port of Caddy's own page.
    pub const fn own(&self) -> u16 {
        self.own.number()
    }

    /// Returns a port for probes that is kept for it.
    pub const fn probe(&self) -> u16 {
        let [probe, _] = &self.probe;
        probe.number()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        let _ended = process.wait();
    }
}

/// Returns where an engine's program is; nothing where it is not there and `test` may be left out.
fn program_of(name: &str, test: &str) -> anyhow::Result<Option<Utf8PathBuf>> {
    let environment = std::env::var("PORTWAY_PYTHON_ENV")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv").to_owned());
    let program = Utf8PathBuf::from(environment).join("bin").join(name);
    if !program.exists() {
        skip(test, &format!("there is no {program}; `make setup` gets it"))?;
        return Ok(None);
    }
    Ok(Some(program))
}
