//! How long a plan takes that says what comes to many nodes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use indexmap::IndexMap;
use jiff::Timestamp;
use portway_model::{Id, Name, RevisionNumber};
use portway_store::{ContentRead, DatabaseUrl, MachineRead, NodeRow, NodeSiteRow, Store, Visible};
use portway_wire::{
    client::Client,
    node::NewNode,
    plan::{EffectAction, PlanQuery},
    site::ApplySites,
};
use serde_json::{Value, json};

use super::Settings;
use crate::{
    portway::Portway,
    report::{Cell, Report, say},
    samples::Samples,
    sites::{BenchSite, Kind},
};

/// Nodes that are declared and that nobody can reach: a plan speaks with none.
const NOWHERE: &str = "nobody@127.0.0.1:1";

/// Options of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many sites each node has
    #[arg(long, default_value_t = 1_000)]
    sites: usize,
    /// How many nodes there are
    #[arg(long, default_value_t = 20)]
    nodes: usize,
    /// How many plans are made
    #[arg(long, default_value_t = 50)]
    plans: usize,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = ["sites", "nodes", "file", "plans", "p50", "p99", "max"];
    let mut report = Report::new("A plan for many nodes after one change", &columns);
    let plans = settings.choose(options.plans, 10);
    let mut portway = Portway::start(&settings.program, None).await?;
    let client = portway.client()?;
    say(&format!("{} sites on {} nodes", options.sites, options.nodes));
    declare(&client, options).await?;
    bring(&portway, options).await?;
    for (name, whole) in [("all sites", true), ("the changed site", false)] {
        let mut durations: Vec<Duration> = Vec::with_capacity(plans);
        for number in 0..plans {
            let file = file(options, number, whole);
            let began = Instant::now();
            let plan = client.plan(&file, PlanQuery::default()).await?;
            durations.push(began.elapsed());
            let effect = plan.effects.first().context("nothing comes to the nodes")?;
            anyhow::ensure!(
                plan.effects.len() == 1
                    && effect.nodes.len() == options.nodes
                    && effect.action == EffectAction::Change
                    && !effect.files.is_empty(),
                "the plan says something else: {effect:?}"
            );
        }
        let samples: Samples = durations.into_iter().collect();
        let first = [Cell::count(options.sites), Cell::count(options.nodes), Cell::text(name)];
        report.row(first.into_iter().chain(Cell::of(&samples)));
    }
    report.note(
        "Each plan is a request over the local socket, connecting included; one site of the file \
         differs. The nodes are nginx of equal facts, read before and not spoken with.",
    );
    portway.stop().await?;
    Ok(report)
}

fn spec(site: &BenchSite, number: Option<usize>) -> Value {
    let mut spec = site.spec(Kind::Plain);
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("nodes".to_owned(), json!(["group:bench"]));
        if let Some(number) = number {
            fields.insert("respond".to_owned(), json!({ "body": format!("change {number}") }));
        }
    }
    spec
}

/// Returns a file in which one site differs from what is declared.
fn file(options: &Options, number: usize, whole: bool) -> ApplySites {
    let changed = number % options.sites.max(1);
    let sites = (0..options.sites).filter(|at| whole || *at == changed).filter_map(|at| {
        let site = BenchSite::new("plan", at);
        let name: Name = site.name.parse().ok()?;
        Some((name, spec(&site, (at == changed).then_some(number))))
    });
    let sites: IndexMap<Name, Value> = sites.collect();
    ApplySites { source: "bench".to_owned(), sites, ..ApplySites::default() }
}

async fn declare(client: &Client, options: &Options) -> anyhow::Result<()> {
    for number in 0..options.nodes {
        let spec = json!({ "engine": "nginx", "ssh": NOWHERE, "groups": ["bench"] });
        let new = NewNode { name: format!("web-{number}"), spec, message: None };
        client.create_node(&new, uuid::Uuid::now_v7()).await?;
    }
    let sites = (0..options.sites).filter_map(|at| {
        let site = BenchSite::new("plan", at);
        Some((site.name.parse::<Name>().ok()?, spec(&site, None)))
    });
    let sites: IndexMap<Name, Value> = sites.collect();
    let all = ApplySites { source: "bench".to_owned(), sites, ..ApplySites::default() };
    client.apply(&all, uuid::Uuid::now_v7()).await?;
    Ok(())
}

/// Does as if every node had been given all sites and read since.
async fn bring(portway: &Portway, options: &Options) -> anyhow::Result<()> {
    let path = portway.database_file();
    let store = Store::open(&DatabaseUrl::file(path.to_str().context("an odd path")?)).await?;
    let now = Timestamp::now();
    let names: Vec<Name> =
        (0..options.sites).filter_map(|at| BenchSite::new("plan", at).name.parse().ok()).collect();
    let names: Vec<&Name> = names.iter().collect();
    let rows: Vec<NodeSiteRow> = store
        .sites()
        .by_names(Visible::All, &names)
        .await?
        .into_values()
        .map(|site| NodeSiteRow {
            site: site.id,
            revision: Some(site.revision),
            digest: Some("bench".to_owned()),
            held: None,
            findings: Vec::new(),
            updated_at: now,
        })
        .collect();
    let latest = store.revisions().latest().await?;
    for number in 0..options.nodes {
        let name: Name = format!("web-{number}").parse()?;
        let node = store.nodes().by_name(&name).await?.context("the node is gone")?;
        note(&store, node.id, latest, &rows, now).await?;
    }
    store.close().await?;
    Ok(())
}

async fn note(
    store: &Store,
    node: Id<NodeRow>,
    latest: RevisionNumber,
    rows: &[NodeSiteRow],
    now: Timestamp,
) -> anyhow::Result<()> {
    let nodes = store.nodes();
    nodes.deployed(node, latest, "bench", rows, &[], now).await?;
    let modules = ["http_realip_module", "http_stub_status_module"];
    let machine = json!({
        "version": "1.22.1", "modules": modules, "program": "/usr/sbin/nginx", "authorities": null,
    });
    nodes.put_machine(node, &MachineRead { at: now, machine, beside: Vec::new() }).await?;
    let read = ContentRead { at: now, linked: None, serves: None, changed: Vec::new() };
    nodes.put_content(node, &read).await?;
    Ok(())
}
