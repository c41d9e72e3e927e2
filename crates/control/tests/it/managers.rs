//! Several managers on one database, each with an edge of its own; on both databases.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_control::{Clock, Control, ControlError, Idempotency, Precondition, Resource};
use portway_edge::EdgeHandle;
use portway_model::{Bounds, Role};
use portway_wire::{
    PageQuery,
    site::EditSite,
    system::{RootState, TaskScopeView, TaskView},
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    deploy::{ask, edge_in, says},
    support::{PASSWORD, client, config, new_site, root},
};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A database for several managers, and a clock that is set by hand.
struct Shared {
    url: String,
    server: Option<(String, String)>,
    folder: tempfile::TempDir,
    ahead: Arc<Mutex<Duration>>,
}

/// A manager with its tasks running.
struct Manager {
    control: Control,
    stop: CancellationToken,
    tasks: TaskTracker,
    folder: Utf8PathBuf,
}

/// Runs a behaviour on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Shared::sqlite()).await;
            }
        )*}
        mod postgres {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(shared) = super::Shared::postgres(stringify!($name)) else { return };
                super::$name(shared).await;
            }
        )*}
    };
}

on_both! {
    managers_that_start_together_have_one_authority,
    each_manager_has_its_own_edge,
    what_one_manager_writes_reaches_the_other_edge,
    a_task_of_the_installation_runs_with_one_manager,
    a_renewed_certificate_reaches_every_edge,
    a_new_root_takes_over_when_it_is_told_to,
    a_login_counts_with_every_manager,
    a_request_is_carried_out_once_by_all_managers,
}

async fn managers_that_start_together_have_one_authority(shared: Shared) {
    shared.prepare_key().await;
    let [one, two, three] = ["one", "two", "three"].map(|name| shared.open(name));
    let (one, two, three) = tokio::join!(one, two, three);
    let pem = one.local_roots_pem().await.unwrap();
    assert_eq!(pem.matches("BEGIN").count(), 1, "there are several roots: {pem}");
    assert_eq!(two.local_roots_pem().await.unwrap(), pem);
    assert_eq!(three.local_roots_pem().await.unwrap(), pem);
}

async fn each_manager_has_its_own_edge(shared: Shared) {
    let (one, two) = shared.two().await;
    let (edge_one, edge_two) = (one.edge().await, two.edge().await);
    one.create("a", "a.example", "first").await;
    until("both serve it", async || {
        ask(&edge_one, "a.example").await.ends_with("first")
            && ask(&edge_two, "a.example").await.ends_with("first")
    })
    .await;

    // The edge of one is gone: what the other does must not count for it.
    edge_one.stop();
    edge_one.wait().await.unwrap();
    two.edit("a", "a.example", "second").await;
    until("the other serves it", async || ask(&edge_two, "a.example").await.ends_with("second"))
        .await;
    let edge_one = one.edge().await;
    until("it is caught up", async || ask(&edge_one, "a.example").await.ends_with("second")).await;

    let nodes: std::collections::BTreeSet<_> =
        deployments(&one.control).await.into_iter().map(|one| one.node).collect();
    assert_eq!(nodes.len(), 2, "each deploys to its own: {nodes:?}");
    assert!(nodes.iter().all(|node| node.starts_with("edge-")), "{nodes:?}");
    one.stop(edge_one).await;
    two.stop(edge_two).await;
}

async fn what_one_manager_writes_reaches_the_other_edge(shared: Shared) {
    let (one, two) = shared.two().await;
    let (edge_one, edge_two) = (one.edge().await, two.edge().await);
    for number in 0..3 {
        let (from, edge) = if number % 2 == 0 { (&one, &edge_two) } else { (&two, &edge_one) };
        let (name, host) = (format!("s{number}"), format!("s{number}.example"));
        from.create(&name, &host, "here").await;
        until("it is served elsewhere", async || ask(edge, &host).await.ends_with("here")).await;
    }
    let root = root();
    let editor = one.control.editor(&root).await.unwrap();
    editor.remove("s1", Precondition::Any).await.unwrap();
    let gone = async || ask(&edge_two, "s1.example").await.starts_with("HTTP/1.1 404");
    until("it is gone elsewhere", gone).await;
    one.stop(edge_one).await;
    two.stop(edge_two).await;
}

async fn a_task_of_the_installation_runs_with_one_manager(shared: Shared) {
    let (one, two) = shared.two().await;
    let prune = async |manager: &Manager| manager.task("prune").await;
    let ran = async || prune(&one).await.last_finished_at.is_some();
    until("it ran", ran).await;
    let (seen_by_one, seen_by_two) = (prune(&one).await, prune(&two).await);
    assert_eq!(seen_by_one, seen_by_two, "both tell the same");
    assert_eq!(seen_by_one.scope, TaskScopeView::Installation);
    assert!(seen_by_one.manager.is_some() && seen_by_one.last_duration_ms.is_some());
    assert_eq!(one.runs_of("prune").await + two.runs_of("prune").await, 1);

    let deploys = one.tasks().await.into_iter().filter(|task| task.name == "deploy");
    let managers: std::collections::BTreeSet<_> = deploys.map(|task| task.manager).collect();
    until("each machine's own task is told", async || {
        one.tasks().await.iter().filter(|task| task.name == "deploy").count() == 2
    })
    .await;
    assert!(managers.iter().all(Option::is_some), "{managers:?}");

    // The same manager, started again, knows it still.
    one.end().await;
    let again = shared.start("one").await;
    assert_eq!(again.task("prune").await.last_started_at, seen_by_one.last_started_at);
    assert_eq!(again.runs_of("prune").await, 0, "it is not due");
}

async fn a_renewed_certificate_reaches_every_edge(shared: Shared) {
    let (one, two) = shared.two().await;
    let (edge_one, edge_two) = (one.edge().await, two.edge().await);
    one.create_secure("a", "a.example").await;
    let digest = async |manager: &Manager| deployments_of(&manager.control, "edge").await;
    until("both have it", async || digest(&one).await >= 2).await;
    let before = fingerprint(&one.control, "a.example").await;

    // Both look at certificates every minute or hour; here they are asked to.
    shared.forward(DAY * 61);
    until("it is renewed", async || {
        one.poke();
        two.poke();
        fingerprint(&one.control, "a.example").await != before
    })
    .await;
    let new = fingerprint(&one.control, "a.example").await;
    until("both edges present it", async || {
        two.poke();
        one.poke();
        presented(&edge_one, "a.example").await == new
            && presented(&edge_two, "a.example").await == new
    })
    .await;
    one.stop(edge_one).await;
    two.stop(edge_two).await;
}

async fn a_new_root_takes_over_when_it_is_told_to(shared: Shared) {
    let (one, two) = shared.two().await;
    let (edge_one, edge_two) = (one.edge().await, two.edge().await);
    one.create_secure("a", "a.example").await;
    let first = one.control.local_roots().await.unwrap().remove(0);
    let root = root();
    let operator = one.control.operator(&root, Resource::System, "ca.renew").await.unwrap();
    let early = operator.activate_root().await;
    assert!(matches!(early, Err(ControlError::Conflict(_))), "{early:?}");

    let next = operator.renew_root().await.unwrap();
    assert_eq!((next.number, next.state), (2, RootState::Prepared));
    let again = operator.renew_root().await;
    assert!(matches!(again, Err(ControlError::Conflict(_))), "{again:?}");
    let pem = two.control.local_roots_pem().await.unwrap();
    assert_eq!(pem, format!("{}{}", first.pem, next.pem), "both can be downloaded");
    let before = fingerprint(&one.control, "a.example").await;
    one.create_secure("b", "b.example").await;
    assert_eq!(issuer(&one.control, "b.example").await, first.name, "it issues nothing yet");
    assert_eq!(fingerprint(&one.control, "a.example").await, before);

    let operator = two.control.operator(&root, Resource::System, "ca.activate").await.unwrap();
    let active = operator.activate_root().await.unwrap();
    assert_eq!((active.number, active.state), (2, RootState::Active));
    for host in ["a.example", "b.example"] {
        until("it is issued anew", async || {
            two.poke();
            issuer(&two.control, host).await == next.name
        })
        .await;
        until("every edge presents it", async || {
            one.poke();
            two.poke();
            let new = fingerprint(&two.control, host).await;
            presented(&edge_one, host).await == new && presented(&edge_two, host).await == new
        })
        .await;
    }
    one.create_secure("c", "c.example").await;
    assert_eq!(issuer(&one.control, "c.example").await, next.name, "the other manager knows");
    let roots = one.control.local_roots().await.unwrap();
    let states: Vec<_> = roots.iter().map(|root| root.state).collect();
    assert_eq!(states, [RootState::Retired, RootState::Active], "the old one can be downloaded");
    let audit = audit(&one.control).await;
    for action in ["ca.renew", "ca.activate"] {
        assert_eq!(audit.iter().filter(|line| *line == action).count(), 1, "{audit:?}");
    }
    one.stop(edge_one).await;
    two.stop(edge_two).await;
}

async fn a_login_counts_with_every_manager(shared: Shared) {
    shared.prepare_key().await;
    let (one, two) = (shared.open("one").await, shared.open("two").await);
    let bed = crate::support::Bed { control: one.clone(), folder: tempfile::tempdir().unwrap() };
    bed.user("ann", Role::Admin, Bounds::default()).await;
    let login = portway_wire::auth::Login { name: "ann".into(), password: PASSWORD.into() };
    let tokens = one.login(&login, &client()).await.unwrap();
    let come_in = async |control: &Control| {
        let credentials = portway_control::Credentials::Bearer(&tokens.access_token);
        control.authenticate(credentials, "192.0.2.9", None).await
    };
    let actor = come_in(&two).await.unwrap();
    assert_eq!(actor.name(), "ann");
    two.logout(&actor).await.unwrap();
    assert!(come_in(&one).await.is_err(), "the login ended everywhere");
}

async fn a_request_is_carried_out_once_by_all_managers(shared: Shared) {
    shared.prepare_key().await;
    let (one, two) = (shared.open("one").await, shared.open("two").await);
    let root = root();
    let claim = async |control: &Control| control.idempotent(&root, "k", [7; 32]).await.unwrap();
    let Idempotency::New(held) = claim(&one).await else { panic!("it is new") };
    assert!(matches!(claim(&two).await, Idempotency::UnderWay { retry_after: 1..=5 }));

    // The first manager writes the site, and dies before it keeps the answer.
    let editor = one.editor(&root).await.unwrap();
    let work = editor.create(new_site("a", says("a.example", "here")));
    let made = held.carry_out(Box::pin(work)).await.unwrap();
    drop(held);
    let found = claim(&two).await;
    let Idempotency::Written { revision } = found else { panic!("{found:?}") };
    assert_eq!(revision, made.summary.revision);
    let written = two.sites(&root).await.unwrap().written_by(revision).await.unwrap();
    assert_eq!(written.sites, ["a"]);

    // Another dies before it writes anything: the key is free once its time is over.
    let other = async |control: &Control| control.idempotent(&root, "k2", [7; 32]).await.unwrap();
    let Idempotency::New(late) = other(&one).await else { panic!("it is new") };
    shared.forward(Duration::from_secs(59));
    assert!(matches!(other(&two).await, Idempotency::UnderWay { .. }));
    shared.forward(Duration::from_secs(2));
    let Idempotency::New(heir) = other(&two).await else { panic!("it is free") };
    let work = editor.create(new_site("late", says("late.example", "here")));
    let refused = late.carry_out(Box::pin(work)).await;
    assert!(matches!(refused, Err(ControlError::Conflict(_))), "{refused:?}");
    late.release().await.unwrap();
    heir.store(201, "{}").await.unwrap();
    assert!(matches!(other(&one).await, Idempotency::Replay { status: 201, .. }));
}

impl Shared {
    fn new(url: Option<(String, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = match &url {
            Some((server, name)) => format!("{}/{name}", server.rsplit_once('/').unwrap().0),
            None => format!("sqlite:{}/portway.db", folder.path().to_str().unwrap()),
        };
        Self { url: address, server: url, folder, ahead: Arc::default() }
    }

    fn sqlite() -> Self {
        Self::new(None)
    }

    /// Returns nothing, and says so, where there is no PostgreSQL.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn postgres(test: &str) -> Option<Self> {
        let Ok(server) = std::env::var("PORTWAY_TEST_POSTGRES") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs PostgreSQL");
            eprintln!("skipped: {test}: there is no PORTWAY_TEST_POSTGRES");
            return None;
        };
        let name = format!("m{}", uuid::Uuid::now_v7().simple());
        psql(&server, &format!("CREATE DATABASE {name}"));
        Some(Self::new(Some((server, name))))
    }

    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.ahead);
        Arc::new(move || Timestamp::now() + *ahead.lock().unwrap())
    }

    fn forward(&self, by: Duration) {
        *self.ahead.lock().unwrap() += by;
    }

    /// Makes the master key, which every manager is then given.
    async fn prepare_key(&self) {
        let key = self.path().join("master.key");
        if !key.exists() {
            let folder = tempfile::tempdir().unwrap();
            let other = Utf8Path::from_path(folder.path()).unwrap();
            Control::open(config(other), self.clock()).await.unwrap();
            std::fs::copy(other.join("master.key"), key).unwrap();
        }
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    fn config(&self, name: &str) -> portway_control::ControlConfig {
        let folder = self.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(self.path().join("master.key"), folder.join("master.key")).unwrap();
        let mut config = config(&folder);
        config.database = self.url.parse().unwrap();
        config
    }

    async fn open(&self, name: &str) -> Control {
        Control::open(self.config(name), self.clock()).await.unwrap()
    }

    async fn start(&self, name: &str) -> Manager {
        let stop = CancellationToken::new();
        let started = Control::start(self.config(name), self.clock(), stop.clone()).await;
        let (control, tasks) = started.unwrap();
        Manager { control, stop, tasks, folder: self.path().join(name) }
    }

    async fn two(&self) -> (Manager, Manager) {
        self.prepare_key().await;
        tokio::join!(self.start("one"), self.start("two"))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.server {
            psql(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Manager {
    async fn edge(&self) -> EdgeHandle {
        edge_in(&self.folder, &CancellationToken::new()).await
    }

    async fn end(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    async fn stop(self, edge: EdgeHandle) {
        self.end().await;
        edge.stop();
        edge.wait().await.unwrap();
    }

    async fn create(&self, name: &str, host: &str, body: &str) {
        let root = root();
        let editor = self.control.editor(&root).await.unwrap();
        editor.create(new_site(name, says(host, body))).await.unwrap();
    }

    /// Makes a site with a certificate and waits until this manager's edge has it.
    async fn create_secure(&self, name: &str, host: &str) {
        let root = root();
        let editor = self.control.editor(&root).await.unwrap();
        let spec = json!({ "hosts": [host], "respond": { "body": "secure" } });
        let made = editor.create(new_site(name, spec)).await.unwrap();
        let history = self.control.history(&root).await.unwrap();
        let progress = history.progress(made.summary.revision, PATIENCE).await.unwrap();
        assert!(progress.done);
    }

    async fn edit(&self, name: &str, host: &str, body: &str) {
        let root = root();
        let editor = self.control.editor(&root).await.unwrap();
        let edit = EditSite { spec: says(host, body), message: None, rollout: None };
        editor.edit(name, edit, Precondition::Any).await.unwrap();
    }

    async fn tasks(&self) -> Vec<TaskView> {
        let root = root();
        let overseer = self.control.overseer(&root, Resource::System, "task.read").await.unwrap();
        overseer.task_runs().await.unwrap()
    }

    async fn task(&self, name: &str) -> TaskView {
        self.tasks().await.into_iter().find(|task| task.name == name).unwrap()
    }

    /// Returns how often this manager ran a task itself.
    async fn runs_of(&self, task: &str) -> usize {
        let metrics = self.control.metrics().await;
        let start = format!("portway_task_runs_total{{task=\"{task}\"");
        let runs = metrics.lines().filter(|line| line.starts_with(&start));
        runs.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }

    /// Runs the tasks about certificates without waiting for their time.
    fn poke(&self) {
        for task in self.control.task_handles() {
            if task.info().name.ends_with("certificates") {
                task.poke();
            }
        }
    }
}

async fn deployments(control: &Control) -> Vec<portway_wire::deploy::DeploymentView> {
    let root = root();
    let overseer = control.overseer(&root, Resource::System, "deployment.read").await.unwrap();
    overseer.deployments(PageQuery::default()).await.unwrap().items
}

async fn deployments_of(control: &Control, node: &str) -> usize {
    let all = deployments(control).await;
    all.iter().filter(|one| one.node.starts_with(node) && one.finished_at.is_some()).count()
}

/// Returns the fingerprint of the certificate for a host that is valid longest.
async fn fingerprint(control: &Control, host: &str) -> String {
    leaf(control, host).await.fingerprint
}

async fn leaf(control: &Control, host: &str) -> portway_wire::system::CertificateView {
    let root = root();
    let overseer = control.overseer(&root, Resource::System, "certificate.read").await.unwrap();
    let all = overseer.certificates(PageQuery::default()).await.unwrap().items;
    let of_host = all.into_iter().filter(|one| one.names == [host]);
    of_host.max_by_key(|one| (one.not_after, one.id)).unwrap()
}

/// Returns who issued the certificate for a host.
async fn issuer(control: &Control, host: &str) -> String {
    leaf(control, host).await.issuer.unwrap_or_default()
}

/// Returns the fingerprint of the certificate that an edge presents for a host.
async fn presented(edge: &EdgeHandle, host: &str) -> String {
    let address = edge.https()[0].to_string();
    let script = format!(
        "openssl s_client -connect {address} -servername {host} </dev/null 2>/dev/null \
         | openssl x509 -noout -fingerprint -sha256"
    );
    let output = tokio::process::Command::new("sh").args(["-c", &script]).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let hex = text.trim().rsplit('=').next().unwrap_or_default();
    hex.replace(':', "").to_lowercase()
}

async fn audit(control: &Control) -> Vec<String> {
    let root = root();
    let log = control.audit(&root).await.unwrap();
    let found = log.list(portway_wire::user::AuditQuery::default()).await.unwrap();
    found.items.into_iter().map(|line| line.action).collect()
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn psql(server: &str, sql: &str) {
    let script =
        Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/testbed/start-postgres.sh");
    let bin = Command::new(script).arg("bin").output().unwrap().stdout;
    let psql = format!("{}/psql", String::from_utf8(bin).unwrap().trim());
    let output = Command::new(psql)
        .args(["--no-psqlrc", "--quiet", "--dbname", server, "--command", sql])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
