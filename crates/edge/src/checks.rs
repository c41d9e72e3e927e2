//! Asks targets whether they are well. One thread of the process asks for all worker threads, each
//! target by itself: at once when its site is first used, then at every interval, a little earlier or
//! later each time so that targets that came together are not asked together. What is found is told
//! to [`Target::checked`], which decides; a change stands in the log of the site and in the edge's.
//!
//! A target is asked for as long as somebody holds its [`Watch`]. Versions of a site that ask the
//! same share it, so a change of the site neither stops nor repeats anything.

mod probe;
mod question;

use std::{
    collections::HashMap,
    io,
    rc::Rc,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use jiff::Timestamp;
use portway_model::{Id, Name, Site, site::Upstream};
use portway_policy::{NetworkGuard, bundle::TargetStatus};
use portway_telemetry::access::{ErrorKind, ErrorLevel, ErrorRecord};
use tokio::{
    sync::{Semaphore, mpsc},
    task::LocalSet,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::question::Question;
pub(crate) use self::question::QuestionError;
use crate::{
    balance::{Balancer, Change, Target},
    body,
    clock::Clock,
    content::CompiledSite,
    log::{Logs, SiteLog},
    proxy::{Dns, NameServers, Peer},
};

/// As many targets are asked at once.
const AT_ONCE: usize = 512;

/// Where targets are handed over to be asked. It holds at most as many as sites have.
#[derive(Clone)]
pub(crate) struct Checks(mpsc::UnboundedSender<Weak<Watch>>);

/// The targets that were handed over.
pub(crate) struct Handed(mpsc::UnboundedReceiver<Weak<Watch>>);

/// What is needed to ask.
pub(crate) struct Tools {
    /// Where changes are written.
    pub(crate) logs: Logs,
    /// The time by which targets are judged.
    pub(crate) clock: Clock,
    /// Where names are looked up.
    pub(crate) name_servers: NameServers,
    /// Set when the edge is to stop.
    pub(crate) stop: CancellationToken,
}

/// A target that is asked for as long as this is held.
struct Watch {
    subject: Subject,
    peer: Arc<Peer>,
    question: Arc<Question>,
    last: Mutex<Option<Answer>>,
    ended: CancellationToken,
    _end: DropGuard,
}

/// Of whom something is found out.
struct Subject {
    site: Name,
    log: Arc<SiteLog>,
    /// By whose rules it is judged.
    upstream: Arc<Upstream>,
    target: Arc<Target>,
}

/// How the targets of an upstream are checked.
pub(crate) struct Plan {
    question: Arc<Question>,
    /// The targets as they are asked, in the order of their declaration.
    peers: Vec<Arc<Peer>>,
    /// Begun with the first use of the site.
    watches: OnceLock<Vec<Arc<Watch>>>,
}

/// What was found last.
struct Answer {
    at: Timestamp,
    problem: Option<String>,
}

/// The watches of a site; outlives changes of it.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<(usize, u64), Weak<Watch>>>);

/// Returns both ends of where targets are handed over.
pub(crate) fn hand_over() -> (Checks, Handed) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Checks(sender), Handed(receiver))
}

impl Plan {
    /// Makes the checks of an upstream ready, if it has any.
    pub(crate) fn of(
        upstream: &Upstream,
        guard: Option<&NetworkGuard>,
    ) -> Result<Option<Self>, QuestionError> {
        let Some(health) = &upstream.health else { return Ok(None) };
        let targets = upstream.targets.iter();
        let peers = targets.map(|target| question::peer(&target.to, upstream, health, guard));
        Ok(Some(Self {
            question: Arc::new(Question::of(health)?),
            peers: peers.collect::<Result<_, _>>()?,
            watches: OnceLock::new(),
        }))
    }

    /// Begins to ask, unless it has begun.
    pub(crate) fn begin(&self, checks: &Checks, site: &CompiledSite, balancer: &Balancer) {
        self.watches.get_or_init(|| {
            let targets = balancer.targets().iter().zip(&self.peers);
            let watch = |(target, peer): (&Arc<Target>, &Arc<Peer>)| {
                let subject = Subject {
                    site: site.name.clone(),
                    log: Arc::clone(&site.log),
                    upstream: Arc::clone(balancer.settings()),
                    target: Arc::clone(target),
                };
                site.runtime.watches.watch(checks, subject, peer, &self.question)
            };
            targets.map(watch).collect()
        });
    }

    /// Returns what was found out about the targets that were asked.
    pub(crate) fn statuses(&self, site: Id<Site>) -> impl Iterator<Item = TargetStatus> + '_ {
        let watches = self.watches.get().into_iter().flatten();
        watches.filter_map(move |watch| watch.status(site))
    }
}

impl Watches {
    /// Returns the watch of a target, begun unless it is going on.
    fn watch(
        &self,
        checks: &Checks,
        subject: Subject,
        peer: &Arc<Peer>,
        question: &Arc<Question>,
    ) -> Arc<Watch> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, watch| watch.strong_count() > 0);
        // A watch holds the condition of its target, so while it lives no other has its address.
        let key = (subject.target.condition_address(), peer.destination.id());
        if let Some(watch) = all.get(&key).and_then(Weak::upgrade) {
            return watch;
        }
        let ended = CancellationToken::new();
        let watch = Arc::new(Watch {
            subject,
            peer: Arc::clone(peer),
            question: Arc::clone(question),
            last: Mutex::default(),
            _end: ended.clone().drop_guard(),
            ended,
        });
        all.insert(key, Arc::downgrade(&watch));
        // Nobody asks any more in an edge that stops.
        checks.0.send(Arc::downgrade(&watch)).ok();
        watch
    }
}

impl Watch {
    /// Returns what was found last, if it was asked already.
    fn status(&self, site: Id<Site>) -> Option<TargetStatus> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref()?;
        Some(TargetStatus {
            site,
            target: self.subject.target.declared().to_string(),
            healthy: self.subject.target.condition().passes_checks(),
            checked_at: last.at,
            problem: last.problem.clone(),
        })
    }

    async fn ask(&self, tools: &Tools, dns: &Dns) {
        let found = probe::ask(&self.peer, &self.question, dns).await;
        let good = found.is_ok();
        let problem = found.err().map(|fault| body::chain(&fault));
        let Subject { target, upstream, .. } = &self.subject;
        let change = target.checked(tools.clock.now(), good, upstream);
        if let Some(change) = change {
            self.tell(tools, change, problem.as_deref().unwrap_or_default());
        }
        let answer = Answer { at: Timestamp::now(), problem };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// Says it in the site's error log, where its owner looks, and in the edge's own.
    fn tell(&self, tools: &Tools, change: Change, problem: &str) {
        let Subject { site, log, target, .. } = &self.subject;
        let target = target.declared();
        let (level, code, message) = match change {
            Change::Down => {
                let message = format!("{target} fails its checks: {problem}");
                tracing::warn!(%site, "{message}");
                (ErrorLevel::Warn, "target_down", message)
            }
            Change::Up => {
                let message = format!("{target} passes its checks again");
                tracing::info!(%site, "{message}");
                (ErrorLevel::Info, "target_up", message)
            }
            // What requests find is told by them.
            Change::Ejected { .. } => return,
        };
        let record = ErrorRecord {
            time: Timestamp::now(),
            level,
            kind: ErrorKind::Upstream,
            request_id: None,
            client: None,
            host: None,
            code: code.to_owned(),
            message,
        };
        tools.logs.error(log, &record);
    }

    /// Returns the time to the next question: the interval, up to a tenth more or less.
    fn pause(&self) -> Duration {
        self.question.interval.mul_f64(rand::random_range(0.9..1.1))
    }
}

/// Asks on this thread until the edge stops.
pub(crate) fn run(handed: Handed, tools: Tools) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, ask_all(handed, tools));
    Ok(())
}

async fn ask_all(mut handed: Handed, tools: Tools) {
    let asker = Rc::new(Asker {
        dns: Dns::new(&tools.name_servers),
        places: Semaphore::new(AT_ONCE),
        tools,
    });
    // All end with this thread.
    loop {
        // Receiving is cancel safe.
        let watch = tokio::select! {
            biased;
            () = asker.tools.stop.cancelled() => return,
            watch = handed.0.recv() => watch,
        };
        let Some(watch) = watch else { return };
        tokio::task::spawn_local(Rc::clone(&asker).ask_again_and_again(watch));
    }
}

/// One thread's means to ask.
struct Asker {
    dns: Dns,
    places: Semaphore,
    tools: Tools,
}

impl Asker {
    async fn ask_again_and_again(self: Rc<Self>, watch: Weak<Watch>) {
        while let Some(watched) = watch.upgrade() {
            let ended = watched.ended.clone();
            let asked = async {
                // It is never closed.
                let _place = self.places.acquire().await.ok();
                watched.ask(&self.tools, &self.dns).await;
            };
            asked.await;
            let pause = watched.pause();
            drop(watched);
            // Both are cancel safe.
            tokio::select! {
                () = ended.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }
}
