//! `diff`, `history` and `revert`.

use portway_wire::{
    revision::{
        Diff as DiffAnswer, DiffQuery, Revert as RevertRequest, RevertSite, RevisionQuery,
        RevisionView,
    },
    site::{PlannedAction, PlannedChange},
};

use super::{apply::describe_change, paging};
use crate::{
    args::{Diff, History, Revert, Waiting},
    deployed,
    exit::{Exit, Failure, Outcome},
    findings::Sources,
    out::{Paint, Table, time},
    session::Session,
};

/// `portway history`
pub(super) async fn history(session: &Session, args: &History) -> Outcome {
    let client = session.client().await?;
    let base = RevisionQuery { site: args.site.clone(), ..RevisionQuery::default() };
    let revisions = paging::all(Some(args.limit), |cursor, count| {
        let query = RevisionQuery { cursor, limit: Some(count), ..base.clone() };
        let client = &client;
        async move { client.revisions(&query).await }
    })
    .await?;
    session.out.list(&revisions, table, "no revisions")?;
    Ok(Exit::Ok)
}

/// `portway diff`
pub(super) async fn diff(session: &Session, args: Diff) -> Outcome {
    let client = session.client().await?;
    let from = match args.from {
        Some(from) => from,
        None => {
            let newest = RevisionQuery {
                site: args.site.clone(),
                limit: Some(1),
                ..RevisionQuery::default()
            };
            let newest = client.revisions(&newest).await?.items.into_iter().next();
            let number = newest.map(|revision| revision.number);
            number.ok_or_else(|| Failure::new(Exit::NotFound, "there is no revision yet"))? - 1
        }
    };
    let query = DiffQuery { from, to: args.to, site: args.site };
    let diff = client.diff(&query).await?;
    if diff.changes.is_empty() {
        session.out.note("no difference")?;
    }
    session.out.show(&diff, |paint| describe(&diff, paint))?;
    Ok(Exit::Ok)
}

/// `portway revert`
pub(super) async fn revert(session: &Session, args: Revert) -> Outcome {
    if let (Some(site), Some(to)) = (&args.site, args.to) {
        return revert_site(session, site, to, args.message, args.waiting).await;
    }
    let Some(number) = args.number else {
        return Err(Failure::usage("name a revision, or a site with --to"));
    };
    let client = session.client().await?;
    let request = RevertRequest { even_if_changed: args.even_if_changed, message: args.message };
    let changed = client.revert(number, &request).await;
    let changed = changed.map_err(|error| match Failure::from(error) {
        failure if failure.exit == Exit::Conflict && failure.help.is_none() => failure
            .help("`portway history` shows what came since; --even-if-changed restores it anyway"),
        failure => failure,
    })?;
    deployed::finish(session, &client, &changed, &Sources::default(), args.waiting).await
}

/// `portway site revert`
pub(super) async fn revert_site(
    session: &Session,
    site: &str,
    to: i64,
    message: Option<String>,
    waiting: Waiting,
) -> Outcome {
    let client = session.client().await?;
    let changed = client.revert_site(site, &RevertSite { to, message }).await?;
    deployed::finish(session, &client, &changed, &Sources::default(), waiting).await
}

fn table(revisions: &[RevisionView]) -> Table {
    let rows = revisions.iter().map(|revision| {
        [
            revision.number.to_string(),
            time(revision.created_at),
            revision.author.clone(),
            revision.origin.clone(),
            touched(revision),
            revision.message.clone(),
        ]
    });
    Table::new(["n", "when", "who", "from", "what", "why"]).right("n").rows(rows)
}

/// Names what a revision touched: all of a few, the number of many.
fn touched(revision: &RevisionView) -> String {
    let sign = |action| match action {
        PlannedAction::Create => '+',
        PlannedAction::Update => '~',
        PlannedAction::Remove => '-',
    };
    if revision.changes.len() > 3 {
        return format!("{} things", revision.changes.len());
    }
    let names = revision.changes.iter().map(|change| {
        let kind = if change.kind == "site" { "" } else { &format!("{} ", change.kind) };
        format!("{}{kind}{}", sign(change.action), change.name)
    });
    names.collect::<Vec<_>>().join(" ")
}

fn describe(diff: &DiffAnswer, paint: Paint) -> String {
    let of = |change: &PlannedChange| describe_change(change, paint);
    diff.changes.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use portway_wire::revision::RevisionChange;

    use super::*;

    fn revision(changes: usize) -> RevisionView {
        let change = |index| RevisionChange {
            kind: if index == 0 { "site" } else { "user" }.to_owned(),
            name: format!("x{index}"),
            action: PlannedAction::Update,
            diff: None,
        };
        RevisionView {
            number: 3,
            author: "ann".to_owned(),
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            message: String::new(),
            origin: "api".to_owned(),
            changes: (0..changes).map(change).collect(),
        }
    }

    #[test]
    fn few_things_are_named_and_many_counted() {
        assert_eq!(touched(&revision(2)), "~x0 ~user x1");
        assert_eq!(touched(&revision(4)), "4 things");
    }
}
