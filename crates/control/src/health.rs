//! How Portway is, truthfully.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use camino::Utf8Path;
use portway_cert::root_notice;
use portway_model::Id;
use portway_wire::system::{Health, HealthCheck, HealthStatus};
use tracing::error;
use uuid::Uuid;

use crate::{Control, actor::Actor, recent::Recent};

/// Less free space than this needs attention.
const LOW_DISK: u64 = 512 << 20;
/// Less free space than this stops writes soon.
const FULL_DISK: u64 = 32 << 20;
/// A check that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long what was found is told again.
const FRESH: Duration = Duration::from_secs(3);

/// What was found, for all who ask for a while.
#[derive(Debug)]
pub(crate) struct Checked {
    checks: Vec<HealthCheck>,
    set_up: bool,
}

/// What is remembered between one look and the next.
pub(crate) struct HealthWatch {
    recent: Recent<Arc<Checked>>,
    /// Whether a look at the disk is under way. A dead network disk holds its thread for ever, so
    /// there is never a second one.
    disk: Arc<AtomicBool>,
}

impl HealthWatch {
    pub(crate) fn new() -> Self {
        Self { recent: Recent::new(FRESH), disk: Arc::default() }
    }
}

impl Control {
    /// Says how everything is: to everybody in a word; version and single checks to those who see
    /// what concerns the installation as a whole. Nobody can make the checks run more often than
    /// every few seconds.
    pub async fn health(&self, actor: Option<&Actor>) -> Health {
        let control = self.clone();
        let checked = self.inner.health.recent.get(|| async move { control.check_all().await });
        let checked = checked.await.unwrap_or_else(|error| {
            error!("the health checks broke off: {error}");
            let broken = failed("health", "the checks broke off; the log of the manager tells why");
            Arc::new(Checked { checks: vec![broken], set_up: true })
        });
        let worst = checked.checks.iter().map(|check| check.status).max();
        let sees = actor.is_some_and(Actor::oversees);
        Health {
            status: worst.unwrap_or(HealthStatus::Ok),
            version: sees.then(|| env!("CARGO_PKG_VERSION").to_owned()),
            set_up: checked.set_up || self.looks_set_up().await,
            checks: if sees { checked.checks.clone() } else { Vec::new() },
        }
    }

    async fn check_all(self) -> Arc<Checked> {
        let (database, edge, disk, set_up) = tokio::join!(
            within(DEADLINE, "database", self.check_database()),
            within(DEADLINE, "edge", self.check_edge()),
            within(DEADLINE, "disk", self.check_disk()),
            self.looks_set_up(),
        );
        let checks = vec![database, edge, self.check_tasks(), disk, self.check_certificates()];
        Arc::new(Checked { checks, set_up })
    }

    /// Tells whether an administrator exists. While the database does not answer, nobody is asked
    /// to make one.
    async fn looks_set_up(&self) -> bool {
        match tokio::time::timeout(DEADLINE, self.is_set_up()).await {
            Ok(Ok(set_up)) => set_up,
            Ok(Err(_)) | Err(_) => true,
        }
    }

    async fn check_database(&self) -> HealthCheck {
        match self.inner.store.health().await {
            Ok(health) => {
                let ms = health.round_trip.as_secs_f64() * 1000.0;
                let detail = format!(
                    "{:?} {}, answers in {ms:.1} ms, holds {} KiB",
                    health.backend,
                    health.version,
                    health.size >> 10
                );
                check("database", HealthStatus::Ok, detail)
            }
            Err(error) => failed("database", error.to_string()),
        }
    }

    async fn check_edge(&self) -> HealthCheck {
        let name = "edge";
        let status = match self.inner.edge.status().await {
            Ok(status) => status,
            Err(error) => return failed(name, error.to_string()),
        };
        let own = env!("CARGO_PKG_VERSION");
        let detail = format!(
            "version {}, {} site(s), {} connection(s), since {}",
            status.version, status.sites, status.connections, status.started_at
        );
        match self.inner.deploy.fault() {
            Some(fault) => check(name, HealthStatus::Degraded, format!("{detail}; {fault}")),
            None if let Some(failed) = &status.failed_upgrade => check(
                name,
                HealthStatus::Degraded,
                format!(
                    "{detail}; the upgrade to version {} at {} failed, and this one serves on: {}",
                    failed.version, failed.at, failed.reason
                ),
            ),
            None if status.version != own => check(
                name,
                HealthStatus::Degraded,
                format!(
                    "{detail}; the manager has version {own}: upgrade the edge, by `systemctl reload portway-edge` or `portway edge --upgrade`"
                ),
            ),
            None => check(name, HealthStatus::Ok, detail),
        }
    }

    async fn check_disk(&self) -> HealthCheck {
        let pending = Arc::clone(&self.inner.health.disk);
        if pending.swap(true, Ordering::AcqRel) {
            return failed("disk", "the disk has not answered since the look before");
        }
        let folder = self.inner.config.data_dir.clone();
        let look = move || {
            let found = disk(&folder);
            pending.store(false, Ordering::Release);
            found
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.unwrap_or_else(|error| failed("disk", format!("the look broke off: {error}")))
    }

    fn check_tasks(&self) -> HealthCheck {
        let failed: Vec<String> = self
            .task_handles()
            .iter()
            .filter_map(|task| task.failed().map(|why| format!("{}: {why}", task.info().name)))
            .collect();
        if failed.is_empty() {
            check("tasks", HealthStatus::Ok, "every task did what it should".to_owned())
        } else {
            check("tasks", HealthStatus::Degraded, failed.join("; "))
        }
    }

    fn check_certificates(&self) -> HealthCheck {
        let root = self.inner.authority.record(Id::from_uuid(Uuid::nil()));
        match root_notice(&root, self.now()) {
            Some(finding) => check("certificates", HealthStatus::Degraded, finding.text),
            None => {
                let day = root.not_after.strftime("%Y-%m-%d");
                let detail = format!("the local authority is valid until {day}");
                check("certificates", HealthStatus::Ok, detail)
            }
        }
    }
}

/// A check that does not answer has failed: nothing is said to be well that was not seen.
async fn within(
    deadline: Duration,
    name: &str,
    check: impl Future<Output = HealthCheck>,
) -> HealthCheck {
    tokio::time::timeout(deadline, check)
        .await
        .unwrap_or_else(|_| failed(name, format!("no answer within {} s", deadline.as_secs())))
}

fn disk(folder: &Utf8Path) -> HealthCheck {
    let name = "disk";
    match rustix::fs::statvfs(folder.as_std_path()) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB free in {folder}", free >> 20);
            let status = match free {
                free if free < FULL_DISK => HealthStatus::Failed,
                free if free < LOW_DISK => HealthStatus::Degraded,
                _ => HealthStatus::Ok,
            };
            check(name, status, detail)
        }
        Err(error) => failed(name, format!("cannot look at {folder}: {error}")),
    }
}

fn failed(name: &str, detail: impl Into<String>) -> HealthCheck {
    check(name, HealthStatus::Failed, detail)
}

fn check(name: &str, status: HealthStatus, detail: impl Into<String>) -> HealthCheck {
    HealthCheck { name: name.to_owned(), status, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_in_time_has_failed() {
        let silent = within(DEADLINE, "database", std::future::pending()).await;
        assert_eq!(silent, failed("database", "no answer within 2 s"));
        let quick = within(DEADLINE, "edge", async { check("edge", HealthStatus::Ok, "") }).await;
        assert_eq!(quick.status, HealthStatus::Ok);
    }

    #[test]
    fn a_folder_that_is_gone_has_failed() {
        assert_eq!(disk(Utf8Path::new("/no/such/folder")).status, HealthStatus::Failed);
    }
}
