//! Whether an engine runs, and since when: as the manager of services says, and by its processes.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    sample::Seen,
    sections::{Sections, unreadable},
};

/// Linux tells times of processes in hundredths of a second, whatever it counts in itself.
const TICKS: u64 = 100;
/// So many processes of an engine are looked at; no engine has more.
const MOST_PROCESSES: usize = 10_000;

/// An engine as a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Whether it runs.
    pub running: bool,
    /// Since when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who says so.
    pub told_by: Told,
    /// In its own words: `active (running)`.
    pub state: String,
}

/// Who says whether a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// systemd.
    Systemd,
    /// `OpenRC`.
    Openrc,
    /// Its processes.
    Processes,
    /// The edge itself.
    Edge,
}

/// A process of the engine.
struct Process<'a> {
    pid: u64,
    parent: u64,
    /// Ticks after the machine's start.
    started: u64,
    is_dead: bool,
    command: &'a str,
}

/// Reads what is said of the service and its processes. `config` is the configuration that counts:
/// a process that names another one is somebody else's.
pub(crate) fn read(sections: &Sections<'_>, config: &str, now: Timestamp) -> Seen<Service> {
    let uptime = uptime(sections);
    let boot = uptime
        .and_then(|uptime| now.checked_sub(SignedDuration::try_from_secs_f64(uptime).ok()?).ok());
    let unit = sections.find("unit").and_then(|text| unit(text, boot));
    if let Some(unit) = unit.as_ref().filter(|unit| unit.running) {
        return Ok(unit.clone());
    }
    let text =
        sections.find("processes").ok_or("the reading ended before it came to the processes")?;
    let processes = processes(text).ok_or_else(|| unreadable("processes", text))?;
    let ours = masters(&processes, config).min_by_key(|process| process.started);
    match (ours, unit) {
        (Some(process), _) => Ok(Service {
            running: true,
            since: boot.and_then(|boot| after(boot, process.started)),
            told_by: Told::Processes,
            state: format!("process {}", process.pid),
        }),
        (None, Some(unit)) => Ok(unit),
        (None, None) if text.lines().next() == Some("all") => Ok(Service {
            running: false,
            since: None,
            told_by: Told::Processes,
            state: "no process".to_owned(),
        }),
        (None, None) => {
            Err("who logs in may not see the processes of others there (`hidepid`)".to_owned())
        }
    }
}

fn uptime(sections: &Sections<'_>) -> Option<f64> {
    sections.find("uptime")?.split_whitespace().next()?.parse().ok()
}

fn after(boot: Timestamp, ticks: u64) -> Option<Timestamp> {
    let milliseconds = i64::try_from(ticks.checked_mul(1000 / TICKS)?).ok()?;
    boot.checked_add(SignedDuration::from_millis(milliseconds)).ok()
}

/// Reads what the manager of services says; nothing where it does not know the service.
fn unit(text: &str, boot: Option<Timestamp>) -> Option<Service> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match field("manager")? {
        "systemd" => {
            field("LoadState").filter(|state| *state == "loaded")?;
            let state = field("ActiveState")?;
            let running = matches!(state, "active" | "reloading");
            let entered = if running { "ActiveEnter" } else { "InactiveEnter" };
            let since = field(&format!("{entered}TimestampMonotonic"))
                .and_then(|text| text.parse::<i64>().ok())
                .filter(|microseconds| *microseconds > 0);
            let since = boot.zip(since).and_then(|(boot, microseconds)| {
                boot.checked_add(SignedDuration::from_micros(microseconds)).ok()
            });
            let part = field("SubState").unwrap_or_default();
            let state = format!("{state} ({part})");
            Some(Service { running, since, told_by: Told::Systemd, state })
        }
        "openrc" => {
            let state = field("state")?;
            let running = state == "started";
            Some(Service { running, since: None, told_by: Told::Openrc, state: state.to_owned() })
        }
        _ => None,
    }
}

/// Reads pairs of lines: what `/proc/PID/stat` says, and the command line.
fn processes(text: &str) -> Option<Vec<Process<'_>>> {
    let mut lines = text.lines().skip_while(|line| *line == "all");
    let mut all = Vec::new();
    while let Some(stat) = lines.next().filter(|_| all.len() < MOST_PROCESSES) {
        let command = lines.next().unwrap_or_default().trim();
        let pid = stat.split_whitespace().next()?.parse().ok()?;
        let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let is_dead = matches!(rest.first(), Some(&("Z" | "X")));
        let parent = rest.get(1)?.parse().ok()?;
        let started = rest.get(19)?.parse().ok()?;
        all.push(Process { pid, parent, started, is_dead, command });
    }
    Some(all)
}

/// Returns the processes that no other one of them has started, and that read no other configuration.
fn masters<'a>(all: &'a [Process<'a>], config: &'a str) -> impl Iterator<Item = &'a Process<'a>> {
    let pids: BTreeSet<u64> = all.iter().map(|process| process.pid).collect();
    all.iter().filter(move |process| {
        let is_child = pids.contains(&process.parent);
        let named = named_config(process.command);
        !is_child && !process.is_dead && named.is_none_or(|named| named == config)
    })
}

/// Returns the configuration that a command line names.
fn named_config(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    while let Some(word) = words.next() {
        let lower = word.to_ascii_lowercase();
        if matches!(lower.as_str(), "-c" | "--config" | "-config" | "--configfile") {
            return words.next();
        }
        if let Some((option, value)) = word.split_once('=')
            && matches!(
                option.to_ascii_lowercase().as_str(),
                "--config" | "-config" | "--configfile"
            )
        {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-06-15T12:00:00Z".parse().unwrap()
    }

    fn judge(unit: &str, processes: &str) -> Seen<Service> {
        let text = format!("@uptime\n3600.00 100.0\n@unit\n{unit}@processes\n{processes}@end");
        read(&Sections::of(&text), "/etc/nginx/nginx.conf", now())
    }

    const MASTER: &str = "731 (nginx) S 1 731 731 0 -1 4194624 1 0 0 0 0 0 0 0 20 0 1 0 30000 11 2\n\
                          nginx: master process /usr/sbin/nginx -g daemon on; master_process on; \n\
                          732 (nginx) S 731 731 731 0 -1 4194624 1 0 0 0 0 0 0 0 20 0 1 0 40000 11 2\n\
                          nginx: worker process \n";

    #[test]
    fn systemd_says_whether_and_since_when() {
        let unit = "manager=systemd\nLoadState=loaded\nActiveState=active\nSubState=running\n\
                    ActiveEnterTimestampMonotonic=600000000\nInactiveEnterTimestampMonotonic=0\n";
        let service = judge(unit, "all\n").unwrap();
        assert_eq!(service.told_by, Told::Systemd);
        assert_eq!(service.state, "active (running)");
        assert_eq!(service.since.unwrap().to_string(), "2026-06-15T11:10:00Z");
        let failed =
            unit.replace("=active\n", "=failed\n").replace("Monotonic=0", "Monotonic=9000000");
        let service = judge(&failed, "all\n").unwrap();
        assert!(!service.running);
        assert_eq!(service.since.unwrap().to_string(), "2026-06-15T11:00:09Z");
    }

    #[test]
    fn a_service_that_nobody_manages_is_known_by_its_processes() {
        let unknown = "manager=systemd\nLoadState=not-found\nActiveState=inactive\n";
        for unit in ["", unknown] {
            let service = judge(unit, &format!("all\n{MASTER}")).unwrap();
            assert!(service.running);
            assert_eq!(service.state, "process 731");
            assert_eq!(service.since.unwrap().to_string(), "2026-06-15T11:05:00Z");
        }
        assert!(!judge("", "all\n").unwrap().running);
    }

    #[test]
    fn a_process_with_another_configuration_is_somebody_elses() {
        let other = MASTER.replace("-g daemon on;", "-c /tmp/x/nginx.conf");
        assert!(!judge("", &format!("all\n{other}")).unwrap().running);
        let same = MASTER.replace("-g daemon on;", "-c /etc/nginx/nginx.conf");
        assert!(judge("", &format!("all\n{same}")).unwrap().running);
        assert_eq!(named_config("traefik --configFile=/a/b.yml"), Some("/a/b.yml"));
        assert_eq!(
            named_config("caddy run --environ --config /etc/caddy/Caddyfile"),
            Some("/etc/caddy/Caddyfile")
        );
    }

    #[test]
    fn processes_that_cannot_be_seen_are_not_taken_for_gone() {
        assert!(judge("", "").unwrap_err().contains("hidepid"));
        let dead = MASTER.replace(") S ", ") Z ");
        assert!(!judge("", &format!("all\n{dead}")).unwrap().running);
        assert!(judge("", "all\nnonsense\n").unwrap_err().contains("not understood"));
    }

    #[test]
    fn what_a_node_makes_up_costs_little() {
        // Each says that another one has started it, which takes the longest to find out.
        let process = |pid: u64| {
            format!(
                "{pid} (nginx) S {} 1 1 0 -1 4194624 1 0 0 0 0 0 0 0 20 0 1 0 30000 11 2\nnginx\n",
                pid + 1
            )
        };
        let made_up: String = (1..=300_000).map(process).collect();
        let began = std::time::Instant::now();

        let service = judge("", &format!("all\n{made_up}")).unwrap();

        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
        let last = format!("process {MOST_PROCESSES}");
        assert_eq!(service.state, last, "those beyond the bound are not looked at");
    }

    #[test]
    fn openrc_is_believed() {
        assert!(judge("manager=openrc\nstate=started\n", "all\n").unwrap().running);
        assert!(!judge("manager=openrc\nstate=stopped\n", "all\n").unwrap().running);
    }
}
