//! An edge that sites are brought to: this machine's own, or that of a node that somebody declared.
//! Both are spoken with in the same words; here stands what differs.

use ipnet::IpNet;
use portway_model::{Id, Name, Node, NodeSelector};
use portway_policy::{Claim, Owner};
use portway_store::{NodeRow, SiteFilter, SiteRow};

use super::Deploy;
use crate::{Control, ControlError, edge_client::EdgeClient, nodes};

/// An edge, and what is known of it.
pub(crate) struct Target<'a> {
    /// How it is spoken with.
    pub(crate) client: &'a EdgeClient,
    /// What is known of it.
    pub(crate) deploy: &'a Deploy,
    /// The node that it is.
    pub(crate) node: Id<NodeRow>,
    /// The node's name.
    pub(crate) name: &'a Name,
    /// Whose it is, as it is told itself.
    pub(crate) owner: Owner,
    /// What was declared of it.
    pub(crate) whose: Whose<'a>,
}

/// Whose an edge is.
pub(crate) enum Whose<'a> {
    /// This machine's: nobody declares it, and nobody else may have it.
    Own,
    /// That of a node, which is this manager's for a turn.
    Node {
        /// The node.
        node: &'a Node,
        /// The number of the turn.
        fence: i64,
    },
}

impl Target<'_> {
    /// Tells whether a site is for it.
    pub(super) fn is_for(&self, site: &SiteRow) -> Result<bool, ControlError> {
        let selectors = nodes::selectors_of(site)?;
        Ok(match &self.whose {
            Whose::Own => nodes::choose_edge(&selectors, self.name),
            Whose::Node { node, .. } => NodeSelector::any_chooses(&selectors, node.traits()),
        })
    }

    /// Returns which sites are looked through for it. The own edge has most of them.
    pub(super) fn filter(&self) -> SiteFilter {
        match &self.whose {
            Whose::Own => SiteFilter::default(),
            Whose::Node { node, .. } => {
                SiteFilter { nodes: Some(node.selectors()), ..SiteFilter::default() }
            }
        }
    }

    /// Returns the networks whose `X-Forwarded-*` headers it believes.
    pub(super) fn trusted_proxies(&self, control: &Control) -> Vec<IpNet> {
        match &self.whose {
            Whose::Own => control.inner.config.trusted_proxies.clone(),
            Whose::Node { node, .. } => node.trusted_proxies.clone(),
        }
    }

    /// Tells whether balancers in front of it are told to send nothing new.
    pub(super) fn is_draining(&self) -> bool {
        match &self.whose {
            Whose::Own => false,
            Whose::Node { node, .. } => node.draining,
        }
    }

    /// Returns what is said of its owner with a change of its sites. The own edge is told once.
    pub(super) fn claim(&self) -> Option<Claim> {
        match &self.whose {
            Whose::Own => None,
            Whose::Node { .. } => Some(Claim::Hold(self.owner.clone())),
        }
    }

    /// Returns the number of this manager's turn on it.
    pub(super) const fn fence(&self) -> Option<i64> {
        match &self.whose {
            Whose::Own => None,
            Whose::Node { fence, .. } => Some(*fence),
        }
    }

    /// Tells whether it is this machine's own.
    pub(super) const fn is_own(&self) -> bool {
        matches!(self.whose, Whose::Own)
    }
}
