//! A Portway of its own: the real program, started as a user starts it, with a data folder and
//! ports that nobody else has. When it is dropped, manager and edge are stopped; when the test
//! failed, its folder is kept and named.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use camino::{Utf8Path, Utf8PathBuf};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portway_wire::client::{Client, ClientConfig, Endpoint};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    process::{Child, Command},
    time::Instant,
};

use crate::port::Port;

/// How long a manager may take to start, and a command to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may take to stop before it is killed.
const STOPPING: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// A Portway of its own.
pub struct Manager {
    program: PathBuf,
    folder: TempDir,
    base: Utf8PathBuf,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    http: Port,
    https: Port,
    api: Port,
    process: Option<Child>,
    starts: u32,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The exit code; -1 for a command that a signal ended.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said beside that.
    pub err: String,
}

impl Manager {
    /// Makes a data folder and chooses ports. Nothing runs yet.
    pub fn new(program: impl Into<PathBuf>) -> anyhow::Result<Self> {
        Self::within(&std::env::temp_dir(), program)
    }

    /// Makes a data folder in a folder, and chooses ports. Nothing runs yet.
    pub fn within(parent: &Path, program: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portway-test-").tempdir_in(parent)?;
        let base = Utf8PathBuf::from_path_buf(folder.path().canonicalize()?)
            .map_err(|path| anyhow!("{} is not readable", path.display()))?;
        fs::create_dir(base.join("home"))?;
        Ok(Self {
            program: program.into(),
            base,
            folder,
            options: Vec::new(),
            environment: Vec::new(),
            http: Port::take()?,
            https: Port::take()?,
            api: Port::take()?,
            process: None,
            starts: 0,
        })
    }

    /// Starts a manager with what is usual, and waits until it and its edge serve.
    pub async fn start(program: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let mut manager = Self::new(program)?;
        manager.serve().await?;
        Ok(manager)
    }

    /// Adds an option of `serve`.
    #[must_use]
    pub fn with(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// Sets a variable of the environment, for the manager and for every other command.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts the manager, and waits until it and its edge serve.
    pub async fn serve(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            bail!("the manager runs already");
        }
        self.starts += 1;
        let log =
            |kind: &str| File::create(self.base.join(format!("serve-{}.{kind}", self.starts)));
        let child = self
            .command(&self.serve_words())
            .stdin(Stdio::null())
            .stdout(log("out")?)
            .stderr(log("err")?)
            .spawn()
            .context("the manager cannot be started")?;
        self.process = Some(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten()
            {
                self.process = None;
                bail!("the manager ended ({status}): {}", self.said("err")?);
            }
            if self.health().await.is_ok_and(|health| is_well(&health)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("the manager does not serve: {}", self.said("err")?);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Returns the words after `portway` that start this manager.
    pub fn serve_words(&self) -> Vec<String> {
        let mut words = vec![
            "serve".to_owned(),
            format!("--http-port={}", self.http.number()),
            format!("--https-port={}", self.https.number()),
            format!("--api={}", self.api()),
            format!("--bind={}", Ipv4Addr::LOCALHOST),
        ];
        words.extend(self.options.iter().cloned());
        words
    }

    /// Runs a command to its end.
    pub async fn run(&self, words: &[&str]) -> anyhow::Result<Ran> {
        self.run_with(words, "", &[]).await
    }

    /// Runs a command to its end, with standard input and environment.
    pub async fn run_with(
        &self,
        words: &[&str],
        input: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Ran> {
        let mut command = self.command(words);
        command.envs(environment.iter().copied());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input.as_bytes()).await {
                // It may end without reading.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = ended.with_context(|| format!("{words:?} does not end"))??;
        Ok(Ran::of(&output))
    }

    /// Returns the program with this manager's surroundings, and nothing of the machine's own.
    pub fn command(&self, words: &[impl AsRef<std::ffi::OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.base.join("home"))
            .envs(self.environment.iter().cloned())
            .arg(self.mark())
            .args(words);
        command
    }

    /// Ends the manager without a chance to tidy up.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("no manager runs")?;
        process.kill().await.context("the manager cannot be killed")
    }

    /// Tells the manager to stop, and waits until it has. The edge runs on.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if let Some(pid) = process.id() {
            signal(pid, Signal::TERM)?;
        }
        match tokio::time::timeout(STOPPING, process.wait()).await {
            Ok(status) => {
                let status = status?;
                if status.success() { Ok(()) } else { bail!("the manager ended with {status}") }
            }
            Err(_) => {
                process.kill().await?;
                bail!("the manager did not stop within {} s", STOPPING.as_secs())
            }
        }
    }

    /// Returns the process id of the manager.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// Returns what the edge says of itself; an error where none answers.
    pub async fn edge(&self) -> anyhow::Result<Value> {
        get(&self.data().join("edge/run/edge.sock"), "/v1/status").await
    }

    /// Returns the process id of the edge.
    pub async fn edge_pid(&self) -> anyhow::Result<u32> {
        let status = self.edge().await?;
        let pid =
            status.get("pid").and_then(Value::as_u64).context("the edge has no process id")?;
        Ok(u32::try_from(pid)?)
    }

    /// Returns what the manager says of itself on the local socket.
    pub async fn health(&self) -> anyhow::Result<Value> {
        get(&self.data().join("portway.sock"), "/api/v1/health").await
    }

    /// Returns the client of the local socket, which knows its caller as an administrator.
    pub fn client(&self) -> anyhow::Result<Client> {
        let socket = self.data().join("portway.sock").into_std_path_buf();
        Ok(Client::new(ClientConfig::new(Endpoint::Unix(socket)))?)
    }

    /// Returns the data folder.
    pub fn data(&self) -> Utf8PathBuf {
        self.base.join("data")
    }

    /// Returns a folder for the files of the test.
    pub fn folder(&self) -> &Utf8Path {
        &self.base
    }

    /// Returns the port of plain HTTP.
    pub fn http_port(&self) -> u16 {
        self.http.number()
    }

    /// Returns the port of HTTPS.
    pub fn https_port(&self) -> u16 {
        self.https.number()
    }

    /// Returns the address of the API.
    pub fn api(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.api.number()))
    }

    /// Returns what the last start printed (`out`) or logged (`err`).
    pub fn said(&self, kind: &str) -> anyhow::Result<String> {
        let path = self.base.join(format!("serve-{}.{kind}", self.starts));
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    /// Every process of this manager has this word, and no other process has.
    fn mark(&self) -> String {
        format!("--data={}", self.data())
    }

    /// Ends everything that runs on this data folder: first the manager, so that it starts no
    /// edge, then the edge.
    async fn end(&mut self) -> anyhow::Result<()> {
        let stopped = self.stop().await;
        let deadline = Instant::now() + STOPPING;
        loop {
            let left = marked(&self.mark())?;
            if left.is_empty() {
                return stopped;
            }
            let signal = if Instant::now() < deadline { Signal::TERM } else { Signal::KILL };
            for pid in left {
                self::signal(pid, signal)?;
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // What has to be awaited here runs on a runtime of its own, beside the test's.
        let ended = std::thread::scope(|scope| {
            let end = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.end())
            };
            scope.spawn(end).join().unwrap_or_else(|_| Err(anyhow!("stopping panicked")))
        });
        let failed = std::thread::panicking();
        self.folder.disable_cleanup(failed);
        if let (true, _) | (_, Err(_)) = (failed, &ended) {
            tell(&self.base, &ended);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failed test has no other way to say where its logs are")]
fn tell(folder: &Utf8Path, ended: &anyhow::Result<()>) {
    if let Err(error) = ended {
        eprintln!("the manager did not stop as it should: {error:#}");
    }
    eprintln!("data and logs of the manager: {folder}");
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Returns what it printed as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// A machine with little disk space left is well enough for a test.
fn is_well(health: &Value) -> bool {
    let status = health.get("status").and_then(Value::as_str);
    status.is_some_and(|status| status != "failed")
}

/// Asks for JSON over a unix socket.
pub async fn get(socket: &Utf8Path, path: &str) -> anyhow::Result<Value> {
    let asking = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = http::Request::get(path).header("host", "localhost");
        let response = sender.send_request(request.body(Empty::<bytes::Bytes>::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        if !status.is_success() {
            bail!("{path} on {socket} answers {status}");
        }
        Ok(serde_json::from_slice(&body)?)
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.context("no answer in time")?
}

/// Sends a signal; a process that is gone has its will.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Tells whether a process runs; one that has ended and only waits to be noticed does not.
pub fn runs(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty())
}

/// Returns the processes that were started with a word.
fn marked(word: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at; one that ended has no words.
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if words.split(|byte| *byte == 0).any(|one| one == word.as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}
