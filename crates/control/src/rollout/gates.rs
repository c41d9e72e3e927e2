//! What rollouts say of a site on a node: whether it gets the newest version, or which one it keeps.

use std::collections::BTreeMap;

use portway_model::{
    Finding, Id, ResourceKind, RevisionNumber, Severity,
    rollout::{Gate, RolloutState, WhyBack},
};
use portway_store::{NodeRow, NodeSiteRow, RolloutNodeRow, RolloutRow, SiteRow, Visible};

use super::finding;
use crate::{Control, ControlError};

/// The rollouts that decide what nodes get. They must be read after the sites: a revision is there
/// with its rollout or not at all, so a site that was read before has none that is missing here.
#[derive(Debug, Default)]
pub(crate) struct Gates(BTreeMap<RevisionNumber, Deciding>);

/// What rollouts say of all the sites of one node.
#[derive(Debug)]
pub(crate) struct NodeGates {
    node: Id<NodeRow>,
    gates: Gates,
}

/// A rollout with its nodes to be found by their ids.
#[derive(Debug)]
struct Deciding {
    rollout: RolloutRow,
    places: BTreeMap<Id<NodeRow>, usize>,
}

/// Which version of a site a node gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    /// The newest.
    Newest,
    /// An earlier one.
    Kept(Kept),
}

/// An earlier version that a node gets of a site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// The revision that made it; nothing where the site is not there.
    pub(crate) revision: Option<RevisionNumber>,
    /// The version that is held back for good.
    pub(crate) held: Option<RevisionNumber>,
    /// Why, or what else was found.
    pub(crate) findings: Vec<Finding>,
}

impl Gates {
    /// Returns what they say of a node, where it does not get all that is declared.
    pub(crate) fn of_node(&self, node: Id<NodeRow>) -> BTreeMap<RevisionNumber, Gate> {
        let said = self.0.iter().map(|(revision, deciding)| (*revision, deciding.gate(node)));
        said.filter(|(_, gate)| *gate != Gate::Open).collect()
    }

    /// Returns the rollout that keeps a version from a node.
    fn against(&self, revision: RevisionNumber, node: Id<NodeRow>) -> Option<(&Deciding, Gate)> {
        let deciding = self.0.get(&revision)?;
        let gate = deciding.gate(node);
        (gate != Gate::Open).then_some((deciding, gate))
    }
}

impl NodeGates {
    /// Returns what they say of the node, where it does not get all that is declared.
    pub(crate) fn said(&self) -> BTreeMap<RevisionNumber, Gate> {
        self.gates.of_node(self.node)
    }
}

impl Deciding {
    fn of(rollout: RolloutRow) -> Self {
        let places = rollout.nodes.iter().enumerate().map(|(at, place)| (place.node, at)).collect();
        Self { rollout, places }
    }

    fn place(&self, node: Id<NodeRow>) -> Option<&RolloutNodeRow> {
        self.places.get(&node).and_then(|at| self.rollout.nodes.get(*at))
    }

    fn gate(&self, node: Id<NodeRow>) -> Gate {
        self.rollout.state.gate(self.place(node).map(|place| place.wave))
    }
}

impl Control {
    /// Returns what rollouts say now.
    pub(crate) async fn gates(&self) -> Result<Gates, ControlError> {
        self.read_gates(None).await
    }

    /// Returns what rollouts say now of the sites of a node.
    pub(crate) async fn gates_of(&self, node: Id<NodeRow>) -> Result<NodeGates, ControlError> {
        Ok(NodeGates { node, gates: self.read_gates(Some(node)).await? })
    }

    async fn read_gates(&self, of: Option<Id<NodeRow>>) -> Result<Gates, ControlError> {
        let rollouts = self.inner.store.rollouts().gates(of).await?;
        let deciding = |rollout: RolloutRow| (rollout.revision, Deciding::of(rollout));
        Ok(Gates(rollouts.into_iter().map(deciding).collect()))
    }

    /// Chooses the version of a site that a node gets.
    pub(crate) async fn choice(
        &self,
        NodeGates { node, gates }: &NodeGates,
        row: &SiteRow,
        known: Option<&NodeSiteRow>,
    ) -> Result<Choice, ControlError> {
        let node = *node;
        let Some((deciding, gate)) = gates.against(row.revision, node) else {
            return Ok(Choice::Newest);
        };
        let has = known.and_then(|known| known.revision);
        let as_it_is = |known: Option<&NodeSiteRow>| Kept {
            revision: has,
            held: known.and_then(|known| known.held),
            findings: known.map(|known| known.findings.clone()).unwrap_or_default(),
        };
        // A node that held the version by itself says why better than the rollout can.
        let by_itself = known.filter(|known| known.held == Some(row.revision));
        let held = |revision| Kept {
            revision,
            held: Some(row.revision),
            findings: match by_itself {
                Some(known) => known.findings.clone(),
                None => vec![why_kept(&deciding.rollout, row)],
            },
        };
        Ok(Choice::Kept(match gate {
            Gate::Open => return Ok(Choice::Newest),
            Gate::Wait => as_it_is(known),
            Gate::Stay => held(has),
            Gate::Back => held(self.before(deciding, row, node, has).await?),
        }))
    }

    /// Returns the version that a node had of a site before a rollout.
    async fn before(
        &self,
        deciding: &Deciding,
        row: &SiteRow,
        node: Id<NodeRow>,
        has: Option<RevisionNumber>,
    ) -> Result<Option<RevisionNumber>, ControlError> {
        let (place, revision) = (deciding.place(node), deciding.rollout.revision);
        if let Some(before) = place.and_then(|place| place.before.get(&row.id)) {
            return Ok(*before);
        }
        if let Some(has) = has.filter(|has| *has != revision) {
            return Ok(Some(has));
        }
        if place.is_some() {
            return Ok(None);
        }
        // The node came later, and should have what is declared but for this rollout.
        let earlier = RevisionNumber(revision.0 - 1);
        let revisions = self.inner.store.revisions();
        let id = row.id.uuid();
        let found = revisions.version_at(Visible::All, ResourceKind::Site, id, earlier).await?;
        Ok(found.filter(|version| version.spec.is_some()).map(|version| version.revision))
    }
}

fn why_kept(rollout: &RolloutRow, row: &SiteRow) -> Finding {
    let number = rollout.revision;
    let text = match rollout.state {
        RolloutState::GoingBack { why: WhyBack::Failure }
        | RolloutState::Undone { why: WhyBack::Failure } => {
            format!("the rollout of revision {number} went back, because a node could not take it")
        }
        RolloutState::GoingBack { why: WhyBack::Asked }
        | RolloutState::Undone { why: WhyBack::Asked } => {
            format!("the rollout of revision {number} was taken back")
        }
        RolloutState::Queued
        | RolloutState::Running { .. }
        | RolloutState::Paused { .. }
        | RolloutState::Done
        | RolloutState::Partial
        | RolloutState::Aborted { .. }
        | RolloutState::Superseded { .. } => {
            format!("the rollout of revision {number} was ended before it came to every node")
        }
    };
    finding(ResourceKind::Site, row.name.as_str(), Severity::Error, text)
}
