//! Whether a node is well: what a reading says of it, judged by thresholds, and a state that changes
//! only when readings agree.

use jiff::Timestamp;
use portway_model::{
    EngineKind,
    node::{HealthState, Thresholds},
};
use serde::{Deserialize, Serialize};

use crate::sample::{Disk, Folder, Sample, Seen};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Whether the node can be spoken with.
    Ssh,
    /// Whether the engine runs.
    Service,
    /// Whether its ports are listened on.
    Port,
    /// Whether it serves what was deployed.
    Probe,
    /// What is left of the disks.
    Disk,
    /// What is left of the memory.
    Memory,
    /// The certificates of the sites there.
    Certificate,
    /// The clock.
    Clock,
    /// Whether the engine's version has known holes.
    Version,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It could not be seen.
    Unknown,
    /// It deserves attention.
    Warning,
    /// Something that visitors need is not there.
    Failed,
}

/// A check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// What was looked at.
    pub check: Check,
    /// What came of it.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub state: HealthState,
    /// Since when.
    pub since: Timestamp,
    /// What the last reading said.
    pub checks: Vec<Judged>,
    /// The state that readings say since, and how many did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<(HealthState, u32)>,
}

/// What a node should be like.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The engine.
    pub engine: EngineKind,
    /// The release that was deployed; nothing where none was.
    pub release: Option<&'a str>,
    /// When the first certificate of the sites there ends; nothing where they have none.
    pub certificate: Option<Timestamp>,
    /// From where on something deserves attention.
    pub thresholds: &'a Thresholds,
}

/// Judges a reading.
pub fn judge(expected: &Expected<'_>, sample: &Sample) -> Vec<Judged> {
    let mut checks = vec![
        ok(Check::Ssh, "it answers"),
        service(expected, sample),
        ports(expected, sample),
        probe(expected, sample),
        disk(expected.thresholds, sample),
        memory(expected.thresholds, sample),
    ];
    checks.extend(certificate(expected, sample.at));
    checks.push(clock(expected.thresholds, &sample.clock));
    checks
}

/// Judges that a node could not be spoken with.
pub fn judge_unseen(why: &str, remedy: Option<String>) -> Vec<Judged> {
    vec![Judged { check: Check::Ssh, verdict: Verdict::Unknown, text: why.to_owned(), remedy }]
}

/// Returns the state that checks speak for.
fn state_of(checks: &[Judged]) -> HealthState {
    let is = |verdict: Verdict| checks.iter().any(|judged| judged.verdict == verdict);
    let is_away = checks
        .iter()
        .any(|judged| judged.check == Check::Ssh && judged.verdict == Verdict::Unknown);
    if is_away {
        HealthState::Unknown
    } else if is(Verdict::Failed) {
        HealthState::Down
    } else if is(Verdict::Warning) {
        HealthState::Degraded
    } else {
        HealthState::Healthy
    }
}

impl Health {
    /// Returns the health after a reading. The state changes when so many readings in a row as the
    /// thresholds ask for speak for the same other one; the first reading ever is believed.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        checks: Vec<Judged>,
        readings: u32,
        now: Timestamp,
    ) -> Self {
        let wanted = state_of(&checks);
        let Some(before) = before else {
            return Self { state: wanted, since: now, checks, pending: None };
        };
        if wanted == before.state {
            return Self { state: wanted, since: before.since, checks, pending: None };
        }
        let count = match before.pending {
            Some((state, count)) if state == wanted => count.saturating_add(1),
            Some(_) | None => 1,
        };
        if count >= readings {
            return Self { state: wanted, since: now, checks, pending: None };
        }
        let pending = Some((wanted, count));
        Self { state: before.state, since: before.since, checks, pending }
    }
}

fn judged(check: Check, verdict: Verdict, text: impl Into<String>, remedy: &str) -> Judged {
    let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
    Judged { check, verdict, text: text.into(), remedy }
}

fn ok(check: Check, text: impl Into<String>) -> Judged {
    judged(check, Verdict::Ok, text, "")
}

fn service(expected: &Expected<'_>, sample: &Sample) -> Judged {
    let engine = expected.engine;
    match &sample.service {
        Ok(service) if service.running => {
            ok(Check::Service, format!("{engine} runs: {}", service.state))
        }
        Ok(service) => judged(
            Check::Service,
            Verdict::Failed,
            format!("{engine} does not run: {}", service.state),
            "start it on the node; its own log tells why it ended (`portway logs --node NAME --engine`)",
        ),
        Err(why) => judged(
            Check::Service,
            Verdict::Unknown,
            format!("whether {engine} runs cannot be seen: {why}"),
            "",
        ),
    }
}

fn ports(expected: &Expected<'_>, sample: &Sample) -> Judged {
    if expected.release.is_none() {
        return ok(Check::Port, "nothing was deployed there yet");
    }
    let closed: Vec<String> = sample
        .ports
        .iter()
        .filter_map(|(port, open)| Some(format!("{port} ({})", open.as_ref().err()?)))
        .collect();
    if closed.is_empty() {
        return ok(Check::Port, "every port is listened on");
    }
    let verdict = if sample.forbids_forwarding { Verdict::Unknown } else { Verdict::Failed };
    judged(
        Check::Port,
        verdict,
        format!("nobody is reached on port {}", closed.join(" and on port ")),
        "see what keeps the engine from listening there",
    )
}

fn probe(expected: &Expected<'_>, sample: &Sample) -> Judged {
    let Some(release) = expected.release else {
        return ok(Check::Probe, "nothing was deployed there yet");
    };
    match &sample.answer {
        Ok(answer) if answer == release => {
            ok(Check::Probe, format!("it serves release {}", brief(release)))
        }
        Ok(answer) => judged(
            Check::Probe,
            Verdict::Warning,
            format!("it serves release {}, not {}", brief(answer), brief(release)),
            "`portway node deploy NAME` brings it to what it should have",
        ),
        Err(why) if sample.forbids_forwarding => judged(
            Check::Probe,
            Verdict::Unknown,
            format!("the engine cannot be asked: {why}"),
            "let whoever logs in forward to the node's loopback (`AllowTcpForwarding` of sshd)",
        ),
        Err(why) => judged(
            Check::Probe,
            Verdict::Failed,
            format!("the engine does not say what it serves: {why}"),
            "see whether it runs, and with which configuration",
        ),
    }
}

fn disk(thresholds: &Thresholds, sample: &Sample) -> Judged {
    let name = |folder: &Folder| match folder {
        Folder::Home => "with Portway's folder",
        Folder::Logs => "with the logs",
        Folder::Root => "at /",
    };
    let mut low = Vec::new();
    let mut unseen = Vec::new();
    for (folder, disk) in &sample.disks {
        match disk {
            Ok(disk) if percent(disk.free, disk.total) < f64::from(thresholds.disk) => {
                let left = percent(disk.free, disk.total);
                low.push(format!("{left:.0} % ({} MiB) {}", disk.free >> 20, name(folder)));
            }
            Ok(Disk { .. }) => {}
            Err(why) => unseen.push(why.clone()),
        }
    }
    if !low.is_empty() {
        let text = format!("of the disk is left: {}", low.join(", "));
        return judged(Check::Disk, Verdict::Warning, text, "make room on the node");
    }
    match unseen.pop() {
        Some(why) => judged(Check::Disk, Verdict::Unknown, why, ""),
        None => ok(Check::Disk, "there is room"),
    }
}

fn memory(thresholds: &Thresholds, sample: &Sample) -> Judged {
    let memory = match &sample.memory {
        Ok(memory) => memory,
        Err(why) => return judged(Check::Memory, Verdict::Unknown, why.clone(), ""),
    };
    let left = percent(memory.available, memory.total);
    if left >= f64::from(thresholds.memory) {
        return ok(Check::Memory, format!("{left:.0} % of the memory could still be had"));
    }
    judged(
        Check::Memory,
        Verdict::Warning,
        format!("only {left:.0} % of the memory could still be had"),
        "see what uses it on the node, or give the node more",
    )
}

fn certificate(expected: &Expected<'_>, now: Timestamp) -> Option<Judged> {
    let end = expected.certificate?;
    let left = end.duration_since(now).as_secs();
    let least = i64::try_from(expected.thresholds.certificate.0).unwrap_or(i64::MAX);
    Some(if left >= least {
        ok(Check::Certificate, format!("the first to end is good until {end}"))
    } else {
        let (verdict, text) = if left < 0 {
            (Verdict::Failed, format!("a certificate of the sites there ended at {end}"))
        } else {
            (Verdict::Warning, format!("a certificate of the sites there ends at {end}"))
        };
        let remedy = "`portway tasks` tells why it was not renewed; `portway node deploy NAME` brings a new one there";
        judged(Check::Certificate, verdict, text, remedy)
    })
}

fn clock(thresholds: &Thresholds, clock: &Seen<f64>) -> Judged {
    match clock {
        Ok(ahead) if ahead.abs() <= number(thresholds.clock.0) => ok(Check::Clock, "it is right"),
        Ok(ahead) => {
            let side = if *ahead > 0.0 { "ahead of" } else { "behind" };
            let text = format!("it is {:.0} s {side} the manager's", ahead.abs());
            let remedy = "have both keep time by NTP (`timedatectl set-ntp true`)";
            judged(Check::Clock, Verdict::Warning, text, remedy)
        }
        Err(why) => judged(Check::Clock, Verdict::Unknown, why.clone(), ""),
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { number(part) / number(whole) * 100.0 }
}

#[expect(clippy::cast_precision_loss, reason = "the last digits do not matter")]
const fn number(value: u64) -> f64 {
    value as f64
}

/// The beginning of a digest tells releases apart for people.
fn brief(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests;
