//! Requests that are lost while the configuration changes under them.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use http::Method;
use portway_testkit::client::{Outcome, Speech, Web};
use portway_wire::{
    client::{Client, IfMatch},
    site::{EditSite, NewSite},
};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Settings;
use crate::{
    origin::Origin,
    peer::{Content, Kind as PeerKind, Peer, Programs},
    portway::Portway,
    report::{Cell, Report, say},
    sites::{BenchSite, Kind},
};

/// How many clients post at once.
const CLIENTS: usize = 32;
/// The longest pause of a client between two requests, in milliseconds.
const LONGEST_PAUSE: u64 = 8;
/// The host under load.
const HOST: &str = "app.bench.test";
/// The load goes on this long before the first change and after the last.
const AROUND: Duration = Duration::from_millis(500);
/// The pause between two changes.
const BETWEEN: Duration = Duration::from_millis(50);

/// Options of `changes`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many changes Portway makes
    #[arg(long)]
    changes: Option<usize>,
    /// How often a peer reloads
    #[arg(long)]
    reloads: Option<usize>,
    #[command(flatten)]
    peers: Programs,
}

/// What became of the requests of all clients.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stop: AtomicBool,
    answered: AtomicU64,
    lost: AtomicU64,
    wrong: AtomicU64,
    opened: AtomicU64,
    reasons: Mutex<Vec<String>>,
}

/// Clients that post until they are told to stop.
pub(super) struct Load {
    tally: Arc<Tally>,
    clients: JoinSet<anyhow::Result<()>>,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns =
        ["proxy", "protocol", "changes", "requests", "lost", "wrong answers", "connections"];
    let mut report = Report::new("Requests lost by changes", &columns);
    let origin = Origin::start().await?;
    let changes = options.changes.unwrap_or_else(|| settings.choose(100, 10));
    for http2 in [false, true] {
        let protocol = if http2 { "HTTP/2, TLS" } else { "HTTP/1.1" };
        say(&format!("Portway, {protocol}"));
        let tally = portway(settings, &origin, http2, changes).await?;
        tally.into_row(&mut report, "Portway", protocol, changes);
    }
    let reloads = options.reloads.unwrap_or_else(|| settings.choose(20, 3));
    for (kind, program) in options.peers.found() {
        say(kind.name());
        let tally = peer(kind, program, &origin, reloads).await?;
        tally.into_row(&mut report, kind.name(), "HTTP/1.1", reloads);
    }
    report.note(format!(
        "{CLIENTS} clients post on kept connections with pauses of 0 to {LONGEST_PAUSE} ms. Lost: the \
         connection was reset or closed after the request was written. Wrong: any other answer than \
         the one of the application. Of Portway's changes, one half changes the site under load and \
         one half adds another site."
    ));
    Ok(report)
}

async fn portway(
    settings: &Settings,
    origin: &Origin,
    http2: bool,
    changes: usize,
) -> anyhow::Result<Arc<Tally>> {
    let kind = if http2 { Kind::Tls } else { Kind::Plain };
    let (mut portway, load) = loaded(settings, origin, kind).await?;
    let client = portway.client()?;
    for number in 1..=changes {
        let revision = change(&client, origin, kind, number).await?;
        portway.wait(&client, revision, Duration::from_secs(30)).await?;
        tokio::time::sleep(BETWEEN).await;
    }
    let tally = load.stop().await?;
    portway.stop().await?;
    Ok(tally)
}

/// Starts a Portway with a site under load: over HTTP/1.1, or HTTP/2 and TLS.
pub(super) async fn loaded(
    settings: &Settings,
    origin: &Origin,
    kind: Kind,
) -> anyhow::Result<(Portway, Load)> {
    let portway = Portway::start(&settings.program, None).await?;
    let client = portway.client()?;
    let spec = loaded_site(origin, kind, 0);
    let new = NewSite {
        name: Some("loaded".to_owned()),
        owner: None,
        spec,
        message: None,
        rollout: None,
    };
    let view = client.create_site(&new, Uuid::now_v7()).await?;
    portway.wait(&client, view.summary.revision, Duration::from_secs(30)).await?;
    let (port, speech) = match kind {
        Kind::Tls => (portway.https_port(), Speech::http2(&client.local_root().await?)?),
        Kind::Plain => (portway.http_port(), Speech::Http1),
    };
    let load = Load::start(port, &speech).await;
    Ok((portway, load))
}

/// Changes the site under load and adds another, in turn. Returns the revision.
pub(super) async fn change(
    client: &Client,
    origin: &Origin,
    kind: Kind,
    number: usize,
) -> anyhow::Result<i64> {
    if number.is_multiple_of(2) {
        let edit =
            EditSite { spec: loaded_site(origin, kind, number), message: None, rollout: None };
        let changed = client.edit_site("loaded", &edit, IfMatch::Any).await?;
        return changed.revision.context("nothing was changed");
    }
    let site = BenchSite::new("added", number);
    let spec = site.spec(kind);
    let new = NewSite { name: Some(site.name), owner: None, spec, message: None, rollout: None };
    Ok(client.create_site(&new, Uuid::now_v7()).await?.summary.revision)
}

/// The site under load, whose answers carry the number of its version.
fn loaded_site(origin: &Origin, kind: Kind, version: usize) -> Value {
    json!({
        "hosts": [HOST],
        "to": origin.address.to_string(),
        "https": kind == Kind::Tls,
        "headers": { "response": { "set": { "X-Version": version.to_string() } } },
    })
}

async fn peer(
    kind: PeerKind,
    program: &Path,
    origin: &Origin,
    reloads: usize,
) -> anyhow::Result<Arc<Tally>> {
    let mut content = Content {
        names: vec!["first.bench.test".to_owned()],
        proxied: Some((HOST.to_owned(), vec![origin.address])),
    };
    let peer = Peer::start(kind, program, &content).await?;
    let load = Load::start(peer.port(), &Speech::Http1).await;
    for number in 0..reloads {
        let host = BenchSite::new("added", number).host;
        content.names.push(host.clone());
        peer.write(&content)?;
        peer.reload().await?;
        peer.serves(&host).await?;
        tokio::time::sleep(BETWEEN).await;
    }
    let tally = load.stop().await?;
    peer.stop().await?;
    Ok(tally)
}

impl Load {
    async fn start(port: u16, speech: &Speech) -> Self {
        let tally = Arc::<Tally>::default();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let web = Web::new(port, speech.clone());
            clients.spawn(post(web, client, Arc::clone(&tally)));
        }
        tokio::time::sleep(AROUND).await;
        Self { tally, clients }
    }

    /// Ends it.
    pub(super) async fn stop(mut self) -> anyhow::Result<Arc<Tally>> {
        tokio::time::sleep(AROUND).await;
        self.tally.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended??;
        }
        Ok(self.tally)
    }
}

/// Posts until told to stop, each time another body.
async fn post(mut web: Web, client: usize, tally: Arc<Tally>) -> anyhow::Result<()> {
    let mut number = 0;
    while !tally.stop.load(Ordering::Relaxed) {
        number += 1;
        let body = format!("{client}:{number}");
        match web.send(Method::POST, HOST, &body).await? {
            Outcome::Answered(answer) if answer.is(&body) => {
                tally.answered.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Answered(answer) => {
                tally.wrong.fetch_add(1, Ordering::Relaxed);
                tally.tell(format!("{}: {:?}", answer.status, answer.body));
            }
            Outcome::NotSent => {}
            Outcome::Lost(reason) => {
                tally.lost.fetch_add(1, Ordering::Relaxed);
                tally.tell(reason);
            }
        }
        let pause = rand::rng().random_range(0..=LONGEST_PAUSE);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    tally.opened.fetch_add(web.opened, Ordering::Relaxed);
    Ok(())
}

impl Tally {
    fn tell(&self, reason: String) {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
    }

    /// Adds what came of it to a report.
    pub(super) fn into_row(
        self: Arc<Self>,
        report: &mut Report,
        proxy: &str,
        protocol: &str,
        changes: usize,
    ) {
        let count = |number: &AtomicU64| Cell::Count(number.load(Ordering::Relaxed));
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = reasons.first() {
            say(&format!("  for example: {first}"));
        }
        report.row([
            Cell::text(proxy),
            Cell::text(protocol),
            Cell::count(changes),
            count(&self.answered),
            count(&self.lost),
            count(&self.wrong),
            count(&self.opened),
        ]);
    }
}
