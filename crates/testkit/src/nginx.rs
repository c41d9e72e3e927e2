//! nginx in a folder and on ports of its own, as it is on a machine of its own: with a configuration
//! that reads `conf.d`, and nothing of Portway's.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    port::Port,
    processes::{ProcessTable, command},
};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// An nginx that runs. It ends when it is dropped.
#[derive(Debug)]
pub struct Nginx {
    folder: TempDir,
    http: Port,
    https: Port,
    probe: Port,
    process: Child,
    /// The words before its command.
    before: Vec<String>,
}

impl Nginx {
    /// Starts one whose top-level configuration is the usual one.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_in(None)
    }

    /// Starts one in a table of processes.
    pub fn start_in(table: Option<&ProcessTable>) -> anyhow::Result<Self> {
        let before = table.map(ProcessTable::entering).unwrap_or_default();
        let folder = tempfile::Builder::new().prefix("portway-nginx-").tempdir()?;
        let root = Utf8Path::from_path(folder.path()).context("the folder's name is no UTF-8")?;
        for name in ["conf.d", "logs", "tmp"] {
            fs::create_dir(root.join(name))?;
        }
        // Workers that run as another user pass through to the files that are for them.
        fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let top_level = root.join("nginx.conf");
        fs::write(&top_level, usual(root))?;
        let process = spawn(&before, root)?;
        let (http, https, probe) = (Port::take()?, Port::take()?, Port::take()?);
        let nginx = Self { folder, http, https, probe, process, before };
        nginx.wait()?;
        Ok(nginx)
    }

    /// Kills it with all its workers, as a machine does that is out of memory.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let master = self.process.id();
        let text = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = text.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|word| word.parse::<i32>().ok());
        for pid in std::iter::once(i32::try_from(master)?).chain(children) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
        self.process.wait()?;
        fs::remove_file(self.folder().join("nginx.pid"))?;
        Ok(())
    }

    /// Starts it again after it was killed.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.before, self.folder())?;
        self.wait()
    }

    /// Returns the process id of its master, or of the command by which that entered its table of processes.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap_or(Utf8Path::new("/"))
    }

    /// Returns its top-level configuration.
    pub fn top_level(&self) -> Utf8PathBuf {
        self.folder().join("nginx.conf")
    }

    /// Returns a port for plain HTTP that is kept for it.
    pub const fn http(&self) -> u16 {
        self.http.number()
    }

    /// Returns a port for HTTPS that is kept for it.
    pub const fn https(&self) -> u16 {
        self.https.number()
    }

    /// Returns a port for probes that is kept for it.
    pub const fn probe(&self) -> u16 {
        self.probe.number()
    }

    fn wait(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let pid = self.folder().join("nginx.pid");
        while !fs::read_to_string(&pid).is_ok_and(|text| !text.trim().is_empty()) {
            if Instant::now() > end {
                bail!("nginx does not start");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        let _ended = self.process.wait();
    }
}

fn spawn(before: &[String], root: &Utf8Path) -> anyhow::Result<Child> {
    let top_level = root.join("nginx.conf");
    command(before, "nginx")
        .args(["-p", root.as_str(), "-c", top_level.as_str(), "-g", "daemon off;"])
        .stderr(Stdio::null())
        .spawn()
        .context("nginx cannot be started")
}

fn usual(root: &Utf8Path) -> String {
    format!(
        "pid {root}/nginx.pid;\nerror_log {root}/error.log;\nworker_processes 1;\n\
         events {{\n  worker_connections 256;\n}}\n\
         http {{\n  access_log off;\n  client_body_temp_path {root}/tmp;\n  proxy_temp_path {root}/tmp;\n  \
         fastcgi_temp_path {root}/tmp;\n  uwsgi_temp_path {root}/tmp;\n  scgi_temp_path {root}/tmp;\n  \
         include {root}/conf.d/*.conf;\n}}\n"
    )
}
