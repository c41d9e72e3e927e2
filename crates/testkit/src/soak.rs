//! A long run under everything that an open port meets: good clients of every kind, malformed
//! requests, slow and vanishing clients, failing handshakes, an application that dies every other
//! second, and a change of the sites each second. It tells whether a good request failed, and whether
//! memory and descriptors of manager and edge stay as they are.

mod good;
mod ground;
mod malformed;
mod rough;
mod tally;
mod usage;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use self::{ground::Ground, tally::Tally, usage::Watch};
pub use self::{
    tally::Kind,
    usage::{Process, Trend},
};
use crate::manager::Manager;

/// How often memory and descriptors are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long connections may take to be gone when nobody asks any more: longer than an idle one is
/// kept.
const EBB: Duration = Duration::from_secs(120);

/// How long a run is, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// From the first request to the last.
    pub duration: Duration,
    /// How long a client rests between two requests, on average.
    pub pause: Duration,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How often each kind of thing was done.
    pub counts: Vec<(Kind, u64)>,
    /// How many times something went wrong.
    pub failures: u64,
    /// The first of them.
    pub examples: Vec<String>,
    /// The manager.
    pub manager: Process,
    /// The edge.
    pub edge: Process,
}

/// Runs it. What goes on is told once a minute.
pub async fn run(manager: &Manager, plan: Plan, tell: impl Fn(&str)) -> anyhow::Result<Outcome> {
    let ground = Arc::new(Ground::prepare(manager, plan.pause).await?);
    let tally = Arc::clone(&ground.tally);
    let pids = [manager.pid().context("no manager runs")?, manager.edge_pid().await?];
    // With PostgreSQL there is none.
    let database = manager.data().join("portway.db").into_std_path_buf();
    let mut watches = [
        Watch::new(pids[0], Some(database).filter(|file| file.exists()), plan.duration),
        Watch::new(pids[1], None, plan.duration),
    ];
    for watch in &mut watches {
        watch.begin()?;
    }
    let mut clients = JoinSet::new();
    good::spawn(&ground, &mut clients);
    malformed::spawn(&ground, &mut clients)?;
    rough::spawn(&ground, &mut clients);
    ground::spawn(&ground, &mut clients);
    watch(&mut watches, &mut clients, plan, &tally, tell).await?;
    clients.shutdown().await;
    let ground = Arc::into_inner(ground).context("a client is left")?;
    drop(ground);
    subside(&mut watches).await?;
    anyhow::ensure!(pids[1] == manager.edge_pid().await?, "the edge is another process");
    let [manager, edge] = watches.map(Watch::end);
    let (failures, examples) = tally.failures();
    let counts = Kind::ALL.iter().map(|kind| (*kind, tally.count(*kind))).collect();
    Ok(Outcome { counts, failures, examples, manager, edge })
}

/// Looks at the processes while the clients do what they do.
async fn watch(
    watches: &mut [Watch; 2],
    clients: &mut JoinSet<anyhow::Result<()>>,
    plan: Plan,
    tally: &Tally,
    tell: impl Fn(&str),
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut minute = 1;
    while began.elapsed() < plan.duration {
        tokio::select! {
            _ = tick.tick() => {}
            ended = clients.join_next() => {
                ended.context("there are no clients")???;
                anyhow::bail!("a client ended by itself");
            }
        }
        for watch in watches.iter_mut() {
            watch.look(began.elapsed())?;
        }
        if began.elapsed() >= Duration::from_secs(60 * minute) {
            let [manager, edge] = &*watches;
            tell(&format!("{minute} min: {tally}; manager {manager}, edge {edge}"));
            minute += 1;
        }
    }
    Ok(())
}

/// Waits until the processes hold what they held before, or for as long as that may take.
async fn subside(watches: &mut [Watch; 2]) -> anyhow::Result<()> {
    let deadline = Instant::now() + EBB;
    loop {
        let mut all = true;
        for watch in watches.iter_mut() {
            all &= watch.has_let_go()?;
        }
        if all || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Outcome {
    /// Returns what is wrong; nothing where all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.failures > 0 {
            let examples = self.examples.join("\n  ");
            faults.push(format!("{} failures, for example:\n  {examples}", self.failures));
        }
        for (kind, count) in &self.counts {
            if *count == 0 {
                faults.push(format!("nothing was done of: {}", kind.title()));
            }
        }
        for (name, process) in [("manager", &self.manager), ("edge", &self.edge)] {
            faults.extend(process.faults().into_iter().map(|fault| format!("{name}: {fault}")));
        }
        faults
    }

    /// Returns how many requests should have been answered well, and how many of all were malformed,
    /// in percent.
    pub fn good(&self) -> (u64, f64) {
        let sum = |wanted: fn(Kind) -> bool| -> u64 {
            self.counts.iter().filter(|(kind, _)| wanted(*kind)).map(|(_, count)| count).sum()
        };
        let (good, malformed) = (sum(Kind::is_good), sum(Kind::is_malformed));
        let all = malformed + sum(Kind::is_request);
        (good, 100.0 * tally::float(malformed) / tally::float(all.max(1)))
    }
}
