//! How soon the API answers while there are many sites.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use portway_wire::{
    client::{Client, IfMatch},
    site::{EditSite, SiteQuery},
};
use rand::RngExt as _;

use super::Settings;
use crate::{
    portway::{Portway, fresh_database},
    report::{Cell, Report, say},
    samples::Samples,
    sites::{BenchSite, Kind},
};

/// Options of `api`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many sites are present; several, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [100_000])]
    sites: Vec<usize>,
    /// How many requests of each kind
    #[arg(long, default_value_t = 300)]
    requests: usize,
    /// The databases
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Database::Sqlite, Database::Postgres])]
    database: Vec<Database>,
    /// A PostgreSQL server on which databases can be made
    #[arg(long, value_name = "URL", env = "PORTWAY_TEST_POSTGRES", hide_env_values = true)]
    postgres: Option<String>,
}

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Database {
    /// SQLite in the data folder.
    Sqlite,
    /// `PostgreSQL`.
    Postgres,
}

/// What is asked of the API.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// The first page of all sites.
    FirstPage,
    /// One page after the other.
    NextPage,
    /// Sites with a text in their name or a host that few have.
    Search,
    /// Sites with a text in their name or a host that all have.
    SearchCommon,
    /// Sites with two characters in their name or a host that none has.
    SearchShort,
    /// One site.
    Get,
    /// One site is changed.
    Change,
}

const OPERATIONS: [Operation; 7] = [
    Operation::FirstPage,
    Operation::NextPage,
    Operation::Search,
    Operation::SearchCommon,
    Operation::SearchShort,
    Operation::Get,
    Operation::Change,
];

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = ["database", "sites", "operation", "requests", "p50", "p99", "max"];
    let mut report = Report::new("The API with many sites", &columns);
    for (database, url) in databases(options)? {
        for &sites in &options.sites {
            let sites = if settings.quick { sites.min(1_000) } else { sites };
            say(&format!("{} with {sites} sites", database.name()));
            // Sites of one measurement are not to stand beside those of the next.
            let url = url.map(fresh_database).transpose()?;
            let mut portway = Portway::start(&settings.program, url).await?;
            measure(&mut report, &portway, database, sites, options.requests).await?;
            portway.stop().await?;
        }
    }
    report.note(
        "Each request is a connection of its own over the local socket, connecting included. A change \
         is a PUT without `If-Match` on a version; the deployment that follows goes on while the next \
         request is measured.",
    );
    Ok(report)
}

/// Returns the databases that are there, with the server of those that have one.
fn databases(options: &Options) -> anyhow::Result<Vec<(Database, Option<&str>)>> {
    let mut found = Vec::new();
    for &database in &options.database {
        match (database, options.postgres.as_deref()) {
            (Database::Sqlite, _) => found.push((database, None)),
            (Database::Postgres, Some(server)) => found.push((database, Some(server))),
            (Database::Postgres, None) => {
                say("  PostgreSQL is left out: name a server by PORTWAY_TEST_POSTGRES");
            }
        }
    }
    anyhow::ensure!(!found.is_empty(), "there is no database to measure");
    Ok(found)
}

async fn measure(
    report: &mut Report,
    portway: &Portway,
    database: Database,
    sites: usize,
    count: usize,
) -> anyhow::Result<()> {
    let filled = portway.fill(sites, Kind::Plain).await?;
    let client = portway.client()?;
    for operation in OPERATIONS {
        let samples = requests(&client, operation, sites, count).await?;
        let first = [Cell::text(database.name()), Cell::count(sites), Cell::text(operation.name())];
        report.row(first.into_iter().chain(Cell::of(&samples)));
    }
    report.note(format!(
        "{}: {sites} sites were declared in {:.1} s, 500 at once, and served after {:.1} s.",
        database.name(),
        filled.declared.as_secs_f64(),
        filled.served.as_secs_f64(),
    ));
    Ok(())
}

async fn requests(
    client: &Client,
    operation: Operation,
    sites: usize,
    count: usize,
) -> anyhow::Result<Samples> {
    let mut durations: Vec<Duration> = Vec::with_capacity(count);
    let mut cursor = None;
    for number in 0..count {
        let site = BenchSite::new("bulk", rand::rng().random_range(0..sites));
        let began = Instant::now();
        cursor = request(client, operation, &site, number, cursor)
            .await
            .with_context(|| operation.name())?;
        durations.push(began.elapsed());
    }
    Ok(durations.into_iter().collect())
}

/// Sends a request and returns where the next page begins.
async fn request(
    client: &Client,
    operation: Operation,
    site: &BenchSite,
    number: usize,
    cursor: Option<String>,
) -> anyhow::Result<Option<String>> {
    let list = |search: Option<&str>, cursor| SiteQuery {
        search: search.map(str::to_owned),
        cursor,
        ..SiteQuery::default()
    };
    match operation {
        Operation::FirstPage => {
            let page = client.sites(&list(None, None)).await?;
            anyhow::ensure!(!page.items.is_empty(), "the list is empty");
        }
        Operation::NextPage => return Ok(client.sites(&list(None, cursor)).await?.next),
        Operation::Search => {
            let (_, digits) = site.name.rsplit_once('-').context("a site without a number")?;
            let page = client.sites(&list(Some(digits), None)).await?;
            anyhow::ensure!(page.items.iter().any(|found| found.name == site.name), "not found");
        }
        Operation::SearchCommon => {
            let page = client.sites(&list(Some("bench"), None)).await?;
            anyhow::ensure!(!page.items.is_empty(), "nothing was found");
        }
        Operation::SearchShort => {
            let page = client.sites(&list(Some("zq"), None)).await?;
            anyhow::ensure!(page.items.is_empty(), "what is not there was found");
        }
        Operation::Get => {
            let view = client.site(&site.name).await?;
            anyhow::ensure!(view.summary.name == site.name, "another site was answered");
        }
        Operation::Change => {
            let mut spec = site.spec(Kind::Plain);
            if let Some(fields) = spec.as_object_mut() {
                fields.insert("description".to_owned(), format!("change {number}").into());
            }
            let edit = EditSite { spec, message: None, rollout: None };
            let changed = client.edit_site(&site.name, &edit, IfMatch::Any).await?;
            anyhow::ensure!(changed.revision.is_some(), "nothing was changed");
        }
    }
    Ok(None)
}

impl Database {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::FirstPage => "list, first page",
            Self::NextPage => "list, page after page",
            Self::Search => "search, few found",
            Self::SearchCommon => "search, all found",
            Self::SearchShort => "search, two characters, none found",
            Self::Get => "one site",
            Self::Change => "one change",
        }
    }
}
