//! Nodes whose engine is Portway's own edge: they are given their sites over its control socket, by the
//! driver that brings up this machine's edge (`deploy`). Here stands what is a node's: the way there,
//! whose turn it is, and what is written down of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use portway_deploy::{ByOthers, EngineSeen};
use portway_model::{Id, Node, ResourceKind, RevisionNumber, Site, Stage, rollout::Gate};
use portway_policy::{
    Claim, NodeSettings,
    bundle::{Change, PROTOCOL, Status},
};
use portway_store::{NodeFacts, NodeRemoval, NodeRow, PageRequest};
use portway_transport::{Argv, Transport as _, TransportError};
use tracing::{info, warn};

use super::{
    bring::{BringError, Brought, about},
    connect::{Reach, ReachError},
};
use crate::{
    Control, EdgeClient, EdgeClientError,
    deploy::{Deploy, RunError, Target, Whose, chain, lock},
};

/// The unit that `portway edge --install` writes, how it begins, and the program that it starts.
const UNIT: &str = "/etc/systemd/system/portway-edge.service";
const WRITTEN_BY: &str = "# Written by `portway edge --install`.";
const PROGRAM: &str = "/usr/local/bin/portway";
/// How long removing an edge may take: it ends its requests first.
const UNINSTALLING: Duration = Duration::from_secs(60);

/// What is known of the edges of nodes. All of it can be lost.
#[derive(Default)]
pub(super) struct Edges(Mutex<BTreeMap<Id<NodeRow>, Known>>);

/// What is known of an edge, and the revision of its node that it was learnt under: another one may
/// choose other sites.
struct Known {
    revision: RevisionNumber,
    deploy: Arc<Deploy>,
    /// What rollouts last said of the node.
    said: BTreeMap<RevisionNumber, Gate>,
}

impl Edges {
    /// Returns what is known of a node's edge.
    fn of(&self, row: &NodeRow) -> Arc<Deploy> {
        let revision =
            row.declared.as_ref().map_or(RevisionNumber(0), |declared| declared.revision);
        let mut all = lock(&self.0);
        match all.get(&row.id) {
            Some(known) if known.revision == revision => Arc::clone(&known.deploy),
            Some(_) | None => {
                let deploy = Arc::new(Deploy::new());
                all.insert(
                    row.id,
                    Known { revision, deploy: Arc::clone(&deploy), said: BTreeMap::new() },
                );
                deploy
            }
        }
    }

    /// Notes what rollouts say of a node. Returns whether that is something else than before.
    fn heed(&self, node: Id<NodeRow>, said: BTreeMap<RevisionNumber, Gate>) -> bool {
        let mut all = lock(&self.0);
        let Some(known) = all.get_mut(&node) else { return false };
        let is_other = known.said != said;
        known.said = said;
        is_other
    }

    /// Has these sites compiled again for every edge that they are on.
    pub(super) fn look_at(&self, sites: &BTreeSet<Id<Site>>) {
        lock(&self.0).values().for_each(|known| known.deploy.look_at(sites.iter().copied()));
    }

    /// Has every site compiled again for every edge that it is on.
    pub(super) fn look_at_everything(&self) {
        lock(&self.0).values().for_each(|known| known.deploy.look_at_everything());
    }

    /// Forgets a node, whose edge is read anew.
    pub(super) fn forget(&self, node: Id<NodeRow>) {
        lock(&self.0).remove(&node);
    }
}

impl Control {
    /// Brings a node's edge to what it should have.
    pub(super) async fn bring_edge(
        &self,
        row: &NodeRow,
        node: &Node,
        by_others: ByOthers,
    ) -> Result<Brought, BringError> {
        let reach = match self.reach(row, node).await {
            Err(ReachError::Elsewhere(_)) => return Ok(Brought::Busy),
            reach => reach?,
        };
        // Whoever asks for a deployment wants what failed before to be tried again.
        let tries_again = by_others == ByOthers::Overwrite;
        if tries_again {
            self.inner.fleet.edges.forget(row.id);
        }
        let deploy = self.inner.fleet.edges.of(row);
        let gates_changed =
            self.inner.fleet.edges.heed(row.id, self.gates().await?.of_node(row.id));
        if gates_changed || tries_again {
            deploy.look_at(self.known_of(row.id).await?.into_keys());
        }
        let Some(hold) = self.take(row.id).await? else { return Ok(Brought::Busy) };
        let fence = hold.fence();
        let client = EdgeClient::there(reach, node.control_socket());
        let brought = async {
            self.close_cut_off_changes(row).await?;
            let target = Target {
                client: &client,
                deploy: &deploy,
                node: row.id,
                name: &row.name,
                owner: self.edge_owner(row.id, u64::try_from(fence).unwrap_or(0)).await?,
                whose: Whose::Node { node, fence },
            };
            self.bring_edge_held(row, &target).await?;
            Ok(Brought::Here)
        };
        let brought = Box::pin(brought).await;
        hold.let_go().await?;
        brought
    }

    async fn bring_edge_held(&self, row: &NodeRow, it: &Target<'_>) -> Result<(), BringError> {
        let fleet = &self.inner.fleet;
        let generation = fleet.freshness.generation();
        let status = it.client.status().await?;
        // What it has is asked, not remembered.
        it.deploy.expect(&status).await;
        let mut done = self.bring_edge_up(it).await?;
        while done.goes_on || it.deploy.is_to_look() {
            done = self.bring_edge_up(it).await?;
        }
        let Some(reached) = done.reached else { return Ok(()) };
        self.note_edge(row, it, &status).await?;
        fleet.freshness.brought(row.id, reached, generation);
        fleet.reached(row.id, reached);
        Ok(())
    }

    /// Closes changes whose manager ended in the middle. What became of each is not told by the edge,
    /// which has all of it or nothing; what it lacks is sent with the next one.
    async fn close_cut_off_changes(&self, row: &NodeRow) -> Result<(), BringError> {
        let deployments = self.inner.store.deployments();
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let open = deployments.unfinished(&request).await?.items;
        for mut cut in open.into_iter().filter(|cut| cut.node == row.id) {
            let text = "its manager ended in the middle; the next one read what the edge has";
            cut.findings.push(about(ResourceKind::Node, row.name.as_str(), text.to_owned()));
            cut.stage = Stage::Stuck;
            cut.finished_at = Some(self.now());
            deployments.record(&cut).await?;
        }
        Ok(())
    }

    /// Notes what was read on a node with an edge.
    async fn note_edge(
        &self,
        row: &NodeRow,
        it: &Target<'_>,
        status: &Status,
    ) -> Result<(), BringError> {
        let facts = NodeFacts {
            engine_version: Some(status.version.clone()),
            digest: it.deploy.digest().await.map(|digest| digest.to_string()),
            read_at: Some(self.now()),
            ..NodeFacts::default()
        };
        self.inner.store.nodes().put_facts(row.id, &facts).await?;
        Ok(())
    }

    /// Takes its sites from a node's edge, and the edge from its machine where Portway installed it.
    /// An edge of somebody else is left as it is.
    pub(super) async fn clean_edge(
        &self,
        removal: &NodeRemoval,
        row: &NodeRow,
        node: &Node,
    ) -> Result<bool, BringError> {
        let reach = self.reach(row, node).await?;
        let Some(hold) = self.take(row.id).await? else { return Ok(false) };
        let cleaned = async {
            let client = EdgeClient::there(Arc::clone(&reach), node.control_socket());
            if self.empty_edge(row, &client).await? {
                remove_program(&reach, node).await?;
            }
            self.inner.store.nodes().cleaned(removal.id).await?;
            info!(node.name = %row.name, "took Portway's away from the node");
            Ok(true)
        };
        let cleaned = Box::pin(cleaned).await;
        hold.let_go().await?;
        cleaned
    }

    /// Takes everything from an edge and leaves it nobody's. Returns whether it was this node's; of one
    /// that does not run, that is assumed.
    async fn empty_edge(&self, row: &NodeRow, client: &EdgeClient) -> Result<bool, BringError> {
        let status = match client.status().await {
            Err(EdgeClientError::Transport(TransportError::Refused { .. })) => return Ok(true),
            status => status?,
        };
        if status.owner.is_none_or(|owner| owner.node != row.id.uuid()) {
            warn!(node.name = %row.name, "the edge of the node is somebody else's, and left as it is");
            return Ok(false);
        }
        let listing = client.index().await?;
        let change = Change {
            format: PROTOCOL,
            base: Some(listing.digest),
            settings: Some(NodeSettings::default()),
            remove: listing.sites.into_keys().collect(),
            claim: Some(Claim::GiveUp),
            ..Change::default()
        };
        client.change(&change).await?;
        Ok(true)
    }

    /// Asks a node's edge which version it is of.
    pub(super) async fn ask_edge(
        &self,
        reach: Arc<Reach>,
        node: &Node,
    ) -> Result<EngineSeen, String> {
        let status = EdgeClient::there(reach, node.control_socket()).status().await;
        let status = status.map_err(|error| {
            if let EdgeClientError::Transport(error) = &error {
                return format!("{error}; {}", error.remedy());
            }
            chain(&error)
        })?;
        let version = status.version.parse();
        let version =
            version.map_err(|_| format!("it says that it is of version `{}`", status.version))?;
        Ok(EngineSeen { version, modules: BTreeSet::new() })
    }
}

/// Removes the edge that `portway node install` put on a node, with its service. One that something
/// else starts goes on to run, without sites.
async fn remove_program(reach: &Reach, node: &Node) -> Result<(), BringError> {
    let unit = reach.get(UNIT.into()).await?.unwrap_or_default();
    if String::from_utf8_lossy(&unit).starts_with(WRITTEN_BY) {
        let argv = Argv::new(PROGRAM, ["edge", "--uninstall"]);
        let argv = argv.map_err(TransportError::from)?.as_root();
        let output = reach.run(&argv, b"", UNINSTALLING).await?;
        if !output.is_success() {
            let said = output.stderr_text().trim().to_owned();
            return Err(BringError::Unfit(format!("`{argv}` failed: {said}")));
        }
    }
    let folder = node.paths.home.join("bin");
    let listed = reach.list(&folder).await?.unwrap_or_default();
    let ours = listed.iter().filter(|entry| entry.name.starts_with("portway-"));
    let ours: Vec<_> = ours.map(|entry| folder.join(&entry.name)).collect();
    Ok(reach.remove(&ours).await?)
}

/// Returns what kept the manager from speaking with an edge's machine, if that was it.
pub(super) fn transport_of(error: &RunError) -> Option<&TransportError> {
    if let RunError::Edge(EdgeClientError::Transport(error)) = error {
        return Some(error);
    }
    None
}
