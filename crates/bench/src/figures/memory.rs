//! How much memory manager and edge take, when every site has a certificate of its own.

use clap::Args;
use portway_testkit::client::{Speech, Web};
use tokio::task::JoinSet;

use super::Settings;
use crate::{
    portway::Portway,
    process::Memory,
    report::{Cell, Report, say},
    sites::{BenchSite, Kind},
};

/// As many sites are requested at once.
const AT_ONCE: usize = 8;

/// Options of `memory`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many sites; several, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000])]
    sites: Vec<usize>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = ["sites", "when", "manager RSS", "manager PSS", "edge RSS", "edge PSS"];
    let mut report = Report::new("Memory", &columns);
    for &sites in &options.sites {
        let sites = if settings.quick { sites.min(1_000) } else { sites };
        say(&format!("{sites} sites with TLS"));
        measure(settings, sites, &mut report).await?;
    }
    report.note(
        "Each site has a certificate of its own (P-256) from the local authority. Requested: one \
         request for HTTPS, on a connection of its own. Manager and edge are the same program; PSS \
         counts the pages of it that both have mapped once in all.",
    );
    Ok(report)
}

async fn measure(settings: &Settings, sites: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut portway = Portway::start(&settings.program, None).await?;
    portway.fill(sites, Kind::Tls).await?;
    row(report, &portway, sites, "all just declared, none requested")?;
    portway.stop().await?;
    portway.serve().await?;
    until_met(&portway, sites).await?;
    row(report, &portway, sites, "both started anew, none requested")?;
    let hundredth = sites.div_ceil(100);
    request(&portway, 0, hundredth).await?;
    row(report, &portway, sites, "1 % requested")?;
    request(&portway, hundredth, sites).await?;
    row(report, &portway, sites, "all requested")?;
    portway.stop().await
}

/// Waits until the manager has compared what it declares with what the edge has.
async fn until_met(portway: &Portway, sites: usize) -> anyhow::Result<()> {
    let client = portway.client()?;
    let last = client.site(&BenchSite::new("bulk", sites - 1).name).await?;
    portway.wait(&client, last.summary.revision, std::time::Duration::from_secs(120)).await
}

fn row(report: &mut Report, portway: &Portway, sites: usize, when: &str) -> anyhow::Result<()> {
    let manager = Memory::of(portway.manager_pid()?)?;
    let edge = Memory::of(portway.edge_pid()?)?;
    report.row([
        Cell::count(sites),
        Cell::text(when),
        Cell::Memory(manager.rss),
        Cell::Memory(manager.pss),
        Cell::Memory(edge.rss),
        Cell::Memory(edge.pss),
    ]);
    Ok(())
}

/// Requests each of the sites once.
async fn request(portway: &Portway, from: usize, to: usize) -> anyhow::Result<()> {
    let speech = Speech::http1_tls(&portway.client()?.local_root().await?)?;
    let mut clients = JoinSet::new();
    for client in 0..AT_ONCE {
        let (speech, port) = (speech.clone(), portway.https_port());
        clients.spawn(async move {
            for number in (from + client..to).step_by(AT_ONCE) {
                let site = BenchSite::new("bulk", number);
                let answer = Web::new(port, speech.clone()).get(&site.host).await?;
                anyhow::ensure!(answer.is(&site.name), "{} answers {}", site.host, answer.status);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}
