//! How Portway is, truthfully.

use std::time::Duration;

use camino::Utf8Path;
use portway_cert::root_notice;
use portway_model::Id;
use portway_wire::system::{Health, HealthCheck, HealthStatus};
use uuid::Uuid;

use crate::{Control, actor::Actor};

/// Less free space than this needs attention.
const LOW_DISK: u64 = 512 << 20;
/// Less free space than this stops writes soon.
const FULL_DISK: u64 = 32 << 20;
/// An answer of the edge later than this is none.
const EDGE_DEADLINE: Duration = Duration::from_secs(2);

impl Control {
    /// Says how everything is; the single checks only to those who are known.
    pub async fn health(&self, actor: Option<&Actor>) -> Health {
        let checks = vec![
            self.check_database().await,
            self.check_edge().await,
            self.check_tasks(),
            check_disk(&self.inner.config.data_dir),
            self.check_certificates(),
        ];
        let status = checks.iter().map(|check| check.status).max().unwrap_or(HealthStatus::Ok);
        Health {
            status,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            set_up: self.is_set_up().await.unwrap_or(true),
            checks: if actor.is_some() { checks } else { Vec::new() },
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
            Err(error) => check("database", HealthStatus::Failed, error.to_string()),
        }
    }

    async fn check_edge(&self) -> HealthCheck {
        let name = "edge";
        match tokio::time::timeout(EDGE_DEADLINE, self.inner.edge.status()).await {
            Ok(Ok(status)) => {
                let own = env!("CARGO_PKG_VERSION");
                let detail = format!(
                    "version {}, {} site(s), {} connection(s), since {}",
                    status.version, status.sites, status.connections, status.started_at
                );
                match self.inner.deploy.fault() {
                    Some(fault) => {
                        check(name, HealthStatus::Degraded, format!("{detail}; {fault}"))
                    }
                    None if status.version != own => check(
                        name,
                        HealthStatus::Degraded,
                        format!("{detail}; the manager has version {own}: restart the edge"),
                    ),
                    None => check(name, HealthStatus::Ok, detail),
                }
            }
            Ok(Err(error)) => check(name, HealthStatus::Failed, error.to_string()),
            Err(_) => check(name, HealthStatus::Failed, "the edge does not answer".to_owned()),
        }
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

fn check_disk(folder: &Utf8Path) -> HealthCheck {
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
        Err(error) => {
            check(name, HealthStatus::Failed, format!("cannot look at {folder}: {error}"))
        }
    }
}

fn check(name: &str, status: HealthStatus, detail: String) -> HealthCheck {
    HealthCheck { name: name.to_owned(), status, detail }
}
