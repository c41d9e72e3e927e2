//! Declaring nodes: adding, changing and removing them.

use std::collections::BTreeMap;

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, Name, Node, NodeSpec, Origin, ResourceKind,
    RevisionNumber,
    node::{
        Connection, HostKeyPin, check,
        spec::{SshHopSpec, SshSpec},
    },
};
use portway_store::{
    ChangeDraft, DeclaredNode, Expected, NodeDeletion, NodeRow, NodeVersion, RevisionDraft,
    SealedSecret, Visible,
};
use portway_wire::node::{ConfirmHostKey, EditNode, NewNode, NodeChanged, NodeView, RemoveNode};
use serde_json::Value;
use uuid::Uuid;

use super::spec_of;
use crate::{
    Control, ControlError, Precondition, actor::Actor, audit::Record, rights::Operator,
    sites::commit_error,
};

/// A node that can be written.
pub(super) struct Prepared {
    pub(super) node: Node,
    /// As written, with references in the place of secrets.
    pub(super) spec: NodeSpec,
    pub(super) secrets: Vec<SealedSecret>,
    /// What should be known; no errors.
    pub(super) findings: Vec<Finding>,
}

impl Prepared {
    pub(super) fn version(&self, origin: Origin) -> Result<NodeVersion, ControlError> {
        let spec = serde_json::to_value(&self.spec)
            .map_err(|error| ControlError::internal("writing a node", error))?;
        Ok(NodeVersion {
            name: self.node.name.clone(),
            engine: self.node.engine,
            origin,
            spec,
            active: self.node.active,
            selectors: self.node.selectors(),
        })
    }
}

/// A revision of nodes, as the use cases see it.
pub(super) struct NodeDraft<'a> {
    pub(super) action: &'a str,
    pub(super) name: &'a str,
    pub(super) message: String,
    pub(super) origin: Origin,
    pub(super) changes: Vec<ChangeDraft>,
    pub(super) secrets: Vec<SealedSecret>,
}

/// A node that somebody declared, as it stands.
struct Declared {
    row: NodeRow,
    version: DeclaredNode,
    spec: NodeSpec,
}

impl Operator<'_> {
    /// Makes a node.
    pub async fn create_node(&self, new: NewNode) -> Result<NodeView, ControlError> {
        let control = self.control;
        let name: Name = new.name.parse().map_err(|error| {
            ControlError::BadRequest(format!("`{}` is no name: {error}", new.name))
        })?;
        let id = Id::from_uuid(Uuid::now_v7());
        let spec = read_spec(&name, &new.spec)?;
        let prepared = control.prepare_node(id, &name, spec, None).await?;
        let change = ChangeDraft::node(id, Expected::New, prepared.version(Origin::Api)?);
        let draft = NodeDraft {
            action: "node.create",
            name: name.as_str(),
            message: new.message.unwrap_or_else(|| format!("add node {name}")),
            origin: Origin::Api,
            changes: vec![change],
            secrets: prepared.secrets,
        };
        control.commit_nodes(self.actor, draft).await?;
        let row = control.node_named(name.as_str()).await?;
        control.node_view(&row).await
    }

    /// Changes a node.
    pub async fn edit_node(
        &self,
        node: &str,
        edit: EditNode,
        precondition: Precondition,
    ) -> Result<NodeChanged, ControlError> {
        let before = self.control.declared_node(node).await?;
        let spec = read_spec(&before.row.name, &edit.spec)?;
        let message = edit.message.unwrap_or_else(|| format!("change node {}", before.row.name));
        self.put_node(before, spec, precondition, "node.update", message).await
    }

    /// Has a node brought to what it should have.
    pub async fn activate_node(&self, node: &str) -> Result<NodeChanged, ControlError> {
        let mut before = self.control.declared_node(node).await?;
        let spec = NodeSpec { active: Some(true), ..std::mem::take(&mut before.spec) };
        let message = format!("activate node {}", before.row.name);
        self.put_node(before, spec, Precondition::Any, "node.activate", message).await
    }

    /// Has a node left as it is: what it serves it serves on, and no change comes to it.
    pub async fn deactivate_node(&self, node: &str) -> Result<NodeChanged, ControlError> {
        let mut before = self.control.declared_node(node).await?;
        let spec = NodeSpec { active: Some(false), ..std::mem::take(&mut before.spec) };
        let message = format!("deactivate node {}", before.row.name);
        self.put_node(before, spec, Precondition::Any, "node.deactivate", message).await
    }

    /// Has balancers in front of a node told to send it nothing new. It serves on.
    pub async fn drain_node(&self, node: &str) -> Result<NodeChanged, ControlError> {
        let message = format!("drain node {node}");
        let drain = |spec| NodeSpec { draining: Some(true), ..spec };
        let mut changed = self.change_node(node, drain, "node.drain", message).await?;
        let row = self.control.node_named(node).await?;
        let declared = super::declared(&row)?;
        changed.findings.extend(declared.as_ref().and_then(super::view::told_of_drain));
        Ok(changed)
    }

    /// Has balancers in front of a node told to send it requests again.
    pub async fn undrain_node(&self, node: &str) -> Result<NodeChanged, ControlError> {
        let message = format!("undrain node {node}");
        let undrain = |spec| NodeSpec { draining: None, ..spec };
        self.change_node(node, undrain, "node.undrain", message).await
    }

    /// Changes something of a node, whatever else somebody changed of it before.
    pub(crate) async fn change_node(
        &self,
        node: &str,
        change: impl FnOnce(NodeSpec) -> NodeSpec,
        action: &str,
        message: String,
    ) -> Result<NodeChanged, ControlError> {
        let mut before = self.control.declared_node(node).await?;
        let spec = change(std::mem::take(&mut before.spec));
        self.put_node(before, spec, Precondition::Any, action, message).await
    }

    /// Notes the key that a node's host may have, as somebody has compared it.
    pub async fn confirm_host_key(
        &self,
        node: &str,
        confirm: ConfirmHostKey,
    ) -> Result<NodeChanged, ControlError> {
        let mut before = self.control.declared_node(node).await?;
        let pin: HostKeyPin = confirm.fingerprint.parse().map_err(|error| {
            let mut findings = Findings::about(ResourceKind::Node, before.row.name.as_str());
            let path = FieldPath::root().key("fingerprint");
            findings
                .error(FindingCode::InvalidValue, &path, format!("{error}"))
                .remedy("write it as `ssh-keygen -lf` prints it on the host itself");
            ControlError::Invalid(findings.into_vec())
        })?;
        if before.spec.ssh.is_none() {
            return Err(ControlError::Conflict(format!(
                "`{}` is not reached over SSH, so it has no host key",
                before.row.name
            )));
        }
        let place = hop_of(&before, confirm.jump.as_deref())?;
        self.control.judge_shown(&before, &pin, confirm.jump.as_deref()).await?;
        let mut pins = known_pins(&before.spec, place);
        if !pins.contains(&pin.to_string()) {
            if !confirm.keep {
                pins.clear();
            }
            pins.push(pin.to_string());
        } else if !confirm.keep {
            pins.retain(|known| known == pin.as_str());
        }
        let mut spec = std::mem::take(&mut before.spec);
        match jump_host(&mut spec, place) {
            Some(hop) => hop.set_host_keys(pins),
            None => spec.set_host_keys(pins),
        }
        let (id, name) = (before.row.id, before.row.name.clone());
        let message = match &confirm.jump {
            Some(jump) => format!("confirm the host key {pin} of {jump}, before node {name}"),
            None => format!("confirm the host key {pin} of node {name}"),
        };
        let changed =
            self.put_node(before, spec, Precondition::Any, "node.host-key", message).await?;
        self.control.forget_offered_key(id).await?;
        Ok(changed)
    }

    /// Removes a node.
    pub async fn remove_node(
        &self,
        node: &str,
        how: RemoveNode,
        precondition: Precondition,
    ) -> Result<NodeChanged, ControlError> {
        let control = self.control;
        let Declared { row, version, .. } = control.declared_node(node).await?;
        let expected = precondition.of(&row.name, version.revision)?;
        let deletion = NodeDeletion { even_if_named: how.even_if_named, clean: how.clean };
        let draft = NodeDraft {
            action: if how.clean { "node.remove-clean" } else { "node.remove" },
            name: row.name.as_str(),
            message: format!("remove node {}", row.name),
            origin: Origin::Api,
            changes: vec![ChangeDraft::delete_node(row.id, expected, deletion)],
            secrets: Vec::new(),
        };
        let revision = control.commit_nodes(self.actor, draft).await?;
        Ok(changed(Some(revision), &row.name, Vec::new()))
    }

    /// Writes a node anew, unless it is so already.
    async fn put_node(
        &self,
        before: Declared,
        spec: NodeSpec,
        precondition: Precondition,
        action: &str,
        message: String,
    ) -> Result<NodeChanged, ControlError> {
        let control = self.control;
        let row = before.row;
        let expected = precondition.of(&row.name, before.version.revision)?;
        // Taken from what is stored: a caller may have taken the other one apart.
        let stored = spec_of(&row)?;
        let prepared = control.prepare_node(row.id, &row.name, spec, stored.as_ref()).await?;
        let version = prepared.version(before.version.origin)?;
        if version.spec == before.version.spec {
            return Ok(changed(None, &row.name, prepared.findings));
        }
        let draft = NodeDraft {
            action,
            name: row.name.as_str(),
            message,
            origin: Origin::Api,
            changes: vec![ChangeDraft::node(row.id, expected, version)],
            secrets: prepared.secrets,
        };
        let revision = control.commit_nodes(self.actor, draft).await?;
        Ok(changed(Some(revision), &row.name, prepared.findings))
    }
}

fn changed(revision: Option<RevisionNumber>, name: &Name, findings: Vec<Finding>) -> NodeChanged {
    NodeChanged { revision: revision.map(|number| number.0), node: name.to_string(), findings }
}

/// Returns the keys that a node's host may have, or the jump host at this place, as they are written.
fn known_pins(spec: &NodeSpec, jump: Option<usize>) -> Vec<String> {
    let Some(SshSpec::Settings(ssh)) = &spec.ssh else { return Vec::new() };
    match jump {
        Some(at) => ssh.jump.get(at).map(|hop| hop.host_keys().to_vec()).unwrap_or_default(),
        None => ssh.host_keys.clone(),
    }
}

/// Returns the jump host at a place of what is written.
fn jump_host(spec: &mut NodeSpec, jump: Option<usize>) -> Option<&mut SshHopSpec> {
    match &mut spec.ssh {
        Some(SshSpec::Settings(ssh)) => ssh.jump.get_mut(jump?),
        Some(SshSpec::Address(_)) | None => None,
    }
}

/// Returns the place of the jump host of this address, if one is meant.
fn hop_of(node: &Declared, jump: Option<&str>) -> Result<Option<usize>, ControlError> {
    let Some(address) = jump else { return Ok(None) };
    let hops = match super::declared(&node.row)?.map(|node| node.connection) {
        Some(Connection::Ssh(ssh)) => ssh.jump,
        Some(Connection::Local(_)) | None => Vec::new(),
    };
    let found = hops.iter().position(|hop| hop.address.to_string() == address);
    found.map(Some).ok_or_else(|| {
        let known: Vec<_> = hops.iter().map(|hop| hop.address.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        ControlError::BadRequest(format!(
            "node {} has no jump host `{address}`; it has {known}",
            node.row.name
        ))
    })
}

/// Reads a node from JSON. What is wrong with its shape is told by the loader of `nodes.yaml`: JSON is
/// YAML, and it finds every fault with its field.
pub(super) fn read_spec(name: &Name, sent: &Value) -> Result<NodeSpec, ControlError> {
    let error = match serde_json::from_value(sent.clone()) {
        Ok(spec) => return Ok(spec),
        Err(error) => error,
    };
    let text = portway_sitefile::SourceText {
        name: "request".to_owned(),
        folder: "/".into(),
        text: serde_json::json!({ "nodes": { name.as_str(): sent } }).to_string(),
    };
    let mut findings = portway_sitefile::load_nodes(&text).findings;
    for finding in &mut findings {
        if let portway_model::Location::Field { source, .. } = &mut finding.at {
            *source = None;
        }
    }
    if !findings.iter().any(Finding::is_error) {
        let mut about = Findings::about(ResourceKind::Node, name.as_str());
        about.error(FindingCode::WrongType, &FieldPath::root(), error.to_string());
        findings.extend(about.into_vec());
    }
    Err(ControlError::Invalid(findings))
}

impl Control {
    /// Turns what was read into a node that can be written, or into findings. `before` is the node
    /// as it stands, whose secrets it may keep.
    pub(super) async fn prepare_node(
        &self,
        id: Id<NodeRow>,
        name: &Name,
        mut spec: NodeSpec,
        before: Option<&NodeSpec>,
    ) -> Result<Prepared, ControlError> {
        if spec.ssh.is_none() && spec.manager.is_none() {
            spec.manager = Some(self.inner.manager.name.to_string());
        }
        let (node, mut list) = check(name, &spec);
        let mut findings = Findings::about(ResourceKind::Node, name.as_str());
        if let Some(Connection::Local(Some(manager))) = node.as_ref().map(|node| &node.connection) {
            self.judge_manager(manager, &mut findings).await?;
        }
        let secrets = self.take_secrets(id, &mut spec, before, &mut findings)?;
        list.extend(findings.into_vec());
        match node {
            Some(_) if !list.iter().any(Finding::is_error) => {
                // Checked again as it will be read: with references in the place of secrets.
                let (node, _) = check(name, &spec);
                let gone = || ControlError::internal("sealing a node", "it is not sound then");
                Ok(Prepared { node: node.ok_or_else(gone)?, spec, secrets, findings: list })
            }
            Some(_) | None => Err(ControlError::Invalid(list)),
        }
    }

    async fn judge_manager(
        &self,
        manager: &Name,
        findings: &mut Findings,
    ) -> Result<(), ControlError> {
        let managers = self.inner.store.managers().all().await?;
        if managers.iter().any(|known| known.name == *manager) {
            return Ok(());
        }
        let known: Vec<String> =
            managers.iter().map(|manager| format!("`{}`", manager.name)).collect();
        findings
            .error(
                FindingCode::InvalidValue,
                &FieldPath::root().key("manager"),
                format!("there is no manager `{manager}`"),
            )
            .remedy(format!("write {}, or give `ssh`", known.join(" or ")));
        Ok(())
    }

    /// Writes a revision of nodes, and has everything looked at that depends on it.
    pub(super) async fn commit_nodes(
        &self,
        actor: &Actor,
        draft: NodeDraft<'_>,
    ) -> Result<RevisionNumber, ControlError> {
        let now = self.now();
        let audit =
            Record::of(actor, draft.action).resource(ResourceKind::Node, draft.name).entry(now);
        let revision = RevisionDraft {
            author: actor.user_id(),
            author_name: actor.name().to_owned(),
            message: draft.message,
            origin: draft.origin,
            changes: draft.changes,
            judged_at: None,
            site_limits: BTreeMap::new(),
            secrets: draft.secrets,
            audit,
            idempotency: crate::idempotency::held(),
        };
        let revisions = self.inner.store.revisions();
        let number = revisions.commit(&revision, Visible::All, now).await.map_err(commit_error)?;
        for change in &revision.changes {
            self.inner.fleet.log_in_anew(Id::from_uuid(change.id));
        }
        self.inner.deploy.poke();
        Ok(number)
    }

    /// Returns a node that somebody declared, by id or name.
    async fn declared_node(&self, node: &str) -> Result<Declared, ControlError> {
        let row = self.node_named(node).await?;
        let spec = spec_of(&row)?;
        match (row.declared.clone(), spec) {
            (Some(version), Some(spec)) => Ok(Declared { row, version, spec }),
            (Some(_) | None, _) => Err(ControlError::Conflict(format!(
                "`{}` is the edge of a manager: it comes and goes with it and is not declared",
                row.name
            ))),
        }
    }

    /// Refuses a key as that of one host which another one has shown.
    async fn judge_shown(
        &self,
        node: &Declared,
        pin: &HostKeyPin,
        jump: Option<&str>,
    ) -> Result<(), ControlError> {
        let (row, facts) = (&node.row, self.inner.store.nodes().facts(&[node.row.id]).await?);
        let Some(facts) = facts.get(&row.id) else { return Ok(()) };
        let is_shown = facts.offered_key.as_deref() == Some(pin.as_str());
        if !is_shown || facts.offered_by.as_deref() == jump {
            return Ok(());
        }
        let (by, option) = match &facts.offered_by {
            Some(by) => (format!("the jump host {by}"), format!(" --jump {by}")),
            None => ("the node itself".to_owned(), String::new()),
        };
        Err(ControlError::Conflict(format!(
            "{by} has shown this key; `portway node confirm {}{option} --host-key {pin}` confirms it as that host's",
            row.name
        )))
    }

    async fn forget_offered_key(&self, node: Id<NodeRow>) -> Result<(), ControlError> {
        let store = self.inner.store.nodes();
        if let Some(facts) = store.facts(&[node]).await?.remove(&node)
            && facts.offered_key.is_some()
        {
            let facts = portway_store::NodeFacts { offered_key: None, offered_by: None, ..facts };
            store.put_facts(node, &facts).await?;
        }
        Ok(())
    }
}
