//! OpenSSH's server on a port of its own, with keys of its own, for the user who runs the test; and
//! OpenSSH's agent.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    gate::Gate,
    port::Port,
    processes::{ProcessTable, command},
};

/// Servers start their sessions by their absolute path.
const PROGRAM: &str = "/usr/sbin/sshd";
/// What every server is told, unless a test says otherwise. The defaults of OpenSSH are for the open
/// sea: many tests start at once here.
const USUAL: [&str; 9] = [
    "StrictModes no",
    "UsePAM no",
    "PermitRootLogin yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PidFile none",
    "LogLevel VERBOSE",
    "MaxStartups 1000:30:1000",
    "PrintMotd no",
];
/// How long a server or an agent may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a server is to be, before it starts.
#[derive(Debug)]
pub struct SshdOptions {
    lines: Vec<String>,
    host_keys: Vec<&'static str>,
    small: Option<&'static str>,
    before: Vec<String>,
    has_gate: bool,
}

/// A server that runs. Its sessions end with it when it is dropped.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    base: Utf8PathBuf,
    port: Port,
    user: String,
    host_keys: Vec<&'static str>,
    small: Option<&'static str>,
    /// The words before its command.
    before: Vec<String>,
    process: Option<Child>,
}

/// An agent that runs, with the keys that it was given.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    socket: Utf8PathBuf,
}

impl Default for SshdOptions {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            host_keys: vec!["ed25519"],
            small: None,
            before: Vec::new(),
            has_gate: false,
        }
    }
}

impl SshdOptions {
    /// Adds a line of `sshd_config`; the first one of a name counts.
    #[must_use]
    pub fn with(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Has host keys of these kinds instead of `ed25519`: `rsa`, `ecdsa`.
    #[must_use]
    pub fn with_host_keys(mut self, kinds: &[&'static str]) -> Self {
        self.host_keys = kinds.to_vec();
        self
    }

    /// Runs in a table of processes.
    #[must_use]
    pub fn within(mut self, table: &ProcessTable) -> Self {
        self.before = table.entering();
        self
    }

    /// Sees a small disk of this size at `small` in its folder, as `mount` understands it: `2m`. Only
    /// root can make one, and only the server and its sessions see it.
    #[must_use]
    pub fn with_small_disk(mut self, size: &'static str) -> Self {
        self.small = Some(size);
        self
    }

    /// Has a [`Gate`] before all that is run.
    #[must_use]
    pub fn with_gate(mut self) -> Self {
        self.has_gate = true;
        self
    }

    /// Starts the server, and waits until it listens.
    pub fn start(mut self) -> anyhow::Result<Sshd> {
        let folder = tempfile::Builder::new().prefix("portway-sshd-").tempdir()?;
        let base = Utf8PathBuf::from_path_buf(folder.path().canonicalize()?)
            .map_err(|path| anyhow!("{} is not readable", path.display()))?;
        let user = text_of(Command::new("id").arg("-un"))?;
        let port = Port::take()?;
        let mut sshd = Sshd {
            folder,
            base,
            port,
            user,
            host_keys: self.host_keys,
            small: self.small,
            before: self.before,
            process: None,
        };
        if self.has_gate {
            let folder = sshd.gate_folder();
            Gate::make(&folder)?;
            self.lines.push(format!("ForceCommand {}", Gate::command(&folder)));
        }
        sshd.make_keys()?;
        sshd.configure(&self.lines)?;
        sshd.start()?;
        Ok(sshd)
    }
}

impl Sshd {
    /// Starts a server that lets its user in by [`Sshd::key`].
    pub fn run() -> anyhow::Result<Self> {
        SshdOptions::default().start()
    }

    /// Returns the port of 127.0.0.1 on which it listens.
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns who can log in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns a folder of the test's own.
    pub fn folder(&self) -> &Utf8Path {
        &self.base
    }

    /// Returns the file of the private key that may log in.
    pub fn key(&self) -> Utf8PathBuf {
        self.base.join("id_ed25519")
    }

    /// Returns the fingerprint of a host key as OpenSSH prints it.
    pub fn fingerprint(&self, kind: &str) -> anyhow::Result<String> {
        let file = self.base.join(format!("host_{kind}.pub"));
        let printed = text_of(Command::new("ssh-keygen").args(["-l", "-f", file.as_str()]))?;
        let fingerprint = printed.split_whitespace().nth(1).context("ssh-keygen prints none")?;
        Ok(fingerprint.to_owned())
    }

    /// Returns the public line of a host key.
    pub fn host_key(&self, kind: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.base.join(format!("host_{kind}.pub")))?)
    }

    /// Lets another public key in.
    pub fn authorize(&self, line: &str) -> anyhow::Result<()> {
        let path = self.base.join("authorized_keys");
        let before = fs::read_to_string(&path)?;
        fs::write(path, format!("{before}{}\n", line.trim()))?;
        Ok(())
    }

    /// Makes new host keys, as a machine has that was set up anew. They count from the next start on.
    pub fn change_host_keys(&self) -> anyhow::Result<()> {
        for kind in &self.host_keys {
            for file in [format!("host_{kind}"), format!("host_{kind}.pub")] {
                fs::remove_file(self.base.join(file))?;
            }
        }
        self.make_host_keys()
    }

    /// Starts the server, and waits until it listens.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            bail!("the server runs already");
        }
        let log = File::options().create(true).append(true).open(self.base.join("sshd.log"))?;
        let child = self
            .command()?
            .args(["-D", "-e", "-f", self.base.join("sshd_config").as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{PROGRAM} is missing; `scripts/setup test` gets it"))?;
        self.process = Some(child);
        wait_until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())).is_ok())
            .map_err(|error| anyhow!("{error}: the server does not listen: {}", self.log()))
    }

    /// Kills the server and its sessions, as a machine does that loses power.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal_all(Signal::KILL)?;
        if let Some(mut child) = self.process.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Stops all that the server is doing; the machine still takes bytes for it.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// Ends the sessions; the server goes on.
    pub fn kill_sessions(&self) -> anyhow::Result<()> {
        let server = self.pid()?;
        for pid in servers_below(server).into_iter().filter(|pid| *pid != server) {
            signal(pid, Signal::KILL)?;
        }
        Ok(())
    }

    /// Returns how many sessions were let in so far.
    pub fn logins(&self) -> usize {
        self.log().lines().filter(|line| is_login(line)).count()
    }

    /// Returns how many commands were run so far, over all sessions.
    pub fn commands(&self) -> usize {
        self.log().lines().filter(|line| line.starts_with("Starting session: command")).count()
    }

    /// Returns the process id of the server, whose sessions are its children.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.as_ref().map(Child::id).context("the server does not run")
    }

    /// Returns the gate before all that is run; see [`SshdOptions::with_gate`].
    pub fn gate(&self) -> Gate {
        Gate::in_folder(self.gate_folder())
    }

    /// Has something go wrong at a step of what is done from now on. `strike` is lines of shell; at 0, the
    /// steps are only counted. Nothing is struck twice.
    pub fn strike_at(&self, step: usize, strike: &str) -> anyhow::Result<()> {
        self.gate().arm(self.pid()?, step, strike)
    }

    fn gate_folder(&self) -> Utf8PathBuf {
        self.base.join("gate")
    }

    /// Returns what the server has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.base.join("sshd.log")).unwrap_or_default()
    }

    fn command(&self) -> anyhow::Result<Command> {
        let Some(size) = self.small else { return Ok(command(&self.before, PROGRAM)) };
        let folder = self.base.join("small");
        fs::create_dir_all(&folder)?;
        let script = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@""#;
        let mut command = command(&self.before, "unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", script, "sh", size]);
        command.args([folder.as_str(), PROGRAM]);
        Ok(command)
    }

    fn signal_all(&self, kind: Signal) -> anyhow::Result<()> {
        for pid in servers_below(self.pid()?) {
            signal(pid, kind)?;
        }
        Ok(())
    }

    fn make_keys(&self) -> anyhow::Result<()> {
        self.make_host_keys()?;
        make_key(&self.key(), "ed25519", "")?;
        fs::copy(self.base.join("id_ed25519.pub"), self.base.join("authorized_keys"))?;
        Ok(())
    }

    fn make_host_keys(&self) -> anyhow::Result<()> {
        for kind in &self.host_keys {
            make_key(&self.base.join(format!("host_{kind}")), kind, "")?;
        }
        Ok(())
    }

    fn configure(&self, lines: &[String]) -> anyhow::Result<()> {
        let base = &self.base;
        let mut config =
            vec![format!("Port {}", self.port()), "ListenAddress 127.0.0.1".to_owned()];
        config.extend(self.host_keys.iter().map(|kind| format!("HostKey {base}/host_{kind}")));
        config.extend_from_slice(lines);
        config.push(format!("AuthorizedKeysFile {base}/authorized_keys"));
        // Shells read files of their user's, which are not the test's.
        config.push(format!("SetEnv HOME={base}"));
        config.extend(USUAL.map(str::to_owned));
        let config = config.join("\n") + "\n";
        fs::write(base.join("sshd_config"), config)?;
        if rustix::process::geteuid().is_root() {
            // Where packages of Debian let their service make it.
            fs::create_dir_all("/run/sshd")?;
        }
        Ok(())
    }
}

impl Drop for Sshd {
    #[expect(clippy::print_stderr, reason = "a server that is left behind is told of")]
    fn drop(&mut self) {
        if self.process.is_none() {
            return;
        }
        let killed = self.kill();
        if let Err(error) = killed {
            eprintln!("the server in {} was not stopped: {error}", self.folder.path().display());
        }
    }
}

impl Agent {
    /// Starts an agent that listens in a folder, with the keys of these files.
    pub fn start(folder: &Utf8Path, keys: &[Utf8PathBuf]) -> anyhow::Result<Self> {
        let socket = folder.join("agent.sock");
        let process = Command::new("ssh-agent")
            .args(["-D", "-a", socket.as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let agent = Self { process, socket };
        wait_until(|| agent.socket.exists())?;
        for key in keys {
            text_of(
                Command::new("ssh-add")
                    .arg(key.as_str())
                    .env("SSH_AUTH_SOCK", agent.socket.as_str()),
            )?;
        }
        Ok(agent)
    }

    /// Returns where it listens.
    pub fn socket(&self) -> &Utf8Path {
        &self.socket
    }
}

impl Drop for Agent {
    #[expect(clippy::print_stderr, reason = "an agent that is left behind is told of")]
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended {
            eprintln!("the agent at {} was not stopped: {error}", self.socket);
        }
    }
}

/// Makes a key pair with a passphrase, which may be empty.
pub fn make_key(file: &Utf8Path, kind: &str, passphrase: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", file.as_str()]);
    text_of(&mut command).map(drop)
}

fn text_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn wait_until(mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > PATIENCE {
            bail!("waited in vain for {} s", PATIENCE.as_secs());
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// One that has ended meanwhile needs no signal.
fn signal(pid: u32, kind: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no such process")?;
    match kill_process(pid, kind) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns a server and its sessions, but not the commands that they run.
fn servers_below(server: u32) -> Vec<u32> {
    let mut found = vec![server];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        found.extend(children(parent).into_iter().filter(|child| is_server(*child)));
    }
    found
}

/// A key that could be used is logged in another way.
fn is_login(line: &str) -> bool {
    line.starts_with("Accepted ") && line.contains(" for ")
}

fn children(parent: u32) -> Vec<u32> {
    let path = PathBuf::from(format!("/proc/{parent}/task/{parent}/children"));
    let listed = fs::read_to_string(path).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_server(pid: u32) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm"))
        .is_ok_and(|name| name.trim().starts_with("sshd"))
}
