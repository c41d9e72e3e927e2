//! From what was asked for to a rollout that can be written: which nodes there are, and in which
//! order they come.

use std::collections::BTreeSet;

use portway_model::{
    Finding, Id, Name, NodeSelector, ResourceKind, Role, Severity, Site,
    node::Traits,
    rollout::{MAX_PATIENCE, MAX_WAVES, Strategy, waves_of},
};
use portway_store::{ChangeDraft, NodeFilter, NodeRow, RolloutDraft, Version};

use super::finding;
use crate::{Control, ControlError, actor::Actor, nodes, plan::TouchedSite};

/// So many sites may come to their nodes in one rollout: each look at it reads all of them.
const MAX_SITES: usize = 5_000;

/// A site that gets a version, with its choice of nodes. One that is removed is gone from everywhere at
/// once, and no matter of a rollout.
pub(super) struct Subject<'a> {
    site: Id<Site>,
    nodes: &'a [NodeSelector],
}

impl<'a> Subject<'a> {
    /// Returns those of changes that are to be written.
    pub(super) fn of_changes(changes: &'a [ChangeDraft]) -> Vec<Self> {
        let of = |change: &'a ChangeDraft| {
            let Version::Site(version) = &change.to else { return None };
            Some(Self { site: Id::from_uuid(change.id), nodes: &version.nodes })
        };
        changes.iter().filter_map(of).collect()
    }

    /// Returns those of a plan.
    pub(super) fn of_touched(touched: &'a [TouchedSite]) -> Vec<Self> {
        let of = |site: &'a TouchedSite| Some(Self { site: site.id, nodes: site.after.as_ref()? });
        touched.iter().filter_map(of).collect()
    }
}

impl Control {
    /// Makes the rollout in which sites come to their nodes.
    pub(super) async fn rollout_of(
        &self,
        actor: &Actor,
        strategy: Strategy,
        subjects: &[Subject<'_>],
    ) -> Result<Option<RolloutDraft>, ControlError> {
        if actor.role() == Role::Client {
            let why = "only an administrator says how a change comes to its nodes";
            return self.refuse(actor, "rollout.start", why).await;
        }
        judge(&strategy)?;
        if subjects.len() > MAX_SITES {
            return Err(ControlError::BadRequest(format!(
                "{} sites are too many for one rollout; at most {MAX_SITES} are possible",
                subjects.len()
            )));
        }
        if subjects.is_empty() {
            return Ok(None);
        }
        let (mut nodes, mut canaries) = (Vec::new(), Vec::new());
        for (row, is_canary) in self.nodes_of(subjects, &strategy).await? {
            nodes.push((row.id, row.name));
            canaries.push(is_canary);
        }
        if strategy.has_canary() && !canaries.contains(&true) {
            let canary: Vec<String> = strategy.canary.iter().map(ToString::to_string).collect();
            return Err(ControlError::BadRequest(format!(
                "the canary `{}` is none of the nodes of these sites ({}), or all of it is draining or pinned",
                canary.join(", "),
                names(&nodes)
            )));
        }
        let waves = waves_of(&strategy, &canaries);
        let nodes =
            nodes.into_iter().zip(waves).map(|((id, name), wave)| (id, name, wave)).collect();
        Ok(Some(RolloutDraft { strategy, nodes }))
    }

    /// Returns the nodes that sites are for or on, by name, and which of them are canaries.
    pub(super) async fn nodes_of(
        &self,
        subjects: &[Subject<'_>],
        strategy: &Strategy,
    ) -> Result<Vec<(NodeRow, bool)>, ControlError> {
        let sites: Vec<Id<Site>> = subjects.iter().map(|subject| subject.site).collect();
        let selectors: Vec<&[NodeSelector]> = subjects.iter().map(|one| one.nodes).collect();
        let there = self.inner.store.nodes().of_sites(&sites).await?;
        let have: BTreeSet<Id<NodeRow>> = there.into_keys().map(|(_, node)| node).collect();
        self.nodes_concerned(&selectors, &have, &strategy.canary).await
    }

    /// Returns the same of choices of nodes, and of nodes that have something already. One that is not
    /// active, or pinned, keeps what it has, and nobody waits for it.
    async fn nodes_concerned(
        &self,
        selectors: &[&[NodeSelector]],
        have: &BTreeSet<Id<NodeRow>>,
        canary: &[NodeSelector],
    ) -> Result<Vec<(NodeRow, bool)>, ControlError> {
        let mut found = Vec::new();
        for row in self.all_nodes(&NodeFilter::default()).await? {
            let Ok(declared) = nodes::understood(&row) else {
                if have.contains(&row.id) {
                    found.push((row, false, false));
                }
                continue;
            };
            if declared.as_ref().is_some_and(|node| !node.active || node.pinned.is_some()) {
                continue;
            }
            let traits =
                declared.as_ref().map_or(Traits::OwnEdge { name: &row.name }, |node| node.traits());
            let is_for = selectors.iter().any(|by| NodeSelector::any_chooses(by, traits));
            let is_draining = declared.as_ref().is_some_and(|node| node.draining);
            // Of nodes that nobody watches, a rollout begins only with those that somebody names.
            let may_begin =
                |by: &&NodeSelector| !is_draining || matches!(by, NodeSelector::Name(_));
            let is_canary = canary.iter().filter(may_begin).any(|by| by.chooses(traits));
            if is_for || have.contains(&row.id) {
                found.push((row, is_canary, is_draining));
            }
        }
        // Those that are draining come last; by name otherwise.
        found.sort_by_key(|(_, _, is_draining)| *is_draining);
        Ok(found.into_iter().map(|(row, is_canary, _)| (row, is_canary)).collect())
    }
}

fn judge(strategy: &Strategy) -> Result<(), ControlError> {
    if strategy.waves.len() > MAX_WAVES {
        return Err(ControlError::BadRequest(format!("at most {MAX_WAVES} waves are possible")));
    }
    if !(1..=MAX_PATIENCE).contains(&strategy.patience) {
        return Err(ControlError::BadRequest(format!(
            "`patience` is 1 to {MAX_PATIENCE} seconds, not {}",
            strategy.patience
        )));
    }
    if strategy.soak > MAX_PATIENCE {
        return Err(ControlError::BadRequest(format!(
            "`soak` is at most {MAX_PATIENCE} seconds, not {}",
            strategy.soak
        )));
    }
    Ok(())
}

fn names(nodes: &[(Id<NodeRow>, Name)]) -> String {
    let names: Vec<&str> = nodes.iter().map(|(_, name)| name.as_str()).collect();
    names.join(", ")
}

/// Tells of sites that a rollout does not hold back: what is removed is gone everywhere at once.
pub(crate) fn removed_at_once(removed: &[String]) -> Vec<Finding> {
    let text = "it is removed from every node at once; a rollout cannot bring it back";
    removed
        .iter()
        .map(|name| finding(ResourceKind::Site, name, Severity::Warning, text.to_owned()))
        .collect()
}
