//! `rollout list|show|pause|resume|abort|watch`.

use portway_model::{Finding, rollout::Standing};
use portway_wire::{
    PageQuery,
    client::Client,
    rollout::{AbortRollout, EventQuery, RolloutEvent, RolloutView},
};

use super::paging;
use crate::{
    deployed,
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    out::{Paint, Table, clean, or_dash, time},
    session::Session,
};

/// `portway rollout list`
pub(super) async fn list(session: &Session, limit: usize) -> Outcome {
    let client = session.client().await?;
    let rollouts = paging::all(Some(limit), |cursor, count| {
        let query = PageQuery { cursor, limit: Some(count) };
        let client = &client;
        async move { client.rollouts(&query).await }
    })
    .await?;
    session.out.list(&rollouts, table, "no rollouts")?;
    Ok(Exit::Ok)
}

/// `portway rollout show`
pub(super) async fn show(session: &Session, revision: i64) -> Outcome {
    let view = session.client().await?.rollout(revision).await?;
    tell(session, &view)?;
    Ok(Exit::Ok)
}

/// `portway rollout pause`
pub(super) async fn pause(session: &Session, revision: i64) -> Outcome {
    let view = session.client().await?.pause_rollout(revision).await?;
    tell(session, &view)?;
    Ok(Exit::Ok)
}

/// `portway rollout resume`
pub(super) async fn resume(session: &Session, revision: i64, wait: bool) -> Outcome {
    let client = session.client().await?;
    let view = client.resume_rollout(revision).await?;
    finish(session, &client, view, wait, exit).await
}

/// `portway rollout abort`
pub(super) async fn abort(session: &Session, revision: i64, back: bool, wait: bool) -> Outcome {
    let client = session.client().await?;
    let view = client.abort_rollout(revision, &AbortRollout { back }).await?;
    finish(session, &client, view, wait, ended).await
}

/// `portway rollout watch`
pub(super) async fn watch(session: &Session, revision: Option<i64>) -> Outcome {
    let client = session.client().await?;
    let query = EventQuery { after: None, revision };
    let mut events = client.events(&query).await?;
    if let Some(revision) = revision {
        // Asked after the stream was begun, so that nothing falls between.
        let now = client.rollout(revision).await?;
        session.out.note(&format!("revision {}: {}", now.revision, state(&now)))?;
        if now.rests {
            return Ok(exit(&now));
        }
    }
    while let Some(event) = events.next().await? {
        let Some(told) = &event.rollout else { continue };
        if session.out.is_json() {
            session.out.json_line(&event)?;
        } else {
            session.out.text(&line(told))?;
        }
        if let Some(revision) = revision
            && (told.ended || told.state == "paused")
        {
            return Ok(exit(&client.rollout(revision).await?));
        }
    }
    Err(Failure::new(Exit::Unreachable, "the manager ended the stream")
        .help("it may have been restarted; `portway status` shows how it is"))
}

async fn finish(
    session: &Session,
    client: &Client,
    view: RolloutView,
    wait: bool,
    exit: fn(&RolloutView) -> Exit,
) -> Outcome {
    if !wait {
        tell(session, &view)?;
        return Ok(Exit::Ok);
    }
    deployed::wait(session, client, view.revision).await?;
    let view = client.rollout(view.revision).await?;
    tell(session, &view)?;
    Ok(exit(&view))
}

/// Returns how a command ends that waited for a rollout.
fn exit(view: &RolloutView) -> Exit {
    if view.state == "done" || view.state == "superseded" { Exit::Ok } else { Exit::Held }
}

/// Returns how a command ends that waited for a rollout to be ended.
fn ended(view: &RolloutView) -> Exit {
    if view.state == "aborted" || view.counts.failed == 0 { Exit::Ok } else { Exit::Held }
}

fn tell(session: &Session, view: &RolloutView) -> Result<(), Failure> {
    session.out.show(view, |paint| describe(view, paint))?;
    let all: Vec<Finding> =
        view.nodes.iter().flat_map(|node| node.findings.iter().cloned()).collect();
    findings::show(&session.out, &all, &Sources::default())
}

fn table(rollouts: &[RolloutView]) -> Table {
    let rows = rollouts.iter().map(|rollout| {
        [
            rollout.revision.to_string(),
            state(rollout),
            wave(rollout.wave, rollout.waves),
            rollout.counts.nodes.to_string(),
            rollout.counts.have.to_string(),
            rollout.counts.failed.to_string(),
            rollout.author.clone(),
            time(rollout.started_at),
        ]
    });
    Table::new(["revision", "state", "wave", "nodes", "have it", "failed", "who", "when"])
        .right("revision")
        .rows(rows)
}

fn describe(view: &RolloutView, paint: Paint) -> String {
    let lines = [
        ("revision", view.revision.to_string()),
        ("state", state(view)),
        ("wave", wave(view.wave, view.waves)),
        ("who", view.author.clone()),
        ("started", time(view.started_at)),
        ("ended", or_dash(view.finished_at.map(time))),
    ];
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{} {}\n", paint.dim(&format!("{name:<9}")), clean(value)));
    let nodes = view.nodes.iter().map(|node| {
        let name = clean(&node.node);
        format!("  wave {}  {name:<24} {}\n", node.wave, standing(node.standing))
    });
    lines.chain(nodes).collect()
}

fn wave(wave: Option<u32>, waves: u32) -> String {
    wave.map_or_else(|| format!("- of {waves}"), |wave| format!("{wave} of {waves}"))
}

fn state(view: &RolloutView) -> String {
    deployed::rollout_state(&view.state, view.why.as_deref())
}

fn line(event: &RolloutEvent) -> String {
    let counts = event.counts;
    let failed = if event.failed.is_empty() {
        String::new()
    } else {
        format!("; failed: {}", event.failed.join(", "))
    };
    clean(&format!(
        "revision {}: {}, wave {}, {} of {} node(s) have it{failed}",
        event.revision,
        deployed::rollout_state(&event.state, event.why.as_deref()),
        wave(event.wave, event.waves),
        counts.have,
        counts.nodes,
    ))
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Waiting => "waits",
        Standing::Working => "is worked on",
        Standing::Has => "has it",
        Standing::Failed => "failed",
        Standing::Back => "is back",
        Standing::Behind => "is not back yet",
        Standing::Left => "is no longer concerned",
    }
}
