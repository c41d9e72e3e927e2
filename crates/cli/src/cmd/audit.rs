//! `audit`

use portway_wire::user::{AuditQuery, AuditView};

use super::paging;
use crate::{
    args::Audit,
    exit::{Exit, Outcome},
    out::{Table, time},
    session::Session,
};

/// `portway audit`
pub(super) async fn audit(session: &Session, args: Audit) -> Outcome {
    let client = session.client().await?;
    let base = AuditQuery {
        actor: args.actor,
        action: args.action,
        resource: args.resource,
        outcome: args.refused.then(|| "refused".to_owned()),
        ..AuditQuery::default()
    };
    let lines = paging::all(Some(args.limit), |cursor, count| {
        let query = AuditQuery { cursor, limit: Some(count), ..base.clone() };
        let client = &client;
        async move { client.audit(&query).await }
    })
    .await?;
    session.out.list(&lines, table, "no such lines in the audit log")?;
    Ok(Exit::Ok)
}

fn table(lines: &[AuditView]) -> Table {
    let rows = lines.iter().map(|line| {
        [
            time(line.at),
            line.actor.clone(),
            line.from.clone(),
            line.action.clone(),
            line.resource.clone(),
            line.outcome.clone(),
            line.detail.clone(),
        ]
    });
    Table::new(["when", "who", "from", "action", "with", "outcome", "detail"]).rows(rows)
}
