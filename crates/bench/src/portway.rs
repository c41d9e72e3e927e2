//! A Portway of its own, started as its user starts it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command as Psql, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use indexmap::IndexMap;
use portway_model::Name;
use portway_policy::bundle::Status;
use portway_wire::{
    client::{Client, ClientConfig, Endpoint},
    deploy::WaitQuery,
    site::ApplySites,
    system::HealthStatus,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use crate::{
    ports,
    process::{self, EVERY},
    report::{grouped, say},
    sites::{BenchSite, Kind},
};

/// How long a process may take to start.
const STARTING: Duration = Duration::from_secs(60);
/// How long a process may take to stop before it is killed.
const STOPPING: Duration = Duration::from_secs(10);
/// As many sites are declared at once.
const CHUNK: usize = 500;

/// How long it took until many sites were there, from the first on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    /// Until the last one was acknowledged.
    pub(crate) declared: Duration,
    /// Until the edge had them all.
    pub(crate) served: Duration,
}

/// A manager and its edge, on a data folder and ports of their own.
pub(crate) struct Portway {
    program: PathBuf,
    folder: TempDir,
    database: Option<String>,
    /// The cores it may use; all unless some are named.
    cores: Option<String>,
    http: u16,
    https: u16,
    api: u16,
    manager: Option<Child>,
    edge: Option<u32>,
}

impl Portway {
    /// Starts one, on SQLite unless a database is named.
    pub(crate) async fn start(program: &Path, database: Option<String>) -> anyhow::Result<Self> {
        Self::begin(program, database, None).await
    }

    /// Starts one on some cores, such as `0,1`.
    pub(crate) async fn start_on(program: &Path, cores: &str) -> anyhow::Result<Self> {
        Self::begin(program, None, Some(cores.to_owned())).await
    }

    async fn begin(
        program: &Path,
        database: Option<String>,
        cores: Option<String>,
    ) -> anyhow::Result<Self> {
        let mut portway = Self {
            program: program.to_owned(),
            folder: tempfile::Builder::new().prefix("portway-bench-").tempdir()?,
            database,
            cores,
            http: ports::take()?,
            https: ports::take()?,
            api: ports::take()?,
            manager: None,
            edge: None,
        };
        portway.serve().await?;
        Ok(portway)
    }

    /// Starts the manager, and waits until it and its edge serve.
    pub(crate) async fn serve(&mut self) -> anyhow::Result<()> {
        let log = self.log();
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = self.command();
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .arg("serve")
            .arg("--data")
            .arg(self.data())
            .args(["--bind=127.0.0.1".to_owned(), format!("--api=127.0.0.1:{}", self.api)])
            .args([format!("--http-port={}", self.http), format!("--https-port={}", self.https)])
            .args(self.database.iter().map(|url| format!("--database={url}")))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        self.manager = Some(command.spawn().context("the manager cannot be started")?);
        let deadline = Instant::now() + STARTING;
        let client = self.client()?;
        loop {
            // Known as soon as it answers, so that it is ended whatever comes.
            self.edge = self.edge_status().await.ok().map(|status| status.pid).or(self.edge);
            let health = client.health().await;
            let serves = health.is_ok_and(|health| health.status != HealthStatus::Failed);
            if serves && self.edge.is_some() {
                return Ok(());
            }
            let ended = self.manager.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() >= deadline {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("the manager does not serve: {log}");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    fn command(&self) -> Command {
        let Some(cores) = &self.cores else { return Command::new(&self.program) };
        let mut command = Command::new("taskset");
        command.args(["-c", cores]).arg(&self.program);
        command
    }

    /// Ends the manager without a chance to tidy up. The edge runs on.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut manager = self.manager.take().context("no manager runs")?;
        manager.kill().await.context("the manager cannot be killed")
    }

    /// Ends the manager, then the edge.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut manager) = self.manager.take() {
            process::signal(manager.id().context("the manager is gone")?, Signal::TERM)?;
            if tokio::time::timeout(STOPPING, manager.wait()).await.is_err() {
                manager.kill().await?;
            }
        }
        match self.edge.take() {
            Some(edge) => process::end(edge, STOPPING).await,
            None => Ok(()),
        }
    }

    /// Puts another process in the place of the edge, which was this one. Returns which it is.
    pub(crate) async fn upgrade(&self, before: u32) -> anyhow::Result<u32> {
        let upgraded = Command::new(&self.program)
            .env_clear()
            .env("HOME", self.folder.path())
            .args(["edge", "--upgrade", "--data"])
            .arg(self.data())
            .stdin(Stdio::null())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&upgraded.stderr);
        anyhow::ensure!(upgraded.status.success(), "the edge was not upgraded: {said}");
        let edge = self.edge_status().await?.pid;
        anyhow::ensure!(edge != before, "the edge is the one that it was");
        Ok(edge)
    }

    /// Notes which process the edge is after upgrades.
    pub(crate) fn now_has(&mut self, edge: u32) {
        self.edge = Some(edge);
    }

    /// Returns the client of the local socket, which knows its caller as an administrator.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(ClientConfig::new(Endpoint::Unix(self.data().join("portway.sock"))))?)
    }

    /// Returns what the edge says of itself.
    pub(crate) async fn edge_status(&self) -> anyhow::Result<Status> {
        let socket = self.data().join("edge/run/edge.sock");
        let client = Client::new(ClientConfig::new(Endpoint::Unix(socket)))?;
        Ok(client.get("/v1/status").await?)
    }

    /// Returns the process id of the manager.
    pub(crate) fn manager_pid(&self) -> anyhow::Result<u32> {
        self.manager.as_ref().and_then(Child::id).context("no manager runs")
    }

    /// Returns the process id of the edge.
    pub(crate) fn edge_pid(&self) -> anyhow::Result<u32> {
        self.edge.context("no edge runs")
    }

    /// Returns the port of HTTP.
    pub(crate) fn http_port(&self) -> u16 {
        self.http
    }

    /// Returns the port of HTTPS.
    pub(crate) fn https_port(&self) -> u16 {
        self.https
    }

    /// Declares the sites `bulk-000000` and on, and waits until the edge has them. Returns how long
    /// that took.
    pub(crate) async fn fill(&self, count: usize, kind: Kind) -> anyhow::Result<Filled> {
        let client = self.client()?;
        let began = Instant::now();
        let mut last = None;
        let numbers: Vec<usize> = (0..count).collect();
        for (part, numbers) in numbers.chunks(CHUNK).enumerate() {
            let mut sites = IndexMap::new();
            for number in numbers {
                let site = BenchSite::new("bulk", *number);
                sites.insert(site.name.parse::<Name>()?, site.spec(kind));
            }
            let source = format!("bench-{part}");
            let apply = ApplySites { source, sites, ..ApplySites::default() };
            let changed = client.apply(&apply, uuid::Uuid::now_v7()).await?;
            last = changed.revision.or(last);
            let done = (part + 1) * CHUNK;
            if done.is_multiple_of(10_000) {
                let seconds = began.elapsed().as_secs();
                say(&format!(
                    "  {} sites declared after {seconds} s",
                    grouped(u64::try_from(done)?)
                ));
            }
        }
        let declared = began.elapsed();
        if let Some(revision) = last {
            // Many times what declaring took, and at least a minute.
            self.wait(&client, revision, declared * 10 + STARTING).await?;
        }
        Ok(Filled { declared, served: began.elapsed() })
    }

    /// Waits until the edge has a revision.
    pub(crate) async fn wait(
        &self,
        client: &Client,
        revision: i64,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        let query = WaitQuery { timeout: Some(30) };
        loop {
            let progress = client.progress(revision, &query).await?;
            if progress.done {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("revision {revision} is not carried out within {} s", patience.as_secs());
            }
        }
    }

    /// Returns the file of the database, where it is SQLite.
    pub(crate) fn database_file(&self) -> PathBuf {
        self.data().join("portway.db")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }
}

impl Drop for Portway {
    fn drop(&mut self) {
        // The manager first, so that it starts no other edge. After `stop` there is neither.
        let manager = self.manager.as_ref().and_then(Child::id);
        for pid in [manager, self.edge].into_iter().flatten() {
            if let Err(error) = process::signal(pid, Signal::KILL) {
                say(&format!("process {pid} is left behind: {error:#}"));
            }
        }
    }
}

/// Makes an empty database on a PostgreSQL server and returns its URL.
pub(crate) fn fresh_database(server: &str) -> anyhow::Result<String> {
    let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
    let (base, _) = server.rsplit_once('/').context("the URL names no database")?;
    let status = Psql::new("psql")
        .args(["--quiet", "--no-psqlrc", "--dbname", server, "--command"])
        .arg(format!("create database {name}"))
        .status()
        .context("psql cannot be started; install a client of PostgreSQL")?;
    anyhow::ensure!(status.success(), "psql cannot make a database");
    Ok(format!("{base}/{name}"))
}
