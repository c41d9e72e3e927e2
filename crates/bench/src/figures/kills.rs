//! What is lost when the manager is killed again and again while it writes.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use http::Method;
use portway_testkit::client::{Outcome, Speech, Web};
use portway_wire::{
    client::{Client, ClientError},
    site::{NewSite, SiteQuery},
};
use rand::RngExt as _;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Settings;
use crate::{
    portway::Portway,
    process::EVERY,
    report::{Cell, Report, say},
    samples::Samples,
    sites::{BenchSite, Kind},
};

/// How many clients write at once.
const WRITERS: usize = 4;
/// How long a manager writes before it is killed, in milliseconds.
const LIFE: std::ops::Range<u64> = 20..250;
/// The pause of the client at the edge between two requests.
const PAUSE: Duration = Duration::from_millis(1);

/// Options of `kills`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often the manager is killed
    #[arg(long)]
    kills: Option<usize>,
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    cut: AtomicU64,
    refused: Mutex<Vec<String>>,
    answered: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = ["what", "number"];
    let mut report = Report::new("The manager is killed during writes", &columns);
    let kills = options.kills.unwrap_or_else(|| settings.choose(200, 20));
    let mut portway = Portway::start(&settings.program, None).await?;
    portway.fill(1, Kind::Plain).await?;
    let edge = portway.edge_pid()?;
    let seen = Arc::<Seen>::default();
    let mut clients = JoinSet::new();
    for writer in 0..WRITERS {
        clients.spawn(write(portway.client()?, writer, Arc::clone(&seen)));
    }
    clients.spawn(fetch(Web::new(portway.http_port(), Speech::Http1), Arc::clone(&seen)));
    let mut starts = Vec::with_capacity(kills);
    for kill in 0..kills {
        let life = rand::rng().random_range(LIFE);
        tokio::time::sleep(Duration::from_millis(life)).await;
        portway.kill().await?;
        let began = Instant::now();
        portway.serve().await?;
        starts.push(began.elapsed());
        if (kill + 1).is_multiple_of(50) {
            say(&format!("  killed {} times", kill + 1));
        }
    }
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    anyhow::ensure!(portway.edge_pid()? == edge, "another edge serves than in the beginning");
    let after = Instant::now();
    let (lost, unserved) = losses(&portway, &seen).await?;
    fill(&mut report, &seen, kills, lost, unserved);
    let starts: Samples = starts.into_iter().collect();
    if let (Some(median), Some(longest)) = (starts.percentile(50), starts.longest()) {
        report.note(format!(
            "{WRITERS} clients add sites over the local socket, each manager lives {} to {} ms, and \
             one client fetches a site from the edge on a kept connection. A manager serves again {} \
             ms (median; at most {} ms) after it was killed. All sites were looked at {} s after the \
             last start.",
            LIFE.start,
            LIFE.end,
            median.as_millis(),
            longest.as_millis(),
            after.elapsed().as_secs()
        ));
    }
    portway.stop().await?;
    Ok(report)
}

fn fill(report: &mut Report, seen: &Seen, kills: usize, lost: usize, unserved: usize) {
    let acknowledged = lock(&seen.acknowledged).len();
    let (refused, failed) = (lock(&seen.refused), lock(&seen.failed));
    for (what, reasons) in [("refused", &refused), ("failed", &failed)] {
        if let Some(first) = reasons.first() {
            say(&format!("  {what}, for example: {first}"));
        }
    }
    let rows = [
        ("kills of the manager", Cell::count(kills)),
        ("writes acknowledged", Cell::count(acknowledged)),
        ("writes cut off, never acknowledged", Cell::Count(seen.cut.load(Ordering::Relaxed))),
        ("writes refused", Cell::count(refused.len())),
        ("acknowledged writes lost", Cell::count(lost)),
        ("acknowledged sites that the edge does not serve in the end", Cell::count(unserved)),
        (
            "requests answered at the edge meanwhile",
            Cell::Count(seen.answered.load(Ordering::Relaxed)),
        ),
        ("requests failed at the edge meanwhile", Cell::count(failed.len())),
    ];
    for (what, number) in rows {
        report.row([Cell::text(what), number]);
    }
}

/// Adds sites; while no manager runs, it waits for the next.
async fn write(client: Client, writer: usize, seen: Arc<Seen>) -> anyhow::Result<()> {
    let mut number = 0;
    while !seen.stop.load(Ordering::Relaxed) {
        let site = BenchSite::new(&format!("writer-{writer}"), number);
        number += 1;
        let spec = site.spec(Kind::Plain);
        let new = NewSite {
            name: Some(site.name.clone()),
            owner: None,
            spec,
            message: None,
            rollout: None,
        };
        match client.create_site(&new, Uuid::now_v7()).await {
            Ok(_) => {
                lock(&seen.acknowledged).insert(site.name);
            }
            Err(ClientError::Unreachable { .. }) => tokio::time::sleep(EVERY).await,
            Err(ClientError::Broken { .. } | ClientError::Interrupted { .. }) => {
                seen.cut.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => lock(&seen.refused).push(error.to_string()),
        }
    }
    Ok(())
}

/// Fetches a site that was there before.
async fn fetch(mut web: Web, seen: Arc<Seen>) -> anyhow::Result<()> {
    let site = BenchSite::new("bulk", 0);
    while !seen.stop.load(Ordering::Relaxed) {
        match web.send(Method::GET, &site.host, "").await {
            Ok(Outcome::Answered(answer)) if answer.is(&site.name) => {
                seen.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Outcome::Answered(answer)) => lock(&seen.failed).push(answer.status.to_string()),
            // The edge closed a connection that was to be kept.
            Ok(Outcome::NotSent) => lock(&seen.failed).push("closed between requests".to_owned()),
            Ok(Outcome::Lost(reason)) => lock(&seen.failed).push(reason),
            Err(error) => lock(&seen.failed).push(format!("{error:#}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Returns how many acknowledged sites are not in the store, and how many the edge does not serve
/// once it has the last revision.
async fn losses(portway: &Portway, seen: &Seen) -> anyhow::Result<(usize, usize)> {
    let client = portway.client()?;
    let mut stored = BTreeSet::new();
    let mut newest = 0;
    let mut query = SiteQuery { limit: Some(500), ..SiteQuery::default() };
    loop {
        let page = client.sites(&query).await?;
        newest = page.items.iter().map(|site| site.revision).max().unwrap_or(0).max(newest);
        stored.extend(page.items.into_iter().map(|site| site.name));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    portway.wait(&client, newest, Duration::from_secs(120)).await?;
    let acknowledged = lock(&seen.acknowledged).clone();
    let lost = acknowledged.difference(&stored).count();
    let mut web = Web::new(portway.http_port(), Speech::Http1);
    let mut unserved = 0;
    for name in &acknowledged {
        if !web.get(&format!("{name}.bench.test")).await?.is(name) {
            unserved += 1;
        }
    }
    Ok((lost, unserved))
}

/// A panic while the lock was held leaves plain data behind, which is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
