//! The nodes, and what is known of them without speaking with any.

use std::collections::BTreeMap;

use portway_engine::{Engine, EngineFacts};
use portway_model::{
    EngineKind, HostPattern, Id, Node, NodeSelector, ResourceKind, RevisionNumber, Site,
};
use portway_store::{NodeFacts, NodeFilter, NodeReads, NodeRow, NodeSiteRow, Visible};
use portway_wire::plan::{NodeBasis, PlannedNode};

use super::text::Shown;
use crate::{
    Control, ControlError,
    fleet::{Hosts, engine_of, facts_kept, hosts_kept, settings_of},
    nodes,
};

/// A node as it is known.
pub(super) struct Known {
    pub(super) row: NodeRow,
    /// What is declared of it; nothing for the edge of a manager.
    pub(super) node: Option<Node>,
    /// What is rendered for there, where it was seen.
    pub(super) facts: Option<EngineFacts>,
    /// The hosts of what stands there beside Portway's.
    hosts: Hosts,
    noted: NodeFacts,
    reads: NodeReads,
}

/// All nodes that something can come to, and what they have of some sites.
pub(super) struct World {
    pub(super) nodes: Vec<Known>,
    there: BTreeMap<(Id<Site>, Id<NodeRow>), NodeSiteRow>,
}

impl Control {
    /// Returns what is known of nodes and of what they have of sites.
    pub(super) async fn world(&self, sites: &[Id<Site>]) -> Result<World, ControlError> {
        let rows = self.all_nodes(&NodeFilter::default()).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let store = self.inner.store.nodes();
        let mut noted = store.facts(&ids).await?;
        let mut reads = store.reads(&ids).await?;
        let mut nodes = Vec::with_capacity(rows.len());
        for row in rows {
            let Ok(node) = nodes::understood(&row) else { continue };
            if node.as_ref().is_some_and(|node| !node.active) {
                continue;
            }
            let reads = reads.remove(&row.id).unwrap_or_default();
            let machine = reads.machine.as_ref();
            let facts = node.as_ref().and_then(|node| facts_kept(node, machine?));
            let noted = noted.remove(&row.id).unwrap_or_default();
            let hosts = machine.map(hosts_kept).unwrap_or_default();
            nodes.push(Known { row, node, facts, hosts, noted, reads });
        }
        let there = if sites.is_empty() { BTreeMap::new() } else { store.of_sites(sites).await? };
        Ok(World { nodes, there })
    }

    /// Returns a node as a plan shows it.
    pub(super) async fn planned_node(&self, known: &Known) -> Result<PlannedNode, ControlError> {
        Ok(PlannedNode {
            name: known.row.name.to_string(),
            engine: known.engine_name().to_owned(),
            engine_version: known.facts.as_ref().map(|facts| facts.version.to_string()),
            read_at: known.reads.content.as_ref().map(|content| content.at),
            release: known.row.digest.clone(),
            draining: known.node.as_ref().is_some_and(|node| node.draining),
            problem: known.problem(),
            foreign: known.foreign(),
            common: self.common(known).await?,
        })
    }

    /// Returns how that part of a node's configuration changes that belongs to no site. It is written
    /// from what is declared of the node, so it changes when that was declared anew.
    async fn common(&self, known: &Known) -> Result<Option<String>, ControlError> {
        let (Some(node), Some(engine)) = (&known.node, known.engine()) else { return Ok(None) };
        let Some(declared) = known.row.declared.as_ref() else { return Ok(None) };
        if known.row.deployed.0 == 0 || declared.revision <= known.row.deployed {
            return Ok(None);
        }
        let (revisions, id) = (self.inner.store.revisions(), known.row.id.uuid());
        let then =
            revisions.version_at(Visible::All, ResourceKind::Node, id, known.row.deployed).await?;
        let Some(spec) = then.and_then(|change| change.spec) else { return Ok(None) };
        let Ok(spec) = serde_json::from_value(spec) else { return Ok(None) };
        let Some(before) = portway_model::node::check(&known.row.name, &spec).0 else {
            return Ok(None);
        };
        let (Some(old), Some(new)) =
            (known.common_of(engine, &before)?, known.common_of(engine, node)?)
        else {
            return Ok(None);
        };
        let diffs: String = Shown::since(&old, &new).0.into_iter().map(|file| file.diff).collect();
        Ok((!diffs.is_empty()).then_some(diffs))
    }
}

impl World {
    /// Returns what a node has of a site.
    pub(super) fn there(&self, site: Id<Site>, node: &Known) -> Option<&NodeSiteRow> {
        self.there.get(&(site, node.row.id))
    }
}

impl Known {
    /// Returns what writes for its engine; nothing for an edge, which is given sites as they are.
    pub(super) fn engine(&self) -> Option<&'static dyn Engine> {
        engine_of(self.node.as_ref()?.engine)
    }

    pub(super) fn engine_name(&self) -> &'static str {
        self.node.as_ref().map_or(EngineKind::Edge, |node| node.engine).as_str()
    }

    /// Returns the revision at which its sites are kept.
    pub(super) fn pinned(&self) -> Option<RevisionNumber> {
        self.node.as_ref()?.pinned
    }

    /// Tells whether choices choose the node.
    pub(super) fn is_chosen(&self, selectors: &[NodeSelector]) -> bool {
        match &self.node {
            Some(node) => NodeSelector::any_chooses(selectors, node.traits()),
            None => nodes::choose_edge(selectors, &self.row.name),
        }
    }

    /// Returns the file of the node's own configuration that has a host too, as far as it was read.
    pub(super) fn foreign_host(&self, host: &HostPattern) -> Option<&str> {
        self.hosts.get(&host.to_string()).map(String::as_str)
    }

    /// Returns why the node could not be read or changed since it was last read.
    pub(super) fn problem(&self) -> Option<String> {
        let (failed, read) = (self.noted.error_at?, self.noted.read_at);
        self.noted.error.clone().filter(|_| read.is_none_or(|read| failed > read))
    }

    /// Returns what is there that Portway did not put there, or that somebody changed.
    pub(super) fn foreign(&self) -> Vec<String> {
        let mut foreign = Vec::new();
        if let Some(content) = &self.reads.content {
            foreign.extend(content.changed.iter().cloned());
            match (&self.row.digest, &content.linked) {
                (Some(given), Some(linked)) if given != linked => {
                    foreign.push(format!("the link to the release leads to release {linked}"));
                }
                (Some(_), None) if content.changed.is_empty() => {
                    foreign.push("the link to the release is gone".to_owned());
                }
                (Some(_) | None, _) => {}
            }
        }
        if let Some(machine) = &self.reads.machine {
            foreign.extend(machine.beside.iter().map(|path| format!("{path} is not Portway's")));
        }
        foreign
    }

    /// Returns what a plan knows of the node; nothing of an edge, which proves each change by itself.
    pub(super) fn basis(&self) -> Option<NodeBasis> {
        self.node.as_ref()?;
        Some(NodeBasis {
            revision: self.row.declared.as_ref().map(|declared| declared.revision.0),
            release: self.row.digest.clone(),
            serves: self.reads.content.as_ref().and_then(|content| content.serves.clone()),
            foreign: self.foreign(),
            readable: self.problem().is_none(),
        })
    }

    /// Returns what a node without sites comes to.
    fn common_of(&self, engine: &dyn Engine, node: &Node) -> Result<Option<Shown>, ControlError> {
        let machine = self.reads.machine.as_ref();
        let Some(facts) = machine.and_then(|machine| facts_kept(node, machine)) else {
            return Ok(None);
        };
        let release = engine
            .render_node(&[], &settings_of(node), &BTreeMap::new(), &facts)
            .map_err(|error| ControlError::internal("writing what a node is to serve", error))?;
        let entry = String::from_utf8_lossy(release.entry.bytes()).into_owned();
        let entry = entry.replace(&release.digest.to_string(), "(the digest of the release)");
        let objects: Vec<_> = release.objects.into_values().collect();
        Ok(Some(Shown::of(&entry, &objects, &[])))
    }
}
