//! The background tasks that there are.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{
    Control, fleet,
    observe::Whose,
    rollout,
    tasks::{self, Runner, TaskHandle, TaskInfo, TaskReport, TaskScope},
};

const DEPLOY: TaskInfo = TaskInfo {
    name: "deploy",
    description: "brings the edge to what is declared",
    every: Duration::from_secs(5),
    scope: TaskScope::Machine,
};
const FOLLOW: TaskInfo = TaskInfo {
    name: "follow-certificates",
    description: "gives the edge certificates that were renewed elsewhere",
    every: Duration::from_secs(60),
    scope: TaskScope::Machine,
};
const RENEW: TaskInfo = TaskInfo {
    name: "renew-certificates",
    description: "renews the certificates of the local authority in time",
    every: Duration::from_secs(3600),
    scope: TaskScope::Installation,
};
const PRUNE: TaskInfo = TaskInfo {
    name: "prune",
    description: "forgets ended sessions, old login attempts and other leftovers",
    every: Duration::from_secs(6 * 3600),
    scope: TaskScope::Installation,
};

const DISCOVER: TaskInfo = TaskInfo {
    name: "discover-nodes",
    description: "takes over what changed in nodes.yaml",
    every: Duration::from_secs(5),
    scope: TaskScope::Machine,
};

const NODES: TaskInfo = TaskInfo {
    name: fleet::TASK,
    description: "brings every active node to what it should have",
    every: Duration::from_secs(5),
    scope: TaskScope::Machine,
};

const OBSERVE: TaskInfo = TaskInfo {
    name: "observe-nodes",
    description: "reads how the nodes that are reached over SSH fare",
    every: Duration::from_secs(15),
    scope: TaskScope::Installation,
};
const OBSERVE_OWN: TaskInfo = TaskInfo {
    name: "observe-own",
    description: "reads how this machine, its edge and its nodes fare",
    every: Duration::from_secs(15),
    scope: TaskScope::Machine,
};
const ROLLOUTS: TaskInfo = TaskInfo {
    name: rollout::TASK,
    description: "takes rollouts on from wave to wave",
    every: Duration::from_secs(3),
    scope: TaskScope::Machine,
};

type Run = fn(Control) -> BoxFuture<'static, TaskReport>;

/// All tasks with what they do.
const ALL: [(TaskInfo, Run); 9] = [
    (DEPLOY, |control| Box::pin(async move { control.deploy().await })),
    (NODES, |control| Box::pin(async move { control.bring_nodes().await })),
    (ROLLOUTS, |control| Box::pin(async move { control.drive_rollouts().await })),
    (FOLLOW, |control| Box::pin(async move { control.follow_certificates().await })),
    (RENEW, |control| Box::pin(async move { control.renew_certificates().await })),
    (DISCOVER, |control| Box::pin(async move { control.discover_nodes().await })),
    (OBSERVE, |control| Box::pin(async move { control.observe_nodes(Whose::Reached).await })),
    (OBSERVE_OWN, |control| Box::pin(async move { control.observe_nodes(Whose::Own).await })),
    (PRUNE, |control| Box::pin(async move { control.prune().await })),
];

impl Control {
    /// Begins the background tasks, which end when `stop` is cancelled.
    pub(crate) fn start_tasks(&self, stop: &CancellationToken) -> TaskTracker {
        let tracker = TaskTracker::new();
        self.inner.fleet.workers.start(&tracker, stop);
        self.inner.observer.begin(stop);
        let runner = Runner::of(self, Arc::clone(&self.inner.clock));
        let mut handles = Vec::new();
        for (mut info, run) in ALL {
            if [OBSERVE.name, OBSERVE_OWN.name].contains(&info.name) {
                info.every = self.inner.config.observe_every;
            }
            let control = self.clone();
            let counted = move || {
                let control = control.clone();
                async move {
                    let report = run(control.clone()).await;
                    control.count_task(info.name, report.is_ok());
                    report
                }
            };
            let (handle, work) = tasks::start(info, runner.clone(), stop.clone(), counted);
            tracker.spawn(work);
            handles.push(handle);
        }
        let deploys = |task: &&TaskHandle| {
            [DEPLOY.name, NODES.name, ROLLOUTS.name].contains(&task.info().name)
        };
        let woken: Vec<_> = handles.iter().filter(deploys).cloned().collect();
        let (control, ended) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            while ended.run_until_cancelled(control.inner.deploy.woken()).await.is_some() {
                woken.iter().for_each(TaskHandle::poke);
            }
        });
        let (control, ended) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            ended.cancelled().await;
            control.inner.observer.end().await;
        });
        tracker.close();
        if self.inner.tasks.set(handles).is_err() {
            warn!("the background tasks were started twice");
        }
        tracker
    }

    /// Returns the tasks that run.
    pub fn task_handles(&self) -> &[TaskHandle] {
        self.inner.tasks.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Has certificates looked at soon.
    pub(crate) fn renew_soon(&self) {
        let mut tasks = self.task_handles().iter();
        if let Some(renew) = tasks.find(|task| task.info().name == RENEW.name) {
            renew.poke();
        }
    }

    /// Forgets what is no longer needed.
    async fn prune(&self) -> TaskReport {
        match self.prune_all().await {
            Ok(count) => Ok(format!("{count} row(s) forgotten")),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn prune_all(&self) -> Result<u64, portway_store::StoreError> {
        let now = self.now();
        let before = |hours: i64| {
            now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN)
        };
        let store = &self.inner.store;
        let mut count = 0;
        count += store.login_attempts().prune(before(24)).await?;
        count += store.links().prune(before(24 * 7)).await?;
        count += store.sessions().prune(before(24 * 7)).await?;
        count += store.idempotency().prune(now).await?;
        count += store.deployments().prune(before(24 * 90)).await?;
        count += store.rollouts().prune(before(24 * 90)).await?;
        count += store.events().prune(before(24 * 7)).await?;
        count += store.secrets().delete_unreferenced(before(24)).await?;
        count += store.certificates().delete_ended(before(24 * 30)).await?;
        count += store.tasks().prune(before(24 * 30)).await?;
        Ok(count)
    }
}
