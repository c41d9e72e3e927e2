//! From the API's answer to the first correct response through the edge.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use portway_testkit::client::{Speech, Web};
use portway_wire::{client::Client, site::NewSite};
use uuid::Uuid;

use super::Settings;
use crate::{
    peer::{Content, Kind as PeerKind, Peer},
    portway::Portway,
    report::{Cell, Report, say},
    samples::Samples,
    sites::{BenchSite, Kind},
};

/// The pause between two looks. The timer of the runtime counts whole milliseconds.
const STEP: Duration = Duration::from_millis(1);
/// How long a site may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `publish`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many sites are present; several, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000])]
    sites: Vec<usize>,
    /// How many sites are added
    #[arg(long)]
    adds: Option<usize>,
    /// The sites present have HTTPS, each with a certificate of its own
    #[arg(long)]
    tls: bool,
    /// nginx, to be measured as well
    #[arg(long, value_name = "PATH")]
    nginx: Option<std::path::PathBuf>,
    /// How many sites nginx has; several, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10_000])]
    nginx_sites: Vec<usize>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = ["proxy", "sites present", "added", "p50", "p99", "max", "all present after"];
    let mut report = Report::new("A new site answers", &columns);
    let adds = options.adds.unwrap_or_else(|| settings.choose(200, 20));
    let kind = if options.tls { Kind::Tls } else { Kind::Plain };
    for &sites in &options.sites {
        say(&format!("Portway with {sites} sites"));
        let mut portway = Portway::start(&settings.program, None).await?;
        let filled = portway.fill(sites, kind).await?.served;
        let samples = additions(&portway, adds).await?;
        row(&mut report, "Portway", sites, &samples, filled);
        portway.stop().await?;
    }
    match &options.nginx {
        Some(nginx) => {
            for &sites in &options.nginx_sites {
                say(&format!("nginx with {sites} sites"));
                let reloads = settings.choose(20, 3);
                let (samples, filled) = reloaded(nginx, sites, reloads).await?;
                row(&mut report, "nginx", sites, &samples, filled);
            }
        }
        None => say("  nginx is left out: no program was named"),
    }
    report.note(
        "Portway: from the API's answer to the first correct response through the edge. nginx: from \
         the start of `nginx -s reload` to the first correct response. Both are looked at on a kept \
         connection every 1 to 2 ms.",
    );
    Ok(report)
}

fn row(report: &mut Report, proxy: &str, sites: usize, samples: &Samples, filled: Duration) {
    let first = [Cell::text(proxy), Cell::count(sites)];
    report.row(first.into_iter().chain(Cell::of(samples)).chain([Cell::Time(filled)]));
}

async fn additions(portway: &Portway, adds: usize) -> anyhow::Result<Samples> {
    let client = portway.client()?;
    let mut web = Web::new(portway.http_port(), Speech::Http1);
    let mut durations = Vec::with_capacity(adds);
    for number in 0..adds {
        durations.push(addition(&client, &mut web, number).await?);
    }
    anyhow::ensure!(web.opened == 1, "the edge closed the connection {} times", web.opened - 1);
    Ok(durations.into_iter().collect())
}

async fn addition(client: &Client, web: &mut Web, number: usize) -> anyhow::Result<Duration> {
    let site = BenchSite::new("added", number);
    let spec = site.spec(Kind::Plain);
    let new =
        NewSite { name: Some(site.name.clone()), owner: None, spec, message: None, rollout: None };
    client.create_site(&new, Uuid::now_v7()).await?;
    let began = Instant::now();
    // A request that is lost on the way ends the run.
    while !web.get(&site.host).await?.is(&site.name) {
        next_look(began, &site.host).await?;
    }
    Ok(began.elapsed())
}

async fn next_look(began: Instant, host: &str) -> anyhow::Result<()> {
    anyhow::ensure!(began.elapsed() < PATIENCE, "{host} does not answer as it should");
    tokio::time::sleep(STEP).await;
    Ok(())
}

async fn reloaded(
    nginx: &Path,
    sites: usize,
    reloads: usize,
) -> anyhow::Result<(Samples, Duration)> {
    let names = (0..sites).map(|number| BenchSite::new("bulk", number).host);
    let mut content = Content { names: names.collect(), proxied: None };
    let began = Instant::now();
    let peer = Peer::start(PeerKind::Nginx, nginx, &content).await?;
    let filled = began.elapsed();
    let mut web = Web::new(peer.port(), Speech::Http1);
    let mut durations = Vec::with_capacity(reloads);
    for number in 0..reloads {
        let host = BenchSite::new("added", number).host;
        content.names.push(host.clone());
        peer.write(&content)?;
        let began = Instant::now();
        peer.reload().await?;
        // It loses requests while it reloads; here only the time counts.
        while !web.get(&host).await.is_ok_and(|answer| answer.is(&host)) {
            next_look(began, &host).await.context("nginx")?;
        }
        durations.push(began.elapsed());
    }
    peer.stop().await?;
    Ok((durations.into_iter().collect(), filled))
}
