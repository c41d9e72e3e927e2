//! `plan`, `apply`, `check` and `export`: site files.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};

use indexmap::IndexMap;
use portway_model::{Finding, Name};
use portway_sitefile::Loaded;
use portway_wire::{
    ProblemCode,
    client::{Client, ClientError},
    plan::PlanQuery,
    site::{ApplySites, Plan, PlannedAction, PlannedChange},
};
use uuid::Uuid;

use super::plan::{kept::KeptPlan, nodes};
use crate::{
    args::{Apply, Export, FileArgs, SourceArgs, Waiting},
    deployed,
    exit::{Exit, Failure, Outcome},
    files,
    findings::{self, Sources},
    input,
    out::{Out, Paint, unified},
    session::Session,
};

/// `portway check`
pub(super) fn check(session: &Session, args: &FileArgs) -> Outcome {
    let out = &session.out;
    let (sources, loaded) = files::read(args)?;
    let names: Vec<&Name> = loaded.sites.keys().collect();
    if out.is_json() {
        out.json(&serde_json::json!({ "sites": names, "findings": loaded.findings }))?;
    } else {
        findings::show(out, &loaded.findings, &sources)?;
    }
    if loaded.has_errors() {
        return Ok(Exit::Findings);
    }
    out.note(&format!("{} {}", out.paint_err.good("sound:"), count(names.len(), "site")))?;
    Ok(Exit::Ok)
}

/// `portway apply`
pub(super) async fn apply(session: &Session, mut args: Apply) -> Outcome {
    let out = &session.out;
    let kept = args.plan.as_deref().map(KeptPlan::read).transpose()?;
    if let Some(kept) = &kept {
        kept.lay_over(&mut args.files, &mut args.source);
    }
    let (sources, loaded) = files::read_sound(out, &args.files)?;
    let client = session.client().await?;
    let mut wanted = wanted(&args.files, &args.source, &loaded, args.message.clone())?;
    wanted.rollout = args.rollout.strategy();
    let plan = match kept {
        Some(kept) => {
            // What is said here counts instead of what was said to the plan.
            wanted.rollout = wanted.rollout.or(kept.rollout);
            wanted.basis.clone_from(&kept.plan.basis);
            kept.plan
        }
        None => ask(session, &client, &wanted, &sources, PlanQuery::default()).await?,
    };
    if !out.is_json() {
        out.note(&format!(
            "{}{}",
            nodes::waves(&plan, out.paint_err),
            describe(&plan, out.paint_err)
        ))?;
        for line in nodes::refusals(&plan, out.paint_err) {
            out.note(&line)?;
        }
        findings::show(out, &loaded.findings, &sources)?;
    }
    if plan.findings.iter().any(Finding::is_error) {
        findings::show(out, &plan.findings, &sources)?;
        return Err(Failure::new(Exit::Findings, "nothing was changed"));
    }
    if !may_remove(&plan, args.yes)? {
        return Err(Failure::new(Exit::Failed, "not confirmed; nothing was changed"));
    }
    let progress = out.progress("sites are being written");
    let changed = progress.during(client.apply(&wanted, Uuid::now_v7())).await;
    let changed = changed.map_err(|error| refused(out, error, &sources))?;
    deployed::finish(session, &client, &changed, &sources, args.waiting).await
}

/// Applies a text as `apply` does a file, for other commands. Nothing is written that was not seen:
/// the plan is shown first, and somebody says yes.
pub(super) async fn apply_text(
    session: &Session,
    source: &str,
    text: &str,
    yes: bool,
    waiting: Waiting,
) -> Outcome {
    let out = &session.out;
    let (sources, loaded) = files::load_text(source, text);
    if loaded.has_errors() {
        findings::show(out, &loaded.findings, &sources)?;
        return Err(Failure::new(Exit::Findings, "the sites have errors; nothing was sent"));
    }
    let client = session.client().await?;
    let wanted = wanted_from(source.to_owned(), &loaded)?;
    let plan = ask(session, &client, &wanted, &sources, PlanQuery::default()).await?;
    out.note(&describe(&plan, out.paint_err))?;
    if plan.findings.iter().any(Finding::is_error) {
        findings::show(out, &plan.findings, &sources)?;
        return Err(Failure::new(Exit::Findings, "nothing was changed"));
    }
    if !yes {
        if !input::is_interactive() {
            return Err(Failure::usage("there is no terminal to ask at")
                .help("say --yes to apply without being asked"));
        }
        if !input::confirm("Apply these sites?")? {
            return Err(Failure::new(Exit::Failed, "not confirmed; nothing was changed"));
        }
    }
    let progress = out.progress("sites are being written");
    let changed = progress.during(client.apply(&wanted, Uuid::now_v7())).await;
    let changed = changed.map_err(|error| refused(out, error, &sources))?;
    deployed::finish(session, &client, &changed, &sources, waiting).await
}

/// `portway export`
pub(super) async fn export(session: &Session, args: &Export) -> Outcome {
    let out = &session.out;
    let client = session.client().await?;
    let export = out.progress("sites are being read").during(client.export()).await?;
    let text = portway_sitefile::export(&export.sites);
    match &args.file {
        Some(path) => {
            let written = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()));
            written
                .map_err(|error| Failure::failed(format!("cannot write {path}")).because(&error))?;
            out.note(&format!("{path}: {}", count(export.sites.len(), "site")))?;
        }
        None => out.show(&export, |_| text)?,
    }
    Ok(Exit::Ok)
}

/// Returns what the files want, as the manager is asked for it.
pub(super) fn wanted(
    args: &FileArgs,
    source: &SourceArgs,
    loaded: &Loaded,
    message: Option<String>,
) -> Result<ApplySites, Failure> {
    let name = match &source.source {
        Some(name) => name.clone(),
        None => files::source_name(args)?,
    };
    let wanted = wanted_from(name, loaded)?;
    Ok(ApplySites { prune: source.prune, owner: source.owner.clone(), message, ..wanted })
}

fn wanted_from(source: String, loaded: &Loaded) -> Result<ApplySites, Failure> {
    let spec = |(name, site): (&Name, &portway_sitefile::LoadedSite)| {
        let value = serde_json::to_value(&site.spec);
        value.map(|value| (name.clone(), value))
    };
    let sites: Result<IndexMap<_, _>, _> = loaded.sites.iter().map(spec).collect();
    let sites =
        sites.map_err(|error| Failure::failed("the sites cannot be sent").because(&error))?;
    Ok(ApplySites { source, sites, ..ApplySites::default() })
}

pub(super) async fn ask(
    session: &Session,
    client: &Client,
    wanted: &ApplySites,
    sources: &Sources,
    query: PlanQuery,
) -> Result<Plan, Failure> {
    let progress = session.out.progress("the manager compares");
    let plan = progress.during(client.plan(wanted, query)).await;
    plan.map_err(|error| refused(&session.out, error, sources))
}

/// Shows what the manager found wrong with the files, at its place in them.
fn refused(out: &Out, error: ClientError, sources: &Sources) -> Failure {
    let tells = |code| matches!(code, ProblemCode::Invalid | ProblemCode::Conflict);
    let Some(problem) = error.problem().filter(|problem| tells(problem.code)) else {
        return error.into();
    };
    if let Err(failure) = findings::show(out, &problem.findings, sources) {
        return failure;
    }
    let mut failure = Failure::from(error);
    if let Some(problem) = failure.problem.as_mut().filter(|_| !out.is_json()) {
        // They were shown where they stand.
        problem.findings.clear();
    }
    failure
}

/// Nothing is removed unless somebody said so, there and then.
fn may_remove(plan: &Plan, yes: bool) -> Result<bool, Failure> {
    let removed: Vec<&str> = plan
        .changes
        .iter()
        .filter(|change| change.action == PlannedAction::Remove)
        .map(|change| change.site.as_str())
        .collect();
    if removed.is_empty() || yes {
        return Ok(true);
    }
    let what = removed.join(", ");
    if !input::is_interactive() {
        return Err(Failure::usage(format!("{what} would be removed"))
            .help("say --yes to remove without being asked, or leave --prune away"));
    }
    input::confirm(&format!("Remove {what}?"))
}

pub(super) fn all_findings(loaded: &Loaded, plan: &Plan) -> Vec<Finding> {
    loaded.findings.iter().chain(&plan.findings).cloned().collect()
}

/// Writes a plan for people.
pub(super) fn describe(plan: &Plan, paint: Paint) -> String {
    let mut text: String =
        plan.changes.iter().map(|change| describe_change(change, paint)).collect();
    text.push_str(&totals(plan));
    text
}

/// Writes what becomes of a site.
pub(super) fn describe_change(change: &PlannedChange, paint: Paint) -> String {
    let site = crate::out::clean(&change.site);
    let head = match change.action {
        PlannedAction::Create => paint.good(&format!("+ create {site}")),
        PlannedAction::Update => paint.warn(&format!("~ update {site}")),
        PlannedAction::Remove => paint.bad(&format!("- remove {site}")),
    };
    format!("{head}\n{}", unified(&change.diff, paint))
}

fn totals(plan: &Plan) -> String {
    let of = |action| plan.changes.iter().filter(|change| change.action == action).count();
    let parts = [
        (of(PlannedAction::Create), "to create"),
        (of(PlannedAction::Update), "to update"),
        (of(PlannedAction::Remove), "to remove"),
        (plan.unchanged, "unchanged"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if parts.is_empty() { "nothing is declared".to_owned() } else { parts.join(", ") }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(actions: &[PlannedAction], unchanged: usize) -> Plan {
        let change = |action: &PlannedAction| PlannedChange {
            site: "app".to_owned(),
            action: *action,
            diff: "@@ -0,0 +1 @@\n+hosts: [a]\n".to_owned(),
        };
        let changes = actions.iter().map(change).collect();
        Plan { changes, unchanged, ..Plan::default() }
    }

    #[test]
    fn a_plan_says_what_and_how_many() {
        let plan = plan(&[PlannedAction::Create, PlannedAction::Remove], 3);
        assert_eq!(
            describe(&plan, Paint::new(false)),
            "+ create app\n    @@ -0,0 +1 @@\n    +hosts: [a]\n- remove app\n    \
             @@ -0,0 +1 @@\n    +hosts: [a]\n1 to create, 1 to remove, 3 unchanged"
        );
    }

    #[test]
    fn nothing_is_removed_without_a_word() {
        assert!(
            may_remove(&plan(&[PlannedAction::Create, PlannedAction::Update], 0), false).unwrap()
        );
        assert!(may_remove(&plan(&[PlannedAction::Remove], 0), true).unwrap());
    }
}
