//! What the first deployment of many sites to one node takes.

use std::{process::Command, time::Duration};

use anyhow::Context as _;
use clap::Args;
use indexmap::IndexMap;
use portway_model::{Name, Stage};
use portway_wire::{
    Page as Listed, PageQuery,
    deploy::{DeploymentStep, DeploymentView},
    site::ApplySites,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::Settings;
use crate::{
    fleet::{At, Fleet, GROUP, Page, last},
    portway::Portway,
    process::CpuTime,
    report::{Cell, Report},
    sites::{BenchSite, Kind},
};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Options of `first`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many sites there are
    #[arg(long)]
    sites: Option<usize>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = [
        "sites",
        "until the last answers",
        "of this on the node",
        "files sent",
        "their bytes",
        "bytes over SSH",
        "commands",
        "CPU of the manager",
        "CPU of the node",
    ];
    let mut report = Report::new("The first deployment of many sites", &columns);
    let count = options.sites.unwrap_or_else(|| settings.choose(1_000, 50));
    let fleet = Fleet::start(1)?;
    let machine = fleet.machines.first().context("there is no machine")?;
    let mut portway = Portway::start(&settings.program, None).await?;
    let client = portway.client()?;
    fleet.declare(&client).await?;
    let (manager, nodes) = (CpuTime::of(portway.manager_pid()?)?, fleet.spent()?);

    let watching = fleet.watch(At::Portway, "the last");
    let began = Instant::now();
    let sites = sites(count)?;
    let apply = ApplySites { source: "bench".to_owned(), sites, ..ApplySites::default() };
    let changed = client.apply(&apply, Uuid::now_v7()).await?;
    let took = last(watching).await?.duration_since(began.into_std());
    portway.wait(&client, changed.revision.context("nothing was changed")?, PATIENCE).await?;

    let manager = CpuTime::of(portway.manager_pid()?)?.since(manager);
    let deployed: Listed<DeploymentView> = client.deployments(&PageQuery::default()).await?;
    let deployment =
        deployed.items.iter().find(|one| one.node == "web-0" && one.stage == Stage::Live);
    let deployment = deployment.context("there is no deployment")?;
    let path = format!("/api/v1/deployments/{}/steps", deployment.id);
    let steps: Vec<DeploymentStep> = client.get(&path).await?;
    let (files, bytes) = sent(&steps);
    let on_node = deployment.finished_at.unwrap_or(deployment.started_at);
    let on_node = on_node.duration_since(deployment.started_at).unsigned_abs();
    report.row([
        Cell::count(count),
        Cell::Time(took),
        Cell::Time(on_node),
        Cell::Count(files),
        Cell::Bytes(bytes),
        over_ssh(machine.sshd.port()).map_or(Cell::Nothing, Cell::Bytes),
        Cell::count(machine.sshd.commands()),
        Cell::Time(manager),
        Cell::Time(fleet.spent()?.saturating_sub(nodes)),
    ]);
    report.note(
        "Sites without HTTPS, declared in one request. Commands are all that were run over SSH since the \
         node was declared, its survey included; bytes over SSH are those of its one connection, both ways.",
    );
    portway.stop().await?;
    Ok(report)
}

fn sites(count: usize) -> anyhow::Result<IndexMap<Name, Value>> {
    let nodes = json!([format!("group:{GROUP}")]);
    let mut sites = IndexMap::new();
    for number in 1..count {
        let site = BenchSite::new("first", number);
        let mut spec = site.spec(Kind::Plain);
        if let Some(fields) = spec.as_object_mut() {
            fields.insert("nodes".to_owned(), nodes.clone());
        }
        sites.insert(site.name.parse()?, spec);
    }
    let page = json!({
        "hosts": [Page::HOST], "https": false, "nodes": nodes, "respond": { "body": "the last" },
    });
    sites.insert("zz-last".parse()?, page);
    Ok(sites)
}

/// Adds up `sent 3 files (1024 bytes)`.
fn sent(steps: &[DeploymentStep]) -> (u64, u64) {
    let mut all = (0, 0);
    for step in steps {
        let Some(rest) = step.action.strip_prefix("sent ") else { continue };
        let mut numbers = rest
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse::<u64>().ok());
        all.0 += numbers.next().unwrap_or_default();
        all.1 += numbers.next().unwrap_or_default();
    }
    all
}

/// Returns how much went over the connection to a port, both ways, as the kernel counts it.
fn over_ssh(port: u16) -> Option<u64> {
    let filter = format!("dport = :{port}");
    let output = Command::new("ss").args(["-tniH", &filter]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| {
        let counts = text.split_whitespace().filter_map(|word| word.strip_prefix(name));
        counts.filter_map(|count| count.parse::<u64>().ok()).sum::<u64>()
    };
    let both = field("bytes_sent:") + field("bytes_received:");
    (both > 0).then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_added_up() {
        let step = |action: &str| DeploymentStep {
            stage: Stage::Staging,
            action: action.to_owned(),
            output: String::new(),
            ok: true,
            milliseconds: 0,
            number: 1,
            at: None,
        };
        let steps =
            [step("sent 3 files (1024 bytes)"), step("nginx -t"), step("sent 1 file (7 bytes)")];
        assert_eq!(sent(&steps), (4, 1031));
    }
}
