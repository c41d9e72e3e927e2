//! Requests that fail while changes come to nodes of every engine, beside what each engine's own reload
//! loses without Portway.

mod engines;
mod load;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use portway_wire::{
    client::{Client, IfMatch},
    node::NewNode,
    rollout::RolloutStrategy,
    site::{EditSite, NewSite},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use self::{
    engines::{Engine, HOST},
    load::{Load, Tally},
};
use super::Settings;
use crate::{
    fleet::GROUP,
    origin::Origin,
    portway::Portway,
    process::EVERY,
    report::{Cell, Report, say},
};

/// How long a rollout may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Options of `rollouts`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many rollouts there are
    #[arg(long)]
    rollouts: Option<usize>,
    /// Caddy
    #[arg(long, value_name = "PATH")]
    caddy: Option<PathBuf>,
    /// Traefik
    #[arg(long, value_name = "PATH")]
    traefik: Option<PathBuf>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = [
        "engine",
        "changed by",
        "changes",
        "clients",
        "requests",
        "failed",
        "of these lost",
        "wrong answers",
        "not connected",
    ];
    let mut report = Report::new("Requests that fail while nodes are changed", &columns);
    let rollouts = options.rollouts.unwrap_or_else(|| settings.choose(50, 3));
    let origin = Origin::start().await?;
    let engines =
        Engine::all(&settings.program, options.caddy.as_deref(), options.traefik.as_deref())
            .await?;
    let mut portway = Portway::start(&settings.program, None).await?;
    let client = portway.client()?;
    declare(&client, &engines).await?;
    make(&client, &portway, &origin).await?;
    let load = Load::start(&engines).await?;
    let began = Instant::now();
    for number in 1..=rollouts {
        roll_out(&client, &origin, number).await?;
    }
    let took = began.elapsed();
    for (engine, tallies) in load.stop().await? {
        rows(&mut report, engine, "Portway", rollouts, &tallies);
    }
    portway.stop().await?;
    for engine in &engines {
        if !engine.reloads_by_itself() {
            continue;
        }
        say(&format!("{} without Portway", engine.name()));
        let load = Load::start(std::slice::from_ref(engine)).await?;
        for number in 1..=rollouts {
            engine.change(&version(rollouts), &format!("own-{number}")).await?;
        }
        for (engine, tallies) in load.stop().await? {
            rows(&mut report, engine, "its own reload", rollouts, &tallies);
        }
    }
    report.note(format!(
        "Each rollout changes one site on all four nodes, one node after the other; {rollouts} took {} s. \
         For each node, four clients post over kept connections and four over a new one for each request, \
         with pauses of 0 to {} ms. Lost: the connection was reset or closed after the request was \
         written. Without Portway, the same site's files are changed in the same way in place, and the \
         engine is told to read anew.",
        took.as_secs(),
        load::LONGEST_PAUSE,
    ));
    Ok(report)
}

async fn declare(client: &Client, engines: &[Engine]) -> anyhow::Result<()> {
    let key = client.ssh_key().await?.public_key;
    for engine in engines {
        engine.sshd().authorize(&key)?;
        let new = NewNode { name: engine.name().to_owned(), spec: engine.spec()?, message: None };
        client.create_node(&new, Uuid::now_v7()).await?;
    }
    Ok(())
}

async fn make(client: &Client, portway: &Portway, origin: &Origin) -> anyhow::Result<()> {
    let new = NewSite {
        name: Some("app".to_owned()),
        owner: None,
        spec: spec(origin, 0),
        message: None,
        rollout: None,
    };
    let made = client.create_site(&new, Uuid::now_v7()).await?;
    portway.wait(client, made.summary.revision, PATIENCE).await
}

/// Changes the site, one node after the other, and waits until all have it.
async fn roll_out(client: &Client, origin: &Origin, number: usize) -> anyhow::Result<()> {
    let rollout: RolloutStrategy =
        serde_json::from_value(json!({ "waves": ["1", "2", "3", "4"] }))?;
    let edit = EditSite { spec: spec(origin, number), message: None, rollout: Some(rollout) };
    let changed = client.edit_site("app", &edit, IfMatch::Any).await?;
    let revision = changed.revision.context("nothing was changed")?;
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = client.rollout(revision).await?;
        if seen.state == "done" {
            return Ok(());
        }
        let goes_on = !seen.rests && Instant::now() < end;
        anyhow::ensure!(goes_on, "rollout {revision} is {}: {:?}", seen.state, seen.nodes);
        tokio::time::sleep(EVERY * 5).await;
    }
}

fn version(number: usize) -> String {
    format!("version-{number}")
}

fn spec(origin: &Origin, number: usize) -> Value {
    json!({
        "hosts": [HOST],
        "to": origin.address.to_string(),
        "https": false,
        "nodes": [format!("group:{GROUP}")],
        "headers": { "response": { "set": { "X-Version": version(number) } } },
    })
}

fn rows(
    report: &mut Report,
    engine: &str,
    by: &str,
    changes: usize,
    tallies: &[(&'static str, Arc<Tally>)],
) {
    for (clients, tally) in tallies {
        let [answered, lost, wrong, refused] = tally.counts();
        if let Some(example) = tally.example() {
            say(&format!("  {engine}, for example: {example}"));
        }
        report.row([
            Cell::text(engine),
            Cell::text(by),
            Cell::count(changes),
            Cell::text(*clients),
            Cell::Count(answered + lost + wrong + refused),
            Cell::Count(lost + wrong + refused),
            Cell::Count(lost),
            Cell::Count(wrong),
            Cell::Count(refused),
        ]);
    }
}
