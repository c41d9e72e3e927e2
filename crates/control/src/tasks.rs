//! Background tasks: idempotent, without input; each compares wanted with found. They run on a
//! timer and when they are poked, one run at a time.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use portway_wire::system::TaskView;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span, warn};

/// How a run of a task ended: what it did, or why it failed, in words.
pub type TaskReport = Result<String, String>;

/// What a task is.
#[derive(Clone, Copy, Debug)]
pub struct TaskInfo {
    /// The name; stable, it is a label of metrics.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// How often it runs without being poked.
    pub every: Duration,
}

/// The last and the next run of a task.
#[derive(Clone, Debug, Default)]
struct Runs {
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

/// The clock, given in by the program's `main` and by tests.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl TaskHandle {
    /// Runs the task again soon, whatever the timer says.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Returns what the task is.
    pub fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// Tells whether the last run failed.
    pub fn failed(&self) -> Option<String> {
        self.runs.borrow().report.as_ref().and_then(|report| report.as_ref().err()).cloned()
    }

    /// Returns the last and next run, for people.
    pub fn view(&self) -> TaskView {
        let runs = self.runs.borrow();
        let report = runs.report.as_ref();
        TaskView {
            name: self.info.name.to_owned(),
            description: self.info.description.to_owned(),
            last_started_at: runs.started,
            last_finished_at: runs.finished,
            last_outcome: report.map(|r| if r.is_ok() { "ok" } else { "failed" }.to_owned()),
            last_message: report.map(|r| match r {
                Ok(message) | Err(message) => message.clone(),
            }),
            next_run_at: runs.next,
        }
    }
}

/// Begins to run a task until `stop`; the first run is at once. The future ends after the run that
/// is under way.
pub(crate) fn start<F, R>(
    info: TaskInfo,
    clock: Clock,
    stop: CancellationToken,
    run: R,
) -> (TaskHandle, impl Future<Output = ()> + Send)
where
    R: Fn() -> F + Send + 'static,
    F: Future<Output = TaskReport> + Send,
{
    let poke = Arc::new(Notify::new());
    let (sender, receiver) = watch::channel(Runs::default());
    let handle = TaskHandle { info, poke: Arc::clone(&poke), runs: receiver };
    let work = async move {
        while !stop.is_cancelled() {
            sender.send_modify(|runs| runs.started = Some(clock()));
            let report = run().instrument(info_span!("task", task.name = info.name)).await;
            if let Err(message) = &report {
                warn!(task.name = info.name, "task failed: {message}");
            }
            let now = clock();
            sender.send_modify(|runs| {
                runs.finished = Some(now);
                runs.report = Some(report);
                runs.next = now.checked_add(info.every).ok();
            });
            // Both are cancel-safe; a poke that comes during a run is kept by `notify_one`.
            tokio::select! {
                () = stop.cancelled() => {}
                () = poke.notified() => {}
                () = tokio::time::sleep(info.every) => {}
            }
        }
    };
    (handle, work)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_runs_at_once_on_time_and_when_poked() {
        let count = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let info = TaskInfo { name: "t", description: "counts", every: Duration::from_secs(10) };
        let counter = Arc::clone(&count);
        let (handle, work) =
            start(info, Arc::new(|| Timestamp::UNIX_EPOCH), stop.clone(), move || {
                let counter = Arc::clone(&counter);
                async move {
                    counter.fetch_add(1, Ordering::SeqCst);
                    Err("as told".to_owned())
                }
            });
        let task = tokio::spawn(work);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        handle.poke();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);
        assert_eq!(handle.view().last_outcome.as_deref(), Some("failed"));
        stop.cancel();
        task.await.unwrap();
    }
}
