//! The deployer against a real edge.

use std::{sync::Arc, time::Duration};

use camino::Utf8Path;
use jiff::Timestamp;
use portway_control::{Control, Precondition, Resource};
use portway_edge::{EdgeConfig, EdgeHandle};
use portway_wire::{
    node::{NewNode, NodeQuery},
    site::{BlockSite, EditSite, SiteState},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::support::{Bed, config, new_site, root};

const PATIENCE: Duration = Duration::from_secs(20);

/// A manager with its tasks running.
struct Manager {
    control: Control,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Manager {
    async fn start(bed: &Bed) -> Self {
        let stop = CancellationToken::new();
        let clock = Arc::new(Timestamp::now);
        let (control, tasks) =
            Control::start(config(&bed.path()), clock, stop.clone()).await.unwrap();
        Self { control, stop, tasks }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Makes a site and waits until it is carried out.
    async fn create(&self, name: &str, spec: Value) -> SiteState {
        let root = root();
        let editor = self.control.editor(&root).await.unwrap();
        let made = editor.create(new_site(name, spec)).await.unwrap();
        self.settled(made.summary.revision).await;
        self.state(name).await
    }

    async fn edit(&self, name: &str, spec: Value) {
        let root = root();
        let editor = self.control.editor(&root).await.unwrap();
        let edit = EditSite { spec, message: None, rollout: None };
        let changed = editor.edit(name, edit, Precondition::Any).await.unwrap();
        self.settled(changed.revision.unwrap()).await;
    }

    async fn settled(&self, revision: i64) {
        let root = root();
        let history = self.control.history(&root).await.unwrap();
        let progress = history.progress(revision, PATIENCE).await.unwrap();
        assert!(progress.done, "revision {revision} was not carried out");
    }

    async fn state(&self, name: &str) -> SiteState {
        let root = root();
        let sites = self.control.sites(&root).await.unwrap();
        sites.get(name).await.unwrap().summary.state
    }
}

async fn edge(bed: &Bed, stop: &CancellationToken) -> EdgeHandle {
    edge_in(&bed.path(), stop).await
}

/// Starts the edge of the manager whose data folder this is.
pub(crate) async fn edge_in(data_dir: &Utf8Path, stop: &CancellationToken) -> EdgeHandle {
    let folder = data_dir.join("edge");
    let config = EdgeConfig {
        state_dir: folder.join("state"),
        log_dir: folder.join("logs"),
        control_socket: folder.join("control.sock"),
        http: vec!["127.0.0.1:0".parse().unwrap()],
        https: vec!["127.0.0.1:0".parse().unwrap()],
        public_https_port: None,
        workers: std::num::NonZeroUsize::new(1),
        drain: Duration::from_secs(5),
        ..EdgeConfig::below(&folder)
    };
    portway_edge::start(config, stop.clone()).await.unwrap()
}

/// Asks over plain HTTP and returns the whole answer.
pub(crate) async fn ask(edge: &EdgeHandle, host: &str) -> String {
    let mut stream = TcpStream::connect(edge.http()[0]).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub(crate) fn says(host: &str, body: &str) -> Value {
    json!({ "hosts": [host], "respond": { "body": body }, "https": false })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_is_served_changed_blocked_and_removed() {
    let bed = Bed::new().await;
    let stop = CancellationToken::new();
    let edge = edge(&bed, &stop).await;
    let manager = Manager::start(&bed).await;

    assert_eq!(manager.create("a", says("a.example", "one")).await, SiteState::Live);
    assert!(ask(&edge, "a.example").await.ends_with("one"));

    manager.edit("a", says("a.example", "two")).await;
    assert!(ask(&edge, "a.example").await.ends_with("two"));

    let root = root();
    let operator = manager.control.operator(&root, Resource::Sites, "site.block").await.unwrap();
    let blocked = operator.block("a", BlockSite { reason: "unpaid".into() }).await.unwrap();
    manager.settled(blocked.revision.unwrap()).await;
    assert!(ask(&edge, "a.example").await.starts_with("HTTP/1.1 403"));
    let unblocked = operator.unblock("a").await.unwrap();
    manager.settled(unblocked.revision.unwrap()).await;
    assert!(ask(&edge, "a.example").await.ends_with("two"));

    let editor = manager.control.editor(&root).await.unwrap();
    let removed = editor.remove("a", Precondition::Any).await.unwrap();
    manager.settled(removed.revision.unwrap()).await;
    assert!(ask(&edge, "a.example").await.starts_with("HTTP/1.1 404"));

    manager.stop().await;
    edge.stop();
    edge.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_lost_everything_is_given_it_again() {
    let bed = Bed::new().await;
    let stop = CancellationToken::new();
    let first = edge(&bed, &stop).await;
    let manager = Manager::start(&bed).await;
    for n in 0..5 {
        let name = format!("s{n}");
        manager.create(&name, says(&format!("{name}.example"), &name)).await;
    }
    first.stop();
    first.wait().await.unwrap();
    std::fs::remove_dir_all(bed.path().join("edge/state")).unwrap();

    let second = edge(&bed, &stop).await;
    manager.create("last", says("last.example", "last")).await;

    for n in 0..5 {
        let body = ask(&second, &format!("s{n}.example")).await;
        assert!(body.ends_with(&format!("s{n}")), "{body}");
    }
    manager.stop().await;
    second.stop();
    second.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_serves_on_without_a_manager_and_the_next_one_adopts_it() {
    let bed = Bed::new().await;
    let stop = CancellationToken::new();
    let edge = edge(&bed, &stop).await;
    let manager = Manager::start(&bed).await;
    manager.create("a", says("a.example", "one")).await;
    manager.stop().await;

    assert!(ask(&edge, "a.example").await.ends_with("one"));
    let next = Manager::start(&bed).await;
    next.edit("a", says("a.example", "two")).await;

    assert!(ask(&edge, "a.example").await.ends_with("two"));
    next.stop().await;
    edge.stop();
    edge.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_while_the_edge_is_away_is_carried_out_when_it_is_back() {
    let bed = Bed::new().await;
    let manager = Manager::start(&bed).await;
    let root = root();
    let editor = manager.control.editor(&root).await.unwrap();
    let made = editor.create(new_site("a", says("a.example", "one"))).await.unwrap();
    assert_eq!(manager.state("a").await, SiteState::Pending);

    let stop = CancellationToken::new();
    let edge = edge(&bed, &stop).await;
    manager.settled(made.summary.revision).await;

    assert!(ask(&edge, "a.example").await.ends_with("one"));
    manager.stop().await;
    edge.stop();
    edge.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_refuses_a_store_that_was_sealed_with_another_key() {
    let bed = Bed::new().await;
    std::fs::remove_file(bed.path().join("master.key")).unwrap();

    let error = Control::open(config(&bed.path()), Arc::new(Timestamp::now)).await.unwrap_err();

    let text = error.to_string();
    assert!(text.contains("portway key import"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_opens_everything_and_the_old_one_nothing() {
    let bed = Bed::new().await;
    let root = root();
    let closed = json!({
        "hosts": ["a.example"], "to": "5000",
        "access": {"basic": {"users": {"ann": {"password": "an open secret"}}}},
    });
    let editor = bed.control.editor(&root).await.unwrap();
    editor.create(new_site("a", closed.clone())).await.unwrap();
    let before = std::fs::read(bed.path().join("master.key")).unwrap();
    let config = config(&bed.path());

    let count = portway_control::rotate_key(&config.key_file, &config.database).await.unwrap();

    assert!(count >= 3, "{count}");
    let control = Control::open(config.clone(), Arc::new(Timestamp::now)).await.unwrap();
    let editor = control.editor(&root).await.unwrap();
    let edit = EditSite { spec: closed, message: None, rollout: None };
    // The reference of an unchanged password stays the same under the new key.
    assert_eq!(editor.edit("a", edit, Precondition::Any).await.unwrap().revision, None);
    std::fs::write(bed.path().join("master.key"), before).unwrap();
    assert!(Control::open(config, Arc::new(Timestamp::now)).await.is_err());
}

#[tokio::test]
async fn a_key_is_not_changed_for_a_database_that_it_does_not_belong_to() {
    let bed = Bed::new().await;
    let config = config(&bed.path());
    let before = std::fs::read(&config.key_file).unwrap();
    let empty = portway_store::DatabaseUrl::file(bed.path().join("other.db"));

    let error = portway_control::rotate_key(&config.key_file, &empty).await.unwrap_err();

    assert!(error.to_string().contains("holds no installation"), "{error}");
    assert_eq!(std::fs::read(&config.key_file).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_on_the_edge_only_while_its_nodes_say_so() {
    let bed = Bed::new().await;
    let stop = CancellationToken::new();
    let edge = edge(&bed, &stop).await;
    let manager = Manager::start(&bed).await;
    let root = root();
    let operator = manager.control.operator(&root, Resource::Nodes, "node.create").await.unwrap();
    let spec = json!({
        "engine": "nginx", "ssh": "root@127.0.0.8", "groups": ["web"], "active": false
    });
    let new = NewNode { name: "web-1".to_owned(), spec, message: None };
    operator.create_node(new).await.unwrap();
    let on = |nodes: Value| {
        let mut spec = says("a.example", "here");
        spec["nodes"] = nodes;
        spec
    };
    let edges = own_edges(&manager.control).await;

    // It waits for its node, and the edge knows nothing of it.
    assert_eq!(manager.create("a", on(json!(["web-1"]))).await, SiteState::Pending);
    assert!(!ask(&edge, "a.example").await.ends_with("here"));
    for (nodes, is_here) in [
        (json!(["web-1", "local"]), true),
        (json!(["group:web"]), false),
        (json!([edges[0]]), true),
        (json!(["zone:eu"]), false),
        (json!(["local"]), true),
    ] {
        manager.edit("a", on(nodes.clone())).await;
        assert_eq!(ask(&edge, "a.example").await.ends_with("here"), is_here, "{nodes}");
    }
    assert_eq!(manager.state("a").await, SiteState::Live);

    manager.stop().await;
    edge.stop();
    edge.wait().await.unwrap();
}

async fn own_edges(control: &Control) -> Vec<String> {
    let root = root();
    let overseer = control.overseer(&root, Resource::Nodes, "node.read").await.unwrap();
    let select = Some("local".to_owned());
    let found = overseer.nodes(NodeQuery { select, ..NodeQuery::default() }).await.unwrap();
    found.items.into_iter().map(|node| node.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_edge_forgot_is_sent_again() {
    let bed = Bed::new().await;
    let stop = CancellationToken::new();
    let edge = edge(&bed, &stop).await;
    let manager = Manager::start(&bed).await;
    let site = |https: bool| {
        let mut spec = says("a.example", "here");
        spec["https"] = json!(https);
        spec
    };
    assert_eq!(manager.create("a", site(true)).await, SiteState::Live);

    manager.edit("a", site(false)).await;
    manager.edit("a", site(true)).await;
    assert_eq!(manager.state("a").await, SiteState::Live, "it has HTTPS again");

    let root = root();
    let editor = manager.control.editor(&root).await.unwrap();
    let removed = editor.remove("a", Precondition::Any).await.unwrap();
    manager.settled(removed.revision.unwrap()).await;
    assert_eq!(manager.create("a", site(true)).await, SiteState::Live, "it is there again");

    manager.stop().await;
    edge.stop();
    edge.wait().await.unwrap();
}
