//! Requests that are lost while the edge is upgraded and changed at the same time.

use std::time::Duration;

use clap::Args;

use super::{
    Settings,
    changes::{change, loaded},
};
use crate::{
    origin::Origin,
    report::{Report, say},
    sites::Kind,
};

/// The pause between two changes.
const BETWEEN: Duration = Duration::from_millis(50);

/// Options of `upgrade`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often the edge is upgraded
    #[arg(long)]
    upgrades: Option<usize>,
    /// How many changes are made meanwhile
    #[arg(long)]
    changes: Option<usize>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns =
        ["proxy", "protocol", "upgrades", "requests", "lost", "wrong answers", "connections"];
    let mut report = Report::new("Requests lost by upgrades", &columns);
    let origin = Origin::start().await?;
    let upgrades = options.upgrades.unwrap_or_else(|| settings.choose(20, 3));
    let changes = options.changes.unwrap_or_else(|| settings.choose(100, 10));
    for (kind, protocol) in [(Kind::Plain, "HTTP/1.1"), (Kind::Tls, "HTTP/2, TLS")] {
        say(&format!("Portway, {protocol}"));
        let (mut portway, load) = loaded(settings, &origin, kind).await?;
        let client = portway.client()?;
        // The changes are spread over the upgrades, and go on during each.
        let changing = async {
            for number in 1..=changes {
                let revision = change(&client, &origin, kind, number).await?;
                portway.wait(&client, revision, Duration::from_secs(30)).await?;
                tokio::time::sleep(BETWEEN).await;
            }
            anyhow::Ok(())
        };
        let upgrading = async {
            let mut edge = portway.edge_status().await?.pid;
            for _ in 0..upgrades {
                edge = portway.upgrade(edge).await?;
                tokio::time::sleep(BETWEEN).await;
            }
            anyhow::Ok(edge)
        };
        let ((), edge) = tokio::try_join!(changing, upgrading)?;
        portway.now_has(edge);
        let tally = load.stop().await?;
        portway.stop().await?;
        tally.into_row(&mut report, "Portway", protocol, upgrades);
    }
    report.note(format!(
        "32 clients post on kept connections with pauses of 0 to 8 ms, while another process of the edge \
         takes the place of the one that runs, and {changes} changes are made at the same time. Lost: \
         the connection was reset or closed after the request was written. Over HTTP/2, a request that \
         the server did not look at, and says so (GOAWAY), is sent again and is none of them."
    ));
    Ok(report)
}
