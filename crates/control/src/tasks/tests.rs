//! Tasks of one manager and of several, on both databases.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// A store that several managers share, and a clock that is set by hand.
struct Shared {
    url: portway_store::DatabaseUrl,
    time: Arc<Mutex<Timestamp>>,
    _folder: tempfile::TempDir,
}

/// A manager with one task.
struct Manager {
    handle: TaskHandle,
    runs: Arc<AtomicUsize>,
    work: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Shared {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/portway.db", folder.path().to_str().unwrap());
        let start = "2026-01-02T03:04:05Z".parse().unwrap();
        let time = Arc::new(Mutex::new(start));
        Self { url: url.parse().unwrap(), time, _folder: folder }
    }

    fn forward(&self, by: Duration) {
        let mut time = self.time.lock().unwrap();
        *time = after(*time, by);
    }

    async fn runner(&self, name: &str) -> Runner {
        let time = Arc::clone(&self.time);
        Runner {
            store: Store::open(&self.url).await.unwrap(),
            id: Uuid::now_v7(),
            name: name.parse().unwrap(),
            clock: Arc::new(move || *time.lock().unwrap()),
            terms: Terms { lease: Duration::from_secs(60), renew: Duration::from_millis(50) },
            seen: Arc::new(|_, _| {}),
        }
    }

    /// Starts a manager whose task hangs while `hangs`.
    async fn manager(&self, name: &str, info: TaskInfo, hangs: bool) -> Manager {
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&runs);
        let stop = CancellationToken::new();
        let (handle, work) = start(info, self.runner(name).await, stop.clone(), move || {
            let counter = Arc::clone(&counter);
            async move {
                counter.fetch_add(1, Ordering::SeqCst);
                if hangs {
                    std::future::pending::<()>().await;
                }
                Err("as told".to_owned())
            }
        });
        Manager { handle, runs, work: tokio::spawn(work), stop }
    }

    async fn row(&self, info: TaskInfo) -> Option<TaskRow> {
        let store = Store::open(&self.url).await.unwrap();
        let key = TaskKey { name: info.name.to_owned(), machine: None };
        store.tasks().get(&key).await.unwrap()
    }
}

impl Manager {
    fn count(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.stop.cancel();
        self.work.await.unwrap();
    }
}

fn task(scope: TaskScope) -> TaskInfo {
    TaskInfo { name: "t", description: "counts", every: HOUR, scope }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_machines_task_runs_at_once_and_when_poked_with_each_manager() {
    let shared = Shared::new();
    let info = task(TaskScope::Machine);
    let (one, two) =
        (shared.manager("one", info, false).await, shared.manager("two", info, false).await);
    until("both run", async || one.count() == 1 && two.count() == 1).await;
    one.handle.poke();
    until("it runs again", async || one.count() == 2).await;
    let failed = async || one.handle.failed() == Some("as told".to_owned());
    until("it is told", failed).await;
    assert_eq!(two.count(), 1);
    one.stop().await;
    two.stop().await;

    let store = Store::open(&shared.url).await.unwrap();
    let rows = store.tasks().all().await.unwrap();
    let machines: Vec<_> = rows.iter().map(|row| row.key.machine.as_deref().unwrap()).collect();
    assert_eq!(machines, ["one", "two"]);
}

#[tokio::test]
async fn a_task_of_the_installation_runs_once_an_interval() {
    let shared = Shared::new();
    let every = Duration::from_millis(400);
    let info = TaskInfo { every, ..task(TaskScope::Installation) };
    let starts = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let mut managers = Vec::new();
    for name in ["one", "two", "three"] {
        let starts = Arc::clone(&starts);
        let runner = Runner { clock: Arc::new(Timestamp::now), ..shared.runner(name).await };
        let (_, work) = start(info, runner, stop.clone(), move || {
            starts.lock().unwrap().push(Instant::now());
            std::future::ready(Ok("done".to_owned()))
        });
        managers.push(tokio::spawn(work));
    }
    until("it ran a few times", async || starts.lock().unwrap().len() >= 5).await;
    stop.cancel();
    for manager in managers {
        manager.await.unwrap();
    }
    let starts = starts.lock().unwrap();
    for pair in starts.windows(2) {
        let between = pair[1].duration_since(pair[0]);
        assert!(between + Duration::from_millis(20) > every, "twice within {between:?}");
    }
}

#[tokio::test]
async fn after_a_restart_it_is_known_when_a_task_ran() {
    let shared = Shared::new();
    let info = task(TaskScope::Installation);
    let before = shared.manager("one", info, false).await;
    until("it ran", async || before.handle.runs.borrow().finished.is_some()).await;
    before.stop().await;
    shared.forward(Duration::from_secs(60));

    let again = shared.manager("two", info, false).await;
    until("it is known", async || again.handle.failed().is_some()).await;
    assert_eq!(again.count(), 0, "it is not due yet");
    let view = view(&info, again.handle.runs.borrow().clone(), None);
    assert_eq!(view.manager.as_deref(), Some("one"));
    assert_eq!(view.last_message.as_deref(), Some("as told"));
    assert!(!view.running && view.next_run_at.is_some());
    again.handle.poke();
    until("it runs when asked to", async || again.count() >= 1).await;
    again.stop().await;
}

#[tokio::test]
async fn a_manager_that_works_for_long_keeps_its_task() {
    let shared = Shared::new();
    let info = task(TaskScope::Installation);
    let slow = shared.manager("slow", info, true).await;
    until("it runs", async || slow.count() == 1).await;
    let other = shared.manager("other", info, false).await;
    let lease = async || shared.row(info).await.unwrap().lease_until.unwrap();
    for _ in 0..5 {
        let before = lease().await;
        shared.forward(Duration::from_secs(30));
        until("the lease is renewed", async || lease().await > before).await;
        other.handle.poke();
    }
    assert_eq!((slow.count(), other.count()), (1, 0));
    slow.work.abort();
    other.stop().await;
}

#[tokio::test]
async fn a_dead_managers_task_is_taken_over_after_its_lease() {
    let shared = Shared::new();
    let info = task(TaskScope::Installation);
    let dead = shared.manager("dead", info, true).await;
    until("it runs", async || dead.count() == 1).await;
    dead.work.abort();
    assert!(dead.work.await.unwrap_err().is_cancelled());

    let heir = shared.manager("heir", info, false).await;
    until("it looks", async || heir.handle.runs.borrow().manager.is_some()).await;
    heir.handle.poke();
    assert_eq!(heir.count(), 0, "the lease still counts");
    shared.forward(Duration::from_secs(61));
    heir.handle.poke();
    until("it takes over", async || heir.count() >= 1).await;
    let row = async || shared.row(info).await.unwrap();
    until("the end is noted", async || row().await.last.is_some()).await;
    assert_eq!(row().await.manager, "heir");
    heir.stop().await;
}

#[tokio::test]
async fn a_run_that_lost_its_task_is_given_up() {
    let shared = Shared::new();
    let info = task(TaskScope::Installation);
    let slept = shared.manager("slept", info, true).await;
    until("it runs", async || slept.count() == 1).await;
    // Somebody else holds the task by now, as after a machine slept for an hour.
    let store = Store::open(&shared.url).await.unwrap();
    let key = TaskKey { name: "t".to_owned(), machine: None };
    let now = after(*shared.time.lock().unwrap(), HOUR);
    let lease = Lease { holder: Uuid::now_v7(), manager: "other", until: after(now, HOUR) };
    assert!(store.tasks().begin(&key, lease, Due::AtOnce, now).await.unwrap());

    slept.stop.cancel();
    tokio::time::timeout(DEADLINE, slept.work).await.unwrap().unwrap();
    assert_eq!(shared.row(info).await.unwrap().manager, "other");
}
