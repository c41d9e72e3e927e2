//! Changing single sites.

use std::collections::BTreeMap;

use portway_model::{Id, Name, Origin, ResourceKind, RevisionNumber, Site, User};
use portway_store::{
    AuditEntry, Block, ChangeDraft, CommitError, Expected, RevisionDraft, SealedSecret, SiteRow,
};
use portway_wire::{
    revision::RevertSite,
    rollout::RolloutStrategy,
    site::{BlockSite, Changed, EditSite, NewSite, SiteView},
};
use uuid::Uuid;

use super::{
    prepare::{Owner, Sent},
    snippets::Snippets,
};
use crate::{
    Control, ControlError,
    actor::{Actor, Identity},
    audit::Record,
    rights::{Editor, Operator},
    rollout::How,
};

/// What a client believes to change, as `If-Match` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever is there.
    Any,
    /// The version of this revision.
    Revision(i64),
}

impl Precondition {
    fn judge(self, row: &SiteRow) -> Result<Expected, ControlError> {
        self.of(&row.name, row.revision)
    }

    /// Returns what a change of the thing of this name, which is at `revision`, expects to find.
    pub(crate) fn of(
        self,
        name: &Name,
        revision: RevisionNumber,
    ) -> Result<Expected, ControlError> {
        match self {
            Self::Revision(number) if number != revision.0 => {
                Err(ControlError::Stale { name: name.to_string(), current: revision.0 })
            }
            Self::Any | Self::Revision(_) => Ok(Expected::At(revision)),
        }
    }
}

impl Editor<'_> {
    /// Makes a site.
    pub async fn create(&self, new: NewSite) -> Result<SiteView, ControlError> {
        let control = self.control;
        let owner = control.owner_of_new(self.actor, new.owner.as_deref()).await?;
        let name = name_of(&new)?;
        let id = Id::from_uuid(Uuid::now_v7());
        let snippets = Snippets::for_actor(self.actor, None)?;
        let sent = Sent { id, name: &name, spec: &new.spec, owner: owner.clone(), snippets };
        let prepared = control.prepare_one(sent).await?;
        let change = ChangeDraft::site(id, Expected::New, prepared.version(owner.id, Origin::Api)?);
        let secrets = control.seal_passwords(prepared.passwords).await?;
        let draft = Draft {
            rollout: How::read(new.rollout)?,
            action: "site.create",
            name: name.to_string(),
            message: new.message.unwrap_or_else(|| format!("add {name}")),
            origin: Origin::Api,
            changes: vec![change],
            secrets,
            limits: limit(&owner),
        };
        control.commit(self.actor, draft).await?;
        control.site_view(self.actor, &id.to_string()).await
    }

    /// Changes a site.
    pub async fn edit(
        &self,
        site: &str,
        edit: EditSite,
        precondition: Precondition,
    ) -> Result<Changed, ControlError> {
        let control = self.control;
        let row = control.site_row(self.actor, site).await?;
        let expected = precondition.judge(&row)?;
        let owner = control.owner_of(&row).await?;
        let owner_id = owner.id;
        let snippets = Snippets::for_actor(self.actor, Some(&row))?;
        let sent = Sent { id: row.id, name: &row.name, spec: &edit.spec, owner, snippets };
        let prepared = control.prepare_one(sent).await?;
        let version = prepared.version(owner_id, row.origin.clone())?;
        if version.spec == row.spec {
            return Ok(Changed { revision: None, sites: Vec::new(), findings: prepared.findings });
        }
        let secrets = control.seal_passwords(prepared.passwords).await?;
        let draft = Draft {
            rollout: How::read(edit.rollout)?,
            action: "site.update",
            name: row.name.to_string(),
            message: edit.message.unwrap_or_else(|| format!("change {}", row.name)),
            origin: Origin::Api,
            changes: vec![ChangeDraft::site(row.id, expected, version)],
            secrets,
            limits: BTreeMap::new(),
        };
        let revision = control.commit(self.actor, draft).await?;
        Ok(changed(revision, &row, prepared.findings))
    }

    /// Removes a site.
    pub async fn remove(
        &self,
        site: &str,
        precondition: Precondition,
    ) -> Result<Changed, ControlError> {
        let control = self.control;
        let row = control.site_row(self.actor, site).await?;
        let expected = precondition.judge(&row)?;
        let draft = Draft {
            rollout: How::AtOnce,
            action: "site.remove",
            name: row.name.to_string(),
            message: format!("remove {}", row.name),
            origin: Origin::Api,
            changes: vec![ChangeDraft::delete_site(row.id, expected)],
            secrets: Vec::new(),
            limits: BTreeMap::new(),
        };
        let revision = control.commit(self.actor, draft).await?;
        Ok(changed(revision, &row, Vec::new()))
    }

    /// Takes a site back to what it was at a revision. The bounds of today hold.
    pub async fn revert_site(
        &self,
        site: &str,
        revert: RevertSite,
    ) -> Result<Changed, ControlError> {
        let control = self.control;
        let row = control.site_row(self.actor, site).await?;
        let number = RevisionNumber(revert.to);
        control.require_revision(number).await?;
        let then = control
            .inner
            .store
            .revisions()
            .version_at(self.actor.visible(), ResourceKind::Site, row.id.uuid(), number)
            .await?
            .and_then(|change| change.spec);
        let Some(spec) = then else {
            return Err(ControlError::Conflict(format!(
                "`{}` was not there at revision {number}",
                row.name
            )));
        };
        let message = revert
            .message
            .unwrap_or_else(|| format!("take {} back to revision {number}", row.name));
        let at_once = RolloutStrategy { at_once: true, ..RolloutStrategy::default() };
        let edit = EditSite { spec, message: Some(message), rollout: Some(at_once) };
        self.edit(site, edit, Precondition::Revision(row.revision.0)).await
    }
}

impl Operator<'_> {
    /// Keeps a site from being used; its visitors read the reason.
    pub async fn block(&self, site: &str, block: BlockSite) -> Result<Changed, ControlError> {
        let by = self.actor.user_id();
        let at = self.control.now();
        self.set_block(site, "site.block", Some(Block { reason: block.reason, by, at })).await
    }

    /// Lets a site be used again.
    pub async fn unblock(&self, site: &str) -> Result<Changed, ControlError> {
        self.set_block(site, "site.unblock", None).await
    }

    async fn set_block(
        &self,
        site: &str,
        action: &'static str,
        block: Option<Block>,
    ) -> Result<Changed, ControlError> {
        let row = self.control.site_row(self.actor, site).await?;
        if row.blocked.is_some() == block.is_some() {
            return Ok(Changed { revision: None, sites: Vec::new(), findings: Vec::new() });
        }
        let verb = if block.is_some() { "block" } else { "unblock" };
        let draft = Draft {
            rollout: How::AtOnce,
            action,
            name: row.name.to_string(),
            message: format!("{verb} {}", row.name),
            origin: Origin::Api,
            changes: vec![ChangeDraft::block_site(row.id, Expected::At(row.revision), block)],
            secrets: Vec::new(),
            limits: BTreeMap::new(),
        };
        let revision = self.control.commit(self.actor, draft).await?;
        Ok(changed(revision, &row, Vec::new()))
    }
}

fn changed(
    revision: RevisionNumber,
    row: &SiteRow,
    findings: Vec<portway_model::Finding>,
) -> Changed {
    Changed { revision: Some(revision.0), sites: vec![row.name.to_string()], findings }
}

fn name_of(new: &NewSite) -> Result<Name, ControlError> {
    let bad = |text: String| ControlError::BadRequest(text);
    if let Some(name) = &new.name {
        return name.parse().map_err(|error| bad(format!("`{name}` is no name: {error}")));
    }
    let host = new.spec.get("hosts").and_then(|hosts| hosts.get(0)).and_then(|host| host.as_str());
    host.and_then(Name::suggest)
        .ok_or_else(|| bad("give the site a name; none can be made of its hosts".to_owned()))
}

/// How many sites an owner may have, where that is bounded.
pub(super) fn limit(owner: &Owner) -> BTreeMap<Id<User>, u32> {
    owner.client.iter().map(|client| (client.id, client.bounds.max_sites)).collect()
}

/// What is to become a revision, as the use cases see it.
pub(crate) struct Draft {
    pub(crate) action: &'static str,
    /// The name of what is changed, for the audit log.
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) origin: Origin,
    /// How it comes to its nodes.
    pub(crate) rollout: How,
    pub(crate) changes: Vec<ChangeDraft>,
    pub(crate) secrets: Vec<SealedSecret>,
    pub(crate) limits: BTreeMap<Id<User>, u32>,
}

impl Control {
    /// Writes a revision and has it deployed.
    pub(crate) async fn commit(
        &self,
        actor: &Actor,
        draft: Draft,
    ) -> Result<RevisionNumber, ControlError> {
        self.commit_judged(actor, draft, None).await?.map_err(commit_error)
    }

    /// Does the same, unless anything at all was changed since the revision by which the draft was
    /// judged.
    pub(crate) async fn commit_judged(
        &self,
        actor: &Actor,
        draft: Draft,
        judged_at: Option<RevisionNumber>,
    ) -> Result<Result<RevisionNumber, CommitError>, ControlError> {
        let rollout = self.rollout_for(actor, draft.rollout, &draft.changes).await?;
        let audit: AuditEntry = Record::of(actor, draft.action)
            .resource(ResourceKind::Site, &draft.name)
            .entry(self.now());
        let revision = RevisionDraft {
            author: actor.user_id(),
            author_name: actor.name().to_owned(),
            message: draft.message,
            origin: origin_of(actor, draft.origin),
            changes: draft.changes,
            judged_at,
            site_limits: draft.limits,
            secrets: draft.secrets,
            audit,
            idempotency: crate::idempotency::held(),
        };
        let revisions = self.inner.store.revisions();
        let (visible, now) = (actor.visible(), self.now());
        let number = match revisions.commit_with(&revision, rollout.as_ref(), visible, now).await {
            Ok(number) => number,
            Err(error) => return Ok(Err(error)),
        };
        self.inner.deploy.poke();
        Ok(Ok(number))
    }

    /// Refuses a number that no revision has; before the first one nothing was declared.
    pub(crate) async fn require_revision(
        &self,
        number: RevisionNumber,
    ) -> Result<(), ControlError> {
        let latest = self.inner.store.revisions().latest().await?;
        if (RevisionNumber(0)..=latest).contains(&number) {
            return Ok(());
        }
        Err(ControlError::NotFound { what: "revision", name: number.to_string() })
    }

    /// Returns a site that the actor sees, by id or name.
    pub(crate) async fn site_row(
        &self,
        actor: &Actor,
        site: &str,
    ) -> Result<SiteRow, ControlError> {
        let sites = self.inner.store.sites();
        let found = match site.parse::<Uuid>() {
            Ok(id) => sites.get(actor.visible(), Id::<Site>::from_uuid(id)).await?,
            Err(_) => match site.parse() {
                Ok(name) => sites.by_name(actor.visible(), &name).await?,
                Err(_) => None,
            },
        };
        found.ok_or_else(|| ControlError::NotFound { what: "site", name: site.to_owned() })
    }
}

fn origin_of(actor: &Actor, origin: Origin) -> Origin {
    match actor.identity {
        Identity::System => Origin::System,
        Identity::Machine(_) | Identity::User(_) => origin,
    }
}

/// Says what a refused commit means to whoever asked for it.
pub(crate) fn commit_error(error: CommitError) -> ControlError {
    match error {
        CommitError::Stale { name, found, .. } => {
            ControlError::Stale { name, current: found.map_or(0, |number| number.0) }
        }
        CommitError::NotFound { id, .. } => {
            ControlError::NotFound { what: "thing", name: id.to_string() }
        }
        CommitError::NameTaken { .. } | CommitError::HostTaken { .. } => {
            ControlError::Taken(error.to_string())
        }
        CommitError::TooManySites { limit, .. } => ControlError::Denied(format!(
            "you may have {limit} site(s); remove one first, or ask an administrator"
        )),
        CommitError::Blocked { .. }
        | CommitError::LastAdmin
        | CommitError::OwnsSites { .. }
        | CommitError::Overtaken { .. }
        | CommitError::UnknownOwner { .. }
        | CommitError::UnknownNode { .. }
        | CommitError::NodeNamed { .. }
        | CommitError::Repeated(_)
        | CommitError::KeyReused => ControlError::Conflict(error.to_string()),
        CommitError::Store(error) => error.into(),
        other => ControlError::internal("writing a revision", other),
    }
}
