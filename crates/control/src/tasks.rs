//! Background tasks: idempotent, without input; each compares wanted with found. They run on a
//! timer and when they are poked, one run at a time.
//!
//! Some tasks are a machine's own and run with each manager. The others are the installation's: of
//! several managers on one database one runs them, under a lease that it renews while it works. The
//! lease of a manager that died ends by itself, and another takes the task over. How each run went
//! stands in the store, so that every manager, and this one after a restart, tells the truth.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portway_model::Name;
use portway_store::{Due, EndedRun, Lease, Store, StoreError, TaskKey, TaskOutcome, TaskRow};
use portway_wire::system::{TaskScopeView, TaskView};
use tokio::{
    sync::{Notify, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use crate::{Control, ControlError, rights::Overseer};

/// How a run of a task ended: what it did, or why it failed, in words.
pub type TaskReport = Result<String, String>;

/// The clock, given in by the program's `main` and by tests.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a task is.
#[derive(Clone, Copy, Debug)]
pub struct TaskInfo {
    /// The name; stable, it is a label of metrics.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// How often it runs without being poked.
    pub every: Duration,
    /// Whose task it is.
    pub scope: TaskScope,
}

/// Whose task it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskScope {
    /// The installation's: one manager runs it at a time, once an interval.
    Installation,
    /// The machine's own: every manager runs its own.
    Machine,
}

/// How long a manager holds a task, and how often it says that it is still there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) lease: Duration,
    pub(crate) renew: Duration,
}

/// A third of the lease may be lost to a slow database, another to clocks that differ.
const TERMS: Terms = Terms { lease: Duration::from_secs(60), renew: Duration::from_secs(20) };
/// How often one looks again at a task that another manager runs.
const LOOK: Duration = Duration::from_secs(15);
/// The shortest wait: what is due now may be another's by a hair's breadth.
const SOON: Duration = Duration::from_millis(100);
/// How often the runs of a machine's own task are noted while nothing changes: some run every few
/// seconds, and a note is a write.
const NOTE: SignedDuration = SignedDuration::from_secs(60);

/// Who runs tasks here, and with what.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) store: Store,
    pub(crate) id: Uuid,
    pub(crate) name: Name,
    pub(crate) clock: Clock,
    pub(crate) terms: Terms,
    /// Is told when a run ended that another manager made.
    pub(crate) seen: Arc<dyn Fn(&'static str, Timestamp) + Send + Sync>,
}

impl Runner {
    pub(crate) fn of(control: &Control, clock: Clock) -> Self {
        let metrics = control.clone();
        Self {
            store: control.inner.store.clone(),
            id: control.inner.manager.id,
            name: control.inner.manager.name.clone(),
            clock,
            terms: TERMS,
            seen: Arc::new(move |task, at| metrics.inner.metrics.task_seen(task, at)),
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The last and the next run of a task.
#[derive(Clone, Debug, Default)]
struct Runs {
    manager: Option<String>,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    report: Option<TaskReport>,
    next: Option<Timestamp>,
}

/// A task that has been started.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    info: TaskInfo,
    poke: Arc<Notify>,
    runs: watch::Receiver<Runs>,
}

impl TaskHandle {
    /// Runs the task again soon, whatever the timer says.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Returns what the task is.
    pub fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// Tells whether the last run failed, whoever made it.
    pub fn failed(&self) -> Option<String> {
        self.runs.borrow().report.as_ref().and_then(|report| report.as_ref().err()).cloned()
    }

    fn view(&self, manager: &Name) -> TaskView {
        view(&self.info, self.runs.borrow().clone(), Some(manager.to_string()))
    }
}

impl Overseer<'_> {
    /// Lists the background tasks: the installation's, and each machine's own.
    pub async fn task_runs(&self) -> Result<Vec<TaskView>, ControlError> {
        let control = self.control;
        let handles = control.task_handles();
        let own = &control.inner.manager.name;
        let rows = control.inner.store.tasks().all().await?;
        let mut views = Vec::new();
        for handle in handles {
            let rows = rows.iter().filter(|row| row.key.name == handle.info.name);
            match handle.info.scope {
                TaskScope::Installation => {
                    let row = rows.into_iter().find(|row| row.key.machine.is_none());
                    views.push(row.map_or_else(|| handle.view(own), |row| of_row(handle, row)));
                }
                TaskScope::Machine => {
                    let others =
                        rows.filter(|row| row.key.machine.as_deref() != Some(own.as_str()));
                    views.push(handle.view(own));
                    views.extend(others.map(|row| of_row(handle, row)));
                }
            }
        }
        Ok(views)
    }
}

fn of_row(handle: &TaskHandle, row: &TaskRow) -> TaskView {
    view(&handle.info, Runs::of(row), None)
}

/// Returns a task for people; `manager` is whose runs these are, unless they say so themselves.
fn view(info: &TaskInfo, runs: Runs, manager: Option<String>) -> TaskView {
    let took = runs.started.zip(runs.finished).map(|(start, end)| end.duration_since(start));
    let running = match (runs.started, runs.finished) {
        (Some(started), Some(finished)) => started > finished,
        (started, None) => started.is_some(),
        (None, Some(_)) => false,
    };
    TaskView {
        name: info.name.to_owned(),
        description: info.description.to_owned(),
        scope: match info.scope {
            TaskScope::Installation => TaskScopeView::Installation,
            TaskScope::Machine => TaskScopeView::Machine,
        },
        manager: runs.manager.or(manager),
        running,
        last_started_at: runs.started,
        last_finished_at: runs.finished,
        last_duration_ms: took.and_then(|took| u64::try_from(took.as_millis()).ok()),
        last_outcome: runs
            .report
            .as_ref()
            .map(|r| if r.is_ok() { "ok" } else { "failed" }.to_owned()),
        last_message: runs.report.map(|r| match r {
            Ok(message) | Err(message) => message,
        }),
        next_run_at: runs.next,
    }
}

impl Runs {
    fn of(row: &TaskRow) -> Self {
        let last = row.last.as_ref();
        Self {
            manager: Some(row.manager.clone()),
            started: row.last_started,
            finished: last.map(|run| run.at),
            report: last.map(|run| match run.outcome {
                TaskOutcome::Done => Ok(run.message.clone()),
                TaskOutcome::Failed => Err(run.message.clone()),
            }),
            next: last.and_then(|run| run.next),
        }
    }
}

/// Begins to run a task until `stop`; the first run is at once, or when it is due where other
/// managers may have run it. The future ends after the run that is under way.
pub(crate) fn start<F, R>(
    info: TaskInfo,
    runner: Runner,
    stop: CancellationToken,
    run: R,
) -> (TaskHandle, impl Future<Output = ()> + Send)
where
    R: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = TaskReport> + Send,
{
    let poke = Arc::new(Notify::new());
    let (sender, receiver) = watch::channel(Runs::default());
    let handle = TaskHandle { info, poke: Arc::clone(&poke), runs: receiver };
    let machine = match info.scope {
        TaskScope::Installation => None,
        TaskScope::Machine => Some(runner.name.to_string()),
    };
    let key = TaskKey { name: info.name.to_owned(), machine };
    let mut task = Task { info, key, runner, runs: sender, noted: None };
    let work = async move {
        let mut due = Due::OnTime;
        while !stop.is_cancelled() {
            let turn = task.turn(due, &run).await;
            // Both are cancel-safe; a poke that comes during a run is kept by `notify_one`.
            due = tokio::select! {
                () = stop.cancelled() => break,
                () = poke.notified() => Due::AtOnce,
                // What somebody asked for is still to be done when another manager was at it.
                () = tokio::time::sleep(turn.wait) => if turn.ran { Due::OnTime } else { due },
            };
        }
        task.note(Notes::All).await;
    };
    (handle, work)
}

/// A task at work.
struct Task {
    info: TaskInfo,
    key: TaskKey,
    runner: Runner,
    runs: watch::Sender<Runs>,
    /// What was last noted of a machine's own task.
    noted: Option<(Timestamp, TaskOutcome)>,
}

/// What came of a turn, and how long until the next.
struct Turn {
    ran: bool,
    wait: Duration,
}

/// Which runs of a machine's own task are noted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notes {
    /// Those that say something new.
    New,
    /// Every one.
    All,
}

/// Somebody else runs the task by now.
struct Lost;

impl Task {
    async fn turn<F, R>(&mut self, due: Due, run: &R) -> Turn
    where
        R: Fn() -> F + Sync,
        F: Future<Output = TaskReport> + Send,
    {
        match self.info.scope {
            TaskScope::Machine => {
                self.began();
                let report = self.carry_out(run).await;
                self.ended(report);
                self.note(Notes::New).await;
                Turn { ran: true, wait: self.info.every }
            }
            TaskScope::Installation => match self.try_lease(due, run).await {
                Ok(turn) => turn,
                Err(error) => {
                    self.ended(Err(format!("the task cannot be taken: {error}")));
                    Turn { ran: false, wait: LOOK.min(self.info.every) }
                }
            },
        }
    }

    /// Runs the task if nobody else does and it is due.
    async fn try_lease<F, R>(&self, due: Due, run: &R) -> Result<Turn, StoreError>
    where
        R: Fn() -> F + Sync,
        F: Future<Output = TaskReport> + Send,
    {
        let now = self.now();
        let lease = Lease {
            holder: self.runner.id,
            manager: self.runner.name.as_str(),
            until: after(now, self.runner.terms.lease),
        };
        let tasks = self.runner.store.tasks();
        if !tasks.begin(&self.key, lease, due, now).await? {
            return Ok(Turn { ran: false, wait: self.look_on().await? });
        }
        self.began();
        let Ok(report) = self.carry_out_leased(run).await else {
            warn!(task.name = self.info.name, "another manager took the task over");
            return Ok(Turn { ran: true, wait: LOOK });
        };
        self.ended(report);
        if let Some(run) = self.last() {
            tasks.finish(&self.key, self.runner.id, &run).await?;
        }
        Ok(Turn { ran: true, wait: self.info.every })
    }

    /// Takes over how the task's runs went elsewhere. Returns when to look again.
    async fn look_on(&self) -> Result<Duration, StoreError> {
        let Some(row) = self.runner.store.tasks().get(&self.key).await? else { return Ok(LOOK) };
        let runs = Runs::of(&row);
        if let Some(at) = runs.finished {
            (self.runner.seen)(self.info.name, at);
        }
        let next = if row.lease_until.is_some() { None } else { runs.next };
        self.runs.send_replace(runs);
        let wait = next.map(|next| next.duration_since(self.now()));
        let wait = wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(LOOK);
        Ok(wait.clamp(SOON, self.info.every.max(SOON)))
    }

    async fn carry_out<F: Future<Output = TaskReport> + Send>(
        &self,
        run: &(impl Fn() -> F + Sync),
    ) -> TaskReport {
        let report = run().instrument(info_span!("task", task.name = self.info.name)).await;
        if let Err(message) = &report {
            warn!(task.name = self.info.name, "task failed: {message}");
        }
        report
    }

    /// Runs the task while it is held; a run that has lost it is dropped where it stands.
    async fn carry_out_leased<F: Future<Output = TaskReport> + Send>(
        &self,
        run: &(impl Fn() -> F + Sync),
    ) -> Result<TaskReport, Lost> {
        let mut work = std::pin::pin!(self.carry_out(run));
        let mut ticks = tokio::time::interval(self.runner.terms.renew);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut held_until = after(self.now(), self.runner.terms.lease);
        loop {
            // Both are cancel-safe: the work is only borrowed, and a tick that is due stays due.
            tokio::select! {
                report = &mut work => return Ok(report),
                _ = ticks.tick() => held_until = self.hold(held_until).await?,
            }
        }
    }

    /// Holds the task for longer. A database that is away for a moment takes it from nobody.
    async fn hold(&self, held_until: Timestamp) -> Result<Timestamp, Lost> {
        let until = after(self.now(), self.runner.terms.lease);
        match self.runner.store.tasks().renew(&self.key, self.runner.id, until).await {
            Ok(true) => Ok(until),
            Err(error) if self.now() < held_until => {
                warn!(task.name = self.info.name, %error, "cannot hold the task for longer yet");
                Ok(held_until)
            }
            Ok(false) | Err(_) => Err(Lost),
        }
    }

    fn began(&self) {
        let (now, manager) = (self.now(), self.runner.name.to_string());
        self.runs.send_modify(|runs| {
            runs.started = Some(now);
            runs.manager = Some(manager);
        });
    }

    fn ended(&self, report: TaskReport) {
        let now = self.now();
        self.runs.send_modify(|runs| {
            runs.finished = Some(now);
            runs.report = Some(report);
            runs.next = Some(after(now, self.info.every));
        });
    }

    /// Notes the last run of a machine's own task, where it says something new.
    async fn note(&mut self, notes: Notes) {
        let started = self.runs.borrow().started;
        let (TaskScope::Machine, Some(started), Some(run)) =
            (self.info.scope, started, self.last())
        else {
            return;
        };
        let known = self.noted.is_some_and(|(at, outcome)| match notes {
            Notes::New => outcome == run.outcome && run.at.duration_since(at) < NOTE,
            Notes::All => at == run.at,
        });
        if known {
            return;
        }
        let tasks = self.runner.store.tasks();
        match tasks.note(&self.key, self.runner.name.as_str(), started, &run).await {
            Ok(()) => self.noted = Some((run.at, run.outcome)),
            Err(error) => warn!(task.name = self.info.name, %error, "a run was not noted"),
        }
    }

    fn last(&self) -> Option<EndedRun> {
        let runs = self.runs.borrow();
        let (outcome, message) = match runs.report.as_ref()? {
            Ok(message) => (TaskOutcome::Done, message),
            Err(message) => (TaskOutcome::Failed, message),
        };
        Some(EndedRun { at: runs.finished?, outcome, message: message.clone(), next: runs.next })
    }

    fn now(&self) -> Timestamp {
        (self.runner.clock)()
    }
}

fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
