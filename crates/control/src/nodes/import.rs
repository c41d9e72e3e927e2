//! Taking nodes over from a `nodes.yaml`: each sound entry makes or changes its node, and nothing is
//! lost that somebody did by hand.

use indexmap::IndexMap;
use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, Name, NodeSpec, Origin, ResourceKind,
    node::{Connection, spec::SshSpec},
};
use portway_store::{
    ChangeDraft, Expected, NodeFilter, NodeRow, PageRequest, SealedSecret, Visible,
};
use portway_wire::node::{ImportNodes, ImportOutcome, NodeImported, NodesImported};
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    spec_of,
    view::is_confirmed,
    write::{NodeDraft, Prepared, read_spec},
};
use crate::{Control, ControlError, actor::Actor, rights::Operator};

/// The name of the file in the manager's data folder, and of where its nodes come from.
const NODES_FILE: &str = "nodes.yaml";
/// As many changes of a node are looked at to find the last one that came from its file.
const LOOKED_AT: u32 = 100;

/// Entries that are to be taken over.
struct Entries<'a> {
    source: &'a str,
    overwrite: bool,
}

/// What taking over has come to so far.
#[derive(Default)]
struct Taken {
    report: NodesImported,
    changes: Vec<ChangeDraft>,
    secrets: Vec<SealedSecret>,
}

impl Operator<'_> {
    /// Takes nodes over, all sound ones in one revision.
    pub async fn import_nodes(&self, import: &ImportNodes) -> Result<NodesImported, ControlError> {
        let mut specs = IndexMap::new();
        let mut taken = Taken::default();
        for (name, sent) in &import.nodes {
            match read_spec(name, sent) {
                Ok(spec) => {
                    specs.insert(name.clone(), spec);
                }
                Err(ControlError::Invalid(findings)) => taken.refuse(name.as_str(), findings),
                Err(error) => return Err(error),
            }
        }
        let entries = Entries { source: &import.source, overwrite: import.overwrite };
        self.control.take_over(self.actor, &entries, specs, taken).await
    }

    /// Reads the manager's own `nodes.yaml` again.
    pub async fn discover(&self) -> Result<NodesImported, ControlError> {
        self.control.read_nodes_file(self.actor).await
    }
}

impl Control {
    /// Takes over what the manager's `nodes.yaml` says, where there is one.
    pub(crate) async fn read_nodes_file(
        &self,
        actor: &Actor,
    ) -> Result<NodesImported, ControlError> {
        let path = self.nodes_file();
        let text = match tokio::fs::read_to_string(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(NodesImported::default());
            }
            Err(error) => {
                return Err(ControlError::Conflict(format!("cannot read {path}: {error}")));
            }
        };
        let source = portway_sitefile::SourceText {
            name: path.to_string(),
            folder: self.inner.config.data_dir.clone(),
            text,
        };
        let loaded = portway_sitefile::load_nodes(&source);
        let mut taken = Taken::default();
        for name in &loaded.refused {
            taken
                .report
                .nodes
                .push(NodeImported { node: name.clone(), outcome: ImportOutcome::Refused });
        }
        taken.report.findings = loaded.findings.into_iter().filter(Finding::is_error).collect();
        let entries = Entries { source: NODES_FILE, overwrite: false };
        self.take_over(actor, &entries, loaded.nodes, taken).await
    }

    /// Returns where the manager's own file of nodes is, if there is one.
    pub(crate) fn nodes_file(&self) -> camino::Utf8PathBuf {
        self.inner.config.data_dir.join(NODES_FILE)
    }

    async fn take_over(
        &self,
        actor: &Actor,
        entries: &Entries<'_>,
        specs: IndexMap<Name, NodeSpec>,
        mut taken: Taken,
    ) -> Result<NodesImported, ControlError> {
        let names: Vec<&Name> = specs.keys().collect();
        let rows = self.inner.store.nodes().by_names(&names).await?;
        for (name, spec) in &specs {
            self.take_entry(entries, name, spec.clone(), rows.get(name), &mut taken).await?;
        }
        self.report_gone(entries, &specs, &mut taken).await?;
        for entry in &taken.report.nodes {
            info!(node.name = %entry.node, "nodes of {}: {:?}", entries.source, entry.outcome);
        }
        for finding in &taken.report.findings {
            warn!("nodes of {}: {}", entries.source, finding.text);
        }
        if !taken.changes.is_empty() {
            let draft = NodeDraft {
                action: "node.import",
                name: entries.source,
                message: format!("take nodes over from {}", entries.source),
                origin: Origin::File(entries.source.to_owned()),
                changes: taken.changes,
                secrets: taken.secrets,
            };
            self.commit_nodes(actor, draft).await?;
        }
        Ok(taken.report)
    }

    /// Judges one entry by the node of its name.
    async fn take_entry(
        &self,
        entries: &Entries<'_>,
        name: &Name,
        mut spec: NodeSpec,
        row: Option<&NodeRow>,
        taken: &mut Taken,
    ) -> Result<(), ControlError> {
        let before = row.map(spec_of).transpose()?.flatten();
        let id = row.map_or_else(|| Id::from_uuid(Uuid::now_v7()), |row| row.id);
        inherit(&mut spec, before.as_ref());
        let mut prepared = match self.prepare_node(id, name, spec, before.as_ref()).await {
            Ok(prepared) => prepared,
            Err(ControlError::Invalid(findings)) => {
                taken.refuse(name.as_str(), findings);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let is_active = before.as_ref().is_some_and(|before| before.active.unwrap_or(true));
        if !is_active {
            keep_inactive(&mut prepared, &mut taken.report.findings);
        }
        let origin = Origin::File(entries.source.to_owned());
        let version = prepared.version(origin.clone())?;
        let (expected, outcome) = match row {
            None => (Expected::New, ImportOutcome::Created),
            Some(row) => {
                let Some(declared) = &row.declared else {
                    taken.refuse(name.as_str(), vec![own_edge(name)]);
                    return Ok(());
                };
                if declared.spec == version.spec {
                    taken.note(name, ImportOutcome::Unchanged);
                    return Ok(());
                }
                if !entries.overwrite && self.is_changed_by_hand(row, &origin).await? {
                    taken.report.findings.push(kept(name, entries.source));
                    taken.note(name, ImportOutcome::Kept);
                    return Ok(());
                }
                (Expected::At(declared.revision), ImportOutcome::Updated)
            }
        };
        taken.changes.push(ChangeDraft::node(id, expected, version));
        taken.secrets.extend(prepared.secrets);
        taken.note(name, outcome);
        Ok(())
    }

    /// Tells whether somebody changed a node since it last came from its file, or made it elsewhere.
    /// That a host key was confirmed, or a node switched on or off, is not in the file's place.
    async fn is_changed_by_hand(
        &self,
        row: &NodeRow,
        origin: &Origin,
    ) -> Result<bool, ControlError> {
        let revisions = self.inner.store.revisions();
        let thing = (ResourceKind::Node, row.id.uuid());
        let request = PageRequest::first(LOOKED_AT);
        let found = revisions.list(Visible::All, Some(thing), &request).await?;
        let Some(last) = found.items.iter().find(|revision| revision.origin == *origin) else {
            return Ok(true);
        };
        let then = revisions.version_at(Visible::All, thing.0, thing.1, last.number).await?;
        let then: Option<NodeSpec> = then
            .and_then(|change| change.spec)
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| ControlError::internal("reading an earlier version", error))?;
        Ok(then.map(neutral) != spec_of(row)?.map(neutral))
    }

    /// Reports nodes that came from the same source and are no longer in it.
    async fn report_gone(
        &self,
        entries: &Entries<'_>,
        specs: &IndexMap<Name, NodeSpec>,
        taken: &mut Taken,
    ) -> Result<(), ControlError> {
        let origin = Origin::File(entries.source.to_owned());
        let declared = NodeFilter { declared: Some(true), ..NodeFilter::default() };
        for row in self.all_nodes(&declared).await? {
            let is_of_it = row.declared.as_ref().is_some_and(|node| node.origin == origin);
            let is_refused = taken.report.nodes.iter().any(|entry| entry.node == row.name.as_str());
            if is_of_it && !specs.contains_key(&row.name) && !is_refused {
                taken.report.findings.push(gone(&row.name, entries.source));
                taken.note(&row.name, ImportOutcome::Gone);
            }
        }
        Ok(())
    }
}

impl Taken {
    fn note(&mut self, name: &Name, outcome: ImportOutcome) {
        self.report.nodes.push(NodeImported { node: name.to_string(), outcome });
    }

    fn refuse(&mut self, name: &str, findings: Vec<Finding>) {
        self.report.findings.extend(findings);
        let entry = NodeImported { node: name.to_owned(), outcome: ImportOutcome::Refused };
        self.report.nodes.push(entry);
    }
}

/// What a file says nothing of stays as somebody confirmed or switched it.
fn inherit(spec: &mut NodeSpec, before: Option<&NodeSpec>) {
    if spec.active.is_none() {
        spec.active = Some(before.is_some_and(|before| before.active.unwrap_or(true)));
    }
    spec.pinned = spec.pinned.or_else(|| before.and_then(|before| before.pinned));
    spec.draining = spec.draining.or_else(|| before.and_then(|before| before.draining));
    if host_keys(spec).is_empty()
        && let Some(before) = before
        && address_of(spec) == address_of(before)
    {
        let known = host_keys(before).to_vec();
        if !known.is_empty() {
            spec.set_host_keys(known);
        }
    }
}

fn host_keys(spec: &NodeSpec) -> &[String] {
    match &spec.ssh {
        Some(SshSpec::Settings(ssh)) => &ssh.host_keys,
        Some(SshSpec::Address(_)) | None => &[],
    }
}

fn address_of(spec: &NodeSpec) -> Option<&str> {
    match spec.ssh.as_ref()? {
        SshSpec::Address(address) => Some(address),
        SshSpec::Settings(ssh) => Some(&ssh.address),
    }
}

/// A node whose host is not known by its key is not activated by a file alone.
fn keep_inactive(prepared: &mut Prepared, findings: &mut Vec<Finding>) {
    let is_known = match &prepared.node.connection {
        Connection::Local(_) => true,
        Connection::Ssh(ssh) => is_confirmed(ssh),
    };
    if is_known || !prepared.node.active {
        return;
    }
    prepared.node.active = false;
    prepared.spec.active = Some(false);
    let mut about = Findings::about(ResourceKind::Node, prepared.node.name.as_str());
    about
        .warning(
            FindingCode::Advice,
            &FieldPath::root().key("active"),
            "the node is not activated: the key of its host, or of one before it, is not known",
        )
        .remedy("give `host_keys`, or confirm the key and activate the node");
    findings.extend(about.into_vec());
}

/// A node without what people confirm and switch.
fn neutral(mut spec: NodeSpec) -> NodeSpec {
    (spec.active, spec.pinned, spec.draining) = (None, None, None);
    if let Some(address) = address_of(&spec).map(str::to_owned) {
        // The short form of an address and the long one mean the same.
        spec.set_host_keys(Vec::new());
        let is_bare = matches!(&spec.ssh, Some(SshSpec::Settings(ssh))
            if ssh.login.is_none() && ssh.jump.is_empty() && ssh.sudo.is_none());
        if is_bare {
            spec.ssh = Some(SshSpec::Address(address));
        }
    }
    spec
}

fn kept(name: &Name, source: &str) -> Finding {
    let mut findings = Findings::about(ResourceKind::Node, name.as_str());
    findings
        .warning(
            FindingCode::Advice,
            &FieldPath::root(),
            format!("`{name}` was changed by hand, or made elsewhere; {source} changes nothing"),
        )
        .remedy("take it over with `portway node import --overwrite`, or mend the file");
    findings.into_vec().remove(0)
}

fn gone(name: &Name, source: &str) -> Finding {
    let mut findings = Findings::about(ResourceKind::Node, name.as_str());
    findings
        .warning(
            FindingCode::Advice,
            &FieldPath::root(),
            format!("`{name}` came from {source} and is no longer in it; it is left as it is"),
        )
        .remedy("remove it with `portway node remove`, or put it back into the file");
    findings.into_vec().remove(0)
}

fn own_edge(name: &Name) -> Finding {
    let mut findings = Findings::about(ResourceKind::Node, name.as_str());
    findings
        .error(
            FindingCode::InvalidName,
            &FieldPath::root(),
            format!("`{name}` is the edge of a manager, which nobody declares"),
        )
        .remedy("choose another name");
    findings.into_vec().remove(0)
}
