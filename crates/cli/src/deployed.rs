//! What happens after a change is written: waiting for the nodes, and saying where the sites are.

use std::{collections::BTreeSet, time::Duration};

use portway_model::{Finding, Location, ResourceKind};
use portway_wire::{
    client::Client,
    deploy::{MissingNode, RevisionProgress, WaitQuery},
    rollout::RolloutView,
    site::{Changed, SiteView},
};
use serde::Serialize;

use crate::{
    args::Waiting,
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    out::clean_line,
    session::Session,
    urls,
};

/// How long one question waits for its answer; then it is asked again.
const SECONDS_PER_QUESTION: u64 = 4;

/// What a change came to, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    revision: Option<i64>,
    sites: &'a [String],
    urls: Vec<String>,
    held: bool,
    findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'a RevisionProgress>,
}

/// Finishes a command that wrote a change.
pub(crate) async fn finish(
    session: &Session,
    client: &Client,
    changed: &Changed,
    sources: &Sources,
    waiting: Waiting,
) -> Outcome {
    let Some(revision) = changed.revision else {
        session.out.note("nothing to change")?;
        return report(session, changed, Vec::new(), None, sources);
    };
    let progress =
        if waiting.waits() { Some(wait(session, client, revision).await?) } else { None };
    let mut urls = Vec::new();
    for site in changed.sites.iter().take(urls::MOST) {
        // A site that was removed has no address any more.
        if let Ok(view) = client.site(site).await {
            urls.extend(urls::of(session, &view.effective).await);
        }
    }
    report(session, changed, urls, progress.as_ref(), sources)
}

/// Finishes a command that made one site.
pub(crate) async fn finish_site(
    session: &Session,
    client: &Client,
    view: &SiteView,
    waiting: Waiting,
) -> Outcome {
    finish(session, client, &made(view), &Sources::default(), waiting).await
}

/// Returns the change that made a site.
pub(crate) fn made(view: &SiteView) -> Changed {
    Changed {
        revision: Some(view.summary.revision),
        sites: vec![view.summary.name.clone()],
        findings: view.findings.clone(),
    }
}

/// Waits until every node carries out a revision, or holds what failed, or is in trouble, or until its
/// rollout rests.
pub(crate) async fn wait(
    session: &Session,
    client: &Client,
    revision: i64,
) -> Result<RevisionProgress, Failure> {
    let progress = session.out.progress(&format!("revision {revision} is being carried out"));
    let query = WaitQuery { timeout: Some(SECONDS_PER_QUESTION) };
    let waiting = async {
        loop {
            let answer = client.progress(revision, &query).await?;
            if answer.done || answer.rests {
                return Ok(answer);
            }
            // A manager that answers early is not asked without a pause.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    progress.during(waiting).await
}

fn report(
    session: &Session,
    changed: &Changed,
    urls: Vec<String>,
    progress: Option<&RevisionProgress>,
    sources: &Sources,
) -> Outcome {
    let held = progress.map(|progress| progress.findings.as_slice()).unwrap_or_default();
    let rollout = progress.and_then(|progress| progress.rollout.as_ref());
    let rests_early = rollout.is_some_and(|rollout| !has_arrived(&rollout.state));
    let missing = progress.map(|progress| progress.missing.as_slice()).unwrap_or_default();
    let is_held = rests_early || !missing.is_empty() || held.iter().any(Finding::is_error);
    let mut all: Vec<Finding> = changed.findings.clone();
    // What was said of the change stays said of what came of it.
    all.extend(held.iter().filter(|finding| !changed.findings.contains(finding)).cloned());
    if session.out.is_json() {
        let sites = &changed.sites;
        let report = Report {
            revision: changed.revision,
            sites,
            urls,
            held: is_held,
            findings: all,
            progress,
        };
        session.out.json(&report)?;
    } else {
        findings::show(&session.out, &all, sources)?;
        if let Some(rollout) = rollout.filter(|_| rests_early) {
            session.out.note(&rollout_told(session, rollout))?;
        } else if let (Some(revision), [_, ..]) = (changed.revision, missing) {
            session.out.note(&missing_told(session, revision, missing))?;
        } else if let Some(revision) = changed.revision {
            session.out.note(&told(
                session,
                revision,
                &changed.sites,
                progress.is_some(),
                is_held.then(|| held_sites(held)).as_ref(),
            ))?;
        }
        if !urls.is_empty() {
            session.out.text(&urls.join("\n"))?;
        }
    }
    Ok(if is_held { Exit::Held } else { Exit::Ok })
}

/// Tells whether a rollout brought its revision to every node, or has nothing left to bring.
fn has_arrived(state: &str) -> bool {
    matches!(state, "done" | "superseded")
}

/// Returns the words for where a rollout stands.
pub(crate) fn rollout_state(state: &str, why: Option<&str>) -> String {
    let text = match (state, why) {
        ("paused", Some("failure")) => "paused, because a node failed",
        ("paused", Some("wave_done")) => "paused, a wave is done",
        ("going_back", _) => "going back",
        ("undone", Some("failure")) => "undone, because a node failed",
        ("partial", _) => "done but for the nodes that failed",
        (other, _) => other,
    };
    text.to_owned()
}

fn rollout_told(session: &Session, rollout: &RolloutView) -> String {
    let RolloutView { revision, counts, .. } = rollout;
    let next = if rollout.state == "paused" {
        format!(
            "; `portway rollout resume {revision}` goes on, `portway rollout abort {revision} --back` takes it back"
        )
    } else {
        format!("; `portway rollout show {revision}` tells of each node")
    };
    let state = rollout_state(&rollout.state, rollout.why.as_deref());
    format!(
        "{} {} of {} node(s) have revision {revision}, {} failed{next}",
        session.out.paint_err.warn(&format!("{state}:")),
        counts.have,
        counts.nodes,
        counts.failed,
    )
}

/// Says which nodes do not have a revision yet, why, and what comes next.
fn missing_told(session: &Session, revision: i64, missing: &[MissingNode]) -> String {
    let paint = &session.out.paint_err;
    let mut lines = vec![format!(
        "{} revision {revision} is not on {}; it comes there by itself once that is mended",
        paint.warn("not everywhere:"),
        if missing.len() == 1 { "one node".to_owned() } else { format!("{} nodes", missing.len()) },
    )];
    lines.extend(missing.iter().map(|missing| {
        let trouble = missing.trouble.as_deref().unwrap_or("it is being carried out");
        format!("  {}: {}", missing.node, clean_line(trouble))
    }));
    if let Some(first) = missing.iter().find(|missing| missing.since.is_some()) {
        lines.push(format!("`portway node check {}` tells more", first.node));
    }
    lines.join("\n")
}

/// Returns the names of the sites of which a version is held, each once.
fn held_sites(findings: &[Finding]) -> BTreeSet<String> {
    let site = |finding: &Finding| match &finding.at {
        Location::Field { resource, .. } if resource.kind == ResourceKind::Site => {
            Some(resource.name.clone())
        }
        Location::Field { .. }
        | Location::Source(_)
        | Location::Host(_)
        | Location::Installation => None,
    };
    findings.iter().filter(|finding| finding.is_error()).filter_map(site).collect()
}

fn told(
    session: &Session,
    revision: i64,
    sites: &[String],
    waited: bool,
    held: Option<&BTreeSet<String>>,
) -> String {
    let paint = &session.out.paint_err;
    let what = match sites {
        [] => String::new(),
        [site] => format!(" of {site}"),
        [_, ..] => format!(" of {} sites", sites.len()),
    };
    let before = "the version before keeps serving";
    match (waited, held) {
        (_, Some(held)) if !held.is_empty() && held.len() < sites.len() => format!(
            "{} {} of revision {revision}: {before}; what else it changes is live",
            paint.warn("held:"),
            held.iter().map(|site| clean_line(site)).collect::<Vec<_>>().join(", "),
        ),
        (_, Some(_)) => {
            format!("{} revision {revision}{what}: {before}", paint.warn("held:"))
        }
        (true, None) => format!("{} revision {revision}{what}", paint.good("live:")),
        (false, None) => format!(
            "{} revision {revision}{what}; `portway site list` shows when it is live",
            paint.good("written:")
        ),
    }
}
