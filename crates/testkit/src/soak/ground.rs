//! What a run stands on: applications, sites, and the changes that are made to them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::Method;
use portway_wire::{
    client::{Client, IfMatch},
    deploy::WaitQuery,
    site::{EditSite, NewSite},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::tally::{Kind, Tally};
use crate::{
    client::{Outcome, Speech, Web},
    manager::Manager,
    origin::{Origin, Speaks},
};

/// Hosts of the sites, which stand before an application that lives: plain HTTP, and HTTPS. The
/// corpus asks for `a.org`.
pub(super) const STEADY: &str = "steady.localhost";
pub(super) const SECURE: &str = "secure.localhost";
/// The site with one target that lives and one that dies.
pub(super) const PAIR: &str = "pair.localhost";
/// The site whose only target dies.
pub(super) const LONE: &str = "lone.localhost";
/// The sites that answer by themselves.
pub(super) const FIXED: &str = "fixed.localhost";
pub(super) const FILES: &str = "files.localhost";

/// How many sites that were added are kept.
const ADDED: u64 = 8;
/// How long the application that toggles lives, and how long it is dead.
const TOGGLE: Duration = Duration::from_secs(1);

/// What all clients need.
pub(super) struct Ground {
    /// What was done.
    pub(super) tally: Arc<Tally>,
    /// How long a client rests between two requests, on average.
    pub(super) pause: Duration,
    /// Where plain HTTP and HTTPS are.
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    /// HTTP/1.1 over TLS, and HTTP/2.
    pub(super) tls: Speech,
    pub(super) http2: Speech,
    /// The authority, in PEM.
    pub(super) root: String,
    client: Client,
    alive: Origin,
    toggles: SocketAddr,
}

impl Ground {
    /// Starts the applications and declares the sites.
    pub(super) async fn prepare(manager: &Manager, pause: Duration) -> anyhow::Result<Self> {
        let client = manager.client()?;
        let alive = Origin::tcp(Speaks::Http1).await?;
        let port = |number| SocketAddr::from(([127, 0, 0, 1], number));
        let root = client.local_root().await?;
        let ground = Self {
            tally: Arc::default(),
            pause,
            http: port(manager.http_port()),
            https: port(manager.https_port()),
            tls: Speech::http1_tls(&root)?,
            http2: Speech::http2(&root)?,
            root,
            client,
            alive,
            toggles: reserve().await?,
        };
        let files = manager.folder().join("soak-files");
        std::fs::create_dir_all(&files)?;
        std::fs::write(files.join("small.txt"), "small".repeat(200))?;
        std::fs::write(files.join("large.txt"), "large".repeat(100_000))?;
        for (name, spec) in ground.sites(files.as_str())? {
            ground.create(name, spec).await.with_context(|| format!("the site {name}"))?;
        }
        Ok(ground)
    }

    fn sites(&self, files: &str) -> anyhow::Result<[(&'static str, Value); 6]> {
        let both = json!({ "redirect": false });
        let (alive, toggles) = (self.alive()?, self.toggles.to_string());
        let pair = json!({
            "targets": [alive, toggles],
            "eject": { "failures": 3, "within": "10s", "for": "2s" },
        });
        Ok([
            ("steady", json!({ "hosts": [STEADY, "a.org"], "https": false, "to": alive })),
            ("secure", self.secure(0)?),
            ("pair", json!({ "hosts": [PAIR], "https": both, "to": pair })),
            ("lone", json!({ "hosts": [LONE], "https": both, "to": toggles })),
            ("fixed", json!({ "hosts": [FIXED], "https": both, "respond": { "body": "fixed" } })),
            ("files", json!({ "hosts": [FILES], "https": both, "files": files })),
        ])
    }

    /// The site that is changed while it is asked.
    fn secure(&self, version: u64) -> anyhow::Result<Value> {
        Ok(json!({
            "hosts": [SECURE],
            "to": self.alive()?,
            "headers": { "response": { "set": { "X-Version": version.to_string() } } },
        }))
    }

    fn alive(&self) -> anyhow::Result<String> {
        Ok(self.alive.address().context("the application has no address")?.to_string())
    }

    async fn create(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let new = NewSite {
            name: Some(name.to_owned()),
            owner: None,
            spec,
            message: None,
            rollout: None,
        };
        let view = self.client.create_site(&new, Uuid::now_v7()).await?;
        self.wait(view.summary.revision).await
    }

    async fn edit(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let edit = EditSite { spec, message: None, rollout: None };
        let changed = self.client.edit_site(name, &edit, IfMatch::Any).await?;
        self.wait(changed.revision.context("nothing was changed")?).await
    }

    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        let changed = self.client.remove_site(name, IfMatch::Any).await?;
        self.wait(changed.revision.context("nothing was removed")?).await
    }

    async fn wait(&self, revision: i64) -> anyhow::Result<()> {
        let query = WaitQuery { timeout: Some(30) };
        let progress = self.client.progress(revision, &query).await?;
        anyhow::ensure!(progress.done, "revision {revision} is not carried out: {progress:?}");
        Ok(())
    }

    /// Makes one change, and asks for the site that it is about.
    async fn change(&self, number: u64) -> anyhow::Result<()> {
        let group = number / 4;
        let (name, host) = (format!("added-{group}"), format!("added-{group}.localhost"));
        let site = |body: &str| json!({ "hosts": [host], "respond": { "body": body } });
        match number % 4 {
            0 => self.edit("secure", self.secure(number + 1)?).await,
            1 => {
                self.create(&name, site("new")).await?;
                self.find(&host, "new").await
            }
            2 => {
                self.edit(&name, site("changed")).await?;
                self.find(&host, "changed").await
            }
            _ => match group.checked_sub(ADDED) {
                Some(old) => self.remove(&format!("added-{old}")).await,
                None => self.edit("secure", self.secure(number + 1)?).await,
            },
        }
    }

    /// Asks for a site over both protocols. It is live when its change is answered.
    async fn find(&self, host: &str, body: &str) -> anyhow::Result<()> {
        for speech in [&self.tls, &self.http2] {
            let mut web = Web::new(self.https.port(), speech.clone());
            match web.send(Method::GET, host, "").await? {
                Outcome::Answered(answer) if answer.is(body) => self.tally.done(Kind::Changed),
                other @ (Outcome::Answered(_) | Outcome::NotSent | Outcome::Lost(_)) => {
                    self.tally.failed(Kind::Changed, &format!("{host}: {other:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Returns an address for an application that is not there at all times. Connections of this machine
/// come from 127.0.0.1, so that none of them takes the port meanwhile.
async fn reserve() -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await?;
    Ok(listener.local_addr()?)
}

/// Has the application toggle, and the sites change.
pub(super) fn spawn(ground: &Arc<Ground>, clients: &mut JoinSet<anyhow::Result<()>>) {
    clients.spawn(toggle(Arc::clone(ground)));
    clients.spawn(change(Arc::clone(ground)));
}

async fn toggle(ground: Arc<Ground>) -> anyhow::Result<()> {
    loop {
        let origin = Origin::at(ground.toggles, Speaks::Http1).await?;
        sleep(TOGGLE).await;
        drop(origin);
        ground.tally.done(Kind::Death);
        sleep(TOGGLE).await;
        ground.alive.forget();
    }
}

async fn change(ground: Arc<Ground>) -> anyhow::Result<()> {
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut number = 0;
    loop {
        tick.tick().await;
        match ground.change(number).await {
            Ok(()) => ground.tally.done(Kind::Change),
            Err(error) => ground.tally.failed(Kind::Change, &format!("{error:#}")),
        }
        number += 1;
    }
}
