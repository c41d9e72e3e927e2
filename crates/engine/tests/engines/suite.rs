//! The way of every engine through the table of sites and requests.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use portway_engine::{Engine, EngineFacts, Release};
use portway_policy::SitePolicy;
use tokio::process::Child;

use crate::{
    bed::{Bed, Doors},
    cases::{self, Case},
    compare::{Comparison, Manners},
    edge::TestEdge,
};

/// A machine with an engine.
pub(crate) trait Node {
    fn engine(&self) -> &'static dyn Engine;

    fn facts(&self) -> &EngineFacts;

    /// Has the engine's own test read a release; what it says against it.
    async fn objections(&self, release: &Release) -> Option<String>;

    /// Starts the engine with a release and waits until it serves it.
    async fn serve(&self, release: &Release) -> Child;

    fn doors(&self) -> Doors;

    fn log(&self) -> String;
}

/// Asks an engine and the edge the same, for every case of the table, or for the one that
/// `PORTWAY_CASE` names.
pub(crate) async fn compare<N: Node>(make: impl AsyncFn(&Utf8Path) -> Option<N>) {
    let only = std::env::var("PORTWAY_CASE").ok();
    let (mut faults, mut asked) = (Vec::new(), 0);
    let mut manners = None;
    for (name, case) in cases::all() {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let bed = Bed::start(&case.files, &["a.example", "*.a.example", "b.example"]).await;
        let Some(node) = make(bed.folder()).await else { return };
        let manners = manners.get_or_insert_with(|| Manners::of(node.engine()));
        let found = compare_case(&name, &case, &bed, &node, manners).await;
        if !found.is_empty() && only.is_some() {
            faults.push(node.log());
        }
        faults.extend(found);
        asked += 1;
    }
    if only.is_none() {
        faults.extend(manners.iter().flat_map(Manners::idle));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(asked > 0);
}

async fn compare_case(
    name: &str,
    case: &Case,
    bed: &Bed,
    node: &impl Node,
    manners: &mut Manners,
) -> Vec<String> {
    let (engine, facts) = (node.engine(), node.facts());
    let all = case.policies(bed);
    let (mut sites, mut faults) = case.taken(engine, facts, all.clone());
    let release = release(node, &sites, case, bed);
    let held = sites.extract_if(.., |site| release.held.iter().any(|(id, _)| *id == site.id));
    let held: BTreeSet<String> = held.map(|site| site.name.to_string()).collect();
    let said = case.held.get(&engine.name().to_lowercase()).cloned().unwrap_or_default();
    if held != said {
        faults.push(format!("held is {held:?}, and {said:?} in the table"));
    }
    for fault in &mut faults {
        *fault = format!("{name}: {fault}");
    }
    if sites.is_empty() {
        return faults;
    }
    if let Some(said) = node.objections(&release).await {
        faults.push(format!("{name}: {said}"));
        return faults;
    }
    let mut running = node.serve(&release).await;
    let edge = TestEdge::start(sites.clone(), &case.settings, &bed.certificate).await;
    let is_whole = sites == all;
    let sites = sites.as_slice();
    let comparison = Comparison { name, case, bed, engine, facts, sites, is_whole };
    faults.extend(comparison.faults(edge.doors(), node.doors(), manners).await);
    edge.stop().await;
    running.kill().await.unwrap();
    faults
}

fn release(node: &impl Node, sites: &[SitePolicy], case: &Case, bed: &Bed) -> Release {
    let (engine, facts) = (node.engine(), node.facts());
    let certificates = [(bed.certificate.digest(), bed.certificate.clone())].into();
    let render = |site| engine.render_site(site, &certificates, facts).map(Into::into);
    let rendered: Result<Vec<_>, _> = sites.iter().map(render).collect();
    let rendered = rendered.unwrap_or_else(|error| panic!("{}: {error}", engine.name()));
    engine.render_node(&rendered, &case.settings, &BTreeMap::new(), facts).unwrap()
}
