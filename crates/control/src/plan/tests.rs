//! Plans of what comes to nodes, with nodes that nobody speaks with.

use std::{collections::BTreeSet, sync::Arc};

use camino::Utf8Path;
use jiff::Timestamp;
use portway_engine::{Engine, EngineFacts};
use portway_model::{Bounds, FindingCode, Location, NodeSelector, Role};
use portway_store::{
    ContentRead, MachineRead, NodeFilter, NodeRow, NodeSiteRow, PageRequest, SiteFilter, Visible,
};
use portway_wire::{
    node::NewNode,
    plan::{EffectAction, NodeBasis, NodeEffect, PlanQuery},
    site::{ApplySites, Plan},
    user::NewUser,
};
use serde_json::{Value, json};

use crate::{
    ClientInfo, Control, ControlConfig, ControlError, Credentials, Resource,
    actor::{Actor, Identity, Via},
    deploy::Owners,
    fleet::{engine_of, facts_kept, name_of, render},
    nodes,
};

const PASSWORD: &str = "seven quiet otters paddle home";
/// The same as a hash, as somebody else made it.
const HASH: &str = "$2b$10$0123456789abcdefghijkuQlfVhGyJSJFSEULZVuXMFJwBLKJ3o.2";

pub(crate) struct Bed {
    pub(crate) control: Control,
    pub(crate) root: Actor,
    _folder: tempfile::TempDir,
}

#[tokio::test]
async fn equal_nodes_are_told_once_and_a_node_that_was_never_read_is_not_guessed_at() {
    let bed = Bed::new().await;
    for name in ["web-1", "web-2", "web-3"] {
        bed.node(name, "nginx").await;
    }
    bed.saw("web-1").await;
    bed.saw("web-2").await;

    let plan = bed.plan(&file(&[("shop", site("shop.example", &["group:web", "local"]))])).await;

    let told: Vec<_> = plan.effects.iter().map(told).collect();
    let edge = bed.edge().await;
    assert!(told.contains(&(edge, EffectAction::Add)), "{told:?}");
    assert!(told.contains(&("web-1 web-2".to_owned(), EffectAction::Add)), "{told:?}");
    assert!(told.contains(&("web-3".to_owned(), EffectAction::Unknown)), "{told:?}");
    assert_eq!(told.len(), 3);
    let rendered = plan.effects.iter().find(|effect| effect.nodes.len() == 2).unwrap();
    let texts: String = rendered.files.iter().map(|file| file.diff.as_str()).collect();
    assert!(texts.contains('+') && texts.contains("shop.example"), "{texts}");
    assert!(!texts.lines().any(|line| line.starts_with('-')), "{texts}");
    let nodes: Vec<_> = plan.nodes.iter().map(|node| (node.name.as_str(), node.read_at)).collect();
    assert_eq!(nodes.len(), 4);
    assert!(nodes.contains(&("web-3", None)), "{nodes:?}");
    assert_eq!(plan.nodes.iter().filter(|node| node.read_at.is_some()).count(), 2);
}

#[tokio::test]
async fn a_plan_shows_what_changes_in_what_is_written_and_nothing_else() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    let first = file(&[("shop", site("shop.example", &["web-1"]))]);
    bed.apply(&first).await.unwrap();
    bed.brought("web-1").await;

    let mut spec = site("shop.example", &["web-1"]);
    spec["max_body"] = json!("7MB");
    let change = bed.plan(&file(&[("shop", spec)])).await;
    let mut spec = site("shop.example", &["web-1"]);
    spec["tags"] = json!(["front"]);
    let tags = bed.plan(&file(&[("shop", spec)])).await;
    let gone = bed.plan(&ApplySites { prune: true, ..file(&[]) }).await;
    let away = bed.plan(&file(&[("shop", site("shop.example", &["local"]))])).await;

    let [effect] = change.effects.as_slice() else { panic!("{:#?}", change.effects) };
    assert_eq!((effect.action, effect.note.as_deref()), (EffectAction::Change, None));
    let changed: Vec<_> = effect
        .files
        .iter()
        .flat_map(|file| file.diff.lines())
        .filter(|line| line.starts_with(['+', '-']))
        .collect();
    // The size stands in two places: as what nginx refuses by itself, and in a condition.
    assert_eq!(changed.len(), 4, "{changed:?}");
    assert!(changed.contains(&"+    client_max_body_size 7000000;"), "{changed:?}");
    assert_eq!(tags.effects[0].action, EffectAction::Unchanged, "{:#?}", tags.effects);
    assert_eq!(gone.effects[0].action, EffectAction::Remove);
    assert!(gone.effects[0].files.iter().all(|file| !file.diff.contains("\n+")));
    let away: BTreeSet<_> = away.effects.iter().map(told).collect();
    let edge = (bed.edge().await, EffectAction::Add);
    assert_eq!(away, [edge, ("web-1".to_owned(), EffectAction::Remove)].into());
}

#[tokio::test]
async fn what_an_engine_refuses_is_told_with_its_remedy_before_anything_is_written() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    let mut spec = site("shop.example", &["web-1"]);
    spec["to"] = json!({"targets": ["127.0.0.1:5000"], "proxy_protocol": "v2"});

    let plan = bed.plan(&file(&[("shop", spec)])).await;

    let [effect] = plan.effects.as_slice() else { panic!("{:#?}", plan.effects) };
    assert_eq!(effect.action, EffectAction::Hold);
    let finding = effect.findings.iter().find(|finding| finding.is_error()).unwrap();
    assert!(finding.text.contains("proxy_protocol") && finding.remedy.is_some(), "{finding:?}");
    assert!(plan.findings.iter().all(|finding| !finding.is_error()), "it can be written");
}

#[tokio::test]
async fn a_host_that_two_sites_have_on_one_node_is_told_before_it_is_applied() {
    let bed = Bed::new().await;
    for engine in ["nginx", "caddy", "traefik"] {
        bed.node(engine, engine).await;
        bed.saw(engine).await;
    }
    let all = ["nginx", "caddy", "traefik", "local"];
    let routed = |path: &str, nodes: &[&str]| {
        json!({
            "hosts": ["shop.example"], "nodes": nodes,
            "routes": [{"path": path, "to": "127.0.0.1:5000"}],
        })
    };
    bed.apply(&file(&[("shop", routed("/a", &all))])).await.unwrap();

    let younger = bed.plan(&file(&[("wiki", routed("/b", &all))])).await;
    let elsewhere = bed.plan(&file(&[("wiki", routed("/b", &["local"]))])).await;

    for engine in ["nginx", "caddy", "traefik"] {
        let told = younger.effects.iter().find(|effect| effect.nodes == [engine]).unwrap();
        assert_eq!(told.action, EffectAction::Hold, "{told:#?}");
        let text = &told.findings.last().unwrap().text;
        assert!(text.contains("`shop` has it") && text.contains("shop.example"), "{text}");
    }
    let edge = younger.effects.iter().find(|effect| effect.engine == "edge").unwrap();
    assert_eq!((edge.action, edge.findings.len()), (EffectAction::Add, 0), "{edge:#?}");
    assert!(elsewhere.effects.iter().all(|effect| effect.findings.is_empty()));

    // The older site comes to where the younger one is.
    bed.apply(&file(&[("shop", routed("/a", &["local"]))])).await.unwrap();
    bed.apply(&file(&[("wiki", routed("/b", &all))])).await.unwrap();
    let older = bed.plan(&file(&[("shop", routed("/a", &["nginx"]))])).await;
    let told = older.effects.iter().find(|effect| effect.nodes == ["nginx"]).unwrap();
    assert_eq!(told.action, EffectAction::Add, "{told:#?}");
    assert!(told.findings.iter().any(|finding| finding.text.contains("`wiki`")), "{told:#?}");
}

#[tokio::test]
async fn a_plan_says_what_a_deployment_is_proven_by() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    let mut spec = site("shop.example", &["web-1", "local"]);
    spec["probes"] = json!(["/health", {"url": "http://shop.example/", "status": 301}]);

    let plan = bed.plan(&file(&[("shop", spec)])).await;

    assert_eq!(plan.effects.len(), 2, "{:#?}", plan.effects);
    for effect in &plan.effects {
        assert_eq!(
            effect.probes,
            ["http://shop.example/health answers 200-399", "http://shop.example/ answers 301"]
        );
    }
}

#[tokio::test]
async fn a_plan_never_shows_a_secret_whatever_the_engine() {
    let bed = Bed::new().await;
    for engine in ["nginx", "caddy", "traefik"] {
        bed.node(engine, engine).await;
        bed.saw(engine).await;
    }
    let closed = |password: Value| {
        let mut spec = site("shop.example", &["nginx", "caddy", "traefik"]);
        spec["access"] = json!({"basic": {"users": {"ann": password}}});
        spec.as_object_mut().unwrap().remove("https");
        spec
    };
    let first = file(&[("shop", closed(json!({"password": PASSWORD})))]);
    let planned = bed.plan(&first).await;
    bed.apply(&first).await.unwrap();
    for engine in ["nginx", "caddy", "traefik"] {
        bed.brought(engine).await;
    }
    let hash = bed.hash_of("shop").await;
    let changed = bed.plan(&file(&[("shop", closed(json!(HASH)))])).await;
    let removed = bed.plan(&ApplySites { prune: true, ..file(&[]) }).await;

    for plan in [&planned, &changed, &removed] {
        assert_eq!(plan.effects.len(), 3, "{:#?}", plan.effects);
        assert!(plan.effects.iter().all(|effect| effect.action != EffectAction::Hold));
        let text = serde_json::to_string(plan).unwrap();
        for secret in [PASSWORD, HASH, hash.as_str(), "PRIVATE KEY", "BEGIN"] {
            let plain = serde_json::to_string(secret).unwrap();
            assert!(!text.contains(plain.trim_matches('"')), "{secret} in {text}");
        }
    }
    // That it changes is told all the same.
    for effect in &changed.effects {
        assert_eq!(effect.action, EffectAction::Change, "{effect:#?}");
        let told = serde_json::to_string(&(&effect.files, &effect.hidden)).unwrap();
        assert!(told.contains("new.htpasswd") || told.contains("(a new secret)"), "{told}");
    }
}

#[tokio::test]
async fn planning_issues_and_writes_nothing() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    let mut spec = site("shop.example", &["web-1"]);
    spec.as_object_mut().unwrap().remove("https");
    let store = &bed.control.inner.store;
    let page = PageRequest::first(portway_store::MAX_LIMIT);
    let certificates =
        async || store.certificates().list(Visible::All, &page).await.unwrap().items.len();
    let before = (certificates().await, store.revisions().latest().await.unwrap());

    let plan = bed.plan(&file(&[("shop", spec)])).await;

    let [effect] = plan.effects.as_slice() else { panic!("{:#?}", plan.effects) };
    let [certificate] = effect.certificates.as_slice() else { panic!("{effect:#?}") };
    assert_eq!((certificate.names[0].as_str(), certificate.comes), ("shop.example", true));
    assert_eq!(certificate.digest, None, "it is yet to be issued");
    assert_eq!(before, (certificates().await, store.revisions().latest().await.unwrap()));
}

#[tokio::test]
async fn what_others_did_on_a_node_is_told_as_it_was_last_read() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    let read = ContentRead {
        at: Timestamp::now(),
        linked: None,
        serves: None,
        changed: vec!["objects/x was changed".to_owned()],
    };
    let row = bed.row("web-1").await;
    bed.control.inner.store.nodes().put_content(row.id, &read).await.unwrap();

    let plan = bed.plan(&file(&[("shop", site("shop.example", &["web-1"]))])).await;

    assert_eq!(
        plan.nodes[0].foreign,
        ["objects/x was changed", "/etc/nginx/conf.d/own.conf is not Portway's"]
    );
    assert!(plan.nodes[0].read_at.is_some());
}

#[tokio::test]
async fn who_may_not_see_nodes_is_told_nothing_of_them() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    let client = bed.client("ann").await;
    let spec = json!({"hosts": ["shop.example"], "respond": {"body": "x"}, "nodes": ["web-1"]});
    let file = file(&[("shop", spec)]);

    let plan = bed.control.sites(&client).await.unwrap().plan(&file).await.unwrap();

    assert_eq!(plan.changes.len(), 1, "{:?}", plan.findings);
    assert_eq!((&plan.effects, &plan.nodes), (&Vec::new(), &Vec::new()));
    let mut basis = plan.basis.unwrap();
    assert!(basis.nodes.is_empty() && basis.sites.len() == 1);
    let sites = bed.control.sites(&client).await.unwrap();
    let refused = sites.plan_as(&file, PlanQuery { refresh: true }).await;
    assert!(matches!(refused, Err(ControlError::Denied(_))), "{refused:?}");
    // Nobody learns of a node by naming it.
    basis.nodes.insert("web-1".to_owned(), NodeBasis::default());
    let kept = ApplySites { basis: Some(basis), ..file };
    let refused = bed.control.editor(&client).await.unwrap().apply(&kept).await;
    assert!(matches!(refused, Err(ControlError::Denied(_))), "{refused:?}");
}

#[tokio::test]
async fn a_plan_is_applied_as_it_was_made_or_not_at_all() {
    let bed = Bed::new().await;
    let sites = |port: u16| {
        let mut shop = site("shop.example", &["local"]);
        shop["to"] = json!(port.to_string());
        file(&[("shop", shop), ("blog", site("blog.example", &["local"]))])
    };
    let keep = async |file: ApplySites| {
        let basis = bed.plan(&file).await.basis;
        ApplySites { basis, ..file }
    };
    let first = keep(sites(5000)).await;
    bed.apply(&first).await.unwrap();
    let again = bed.apply(&first).await;
    assert_eq!(moved(again), ["blog", "shop"], "it is done already");

    let second = keep(sites(5001)).await;
    let other = ApplySites { basis: second.basis.clone(), ..sites(5002) };
    assert_eq!(moved(bed.apply(&other).await), [""], "something else than was planned");
    bed.apply(&sites(5003)).await.unwrap();
    assert_eq!(moved(bed.apply(&second).await), ["shop"]);

    // What the plan was to leave alone counts too: it would be put back.
    let third = keep(sites(5004)).await;
    let mut blog = site("blog.example", &["local"]);
    blog["tags"] = json!(["new"]);
    bed.apply(&file(&[("blog", blog)])).await.unwrap();
    assert_eq!(moved(bed.apply(&third).await), ["blog"]);
    let latest = bed.control.inner.store.revisions().latest().await.unwrap();
    bed.apply(&keep(sites(5005)).await).await.unwrap();
    let after = bed.control.inner.store.revisions().latest().await.unwrap();
    assert_eq!(after.0, latest.0 + 1);
}

#[tokio::test]
async fn a_node_that_joins_or_changes_meanwhile_is_a_reason_to_plan_anew() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    let file = file(&[("shop", site("shop.example", &["group:web"]))]);
    let plan = bed.plan(&file).await;
    let planned = plan.basis.unwrap();
    assert_eq!(planned.nodes.len(), 1);
    let at = bed.row("web-1").await;

    bed.node("web-2", "nginx").await;
    let facts = portway_store::NodeFacts {
        error: Some("it does not answer".to_owned()),
        error_at: Some(Timestamp::now()),
        ..portway_store::NodeFacts::default()
    };
    bed.control.inner.store.nodes().put_facts(at.id, &facts).await.unwrap();
    let kept = ApplySites { basis: Some(planned), ..file };
    let Err(ControlError::MovedOn(findings)) = bed.apply(&kept).await else { panic!("it applied") };

    let about: BTreeSet<_> = findings.iter().map(|finding| resource(&finding.at)).collect();
    assert_eq!(about, ["web-1".to_owned(), "web-2".to_owned()].into());
    assert!(findings.iter().all(|finding| finding.code == FindingCode::MovedOn));
    assert!(findings.iter().any(|finding| finding.text.contains("cannot be read")));
}

#[tokio::test]
async fn what_nodes_still_lack_is_told_and_what_they_hold() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    bed.apply(&file(&[("shop", site("shop.example", &["web-1"]))])).await.unwrap();
    let pending = async || {
        let overseer = bed.control.overseer(&bed.root, Resource::Nodes, "node.read").await.unwrap();
        overseer.pending(&bed.root, PlanQuery::default()).await.unwrap()
    };
    let lacks_all = pending().await;
    bed.brought("web-1").await;
    let lacks_nothing = pending().await;
    let mut spec = site("shop.example", &["web-1"]);
    spec["max_body"] = json!("7MB");
    bed.apply(&file(&[("shop", spec)])).await.unwrap();
    let lacks_a_change = pending().await;
    let shop = bed.site("shop").await;
    let row = bed.row("web-1").await;
    let nodes = bed.control.inner.store.nodes();
    let there = nodes.of_sites(&[shop.id]).await.unwrap()[&(shop.id, row.id)].clone();
    let held = NodeSiteRow { held: Some(shop.revision), ..there };
    nodes.put_sites(row.id, &[held]).await.unwrap();
    let holds = pending().await;

    let on_web = |plan: &Plan| {
        let effects = plan.effects.iter().filter(|effect| effect.nodes == ["web-1"]);
        effects.map(|effect| effect.action).collect::<Vec<_>>()
    };
    assert_eq!(on_web(&lacks_all), [EffectAction::Add], "{lacks_all:#?}");
    assert_eq!(on_web(&lacks_nothing), [], "{lacks_nothing:#?}");
    assert_eq!(on_web(&lacks_a_change), [EffectAction::Change]);
    assert!(!lacks_a_change.effects[0].files.is_empty());
    assert_eq!(on_web(&holds), [EffectAction::Hold]);
}

#[tokio::test]
async fn a_node_that_is_declared_anew_shows_what_changes_in_its_own_part() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    bed.saw("web-1").await;
    bed.brought("web-1").await;
    let operator = bed.control.operator(&bed.root, Resource::Nodes, "node.edit").await.unwrap();
    let mut spec = node_spec("nginx");
    spec["trusted_proxies"] = json!(["198.51.100.0/24"]);
    let edit = portway_wire::node::EditNode { spec, message: None };
    operator.edit_node("web-1", edit, crate::Precondition::Any).await.unwrap();

    let plan = bed.plan(&file(&[("shop", site("shop.example", &["web-1"]))])).await;

    let common = plan.nodes[0].common.clone().unwrap();
    assert!(common.contains("198.51.100.0/24"), "{common}");
    let removed: Vec<_> = common.lines().filter(|line| line.starts_with('-')).collect();
    assert!(removed.is_empty(), "nothing but that: {common}");
}

fn told(effect: &NodeEffect) -> (String, EffectAction) {
    (effect.nodes.join(" "), effect.action)
}

/// The names of what a plan no longer holds for.
fn moved<T: std::fmt::Debug>(result: Result<T, ControlError>) -> Vec<String> {
    let Err(ControlError::MovedOn(findings)) = result else { panic!("{result:?}") };
    assert!(findings.iter().all(|finding| finding.remedy.is_some()), "{findings:?}");
    findings.iter().map(|finding| resource(&finding.at)).collect()
}

fn resource(at: &Location) -> String {
    let Location::Field { resource, .. } = at else { panic!("{at:?}") };
    resource.name.clone()
}

fn site(host: &str, nodes: &[&str]) -> Value {
    json!({"hosts": [host], "to": "5000", "https": false, "nodes": nodes})
}

/// Returns a file with one site on these nodes.
pub(crate) fn shop_on(nodes: &[&str]) -> ApplySites {
    file(&[("shop", site("shop.example", nodes))])
}

fn file(sites: &[(&str, Value)]) -> ApplySites {
    let sites = sites.iter().map(|(name, spec)| (name.parse().unwrap(), spec.clone()));
    ApplySites { source: "test".to_owned(), sites: sites.collect(), ..ApplySites::default() }
}

fn node_spec(engine: &str) -> Value {
    json!({"engine": engine, "ssh": "deploy@127.0.0.8", "groups": ["web"]})
}

/// What an engine's packages come with.
fn usual(engine: &str) -> EngineFacts {
    match engine {
        "nginx" => portway_engine::nginx::usual_facts(),
        "caddy" => portway_engine::caddy::usual_facts(),
        _ => portway_engine::traefik::usual_facts(),
    }
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        let config = ControlConfig {
            data_dir: path.to_owned(),
            log_dir: path.join("logs"),
            key_file: path.join("master.key"),
            database: portway_store::DatabaseUrl::file(path.join("portway.db").as_str()),
            edge_socket: path.join("edge.sock"),
            console_url: "http://localhost:8900".to_owned(),
            admin_group: None,
            trusted_proxies: Vec::new(),
            own_addresses: Vec::new(),
            console: None,
            observe_every: std::time::Duration::from_secs(15),
            node_exec: true,
            rollouts: None,
            health: portway_model::node::spec::ThresholdsSpec::default(),
        };
        let control = Control::open(config, Arc::new(Timestamp::now)).await.unwrap();
        let root = Actor {
            identity: Identity::Machine("root".to_owned()),
            via: Via::Local,
            from: "local".to_owned(),
            request_id: None,
        };
        Self { control, root, _folder: folder }
    }

    pub(crate) async fn plan(&self, file: &ApplySites) -> Plan {
        self.control.sites(&self.root).await.unwrap().plan(file).await.unwrap()
    }

    pub(crate) async fn apply(
        &self,
        file: &ApplySites,
    ) -> Result<portway_wire::site::Changed, ControlError> {
        self.control.editor(&self.root).await.unwrap().apply(file).await
    }

    pub(crate) async fn node(&self, name: &str, engine: &str) {
        let operator =
            self.control.operator(&self.root, Resource::Nodes, "node.create").await.unwrap();
        let new = NewNode { name: name.to_owned(), spec: node_spec(engine), message: None };
        operator.create_node(new).await.unwrap();
    }

    pub(crate) async fn row(&self, name: &str) -> NodeRow {
        self.control.node_named(name).await.unwrap()
    }

    pub(crate) async fn site(&self, name: &str) -> portway_store::SiteRow {
        let name = name.parse().unwrap();
        self.control.inner.store.sites().by_name(Visible::All, &name).await.unwrap().unwrap()
    }

    async fn edge(&self) -> String {
        let filter = NodeFilter { declared: Some(false), ..NodeFilter::default() };
        self.control.all_nodes(&filter).await.unwrap()[0].name.to_string()
    }

    /// Does as if a node had been looked at.
    async fn saw(&self, name: &str) {
        let row = self.row(name).await;
        let facts = usual(&row.engine);
        let read = MachineRead {
            at: Timestamp::now(),
            machine: json!({
                "version": facts.version.to_string(),
                "modules": facts.modules,
                "program": facts.layout.program,
                "authorities": facts.layout.authorities,
            }),
            beside: vec!["/etc/nginx/conf.d/own.conf".to_owned()],
        };
        let nodes = self.control.inner.store.nodes();
        nodes.put_machine(row.id, &read).await.unwrap();
        let content = ContentRead {
            at: Timestamp::now(),
            linked: row.digest.clone(),
            serves: row.digest,
            changed: Vec::new(),
        };
        nodes.put_content(row.id, &content).await.unwrap();
    }

    /// Does as if a node had been given what it should have.
    async fn brought(&self, name: &str) {
        let row = self.row(name).await;
        let node = nodes::declared(&row).unwrap().unwrap();
        let store = &self.control.inner.store;
        let reads = store.nodes().reads(&[row.id]).await.unwrap().remove(&row.id).unwrap();
        let facts = facts_kept(&node, &reads.machine.unwrap()).unwrap();
        let engine: &dyn Engine = engine_of(node.engine).unwrap();
        let page = PageRequest::first(portway_store::MAX_LIMIT);
        let all = store.sites().list(Visible::All, &SiteFilter::default(), &page).await.unwrap();
        let mut rows = Vec::new();
        for site in all.items {
            let selectors = nodes::selectors_of(&site).unwrap();
            if !NodeSelector::any_chooses(&selectors, node.traits()) {
                continue;
            }
            let compiled =
                self.control.compile_site(&site, &mut Owners::new()).await.unwrap().unwrap();
            let made = render(&compiled.policy, compiled.certificate.as_ref(), engine, &facts);
            rows.push(NodeSiteRow {
                site: site.id,
                revision: Some(site.revision),
                digest: Some(name_of(&made.unwrap().unwrap())),
                held: None,
                findings: Vec::new(),
                updated_at: Timestamp::now(),
            });
        }
        let latest = store.revisions().latest().await.unwrap();
        let now = Timestamp::now();
        store.nodes().deployed(row.id, latest, "release", &rows, &[], now).await.unwrap();
        self.saw(name).await;
    }

    async fn hash_of(&self, site: &str) -> String {
        let row = self.site(site).await;
        let spec = crate::sites::spec_of(&row).unwrap();
        let (site, _) = portway_model::site::check(&row.name, &spec);
        let hashes = self.control.open_hashes(&site.unwrap()).await.unwrap();
        hashes.into_values().next().unwrap()
    }

    /// Makes a client who may use every node of a group.
    pub(crate) async fn client(&self, name: &str) -> Actor {
        let operator =
            self.control.operator(&self.root, Resource::Users, "user.create").await.unwrap();
        let bounds = Bounds {
            hosts: vec!["shop.example".parse().unwrap()],
            networks: Vec::new(),
            files: None,
            nodes: vec!["group:web".parse().unwrap()],
            max_sites: 3,
        };
        let new = NewUser {
            name: name.to_owned(),
            email: None,
            role: Role::Client,
            bounds,
            password: Some(PASSWORD.to_owned()),
        };
        operator.create_user(new).await.unwrap();
        let login =
            portway_wire::auth::Login { name: name.to_owned(), password: PASSWORD.to_owned() };
        let from = ClientInfo { from: "192.0.2.9".to_owned(), agent: None, request_id: None };
        let tokens = self.control.login(&login, &from).await.unwrap();
        let credentials = Credentials::Bearer(&tokens.access_token);
        self.control.authenticate(credentials, "192.0.2.9", None).await.unwrap()
    }
}
