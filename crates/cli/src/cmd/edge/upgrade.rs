//! Another program in the place of the edge that runs. The one that is to be there is started, and
//! takes the place by itself (`portway_edge::succeed`); if it fails, the one that runs serves on.

use std::{ffi::OsStr, io, process::Stdio, time::Duration};

use camino::Utf8PathBuf;
use portway_control::EdgeClient;
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::invocation::Program;
use crate::{
    args::{Edge, Listeners},
    exit::{Exit, Failure, Outcome},
    session::Session,
};

/// The option by which an edge takes the place of another one.
pub(in crate::cmd) const SUCCEED: &str = "--succeed";

/// The option by which it writes where that one does.
const SAME_OUTPUTS: &str = "--same-outputs";

/// How often it is asked which edge answers.
const EVERY: Duration = Duration::from_millis(30);

/// What an upgrade came to.
#[derive(Debug, Serialize)]
struct Upgraded {
    pid: u32,
    version: String,
    predecessor: Predecessor,
}

#[derive(Debug, Serialize)]
struct Predecessor {
    pid: u32,
    version: String,
}

/// Tells whether more is said of the new edge than where the one that runs is found.
pub(super) fn is_described(args: &Edge) -> bool {
    let Edge { listeners, state, log_dir, control_socket: _, log_format, .. } = args;
    let given = state.is_some() || log_dir.is_some() || log_format.is_some();
    given || *listeners != Listeners::default()
}

/// `portway edge --upgrade`: with the words that are wanted, or else with those of the edge that
/// runs.
pub(super) async fn run(
    session: &Session,
    socket: Utf8PathBuf,
    wanted: Option<Vec<String>>,
) -> Outcome {
    let client = EdgeClient::new(socket);
    let before = client.status().await.map_err(|error| {
        Failure::new(Exit::Unreachable, "there is no edge to upgrade")
            .because(&error)
            .help("`portway serve` starts one; --control-socket names the one that is meant")
    })?;
    let words = wanted.unwrap_or(before.invocation.arguments);
    if words.is_empty() {
        return Err(Failure::failed(format!(
            "the edge that runs (version {}) is too old to be upgraded without a pause",
            before.version
        ))
        .help("`portway edge --stop` ends it after the requests in flight"));
    }
    // What is typed is what is meant: this very file, by whatever name it was called.
    let program = std::env::current_exe()?;
    let child = spawn(program.as_os_str(), &words, &[SUCCEED, SAME_OUTPUTS])
        .map_err(|error| Failure::failed("the new edge cannot be started").because(&error))?;
    let Some(status) = serves(child, &client).await? else {
        let text = format!(
            "the new edge did not take over; the one that ran serves on (process {}, version {})",
            before.pid, before.version
        );
        return Err(Failure::failed(text).help("why stands above, and in `portway status`"));
    };
    let upgraded = Upgraded {
        pid: status.pid,
        version: status.version,
        predecessor: Predecessor { pid: before.pid, version: before.version },
    };
    session.out.show(&upgraded, |_| {
        format!(
            "edge {} (process {}) serves in the place of {} (process {}), which ends what it began\n",
            upgraded.version, upgraded.pid, upgraded.predecessor.version, upgraded.predecessor.pid
        )
    })?;
    Ok(Exit::Ok)
}

/// Starts a successor. Until it serves it writes where this process writes.
fn spawn(program: &OsStr, words: &[String], more: &[&str]) -> io::Result<Child> {
    Command::new(program)
        .args(words)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .kill_on_drop(false)
        .spawn()
}

/// Waits until an edge that was started serves in the place of the one before. Returns nothing when
/// it ended instead.
async fn serves(
    mut child: Child,
    client: &EdgeClient,
) -> io::Result<Option<portway_policy::bundle::Status>> {
    let Some(pid) = child.id() else { return Ok(None) };
    loop {
        if child.try_wait()?.is_some() {
            return Ok(None);
        }
        match client.status().await {
            Ok(status) if status.pid == pid => return Ok(Some(status)),
            Ok(_) | Err(_) => tokio::time::sleep(EVERY).await,
        }
    }
}

/// Upgrades whenever a signal asks for it: starts what lies under the name of this program now.
pub(super) async fn at_signals(
    mut signals: crate::signals::Upgrades,
    program: Program,
    words: Vec<String>,
    stop: CancellationToken,
) {
    loop {
        signals.next(&stop).await;
        let Program(program) = &program;
        match spawn(program, &words, &[SUCCEED]) {
            Ok(mut child) => {
                info!(
                    successor.pid = child.id(),
                    "SIGUSR2: started {} to take the place of this edge",
                    program.display()
                );
                match child.wait().await {
                    Ok(status) => error!(
                        "SIGUSR2: the process that was to take the place of this edge ended ({status}); this one serves on"
                    ),
                    Err(fault) => error!(
                        "SIGUSR2: the process that was to take the place of this edge is lost: {fault}"
                    ),
                }
            }
            Err(fault) => error!(
                "SIGUSR2: {} cannot be started, this edge serves on: {fault}",
                program.display()
            ),
        }
    }
}
