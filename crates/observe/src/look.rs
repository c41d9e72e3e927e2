//! Looks at a node once.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use portway_engine::{COUNTS_MOST, Counts, Layout, Probe, counts_path, read_counts};
use portway_model::EngineKind;
use portway_transport::{Argv, Output, Target, Transport, TransportError};
use tokio::time::timeout;

use crate::{
    ask::{Answer, ask},
    sample::{Folder, Machine, Sample, Seen, machine},
};

/// Reads what a machine tells; a POSIX shell with coreutils or busybox is enough.
const SCRIPT: &str = include_str!("read.sh");
/// How long the machine may take to tell.
const DEADLINE: Duration = Duration::from_secs(10);
/// So much the machine may tell. What it tells of its network is the longest: 130 bytes of each device.
const MOST_TOLD: usize = 1 << 20;
/// How long a connection to one of its ports may take.
const DOOR: Duration = Duration::from_secs(5);

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The engine.
    pub engine: EngineKind,
    /// Where its files lie.
    pub layout: &'a Layout,
    /// The ports on which it should listen.
    pub ports: &'a [u16],
    /// How the engine is asked what it serves; nothing where it is not asked so.
    pub probe: Option<&'a Probe>,
}

/// Looks at a node: one command, and one connection to its engine.
///
/// # Errors
/// When the node cannot be spoken with at all. That a single thing cannot be seen is no error.
pub async fn look<T: Transport>(
    transport: &T,
    subject: &Subject<'_>,
    now: impl Fn() -> Timestamp + Send,
) -> Result<Sample, TransportError> {
    let before = now();
    let output = transport.run(&command(subject)?, &[], DEADLINE).await?;
    let after = now();
    let at = middle(before, after);
    let Machine { time, cpu, load, memory, network, uptime, disks, service } =
        read(&output, subject, at);
    let (answer, counts) = engine(transport, subject).await;
    let (ports, forbids_forwarding) = doors(transport, subject.ports).await;
    Ok(Sample {
        at,
        cpu,
        load,
        memory,
        disks: folders(subject.layout)
            .map(|(folder, _)| folder)
            .into_iter()
            .zip(disks)
            .collect::<BTreeMap<_, _>>(),
        network,
        uptime,
        clock: time.map(|there| ahead(there, before, after)),
        service,
        counts,
        answer,
        ports,
        forbids_forwarding,
    })
}

fn command(subject: &Subject<'_>) -> Result<Argv, TransportError> {
    let (process, service) = match subject.engine {
        EngineKind::Edge => ("portway", "portway-edge"),
        EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik => {
            (subject.engine.as_str(), subject.engine.as_str())
        }
    };
    let folders = folders(subject.layout).map(|(_, path)| path);
    let words = ["-c", SCRIPT, "portway", process, service].into_iter().chain(folders);
    Ok(Argv::new("sh", words)?.printing_at_most(MOST_TOLD))
}

fn folders(layout: &Layout) -> [(Folder, &str); 3] {
    [
        (Folder::Home, layout.home.as_str()),
        (Folder::Logs, layout.logs.as_str()),
        (Folder::Root, "/"),
    ]
}

fn read(output: &Output, subject: &Subject<'_>, at: Timestamp) -> Machine {
    let paths = folders(subject.layout).map(|(_, path)| path);
    machine(&output.stdout_text(), &paths, subject.layout.top_level.as_str(), at)
}

fn middle(before: Timestamp, after: Timestamp) -> Timestamp {
    before.checked_add(after.duration_since(before) / 2).unwrap_or(after)
}

/// A clock that is told in whole seconds is within the answer's way, and up to a second, of the truth.
/// What lies within that is no difference.
#[expect(clippy::cast_precision_loss, reason = "seconds of our time are exact")]
fn ahead(there: i64, before: Timestamp, after: Timestamp) -> f64 {
    let seconds = |time: Timestamp| time.as_millisecond() as f64 / 1000.0;
    let (earliest, latest) = (there as f64, (there + 1) as f64);
    if latest < seconds(before) {
        latest - seconds(before)
    } else if earliest > seconds(after) {
        earliest - seconds(after)
    } else {
        0.0
    }
}

/// Asks the engine what it serves and what it counts.
async fn engine<T: Transport>(transport: &T, subject: &Subject<'_>) -> (Seen<String>, Counts) {
    let Some(probe) = subject.probe else {
        let why = format!("{} is not asked in this way", subject.engine);
        return (Err(why.clone()), Counts::unknown(why));
    };
    let path = counts_path(subject.engine);
    let paths: Vec<&str> = std::iter::once(probe.path.as_str()).chain(path).collect();
    let mut answers = ask(transport, probe.port, &paths, COUNTS_MOST).await.into_iter();
    let mut next = || answers.next().unwrap_or_else(|| Err("it was not asked".to_owned()));
    let served = next().and_then(|answer| served(&answer, probe));
    let counts = match next() {
        Ok(answer) => read_counts(subject.engine, answer.status, &answer.body),
        Err(why) => Counts::unknown(why),
    };
    (served, counts)
}

/// Tries whether somebody listens on ports of the node. Also returns whether its SSH server forbids to
/// try.
async fn doors<T: Transport>(transport: &T, ports: &[u16]) -> (Vec<(u16, Seen<()>)>, bool) {
    let mut doors = Vec::new();
    let mut forbidden = false;
    for port in ports {
        let tried = timeout(DOOR, transport.dial(&Target::loopback(*port))).await;
        let seen = match tried {
            Ok(Ok(_stream)) => Ok(()),
            Ok(Err(error)) => {
                forbidden |= matches!(error, TransportError::ForwardingForbidden { .. });
                Err(error.to_string())
            }
            Err(_) => Err(format!("no connection within {} s", DOOR.as_secs())),
        };
        doors.push((*port, seen));
    }
    (doors, forbidden)
}

fn served(answer: &Answer, probe: &Probe) -> Seen<String> {
    if answer.status != probe.status {
        return Err(format!("it answers with status {}", answer.status));
    }
    let Some(header) = &probe.header else { return Ok(answer.body.trim().to_owned()) };
    let value = answer.headers.get(header).and_then(|value| value.to_str().ok());
    value.map(str::to_owned).ok_or_else(|| format!("it answers without the header {header}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_only_by_what_cannot_be_the_way() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, after) = (at("2026-06-15T12:00:00.2Z"), at("2026-06-15T12:00:00.4Z"));
        let second = before.as_second();
        for (there, wanted) in [(second, 0.0), (second + 10, 9.6), (second - 10, -9.2)] {
            assert!((ahead(there, before, after) - wanted).abs() < 1e-6, "{there}");
        }
    }
}
