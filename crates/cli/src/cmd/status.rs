//! `status`, `tasks` and `cert list`.

use jiff::Timestamp;
use portway_wire::{
    PageQuery,
    system::{CertificateView, Health, HealthStatus, TaskView},
};

use super::paging;
use crate::{
    exit::{Exit, Outcome},
    out::{Paint, Table, clean, list, or_dash, time},
    session::Session,
};

/// `portway status`
pub(super) async fn status(session: &Session) -> Outcome {
    let health = session.client().await?.health().await?;
    session.out.show(&health, |paint| describe(&health, paint))?;
    Ok(if health.status == HealthStatus::Failed { Exit::Failed } else { Exit::Ok })
}

/// `portway tasks`
pub(super) async fn tasks(session: &Session) -> Outcome {
    let tasks = session.client().await?.tasks().await?;
    session.out.list(&tasks.items, task_table, "no tasks")?;
    Ok(Exit::Ok)
}

/// `portway cert list`
pub(super) async fn certificates(session: &Session) -> Outcome {
    let client = session.client().await?;
    let certificates = paging::all(None, |cursor, count| {
        let query = PageQuery { cursor, limit: Some(count) };
        let client = &client;
        async move { client.certificates(&query).await }
    })
    .await?;
    let now = session.now();
    let table = |items: &[CertificateView]| certificate_table(items, now);
    session.out.list(&certificates, table, "no certificates yet")?;
    Ok(Exit::Ok)
}

fn describe(health: &Health, paint: Paint) -> String {
    let version = health.version.as_deref().map(|version| format!(" {}", clean(version)));
    let head = format!("Portway{}: {}\n", version.unwrap_or_default(), word(health.status, paint));
    let checks = health.checks.iter().map(|check| {
        let name = format!("{:<14}", clean(&check.name));
        format!("  {name} {}  {}\n", word(check.status, paint), clean(&check.detail))
    });
    let next = if health.set_up { "" } else { "\nThere is no administrator yet: portway setup\n" };
    head + &checks.collect::<String>() + next
}

fn word(status: HealthStatus, paint: Paint) -> String {
    match status {
        HealthStatus::Ok => paint.good("ok"),
        HealthStatus::Degraded => paint.warn("degraded"),
        HealthStatus::Failed => paint.bad("failed"),
    }
}

fn task_table(tasks: &[TaskView]) -> Table {
    let rows = tasks.iter().map(|task| {
        [
            task.name.clone(),
            or_dash(task.manager.as_ref()),
            or_dash(task.last_outcome.as_ref()),
            or_dash(task.last_finished_at.map(time)),
            or_dash(task.next_run_at.map(time)),
            task.last_message.clone().unwrap_or_default(),
        ]
    });
    Table::new(["name", "manager", "outcome", "last run", "next run", "message"]).rows(rows)
}

fn certificate_table(certificates: &[CertificateView], now: Timestamp) -> Table {
    let rows = certificates.iter().map(|certificate| {
        let days = certificate.not_after.duration_since(now).as_hours() / 24;
        [
            list(&certificate.names),
            certificate.source.clone(),
            time(certificate.not_after),
            days.to_string(),
            certificate.fingerprint.chars().take(16).collect(),
        ]
    });
    Table::new(["names", "from", "ends", "days", "sha-256"]).right("days").rows(rows)
}

#[cfg(test)]
mod tests {
    use portway_wire::system::HealthCheck;

    use super::*;

    #[test]
    fn the_status_says_what_to_do_next() {
        let check = HealthCheck {
            name: "database".to_owned(),
            status: HealthStatus::Degraded,
            detail: "slow".to_owned(),
        };
        let health = Health {
            status: HealthStatus::Degraded,
            version: Some("1".to_owned()),
            set_up: false,
            checks: vec![check],
        };
        assert_eq!(
            describe(&health, Paint::new(false)),
            "Portway 1: degraded\n  database       degraded  slow\n\nThere is no administrator \
             yet: portway setup\n"
        );
    }
}
