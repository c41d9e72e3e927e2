//! The history of intent: reading it, comparing states, and taking revisions back.

use std::{collections::BTreeMap, time::Duration};

use portway_model::{
    Change, Finding, FindingCode, Findings, Name, ResourceKind, Revision, RevisionNumber, SiteSpec,
};
use portway_store::{ChangeDraft, Expected, PageRequest, SiteVersion, Visible};
use portway_wire::{
    Page,
    deploy::RevisionProgress,
    revision::{Diff, DiffQuery, Revert, RevisionChange, RevisionQuery, RevisionView},
    site::{Changed, PlannedAction},
};

use crate::{
    Control, ControlError, diff, page,
    rights::{History, Operator},
    rollout::How,
    sites::Draft,
};

/// The most changes of one revision that are shown.
const MAX_CHANGES: u32 = portway_store::MAX_LIMIT;

impl History<'_> {
    /// Lists revisions, the newest first.
    pub async fn list(&self, query: RevisionQuery) -> Result<Page<RevisionView>, ControlError> {
        let control = self.control;
        let visible = self.actor.visible();
        let thing = match &query.site {
            Some(site) => {
                Some((ResourceKind::Site, control.site_row(self.actor, site).await?.id.uuid()))
            }
            None => None,
        };
        let request = page::request(query.limit, query.cursor.as_deref())?;
        let revisions = control.inner.store.revisions();
        let found = revisions.list(visible, thing, &request).await?;
        let mut items = Vec::new();
        for revision in &found.items {
            let changes = control.changes_of(visible, revision.number).await?;
            let mut shown = Vec::new();
            for change in &changes {
                shown.push(control.shown(visible, change, false).await?);
            }
            items.push(revision_view(revision, shown));
        }
        Ok(Page { items, next: found.next.map(|cursor| cursor.to_string()) })
    }

    /// Returns one revision with the differences it made.
    pub async fn get(&self, number: i64) -> Result<RevisionView, ControlError> {
        let control = self.control;
        let visible = self.actor.visible();
        let revision = control.revision(visible, number).await?;
        let mut changes = Vec::new();
        for change in control.changes_of(visible, revision.number).await? {
            changes.push(control.shown(visible, &change, true).await?);
        }
        Ok(revision_view(&revision, changes))
    }

    /// Compares two states of what is declared.
    pub async fn diff(&self, query: DiffQuery) -> Result<Diff, ControlError> {
        let control = self.control;
        control.require_revision(RevisionNumber(query.from)).await?;
        control.require_revision(RevisionNumber(query.to.unwrap_or(query.from))).await?;
        let before = control.state(self.actor.visible(), RevisionNumber(query.from)).await?;
        let latest = control.inner.store.revisions().latest().await?;
        let to = query.to.map_or(latest, RevisionNumber);
        let after = control.state(self.actor.visible(), to).await?;
        let mut names: Vec<&Name> = before.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        let wanted =
            |name: &&&Name| query.site.as_ref().is_none_or(|site| site.as_str() == name.as_str());
        let changes = names
            .iter()
            .filter(wanted)
            .filter_map(|name| diff::change(name, before.get(*name), after.get(*name)))
            .collect();
        Ok(Diff { changes })
    }

    /// Waits until a revision is carried out, at most for `patience`, and says how far it is.
    pub async fn progress(
        &self,
        number: i64,
        patience: Duration,
    ) -> Result<RevisionProgress, ControlError> {
        let visible = self.actor.visible();
        let revision = self.control.revision(visible, number).await?;
        let done = self.control.wait_for_revision(revision.number, patience).await?;
        let findings = self.control.held_of(visible, revision.number).await?;
        let deployments = self.control.deployments_of(visible, revision.number).await?;
        let rollout = self.control.rollout_seen(visible, revision.number).await?;
        let lacking = if done { Vec::new() } else { self.control.lacking(revision.number).await? };
        // A rollout decides itself what becomes of nodes in trouble, and when.
        let rests = done
            || (rollout.as_ref().is_none_or(|rollout| rollout.rests)
                && self.control.rests(&lacking, revision.created_at));
        let missing = if visible == Visible::All { lacking } else { Vec::new() };
        Ok(RevisionProgress { done, deployments, findings, rollout, missing, rests })
    }
}

impl Operator<'_> {
    /// Restores what a revision touched to what it was before, in one new revision.
    pub async fn revert_revision(
        &self,
        number: i64,
        revert: Revert,
    ) -> Result<Changed, ControlError> {
        let control = self.control;
        let revision = control.revision(Visible::All, number).await?;
        let touched = control.all_changes_of(revision.number).await?;
        let mut drafts = Vec::new();
        let mut names = Vec::new();
        let mut conflicts = Vec::new();
        for change in touched.iter().filter(|change| change.kind == ResourceKind::Site) {
            let undo = control.undo_of(change, revert.even_if_changed).await?;
            match undo {
                Undo::Nothing => {}
                Undo::Draft(draft) => {
                    names.push(change.name.clone());
                    drafts.push(*draft);
                }
                Undo::ChangedSince(at) => conflicts.push(changed_since(change, at)),
            }
        }
        if !conflicts.is_empty() {
            return Err(ControlError::Invalid(conflicts));
        }
        if drafts.is_empty() {
            return Ok(Changed { revision: None, sites: Vec::new(), findings: Vec::new() });
        }
        let draft = Draft {
            // Whoever takes something back wants to be rid of it.
            rollout: How::AtOnce,
            action: "revision.revert",
            name: names.join(", "),
            message: revert.message.unwrap_or_else(|| format!("undo revision {number}")),
            origin: portway_model::Origin::Api,
            changes: drafts,
            secrets: Vec::new(),
            limits: BTreeMap::new(),
        };
        let made = control.commit(self.actor, draft).await?;
        Ok(Changed { revision: Some(made.0), sites: names, findings: Vec::new() })
    }
}

/// What takes one change back.
enum Undo {
    Nothing,
    Draft(Box<ChangeDraft>),
    ChangedSince(RevisionNumber),
}

fn changed_since(change: &Change, at: RevisionNumber) -> Finding {
    let mut findings = Findings::about(ResourceKind::Site, change.name.as_str());
    findings
        .error(
            FindingCode::Conflict,
            &portway_model::FieldPath::root(),
            format!("`{}` was changed again by revision {at}", change.name),
        )
        .remedy("look at the difference, then undo with `even_if_changed`");
    findings.into_vec().remove(0)
}

impl Control {
    async fn revision(&self, visible: Visible, number: i64) -> Result<Revision, ControlError> {
        let found = self.inner.store.revisions().get(visible, RevisionNumber(number)).await?;
        found.ok_or_else(|| ControlError::NotFound { what: "revision", name: number.to_string() })
    }

    async fn changes_of(
        &self,
        visible: Visible,
        number: RevisionNumber,
    ) -> Result<Vec<Change>, ControlError> {
        let request = PageRequest::first(MAX_CHANGES);
        Ok(self.inner.store.revisions().changes_of(visible, number, &request).await?.items)
    }

    async fn all_changes_of(&self, number: RevisionNumber) -> Result<Vec<Change>, ControlError> {
        let revisions = self.inner.store.revisions();
        let mut changes = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = revisions.changes_of(Visible::All, number, &page).await?;
            request = page.next(&found);
            changes.extend(found.items);
        }
        Ok(changes)
    }

    async fn version_before(
        &self,
        visible: Visible,
        change: &Change,
    ) -> Result<Option<Change>, ControlError> {
        let before = RevisionNumber(change.revision.0 - 1);
        let found = self
            .inner
            .store
            .revisions()
            .version_at(visible, change.kind, change.id, before)
            .await?;
        Ok(found.filter(|version| version.spec.is_some()))
    }

    async fn shown(
        &self,
        visible: Visible,
        change: &Change,
        with_diff: bool,
    ) -> Result<RevisionChange, ControlError> {
        let before = self.version_before(visible, change).await?;
        let action = match (&before, &change.spec) {
            (None, _) => PlannedAction::Create,
            (Some(_), Some(_)) => PlannedAction::Update,
            (Some(_), None) => PlannedAction::Remove,
        };
        let diff = match change.kind {
            ResourceKind::Site if with_diff => {
                let (before, after) = (before.as_ref().and_then(site_spec), site_spec(change));
                name_of(change)
                    .and_then(|name| diff::change(&name, before.as_ref(), after.as_ref()))
                    .map(|change| change.diff)
            }
            ResourceKind::Site
            | ResourceKind::User
            | ResourceKind::Token
            | ResourceKind::Setting
            | ResourceKind::Certificate
            | ResourceKind::File
            | ResourceKind::Node => None,
        };
        Ok(RevisionChange {
            kind: change.kind.to_string(),
            name: change.name.clone(),
            action,
            diff,
        })
    }

    async fn state(
        &self,
        visible: Visible,
        number: RevisionNumber,
    ) -> Result<BTreeMap<Name, SiteSpec>, ControlError> {
        let mut state = BTreeMap::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self
                .inner
                .store
                .revisions()
                .state_at(visible, ResourceKind::Site, number, &page)
                .await?;
            for change in &found.items {
                state.extend(name_of(change).zip(site_spec(change)));
            }
            request = page.next(&found);
        }
        Ok(state)
    }

    async fn undo_of(&self, change: &Change, anyway: bool) -> Result<Undo, ControlError> {
        let id = portway_model::Id::from_uuid(change.id);
        let now = self.inner.store.sites().get(Visible::All, id).await?;
        let before = self.version_before(Visible::All, change).await?;
        if let Some(row) = &now
            && row.revision != change.revision
            && !anyway
        {
            return Ok(Undo::ChangedSince(row.revision));
        }
        let draft = match (now, before) {
            (None, None) => return Ok(Undo::Nothing),
            (Some(row), None) => ChangeDraft::delete_site(id, Expected::At(row.revision)),
            (now, Some(version)) => {
                let expected = now.as_ref().map_or(Expected::New, |row| Expected::At(row.revision));
                ChangeDraft::site(id, expected, site_version(&version)?)
            }
        };
        Ok(Undo::Draft(Box::new(draft)))
    }
}

fn name_of(change: &Change) -> Option<Name> {
    change.name.parse().ok()
}

fn site_spec(change: &Change) -> Option<SiteSpec> {
    change.spec.clone().and_then(|spec| serde_json::from_value(spec).ok())
}

/// A version as it was, to be declared again.
fn site_version(version: &Change) -> Result<SiteVersion, ControlError> {
    let internal =
        |what: &str| ControlError::internal("reading an earlier version", what.to_owned());
    let spec = version.spec.clone().ok_or_else(|| internal("it is empty"))?;
    let name =
        version.name.parse().map_err(|error| ControlError::internal("reading a name", error))?;
    let parsed: SiteSpec = serde_json::from_value(spec.clone())
        .map_err(|error| ControlError::internal("reading an earlier version", error))?;
    let (site, findings) = portway_model::site::check(&name, &parsed);
    let site = site.ok_or(ControlError::Invalid(findings))?;
    Ok(SiteVersion {
        name,
        owner: version.owner,
        origin: portway_model::Origin::Api,
        spec,
        hosts: site.hosts,
        tags: site.tags,
        nodes: site.nodes,
    })
}

fn revision_view(revision: &Revision, changes: Vec<RevisionChange>) -> RevisionView {
    RevisionView {
        number: revision.number.0,
        author: revision.author_name.clone(),
        created_at: revision.created_at,
        message: revision.message.clone(),
        origin: revision.origin.to_string(),
        changes,
    }
}
