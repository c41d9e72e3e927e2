//! Keeps an edge running: adopts the one that runs, starts one where none does, and starts it
//! again when it ends. The edge is never ended with the manager. One that was there before the
//! manager, and is another program than the manager or listens elsewhere, is upgraded: no request
//! is lost by that.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_control::EdgeClient;
use portway_edge::EdgeConfig;
use portway_policy::bundle::{ListenerStatus, Status};
use tokio::{net::UnixStream, process::Command};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Readers, make_folder};
use crate::{
    cmd::edge::{SUCCEED, identity},
    config::Settings,
    exit::Failure,
    out::clean_line,
    paths::Paths,
};

/// How often an edge that somebody else started is looked at.
const EVERY: Duration = Duration::from_millis(300);
/// How often it is asked whether an upgrade is done.
const SOON: Duration = Duration::from_millis(30);
/// An edge that lived as long has not failed to start.
const LONG_ENOUGH: Duration = Duration::from_secs(10);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A log of the edge that has grown beyond this is put aside at the next start.
const LARGEST_LOG: u64 = 10_000_000;

/// Keeps an edge running.
#[derive(Debug)]
pub(super) struct Keeper {
    client: EdgeClient,
    program: PathBuf,
    arguments: Vec<String>,
    wanted: Vec<(SocketAddr, bool)>,
    log: Utf8PathBuf,
}

/// How long to wait before the next start.
#[derive(Debug, Default)]
struct Patience {
    failures: u32,
}

/// Whether the edge that starts takes the place of another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Alone,
    Succeeding,
}

/// Why the keeping of an edge ended.
enum End {
    /// The manager stops.
    Stopped,
    /// The edge ended.
    Ended,
}

impl Keeper {
    /// Returns a keeper of the edge that the settings describe.
    pub(super) fn new(settings: &Settings, paths: &Paths) -> Result<Self, Failure> {
        let folder = paths.edge();
        make_folder(&folder, Readers::Owner)?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::failed("the program does not know where it is").because(&error)
        })?;
        let listeners = &settings.listeners;
        let plain = listeners.http.iter().map(|address| (*address, false));
        let tls = listeners.https.iter().map(|address| (*address, true));
        Ok(Self {
            client: EdgeClient::new(settings.edge_socket.clone()),
            program,
            arguments: arguments(settings, paths),
            wanted: plain.chain(tls).collect(),
            log: folder.join("edge.log"),
        })
    }

    /// Keeps an edge running until the manager stops.
    pub(super) async fn keep(&self, stop: &CancellationToken) {
        let mut patience = Patience::default();
        // An edge that comes later was put there by somebody who knew why.
        let mut was_there = true;
        loop {
            let began = Instant::now();
            let end = match self.running().await {
                Some(status) if std::mem::take(&mut was_there) && !self.is_as_wanted(&status) => {
                    self.upgrade(&status, stop).await
                }
                Some(status) => self.watch(&status, stop).await,
                None => self.start(stop).await,
            };
            was_there = false;
            if let End::Stopped = end {
                return;
            }
            let pause = patience.after(began.elapsed());
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn running(&self) -> Option<Status> {
        // One that accepts and does not answer is busy, not gone.
        UnixStream::connect(self.client.socket()).await.ok()?;
        match self.client.status().await {
            Ok(status) => Some(status),
            Err(fault) => {
                warn!("the edge does not say how it is: {fault}");
                None
            }
        }
    }

    /// Tells whether an edge is the program that this manager is, and listens where it should.
    fn is_as_wanted(&self, status: &Status) -> bool {
        let is_same =
            status.version == env!("CARGO_PKG_VERSION") && status.invocation.program == identity();
        is_same && listens_as_wanted(&self.wanted, &status.listeners)
    }

    /// Watches an edge that somebody else started.
    async fn watch(&self, status: &Status, stop: &CancellationToken) -> End {
        let (pid, version) = (status.pid, &status.version);
        info!(edge.pid = pid, edge.version = %version, sites = status.sites, "adopted the edge");
        let gone = async {
            while UnixStream::connect(self.client.socket()).await.is_ok() {
                tokio::time::sleep(EVERY).await;
            }
        };
        if stop.run_until_cancelled(gone).await.is_none() {
            return End::Stopped;
        }
        warn!(edge.pid = pid, "the edge has ended; it is started anew");
        End::Ended
    }

    /// Starts an edge and waits for its end.
    async fn start(&self, stop: &CancellationToken) -> End {
        match self.spawn(How::Alone) {
            Ok(child) => {
                info!(edge.pid = child.id(), log = %self.log, "started the edge");
                self.follow(child, stop).await
            }
            Err(fault) => {
                error!("the edge cannot be started: {fault}");
                End::Ended
            }
        }
    }

    /// Puts a new edge in the place of the one that runs. If that fails, the one that runs is kept.
    async fn upgrade(&self, before: &Status, stop: &CancellationToken) -> End {
        let (pid, version) = (before.pid, &before.version);
        info!(edge.pid = pid, edge.version = %version, "the edge is of another program than the manager, or listens elsewhere than it should; it is upgraded");
        let mut child = match self.spawn(How::Succeeding) {
            Ok(child) => child,
            Err(fault) => {
                error!("the edge cannot be upgraded, the one that runs is kept: {fault}");
                return self.watch(before, stop).await;
            }
        };
        let serves = async {
            loop {
                let status = self.client.status().await;
                if status.is_ok_and(|status| Some(status.pid) == child.id()) {
                    return None;
                }
                match child.try_wait() {
                    Ok(Some(ended)) => return Some(Ok(ended)),
                    Ok(None) => tokio::time::sleep(SOON).await,
                    Err(fault) => return Some(Err(fault)),
                }
            }
        };
        match stop.run_until_cancelled(serves).await {
            None => End::Stopped,
            Some(None) => {
                info!(edge.pid = child.id(), log = %self.log, "upgraded the edge");
                self.follow(child, stop).await
            }
            Some(Some(ended)) => {
                let how = ended.map_or_else(|fault| fault.to_string(), |status| status.to_string());
                let last = last_lines(&self.log).unwrap_or_default();
                error!(edge.pid = pid, log = %self.log, "the edge cannot be upgraded ({how}), the one that runs is kept; the new one last said: {last}");
                self.watch(before, stop).await
            }
        }
    }

    /// Waits for the end of an edge that this manager started.
    async fn follow(&self, mut child: tokio::process::Child, stop: &CancellationToken) -> End {
        // When the manager stops, the handle is dropped and the edge lives on.
        match stop.run_until_cancelled(child.wait()).await {
            None => End::Stopped,
            Some(ended) => {
                self.tell(ended);
                End::Ended
            }
        }
    }

    fn spawn(&self, how: How) -> io::Result<tokio::process::Child> {
        put_aside(&self.log)?;
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log)?;
        Command::new(&self.program)
            .args(&self.arguments)
            .args((how == How::Succeeding).then_some(SUCCEED))
            // What only the manager needs to know.
            .env_remove("PORTWAY_DATABASE")
            .env_remove("PORTWAY_TOKEN")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(false)
            .spawn()
    }

    fn tell(&self, ended: io::Result<ExitStatus>) {
        let how = match ended {
            Ok(status) if status.success() => {
                info!("the edge has ended, as it was told, or because another one took its place");
                return;
            }
            Ok(status) => status.to_string(),
            Err(fault) => fault.to_string(),
        };
        let last = last_lines(&self.log).unwrap_or_default();
        error!(log = %self.log, "the edge ended ({how}) and is started anew; it last said: {last}");
    }
}

impl Patience {
    /// Returns how long to wait before the next start of an edge that lived so long. The first
    /// start anew comes at once.
    fn after(&mut self, lived: Duration) -> Duration {
        if lived >= LONG_ENOUGH {
            self.failures = 0;
        }
        let pause = match self.failures {
            0 => Duration::from_millis(50),
            failures => Duration::from_millis(250)
                .saturating_mul(1 << failures.saturating_sub(1).min(10))
                .min(LONGEST_PAUSE),
        };
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

fn arguments(settings: &Settings, paths: &Paths) -> Vec<String> {
    let listeners = &settings.listeners;
    let config = EdgeConfig::below(&paths.edge());
    let mut arguments = vec![
        "edge".to_owned(),
        "--detached".to_owned(),
        format!("--data={}", paths.data),
        format!("--state={}", config.state_dir),
        format!("--log-dir={}", settings.edge_logs),
        format!("--control-socket={}", settings.edge_socket),
    ];
    arguments.extend(listeners.http.first().map(|a| format!("--http-port={}", a.port())));
    arguments.extend(listeners.https.first().map(|a| format!("--https-port={}", a.port())));
    arguments.extend(listeners.http.iter().map(|a| format!("--bind={}", a.ip())));
    arguments.extend(listeners.public_https_port.map(|p| format!("--public-https-port={p}")));
    arguments.extend(listeners.workers.map(|workers| format!("--workers={workers}")));
    arguments.extend(listeners.name_servers.iter().map(|server| format!("--name-server={server}")));
    arguments
}

/// Tells whether an edge listens where it should; port 0 is any.
fn listens_as_wanted(wanted: &[(SocketAddr, bool)], bound: &[ListenerStatus]) -> bool {
    let fits = |(address, tls): &(SocketAddr, bool), listener: &ListenerStatus| {
        let is_port = address.port() == 0 || address.port() == listener.address.port();
        is_port && address.ip() == listener.address.ip() && *tls == listener.tls
    };
    wanted.len() == bound.len()
        && wanted.iter().all(|wanted| bound.iter().any(|bound| fits(wanted, bound)))
}

fn put_aside(log: &Utf8Path) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(about) if about.len() > LARGEST_LOG => fs::rename(log, log.with_extension("log.1")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the end of a log, on one line.
fn last_lines(log: &Utf8Path) -> io::Result<String> {
    const ENOUGH: u64 = 4096;
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
    let mut bytes = Vec::new();
    file.take(ENOUGH).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(3);
    let last: Vec<String> =
        lines.into_iter().skip(last).map(|line| clean_line(line.trim())).collect();
    Ok(last.join(" / "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_anew_comes_at_once_and_repeated_failures_rest() {
        let mut patience = Patience::default();
        let soon = Duration::from_millis(1);
        let pauses: Vec<u128> = (0..12).map(|_| patience.after(soon).as_millis()).collect();
        assert_eq!(pauses[..5], [50, 250, 500, 1000, 2000]);
        assert_eq!(pauses[11], 30_000);
        assert_eq!(patience.after(LONG_ENOUGH).as_millis(), 50);
    }

    #[test]
    fn an_edge_that_listens_elsewhere_is_known() {
        let listener =
            |address: &str, tls| ListenerStatus { address: address.parse().unwrap(), tls };
        let bound = [listener("0.0.0.0:8080", false), listener("0.0.0.0:8443", true)];
        let wanted = |http: &str, https: &str| {
            [(http.parse().unwrap(), false), (https.parse().unwrap(), true)]
        };
        assert!(listens_as_wanted(&wanted("0.0.0.0:8080", "0.0.0.0:8443"), &bound));
        assert!(listens_as_wanted(&wanted("0.0.0.0:0", "0.0.0.0:0"), &bound));
        assert!(!listens_as_wanted(&wanted("0.0.0.0:8080", "0.0.0.0:9443"), &bound));
        assert!(!listens_as_wanted(&wanted("127.0.0.1:8080", "0.0.0.0:8443"), &bound));
        assert!(!listens_as_wanted(&wanted("0.0.0.0:8443", "0.0.0.0:8080"), &bound));
        assert!(!listens_as_wanted(&[], &bound));
    }

    #[test]
    fn the_end_of_a_log_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = Utf8Path::from_path(folder.path()).unwrap().join("edge.log");
        fs::write(&log, format!("{}\none\n\ntwo\nthree\n", "x".repeat(9000))).unwrap();
        assert_eq!(last_lines(&log).unwrap(), "one / two / three");
    }
}
