//! The nodes that sites choose: whether there are such, whether the owner may, and how the sites stand
//! there.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{
    Bounds, FieldPath, Finding, FindingCode, Findings, Id, Name, Node, NodeSelector, ResourceKind,
    Site, did_you_mean,
};
use portway_store::{NodeFilter, NodeRow, NodeSiteRow, SiteRow};

use crate::{Control, ControlError, nodes};

/// What is known of the nodes that some sites choose.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The nodes that are named; nothing beside the name of a manager's edge.
    named: BTreeMap<Name, Option<Node>>,
    /// The choices by group, label or zone that choose a node.
    had: BTreeSet<NodeSelector>,
    /// Names that may have been meant where one is not there.
    others: Vec<Name>,
}

impl Control {
    /// Reads what is known of the nodes that sites choose; most choose none, and cost nothing.
    pub(super) async fn chosen_nodes(
        &self,
        sites: impl Iterator<Item = &Site>,
    ) -> Result<Chosen, ControlError> {
        let selectors: BTreeSet<&NodeSelector> =
            sites.flat_map(|site| &site.nodes).filter(|by| !by.is_own_edges()).collect();
        let mut chosen = Chosen::default();
        if selectors.is_empty() {
            return Ok(chosen);
        }
        let (mut names, mut traits) = (Vec::new(), Vec::new());
        for selector in selectors {
            match selector {
                NodeSelector::Name(name) => names.push(name),
                NodeSelector::Group(_) | NodeSelector::Label(..) | NodeSelector::Zone(_) => {
                    traits.push(selector.clone());
                }
            }
        }
        let store = self.inner.store.nodes();
        for (name, row) in store.by_names(&names).await? {
            chosen.named.insert(name, nodes::understood(&row).ok().flatten());
        }
        chosen.had = store.choosing(&traits).await?;
        if names.iter().any(|name| !chosen.named.contains_key(*name)) {
            let request = portway_store::PageRequest::first(portway_store::MAX_LIMIT);
            let all = store.list(&request).await?;
            chosen.others = all.items.into_iter().map(|row| row.name).collect();
        }
        Ok(chosen)
    }

    /// Adds how sites stand that choose their nodes: as badly as on the worst of them.
    pub(super) async fn deployed_elsewhere(
        &self,
        rows: &[SiteRow],
        deployed: &mut BTreeMap<Id<Site>, NodeSiteRow>,
    ) -> Result<(), ControlError> {
        let mut choosing = Vec::new();
        for row in rows {
            let selectors = nodes::selectors_of(row)?;
            if !selectors.is_empty() {
                choosing.push((row, selectors));
            }
        }
        if choosing.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = choosing.iter().map(|(row, _)| row.id).collect();
        let there = self.inner.store.nodes().of_sites(&ids).await?;
        let active = NodeFilter { active: Some(true), ..NodeFilter::default() };
        let active = self.all_nodes(&active).await?;
        // Each is read once, however many sites there are.
        let active: Vec<(Id<NodeRow>, Node)> =
            active.iter().filter_map(|row| Some((row.id, nodes::understood(row).ok()??))).collect();
        for (site, selectors) in choosing {
            let chosen = active
                .iter()
                .filter(|(_, node)| NodeSelector::any_chooses(&selectors, node.traits()));
            let mut on: Vec<_> = chosen.map(|(id, _)| *id).collect();
            if nodes::choose_edge(&selectors, &self.inner.node_name) {
                on.push(self.inner.node);
            }
            match worst(site, &on, &there) {
                Some(row) => deployed.insert(site.id, row),
                None => deployed.remove(&site.id),
            };
        }
        Ok(())
    }
}

impl Chosen {
    /// Judges the choices of a site: each must be there, and within the bounds of a client.
    pub(super) fn judge(&self, site: &Site, bounds: Option<&Bounds>) -> Vec<Finding> {
        let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
        for (index, selector) in site.nodes.iter().enumerate() {
            let path = FieldPath::root().key("nodes").index(index);
            if selector.is_own_edges() {
                continue;
            }
            // What a client may not use is not the client's to know of either.
            if bounds.is_some_and(|bounds| !self.is_within(selector, bounds)) {
                out_of_bounds(selector, bounds, &path, &mut findings);
                continue;
            }
            match selector {
                NodeSelector::Name(name) if !self.named.contains_key(name) => {
                    self.unknown(name, bounds.is_some(), &path, &mut findings);
                }
                NodeSelector::Name(_) => {}
                NodeSelector::Group(_) | NodeSelector::Label(..) | NodeSelector::Zone(_) => {
                    if !self.had.contains(selector) {
                        findings
                            .warning(
                                FindingCode::Advice,
                                &path,
                                format!("`{selector}` chooses no node yet"),
                            )
                            .remedy("the site is served there as soon as a node is of it");
                    }
                }
            }
        }
        findings.into_vec()
    }

    /// A choice is within bounds when it stands there itself, or names a node that is chosen there.
    fn is_within(&self, selector: &NodeSelector, bounds: &Bounds) -> bool {
        if bounds.nodes.contains(selector) {
            return true;
        }
        let NodeSelector::Name(name) = selector else { return false };
        let node = self.named.get(name).and_then(Option::as_ref);
        node.is_some_and(|node| bounds.nodes.iter().any(|by| by.chooses(node.traits())))
    }

    fn unknown(&self, name: &Name, is_client: bool, path: &FieldPath, findings: &mut Findings) {
        let text = format!("there is no node `{name}`");
        let finding = findings.error(FindingCode::UnknownNode, path, text);
        let known = self.others.iter().map(Name::as_str).filter(|_| !is_client);
        match did_you_mean(name.as_str(), known) {
            Some(meant) => finding.remedy_action(
                format!("did you mean `{meant}`?"),
                portway_model::RemedyAction::ReplaceValue(meant.to_owned()),
            ),
            None => finding.remedy("add it with `portway node add`, or name another one"),
        }
    }
}

fn out_of_bounds(
    selector: &NodeSelector,
    bounds: Option<&Bounds>,
    path: &FieldPath,
    findings: &mut Findings,
) {
    let may: Vec<String> =
        bounds.iter().flat_map(|bounds| &bounds.nodes).map(ToString::to_string).collect();
    findings
        .error(
            FindingCode::OutOfBounds,
            path,
            format!("`{selector}` is outside the nodes you may use"),
        )
        .remedy(if may.is_empty() {
            "leave `nodes` out, or ask an administrator to give you a node".to_owned()
        } else {
            format!("choose of {}, or ask an administrator", may.join(", "))
        });
}

/// Puts together how a site stands on all the nodes that it should be on. Nothing is said where one
/// of them has nothing of it yet, unless another one holds it.
fn worst(
    site: &SiteRow,
    on: &[Id<NodeRow>],
    there: &BTreeMap<(Id<Site>, Id<NodeRow>), NodeSiteRow>,
) -> Option<NodeSiteRow> {
    let rows: Vec<Option<&NodeSiteRow>> =
        on.iter().map(|node| there.get(&(site.id, *node))).collect();
    let is_held = |row: &&&NodeSiteRow| row.held.is_some_and(|held| held >= site.revision);
    if let Some(held) = rows.iter().flatten().find(is_held) {
        return Some((*held).clone());
    }
    let slowest = rows.iter().copied().collect::<Option<Vec<_>>>()?;
    slowest.into_iter().min_by_key(|row| row.revision).cloned()
}
