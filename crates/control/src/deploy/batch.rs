//! What goes to an edge together: the sites that it has not as it should, compiled, and what is noted of
//! those that it gets in another version than the newest, or not at all.

use std::collections::BTreeMap;

use portway_engine::not_carried_out;
use portway_model::{Finding, Id, Site};
use portway_store::{NodeSiteRow, SiteRow, Visible};
use tracing::warn;

use super::{
    Known, Owners,
    compile::Compiled,
    run::{Run, RunError},
    target::Whose,
};
use crate::{
    ControlError, fleet,
    rollout::{Choice, Kept},
};

/// Sites that go to the edge together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) put: Vec<(SiteRow, Compiled)>,
    pub(super) held: Vec<(SiteRow, Vec<Finding>)>,
    pub(super) remove: Vec<Id<Site>>,
    /// Those of `put` that are an earlier version, as rollouts have it.
    pub(super) kept: BTreeMap<Id<Site>, Kept>,
    /// What else is to be known of sites once the edge has the batch.
    pub(super) notes: Vec<NodeSiteRow>,
    /// What the edge has of these sites.
    pub(super) before: BTreeMap<Id<Site>, NodeSiteRow>,
}

/// A site of which the edge keeps an earlier version.
struct Keep<'a> {
    row: SiteRow,
    kept: Kept,
    /// What is known of it there.
    noted: Option<&'a NodeSiteRow>,
}

impl Batch {
    pub(super) fn append(&mut self, more: Self) {
        let Self { put, held, remove, kept, notes, before } = more;
        self.put.extend(put);
        self.held.extend(held);
        self.remove.extend(remove);
        self.kept.extend(kept);
        self.notes.extend(notes);
        self.before.extend(before);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty()
            && self.held.is_empty()
            && self.remove.is_empty()
            && self.notes.is_empty()
    }
}

impl Run<'_> {
    /// Compiles sites for the edge. What it has already is left out; what it refused before is too,
    /// unless it was `changed`.
    pub(super) async fn batch(
        &self,
        known: &Known,
        ids: &[Id<Site>],
        changed: bool,
    ) -> Result<Batch, RunError> {
        let mut batch = Batch::default();
        let rows = self.control.inner.store.sites().by_ids(Visible::All, ids).await?;
        batch.remove = ids
            .iter()
            .copied()
            .filter(|id| !rows.contains_key(id) && known.index.get(*id).is_some())
            .collect();
        let (control, node) = (self.control, self.it.node);
        let on_node = control.on_node(node, ids).await?;
        // Read after the sites (see `Gates`).
        let gates = control.gates_of(node).await?;
        control.inner.rollouts.heard(&gates);
        let mut owners = Owners::new();
        for (id, row) in rows {
            let is_on = self.it.is_for(&row)?;
            if is_on || on_node.contains_key(&id) {
                let noted = on_node.get(&id);
                let kept = match self.kept_by_pin(&row, is_on).await? {
                    Some(kept) => Some(kept),
                    None => match control.choice(&gates, &row, noted).await? {
                        Choice::Kept(kept) => Some(kept),
                        Choice::Newest => None,
                    },
                };
                if let Some(kept) = kept {
                    self.keep(known, &mut batch, Keep { row, kept, noted }, &mut owners).await?;
                    continue;
                }
            }
            if !is_on {
                // It may have been here, and what is known of it here is forgotten with it.
                if known.index.get(id).is_some() || on_node.contains_key(&id) {
                    batch.remove.push(id);
                }
                continue;
            }
            let held =
                on_node.get(&id).filter(|noted| !fleet::waits(noted)).and_then(|noted| noted.held);
            if !changed && held == Some(row.revision) {
                continue;
            }
            match self.compile(&row, &mut owners).await? {
                Err(findings) => batch.held.push((row, findings)),
                Ok(compiled) => {
                    let there = known.index.get(id) == Some(compiled.policy.digest());
                    let noted =
                        on_node.get(&id).and_then(|node| node.revision) == Some(row.revision);
                    if !there || !noted {
                        batch.put.push((row, compiled));
                    }
                }
            }
        }
        batch.before = on_node;
        Ok(batch)
    }

    /// Returns the earlier version that an edge is to have of a site that its node's pin keeps back.
    async fn kept_by_pin(&self, row: &SiteRow, is_on: bool) -> Result<Option<Kept>, ControlError> {
        let Whose::Node { node, .. } = self.it.whose else { return Ok(None) };
        if !is_on {
            return Ok(None);
        }
        let due = self.control.due(node, row).await?;
        Ok(due.waits.map(|waits| Kept {
            revision: due.version.map(|version| version.revision),
            held: Some(row.revision),
            findings: vec![waits],
        }))
    }

    /// Compiles a site for the edge, which has nothing of what is for other engines.
    pub(super) async fn compile(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
    ) -> Result<Result<Compiled, Vec<Finding>>, ControlError> {
        let mut outcome = if self.it.is_own() {
            self.control.compile_own(row, owners).await?
        } else {
            self.control.compile_site(row, owners).await?
        };
        if let Ok(compiled) = &mut outcome {
            let snippets = std::mem::take(&mut compiled.policy.snippets);
            compiled.findings = not_carried_out("the edge", &snippets, row.name.as_str());
        }
        Ok(outcome)
    }

    /// Adds the earlier version that a rollout has the edge keep of a site.
    async fn keep(
        &self,
        known: &Known,
        batch: &mut Batch,
        keep: Keep<'_>,
        owners: &mut Owners,
    ) -> Result<(), RunError> {
        let Keep { row, kept, noted } = keep;
        let is_noted =
            noted.is_some_and(|noted| (noted.revision, noted.held) == (kept.revision, kept.held));
        let there = known.index.get(row.id);
        let Some(number) = kept.revision else {
            if there.is_some() {
                batch.remove.push(row.id);
            }
            if kept.held.is_some() && (there.is_some() || !is_noted) {
                batch.notes.push(NodeSiteRow {
                    site: row.id,
                    revision: None,
                    digest: None,
                    held: kept.held,
                    findings: kept.findings,
                    updated_at: self.control.now(),
                });
            }
            return Ok(());
        };
        let Some(version) = self.control.version_of(&row, number).await? else { return Ok(()) };
        match self.compile(&version, owners).await? {
            Ok(compiled) if there == Some(compiled.policy.digest()) && is_noted => {}
            Ok(compiled) => {
                batch.kept.insert(row.id, kept);
                batch.put.push((version, compiled));
            }
            Err(_) => warn!(
                site.name = %row.name,
                "the version before cannot be made any more; the edge serves on what it has"
            ),
        }
        Ok(())
    }
}
