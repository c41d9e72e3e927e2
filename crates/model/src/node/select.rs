//! How sites choose their nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{Name, NameError};

/// The name that stands for the managers' own edges, which a site without nodes is on.
pub const OWN_EDGES: &str = "local";

/// One choice of nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NodeSelector {
    /// One node, or with [`OWN_EDGES`] the managers' own edges.
    Name(Name),
    /// The nodes of a group.
    Group(Name),
    /// The nodes with a label of this value.
    Label(Name, Name),
    /// The nodes of a zone.
    Zone(Name),
}

/// Why a text chooses no nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeSelectorError {
    /// A name in it is none.
    #[error("`{text}` chooses no nodes: {source}")]
    Name {
        /// The text.
        text: String,
        /// What is wrong with the name.
        #[source]
        source: NameError,
    },
    /// A label without a value.
    #[error("`{0}` chooses no nodes: a label is written `label:KEY=VALUE`")]
    Label(String),
    /// A word in front of the colon that means nothing.
    #[error("`{0}` chooses no nodes: before `:` stands `group`, `label` or `zone`")]
    Kind(String),
}

/// What selectors look at.
#[derive(Clone, Copy, Debug)]
pub enum Traits<'a> {
    /// A node that somebody declared.
    Declared {
        /// Its name.
        name: &'a Name,
        /// Its groups.
        groups: &'a BTreeSet<Name>,
        /// Its labels.
        labels: &'a BTreeMap<Name, Name>,
        /// Its zone.
        zone: Option<&'a Name>,
    },
    /// The edge of a manager.
    OwnEdge {
        /// Its name.
        name: &'a Name,
    },
}

impl NodeSelector {
    /// Tells whether it stands for the managers' own edges.
    pub fn is_own_edges(&self) -> bool {
        matches!(self, Self::Name(name) if name.as_str() == OWN_EDGES)
    }

    /// Tells whether it chooses a node.
    pub fn chooses(&self, node: Traits<'_>) -> bool {
        match (self, node) {
            (Self::Name(wanted), Traits::Declared { name, .. }) => wanted == name,
            (Self::Name(wanted), Traits::OwnEdge { name }) => self.is_own_edges() || wanted == name,
            (Self::Group(wanted), Traits::Declared { groups, .. }) => groups.contains(wanted),
            (Self::Label(key, value), Traits::Declared { labels, .. }) => {
                labels.get(key) == Some(value)
            }
            (Self::Zone(wanted), Traits::Declared { zone, .. }) => zone == Some(wanted),
            (Self::Group(_) | Self::Label(..) | Self::Zone(_), Traits::OwnEdge { .. }) => false,
        }
    }

    /// Tells whether a site with these selectors is on a node. One without any is on the managers'
    /// own edges.
    pub fn any_chooses(selectors: &[Self], node: Traits<'_>) -> bool {
        match node {
            Traits::OwnEdge { .. } if selectors.is_empty() => true,
            Traits::OwnEdge { .. } | Traits::Declared { .. } => {
                selectors.iter().any(|selector| selector.chooses(node))
            }
        }
    }
}

impl FromStr for NodeSelector {
    type Err = NodeSelectorError;

    fn from_str(text: &str) -> Result<Self, NodeSelectorError> {
        let name = |part: &str| {
            part.parse::<Name>()
                .map_err(|source| NodeSelectorError::Name { text: text.to_owned(), source })
        };
        match text.split_once(':') {
            None => name(text).map(Self::Name),
            Some(("group", group)) => name(group).map(Self::Group),
            Some(("zone", zone)) => name(zone).map(Self::Zone),
            Some(("label", label)) => {
                let (key, value) = label
                    .split_once('=')
                    .ok_or_else(|| NodeSelectorError::Label(text.to_owned()))?;
                Ok(Self::Label(name(key)?, name(value)?))
            }
            Some(_) => Err(NodeSelectorError::Kind(text.to_owned())),
        }
    }
}

impl TryFrom<String> for NodeSelector {
    type Error = NodeSelectorError;

    fn try_from(text: String) -> Result<Self, NodeSelectorError> {
        text.parse()
    }
}

impl From<NodeSelector> for String {
    fn from(selector: NodeSelector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for NodeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Label(key, value) => write!(f, "label:{key}={value}"),
            Self::Zone(zone) => write!(f, "zone:{zone}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn chooses(selectors: &[&str], node: Traits<'_>) -> bool {
        let selectors: Vec<NodeSelector> =
            selectors.iter().map(|text| text.parse().unwrap()).collect();
        NodeSelector::any_chooses(&selectors, node)
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for text in ["web-1", "group:web", "label:tier=front", "zone:eu-1", "local"] {
            assert_eq!(text.parse::<NodeSelector>().unwrap().to_string(), text);
        }
        for text in ["", "Web", "group:", "label:tier", "label:=x", "rack:1", "zone:A", "a:b:c"] {
            assert!(text.parse::<NodeSelector>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_declared_node_is_chosen_by_what_it_has() {
        let (node, zone) = (name("web-1"), name("eu"));
        let groups = BTreeSet::from([name("web")]);
        let labels = BTreeMap::from([(name("tier"), name("front"))]);
        let node =
            Traits::Declared { name: &node, groups: &groups, labels: &labels, zone: Some(&zone) };

        for selector in ["web-1", "group:web", "label:tier=front", "zone:eu"] {
            assert!(chooses(&[selector], node), "{selector}");
        }
        for selector in ["web-2", "group:db", "label:tier=back", "zone:us", "local"] {
            assert!(!chooses(&[selector], node), "{selector}");
        }
        assert!(!chooses(&[], node));
    }

    #[test]
    fn an_edge_of_a_manager_has_what_names_no_node() {
        let edge = name("edge-home");
        let edge = Traits::OwnEdge { name: &edge };
        assert!(chooses(&[], edge));
        assert!(chooses(&["local"], edge));
        assert!(chooses(&["web-1", "edge-home"], edge));
        assert!(!chooses(&["web-1", "group:web", "zone:eu"], edge));
    }
}
