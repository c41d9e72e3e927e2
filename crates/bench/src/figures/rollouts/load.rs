//! Clients that post to engines until they are told to stop: half of them over connections that they
//! keep, half over a new one for each request.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Method;
use portway_testkit::client::{Outcome, Speech, Web};
use rand::RngExt as _;
use tokio::task::JoinSet;

use super::engines::{Engine, HOST};

/// How many clients of each kind an engine has.
const CLIENTS: usize = 4;
/// The longest pause of a client between two requests, in milliseconds.
pub(super) const LONGEST_PAUSE: u64 = 30;
/// The load goes on this long before the first change and after the last.
const AROUND: Duration = Duration::from_millis(500);

/// Whether a connection serves one request or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connections {
    Kept,
    New,
}

/// What the clients of one kind and engine saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answered: AtomicU64,
    lost: AtomicU64,
    wrong: AtomicU64,
    refused: AtomicU64,
    example: Mutex<Option<String>>,
}

/// What the clients of one engine saw, by kind.
pub(super) type Tallies = Vec<(&'static str, Arc<Tally>)>;

/// Clients at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    tallies: Vec<(&'static str, Tallies)>,
    clients: JoinSet<()>,
}

impl Load {
    pub(super) async fn start(engines: &[Engine]) -> anyhow::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let (mut tallies, mut clients) = (Vec::new(), JoinSet::new());
        for engine in engines {
            let mut of_engine = Tallies::new();
            for (kind, name) in [(Connections::Kept, "kept"), (Connections::New, "new")] {
                let tally = Arc::<Tally>::default();
                of_engine.push((name, Arc::clone(&tally)));
                for client in 0..CLIENTS {
                    let web = Web::new(engine.http(), Speech::Http1);
                    clients.spawn(post(web, client, kind, Arc::clone(&tally), Arc::clone(&stop)));
                }
            }
            tallies.push((engine.name(), of_engine));
        }
        tokio::time::sleep(AROUND).await;
        Ok(Self { stop, tallies, clients })
    }

    /// Ends it. Returns what was seen of each engine.
    pub(super) async fn stop(mut self) -> anyhow::Result<Vec<(&'static str, Tallies)>> {
        tokio::time::sleep(AROUND).await;
        self.stop.store(true, Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        Ok(self.tallies)
    }
}

async fn post(
    mut web: Web,
    client: usize,
    kind: Connections,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
) {
    let mut number = 0_u64;
    while !stop.load(Relaxed) {
        number += 1;
        let body = format!("{client}:{number}");
        match web.send(Method::POST, HOST, &body).await {
            Ok(Outcome::Answered(answer)) if answer.is(&body) => {
                tally.answered.fetch_add(1, Relaxed);
            }
            Ok(Outcome::Answered(answer)) => {
                tally.fails(&tally.wrong, format!("{}: {:?}", answer.status, answer.body));
            }
            // Nothing was written; the next request opens a connection.
            Ok(Outcome::NotSent) => {}
            Ok(Outcome::Lost(reason)) => tally.fails(&tally.lost, reason),
            Err(error) => tally.fails(&tally.refused, format!("{error:#}")),
        }
        if kind == Connections::New {
            web.close();
        }
        let pause = rand::rng().random_range(0..=LONGEST_PAUSE);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

impl Tally {
    /// Returns how many requests were answered, lost, answered wrongly, and had no connection.
    pub(super) fn counts(&self) -> [u64; 4] {
        [&self.answered, &self.lost, &self.wrong, &self.refused].map(|count| count.load(Relaxed))
    }

    /// Returns why the first request failed that did.
    pub(super) fn example(&self) -> Option<String> {
        self.example.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fails(&self, count: &AtomicU64, reason: String) {
        count.fetch_add(1, Relaxed);
        self.example.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }
}
