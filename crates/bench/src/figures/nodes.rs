//! How soon a change of one site is served by many nodes, beside Ansible and parallel ssh in the same run
//! on the same nodes.

mod peers;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use portway_model::{SiteSpec, Stage};
use portway_wire::{
    PageQuery,
    client::{Client, IfMatch},
    deploy::DeploymentStep,
    site::{ApplySites, EditSite, NewSite},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

use self::peers::{Peers, Way};
use super::Settings;
use crate::{
    fleet::{At, Fleet, GROUP, Page, last},
    portway::Portway,
    process::CpuTime,
    report::{Cell, Report, say},
    samples::Samples,
};

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// What was measured is read when what it left behind has settled.
const SETTLING: Duration = Duration::from_millis(300);

/// Options of `nodes`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many nodes there are, one run after the other
    #[arg(long, value_delimiter = ',', default_value = "10,100")]
    nodes: Vec<usize>,
    /// How many changes Portway makes
    #[arg(long)]
    changes: Option<usize>,
    /// How many changes each peer makes
    #[arg(long)]
    peer_changes: Option<usize>,
    /// The folder with `ansible-playbook`; without it, Ansible is left out
    #[arg(long, value_name = "PATH")]
    ansible: Option<PathBuf>,
}

/// What one way of changing nodes took.
struct Measured {
    times: Vec<Duration>,
    /// Of the manager or the tool, for each change.
    own: Duration,
    /// Of SSH servers and engines, for each change.
    nodes: Duration,
    logins: usize,
    /// For each change and node.
    commands: usize,
    sent: Option<usize>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = [
        "nodes",
        "what",
        "by",
        "runs",
        "p50",
        "longest",
        "files sent to a node",
        "CPU of the tool",
        "CPU of the nodes",
        "new SSH connections",
        "commands for each node",
    ];
    let mut report = Report::new("A change of one site on many nodes", &columns);
    for count in options.nodes.iter().copied() {
        let count = if settings.quick { count.min(5) } else { count };
        portway(settings, options, count, &mut report).await?;
        peers(settings, options, count, &mut report).await?;
    }
    report.note(format!(
        "One site is changed; the time ends when every nginx has answered with the new page, asked from \
         outside over a new connection every {} ms (of 100 nodes every 100 ms). All nodes, tools and \
         whoever asks share this machine. CPU is for each run, of all nodes together.",
        10
    ));
    Ok(report)
}

async fn portway(
    settings: &Settings,
    options: &Options,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    say(&format!("{count} nodes are started"));
    let fleet = Fleet::start(count)?;
    let mut portway = Portway::start(&settings.program, None).await?;
    let client = portway.client()?;
    fleet.declare(&client).await?;
    let bench = Bench { fleet: &fleet, portway: &portway, client: &client };
    let first = bench.first().await?;
    report.row(row(count, "first deployment", "Portway", &first));
    let runs = options.changes.unwrap_or(if count > 10 { 5 } else { 10 });
    let runs = settings.choose(runs, 2);
    let other = bench.other(runs).await?;
    report.row(row(count, "one site changed", "Portway", &other));
    let same = bench.same(runs).await?;
    report.row(row(count, "nothing changed", "Portway", &same));
    let logins = fleet.logins();
    report.note(format!("{count} nodes: {logins} SSH connections for all changes."));
    if logins != count {
        report.faults([format!("{logins} SSH connections to {count} nodes")]);
    }
    let again = bench.again(runs).await?;
    report.row(row(count, "nothing changed, brought again all the same", "Portway", &again));
    portway.stop().await
}

async fn peers(
    settings: &Settings,
    options: &Options,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let fleet = Fleet::start(count)?;
    let peers = Peers::new(&fleet, options.ansible.as_deref())?;
    let changes = settings.choose(options.peer_changes.unwrap_or(2), 1);
    for way in Way::ALL {
        if !peers.has(way) {
            say(&format!("  {} is left out: it is not there", way.name()));
            continue;
        }
        // What is kept open from one run to the next is opened before the first.
        peers.change(way, "before").await?;
        let mut measured = Measured::start(&fleet)?;
        for number in 0..changes {
            measured.add(&peers.change(way, &format!("{} {number}", way.name())).await?);
        }
        let measured = measured.end(&fleet, changes)?;
        report.row(row(count, "one site changed", way.name(), &measured));
        if way.tells_what_changed() {
            let mut same = Measured::start(&fleet)?;
            let text = format!("{} {}", way.name(), changes - 1);
            same.add(&peers.same(way, &text).await?);
            report.row(row(count, "nothing changed", way.name(), &same.end(&fleet, 1)?));
        }
    }
    Ok(())
}

/// A Portway with its nodes.
struct Bench<'a> {
    fleet: &'a Fleet,
    portway: &'a Portway,
    client: &'a Client,
}

impl Bench<'_> {
    async fn first(&self) -> anyhow::Result<Measured> {
        let mut measured = Measured::start(self.fleet)?;
        let before = self.manager()?;
        let watching = self.fleet.watch(At::Portway, "version 0");
        let began = Instant::now();
        let new = NewSite {
            name: Some("app".to_owned()),
            owner: None,
            spec: spec("version 0"),
            message: None,
            rollout: None,
        };
        let revision = self.client.create_site(&new, Uuid::now_v7()).await?.summary.revision;
        let seen = last(watching).await?;
        measured.times.push(seen.duration_since(began.into_std()));
        self.portway.wait(self.client, revision, PATIENCE).await?;
        measured.own = self.manager()?.since(before);
        measured.end(self.fleet, 1)
    }

    async fn other(&self, runs: usize) -> anyhow::Result<Measured> {
        let mut measured = Measured::start(self.fleet)?;
        let before = self.manager()?;
        for number in 1..=runs {
            let text = format!("version {number}");
            let watching = self.fleet.watch(At::Portway, &text);
            let began = Instant::now();
            let edit = EditSite { spec: spec(&text), message: None, rollout: None };
            let changed = self.client.edit_site("app", &edit, IfMatch::Any).await?;
            let seen = last(watching).await?;
            measured.times.push(seen.duration_since(began.into_std()));
            let revision = changed.revision.context("nothing was changed")?;
            self.portway.wait(self.client, revision, PATIENCE).await?;
        }
        measured.own = self.manager()?.since(before);
        measured.sent = Some(self.sent_last().await?);
        measured.end(self.fleet, runs)
    }

    /// Applies what is there already.
    async fn same(&self, runs: usize) -> anyhow::Result<Measured> {
        let current = self.client.site("app").await?.spec;
        let mut measured = Measured::start(self.fleet)?;
        let before = self.manager()?;
        for _ in 0..runs {
            let began = Instant::now();
            let changed = self.client.apply(&file(&current)?, Uuid::now_v7()).await?;
            measured.times.push(began.elapsed());
            anyhow::ensure!(changed.revision.is_none(), "something was changed");
        }
        measured.own = self.manager()?.since(before);
        measured.sent = Some(0);
        measured.end(self.fleet, runs)
    }

    /// Has every node brought again to what it has: looked at, tested, read by nginx and proven.
    async fn again(&self, runs: usize) -> anyhow::Result<Measured> {
        let names: Vec<_> = (0..self.fleet.machines.len()).map(|at| format!("web-{at}")).collect();
        let mut measured = Measured::start(self.fleet)?;
        let before = self.manager()?;
        for _ in 0..runs {
            let began = Instant::now();
            let mut all = JoinSet::new();
            for name in names.clone() {
                let client = self.portway.client()?;
                all.spawn(async move { client.deploy_node(&name).await });
            }
            while let Some(deployed) = all.join_next().await {
                deployed??;
            }
            measured.times.push(began.elapsed());
        }
        measured.own = self.manager()?.since(before);
        measured.sent = Some(self.sent_last().await?);
        measured.end(self.fleet, runs)
    }

    /// Returns how many files were sent for the site in the last deployment.
    async fn sent_last(&self) -> anyhow::Result<usize> {
        let deployed = self.client.deployments(&PageQuery::default()).await?;
        let last = deployed.items.iter().find(|one| one.node.starts_with("web-"));
        let id = last.context("there is no deployment")?.id;
        let steps: Vec<DeploymentStep> =
            self.client.get(&format!("/api/v1/deployments/{id}/steps")).await?;
        let is_sent = |step: &&DeploymentStep| {
            step.stage == Stage::Staging && step.action.starts_with("sent ")
        };
        let number = |step: &DeploymentStep| step.action.split(' ').nth(1)?.parse::<usize>().ok();
        Ok(steps.iter().filter(is_sent).filter_map(number).sum())
    }

    fn manager(&self) -> anyhow::Result<CpuTime> {
        CpuTime::of(self.portway.manager_pid()?)
    }
}

impl Measured {
    /// Begins; what was counted so far is taken off at the end.
    fn start(fleet: &Fleet) -> anyhow::Result<Self> {
        Ok(Self {
            times: Vec::new(),
            own: Duration::ZERO,
            nodes: fleet.spent()?,
            logins: fleet.logins(),
            commands: fleet.commands(),
            sent: None,
        })
    }

    fn add(&mut self, one: &peers::Took) {
        self.times.push(one.time);
        self.own += one.cpu;
    }

    fn end(self, fleet: &Fleet, runs: usize) -> anyhow::Result<Self> {
        std::thread::park_timeout(SETTLING);
        let each = u32::try_from(runs)?;
        let (nodes, commands) = (fleet.machines.len(), fleet.commands() - self.commands);
        Ok(Self {
            own: self.own / each,
            nodes: fleet.spent()?.saturating_sub(self.nodes) / each,
            logins: fleet.logins() - self.logins,
            commands: commands.div_ceil(nodes * runs),
            ..self
        })
    }
}

fn spec(text: &str) -> Value {
    json!({
        "hosts": [Page::HOST],
        "https": false,
        "nodes": [format!("group:{GROUP}")],
        "respond": { "body": text },
    })
}

fn file(current: &SiteSpec) -> anyhow::Result<ApplySites> {
    let sites = [("app".parse()?, serde_json::to_value(current)?)].into_iter().collect();
    Ok(ApplySites { source: "bench".to_owned(), sites, ..ApplySites::default() })
}

fn row(nodes: usize, what: &str, by: &str, measured: &Measured) -> Vec<Cell> {
    let samples: Samples = measured.times.iter().copied().collect();
    let [runs, median, _, longest] = Cell::of(&samples);
    vec![
        Cell::count(nodes),
        Cell::text(what),
        Cell::text(by),
        runs,
        median,
        longest,
        measured.sent.map_or(Cell::Nothing, Cell::count),
        Cell::Time(measured.own),
        Cell::Time(measured.nodes),
        Cell::count(measured.logins),
        Cell::count(measured.commands),
    ]
}
