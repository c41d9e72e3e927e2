//! What becomes of sites on nodes. Equal nodes are thought about once and stand together.

use std::collections::{BTreeMap, BTreeSet};

use portway_engine::EngineFacts;
use portway_model::{Id, RevisionNumber, Site};
use portway_store::NodeSiteRow;
use portway_wire::plan::{EffectAction, NodeEffect, PlannedCertificate};

use super::{
    clash::{Clash, Clashes},
    side::{Side, Versions},
    text::Shown,
    touched::TouchedSite,
    world::{Known, World},
};
use crate::{Control, ControlError, fleet};

/// What is asked of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looking {
    /// What would come to nodes if the sites were written as they are to be.
    Ahead,
    /// What nodes still lack of what is written.
    Behind,
}

/// On what it depends what becomes of a site on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case<'a> {
    engine: &'static str,
    facts: Option<&'a EngineFacts>,
    /// The version that was proven there, and what tells its bytes apart.
    has: Option<(RevisionNumber, Option<String>)>,
    /// Whether it is there.
    was: bool,
    /// Whether it is to be there.
    will: bool,
    /// Whether what is declared of it failed there.
    is_held: bool,
    /// The revision at which the node keeps it, where that keeps the change away.
    kept: Option<RevisionNumber>,
}

/// Returns the nodes to which something of these sites comes, or at which something leaves.
pub(super) fn concerned<'a>(
    world: &'a World,
    touched: &[TouchedSite],
    looking: Looking,
) -> Vec<&'a Known> {
    let is_concerned =
        |node: &&Known| touched.iter().any(|site| case(world, site, node, looking).is_some());
    world.nodes.iter().filter(is_concerned).collect()
}

/// Returns the case of a site on a node; nothing where the node has nothing to do with it.
fn case<'a>(
    world: &World,
    site: &TouchedSite,
    node: &'a Known,
    looking: Looking,
) -> Option<Case<'a>> {
    let there = world.there(site.id, node);
    let has = there.and_then(proven);
    let declared = site.before.as_ref();
    let is_declared_there = declared.is_some_and(|declared| node.is_chosen(&declared.nodes));
    let will = site.after.as_ref().is_some_and(|nodes| node.is_chosen(nodes));
    let held = there.and_then(|there| there.held);
    let is_held = held.is_some() && held == declared.map(|declared| declared.revision);
    let (was, is_concerned) = match looking {
        // An edge has what it is declared to have; what it lacks comes at once.
        Looking::Ahead if node.engine().is_none() => {
            let was = has.is_some() || is_declared_there;
            (was, was || will)
        }
        Looking::Ahead => (has.is_some(), has.is_some() || will || is_declared_there),
        Looking::Behind => {
            let is_there = has.as_ref().map(|(revision, _)| *revision)
                == declared.map(|declared| declared.revision);
            let is_as_it_should_be = is_there && will && !is_held;
            (has.is_some(), (has.is_some() || will) && !is_as_it_should_be)
        }
    };
    is_concerned.then(|| Case {
        engine: node.engine_name(),
        facts: node.facts.as_ref(),
        has: has.filter(|_| node.engine().is_some()),
        was,
        will,
        is_held: is_held && looking == Looking::Behind,
        // What leaves a node leaves it, pinned or not.
        kept: node.pinned().filter(|_| will && looking == Looking::Ahead),
    })
}

fn proven(row: &NodeSiteRow) -> Option<(RevisionNumber, Option<String>)> {
    Some((row.revision?, row.digest.clone()))
}

impl Control {
    /// Returns what becomes of sites on nodes.
    pub(super) async fn effects(
        &self,
        world: &World,
        touched: &[TouchedSite],
        looking: Looking,
    ) -> Result<Vec<NodeEffect>, ControlError> {
        let mut all = Vec::new();
        let clashes = match looking {
            Looking::Ahead => self.clashes(touched).await?,
            Looking::Behind => Clashes::default(),
        };
        for site in touched {
            let probes = probes(site)?;
            let mut cases: BTreeMap<(Case<'_>, Vec<String>), Vec<&Known>> = BTreeMap::new();
            for node in &world.nodes {
                if let Some(case) = case(world, site, node, looking) {
                    let clashes = clashes_in(&clashes, site, node, &case);
                    let texts = clashes.into_iter().map(|clash| clash.finding.text).collect();
                    cases.entry((case, texts)).or_default().push(node);
                }
            }
            let mut versions = site.rows.as_ref().map(|rows| Versions::new(self, rows));
            for ((case, _), nodes) in cases {
                let mut effect = match &mut versions {
                    _ if case.is_held => held(world, site, &case, &nodes),
                    _ if case.kept.is_some() => kept(site, &case, &nodes),
                    Some(versions) => of_case(site, &case, &nodes, versions).await?,
                    None => NodeEffect { shortened: true, ..bare(site, &case, &nodes) },
                };
                let first = nodes.first().map(|node| clashes_in(&clashes, site, node, &case));
                for clash in first.unwrap_or_default() {
                    told(&mut effect, clash);
                }
                if matches!(effect.action, EffectAction::Add | EffectAction::Change) {
                    effect.probes.clone_from(&probes);
                }
                all.push(effect);
            }
        }
        Ok(together(all))
    }
}

/// Returns what keeps a site that comes to a node from having its hosts there.
fn clashes_in(clashes: &Clashes, site: &TouchedSite, node: &Known, case: &Case<'_>) -> Vec<Clash> {
    if case.will && case.kept.is_none() { clashes.of(site, node) } else { Vec::new() }
}

/// What a host that another one has means for a site.
fn told(effect: &mut NodeEffect, clash: Clash) {
    if clash.is_held {
        effect.action = EffectAction::Hold;
        (effect.files, effect.hidden) = (Vec::new(), Vec::new());
        effect.certificates = Vec::new();
    }
    effect.findings.push(clash.finding);
}

/// Returns in words what a site's deployment is proven by.
fn probes(site: &TouchedSite) -> Result<Vec<String>, ControlError> {
    let after = site.rows.as_ref().and_then(|rows| rows.after.as_ref());
    let probes = after.map(fleet::probes_of).transpose()?.unwrap_or_default();
    Ok(probes.iter().map(ToString::to_string).collect())
}

/// Returns what becomes of a site, without what is written for it.
fn bare(site: &TouchedSite, case: &Case<'_>, nodes: &[&Known]) -> NodeEffect {
    let action = match (case.was, case.will) {
        (true, true) if site.is_same => EffectAction::Unchanged,
        (true, true) => EffectAction::Change,
        (false, true) => EffectAction::Add,
        (true, false) => EffectAction::Remove,
        // It was declared to be there and never came.
        (false, false) => EffectAction::Unchanged,
    };
    NodeEffect {
        sites: vec![site.name.to_string()],
        nodes: nodes.iter().map(|node| node.row.name.to_string()).collect(),
        engine: case.engine.to_owned(),
        action,
        files: Vec::new(),
        hidden: Vec::new(),
        certificates: Vec::new(),
        findings: Vec::new(),
        probes: Vec::new(),
        note: None,
        shortened: false,
    }
}

/// To nodes that are pinned nothing of it comes.
fn kept(site: &TouchedSite, case: &Case<'_>, nodes: &[&Known]) -> NodeEffect {
    let note = case.kept.map(|pin| {
        format!("pinned at revision {pin}; `portway node release` lets the node follow again")
    });
    NodeEffect { action: EffectAction::Keep, note, ..bare(site, case, nodes) }
}

/// What failed on nodes stays away from them until it is changed.
fn held(world: &World, site: &TouchedSite, case: &Case<'_>, nodes: &[&Known]) -> NodeEffect {
    let found = nodes.iter().filter_map(|node| world.there(site.id, node));
    let mut findings = Vec::new();
    for finding in found.flat_map(|there| &there.findings) {
        if !findings.contains(finding) {
            findings.push(finding.clone());
        }
    }
    NodeEffect { action: EffectAction::Hold, findings, ..bare(site, case, nodes) }
}

async fn of_case(
    site: &TouchedSite,
    case: &Case<'_>,
    nodes: &[&Known],
    versions: &mut Versions<'_>,
) -> Result<NodeEffect, ControlError> {
    let mut effect = bare(site, case, nodes);
    let Some(engine) = nodes.first().and_then(|node| node.engine()) else { return Ok(effect) };
    let Some(facts) = case.facts else {
        effect.action = EffectAction::Unknown;
        let text = "the node was never read, so what is written for it is not known";
        effect.note = Some(text.to_owned());
        return Ok(effect);
    };
    let before = match &case.has {
        Some((revision, _)) => versions.proven(*revision, engine, facts).await?,
        None => None,
    };
    effect.note = note(case, before.as_ref());
    let after = if case.will { versions.after(engine, facts).await? } else { None };
    match after {
        Some(Err(findings)) => {
            effect.action = EffectAction::Hold;
            effect.findings = findings;
            return Ok(effect);
        }
        Some(Ok(after)) => compare(&mut effect, before.as_ref(), Some(after)),
        None => compare(&mut effect, before.as_ref(), None),
    }
    Ok(effect)
}

fn compare(effect: &mut NodeEffect, before: Option<&Side>, after: Option<Side>) {
    let nothing = Shown::default();
    let old = before.map_or(&nothing, |side| &side.shown);
    let new = after.as_ref().map_or(&nothing, |side| &side.shown);
    (effect.files, effect.hidden) = Shown::since(old, new);
    effect.certificates = certificates(before, after.as_ref());
    let is_equal = effect.files.is_empty() && effect.hidden.is_empty();
    if effect.action == EffectAction::Change && is_equal {
        effect.action = EffectAction::Unchanged;
    }
    effect.findings = after.map(|side| side.findings).unwrap_or_default();
}

fn certificates(before: Option<&Side>, after: Option<&Side>) -> Vec<PlannedCertificate> {
    let of = |side: Option<&Side>| side.and_then(|side| side.certificate.clone());
    let (old, new) = (of(before), of(after));
    if old == new {
        return Vec::new();
    }
    let gone = old.map(|certificate| PlannedCertificate { comes: false, ..certificate });
    new.into_iter().chain(gone).collect()
}

/// What is there may have been written otherwise than it would be today.
fn note(case: &Case<'_>, before: Option<&Side>) -> Option<String> {
    let (_, digest) = case.has.as_ref()?;
    match before {
        None => Some("what is there of the site cannot be written any more".to_owned()),
        Some(side) if digest.as_deref().is_some_and(|digest| digest != side.name) => Some(
            "what is there was written with another certificate, engine or version of Portway; it is \
             compared as it would be written today"
                .to_owned(),
        ),
        Some(_) => None,
    }
}

/// Puts sites together of which nothing but the same action is told.
fn together(effects: Vec<NodeEffect>) -> Vec<NodeEffect> {
    let mut all: Vec<NodeEffect> = Vec::new();
    let mut places: BTreeMap<(EffectAction, Vec<String>, bool), usize> = BTreeMap::new();
    for effect in effects {
        let is_bare = effect.files.is_empty()
            && effect.hidden.is_empty()
            && effect.certificates.is_empty()
            && effect.findings.is_empty()
            && effect.probes.is_empty()
            && effect.note.is_none();
        if !is_bare {
            all.push(effect);
            continue;
        }
        let key = (effect.action, effect.nodes.clone(), effect.shortened);
        match places.get(&key).and_then(|at| all.get_mut(*at)) {
            Some(first) => first.sites.extend(effect.sites),
            None => {
                places.insert(key, all.len());
                all.push(effect);
            }
        }
    }
    all
}

/// Returns the ids of sites.
pub(super) fn ids(touched: &[TouchedSite]) -> Vec<Id<Site>> {
    // A new site is nowhere yet.
    let known = touched.iter().filter(|site| site.before.is_some());
    known.map(|site| site.id).collect::<BTreeSet<_>>().into_iter().collect()
}
