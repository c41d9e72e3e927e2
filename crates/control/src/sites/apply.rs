//! Planning and applying site files.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use portway_model::{
    Finding, FindingCode, Findings, Id, Name, Origin, ResourceKind, RevisionNumber, SiteSpec,
};
use portway_store::{ChangeDraft, CommitError, Expected, PageRequest, SiteFilter, SiteRow};
use portway_wire::{
    plan::{PlanBasis, PlanQuery},
    site::{ApplySites, Changed, Plan, PlannedAction, PlannedChange},
};
use serde_json::Value;
use tracing::warn;
use uuid::Uuid;

use super::{
    clash::Claims,
    planned::touched_site,
    prepare::{Owner, Owners, Prepared, Sent},
    seal::NewSecret,
    snippets::Snippets,
    view::spec_of,
    write::{Draft, commit_error, limit},
};
use crate::{
    Control, ControlError,
    actor::Actor,
    diff,
    plan::{OnNodes, TouchedSite},
    rights::{Editor, Sites},
    rollout::{How, removed_at_once},
};

/// As many sites are compared at once: enough to ask the store rarely, few enough to be held.
const BATCH: usize = 500;
/// So long may the list of names be that the audit log shows.
const LISTED: usize = 200;
/// So often is a plan compared anew with what others write meanwhile.
const TRIES: usize = 5;

/// A file that is compared with what is declared, site by site.
struct Comparison<'a, C> {
    control: &'a Control,
    actor: &'a Actor,
    apply: &'a ApplySites,
    source: Source,
    /// Whose new sites are.
    owner: Owner,
    /// Whose the others are.
    owners: Owners,
    /// The sites of the file, whose present routes do not count.
    beside: BTreeSet<&'a Name>,
    claims: Claims,
    touched: C,
    unchanged: usize,
    findings: Vec<Finding>,
}

/// Where the sites of an application come from.
struct Source {
    origin: Origin,
    /// Whether it removes what is no longer in it. Only then does it matter whose an unchanged
    /// site is; otherwise what was exported could not be applied without a change.
    prunes: bool,
}

/// A site that would be touched.
pub(super) enum Touched<'a> {
    /// It gets a version.
    Put(Box<Put<'a>>),
    /// It is removed.
    Gone { row: &'a SiteRow },
}

/// A version that a site would get.
pub(super) struct Put<'a> {
    /// The site as it is; nothing where it is new.
    pub(super) row: Option<&'a SiteRow>,
    pub(super) before: Option<SiteSpec>,
    pub(super) prepared: Prepared,
    pub(super) owner: Owner,
}

/// Whoever wants to know which sites are touched, one after the other: of 100,000 sites only what is
/// wanted is held.
trait Collect {
    fn add(&mut self, touched: Touched<'_>, source: &Source) -> Result<(), ControlError>;
}

/// What would be done, in words.
#[derive(Default)]
struct Planned {
    changes: Vec<PlannedChange>,
    sites: Vec<TouchedSite>,
}

impl Collect for Planned {
    fn add(&mut self, touched: Touched<'_>, _: &Source) -> Result<(), ControlError> {
        self.sites.push(touched_site(&touched, self.sites.len())?);
        let planned = match touched {
            Touched::Put(put) => {
                let Put { before, prepared, .. } = *put;
                diff::change(&prepared.name, before.as_ref(), Some(&prepared.spec))
                    .or_else(|| Some(adoption(&prepared.name)))
            }
            Touched::Gone { row } => diff::change(&row.name, Some(&spec_of(row)?), None),
        };
        self.changes.extend(planned);
        Ok(())
    }
}

/// What is to be written.
#[derive(Default)]
struct Written {
    names: Vec<String>,
    /// Those of the names that are removed.
    removed: Vec<String>,
    changes: Vec<ChangeDraft>,
    passwords: Vec<NewSecret>,
    /// The same as a plan has it, where one is kept to.
    planned: Option<Vec<TouchedSite>>,
}

impl Collect for Written {
    fn add(&mut self, touched: Touched<'_>, source: &Source) -> Result<(), ControlError> {
        if let Some(planned) = &mut self.planned {
            planned.push(touched_site(&touched, usize::MAX)?);
        }
        match touched {
            Touched::Put(put) => {
                let Put { row, prepared, owner, .. } = *put;
                let expected = row.map_or(Expected::New, |row| Expected::At(row.revision));
                let version = prepared.version(owner.id, source.origin.clone())?;
                self.names.push(prepared.name.to_string());
                self.changes.push(ChangeDraft::site(prepared.id, expected, version));
                self.passwords.extend(prepared.passwords);
            }
            Touched::Gone { row } => {
                self.names.push(row.name.to_string());
                self.removed.push(row.name.to_string());
                self.changes.push(ChangeDraft::delete_site(row.id, Expected::At(row.revision)));
            }
        }
        Ok(())
    }
}

impl Sites<'_> {
    /// Says what applying would do, without doing it, from what was last seen of nodes.
    pub async fn plan(&self, apply: &ApplySites) -> Result<Plan, ControlError> {
        self.plan_as(apply, PlanQuery::default()).await
    }

    /// Says what applying would do, without doing it.
    pub async fn plan_as(
        &self,
        apply: &ApplySites,
        query: PlanQuery,
    ) -> Result<Plan, ControlError> {
        let control = self.control;
        if query.refresh {
            control.may_read_nodes(self.actor).await?;
        }
        let compared = control.compare(self.actor, apply, Planned::default()).await?;
        let Planned { changes, sites } = compared.touched;
        let (unchanged, findings) = (compared.unchanged, compared.findings);
        let proposed = control.proposed(apply)?;
        let on_nodes = control.plan_on_nodes(self.actor, proposed, &sites, query).await?;
        let OnNodes { effects, nodes, basis } = on_nodes;
        let how = How::read(apply.rollout.clone())?;
        let rollout = control.planned_rollout(self.actor, how, &sites).await?;
        let (made_at, basis) = (Some(control.now()), Some(basis));
        Ok(Plan { changes, unchanged, findings, made_at, effects, nodes, rollout, basis })
    }
}

impl Editor<'_> {
    /// Brings the declared sites to what a file says, all in one revision or none. With the basis of a
    /// plan, exactly what was planned is done or nothing.
    pub async fn apply(&self, apply: &ApplySites) -> Result<Changed, ControlError> {
        if let Some(basis) = &apply.basis {
            return self.apply_planned(apply, basis).await;
        }
        let compared =
            self.control.compare(self.actor, apply, Written::default()).await?.written()?;
        self.write(apply, compared, None).await?.map_err(commit_error)
    }

    /// Nothing may be written between the comparison and the commit: then it is compared anew.
    async fn apply_planned(
        &self,
        apply: &ApplySites,
        basis: &PlanBasis,
    ) -> Result<Changed, ControlError> {
        let control = self.control;
        control.read_nodes_of(self.actor, basis).await?;
        let proposed = control.proposed(apply)?;
        for _ in 0..TRIES {
            let latest = control.inner.store.revisions().latest().await?;
            let collect = Written { planned: Some(Vec::new()), ..Written::default() };
            let mut compared = control.compare(self.actor, apply, collect).await?;
            let planned = compared.touched.planned.take().unwrap_or_default();
            let moved = control.moved_on(self.actor, basis, &proposed, &planned).await?;
            if !moved.is_empty() {
                return Err(ControlError::MovedOn(moved));
            }
            match self.write(apply, compared.written()?, Some(latest)).await? {
                Err(CommitError::Overtaken { .. } | CommitError::Stale { .. }) => {}
                written => return written.map_err(commit_error),
            }
        }
        let text = "others write all the time, so the plan could not be compared; try again";
        Err(ControlError::Conflict(text.to_owned()))
    }

    async fn write(
        &self,
        apply: &ApplySites,
        compared: Sound,
        judged_at: Option<RevisionNumber>,
    ) -> Result<Result<Changed, CommitError>, ControlError> {
        let control = self.control;
        let Sound { written, mut findings, owner } = compared;
        if written.changes.is_empty() {
            return Ok(Ok(Changed { revision: None, sites: Vec::new(), findings }));
        }
        let how = How::read(apply.rollout.clone())?;
        if control.may_have_waves(self.actor, &how) {
            findings.extend(removed_at_once(&written.removed));
        }
        let draft = Draft {
            rollout: how,
            action: "site.apply",
            name: listed(&written.names),
            message: apply.message.clone().unwrap_or_else(|| format!("apply {}", apply.source)),
            origin: Origin::File(apply.source.clone()),
            changes: written.changes,
            secrets: control.seal_passwords(written.passwords).await?,
            limits: limit(&owner),
        };
        let revision = match control.commit_judged(self.actor, draft, judged_at).await? {
            Ok(revision) => revision,
            Err(error) => return Ok(Err(error)),
        };
        // What was written is written: that the database is slower for it is all that can go wrong.
        if let Err(error) = control.inner.store.tidy_when_due().await {
            warn!(%error, "the statistics of the database could not be brought up to date");
        }
        Ok(Ok(Changed { revision: Some(revision.0), sites: written.names, findings }))
    }
}

/// What can be written, because nothing in it is wrong.
struct Sound {
    written: Written,
    findings: Vec<Finding>,
    owner: Owner,
}

impl Comparison<'_, Written> {
    fn written(self) -> Result<Sound, ControlError> {
        if self.findings.iter().any(Finding::is_error) {
            return Err(ControlError::Invalid(self.findings));
        }
        Ok(Sound { written: self.touched, findings: self.findings, owner: self.owner })
    }
}

impl Control {
    async fn compare<'a, C: Collect>(
        &'a self,
        actor: &'a Actor,
        apply: &'a ApplySites,
        touched: C,
    ) -> Result<Comparison<'a, C>, ControlError> {
        let mut comparison = Comparison {
            control: self,
            actor,
            apply,
            source: Source { origin: Origin::File(apply.source.clone()), prunes: apply.prune },
            owner: self.owner_of_new(actor, apply.owner.as_deref()).await?,
            owners: Owners::default(),
            beside: apply.sites.keys().collect(),
            claims: Claims::default(),
            touched,
            unchanged: 0,
            findings: Vec::new(),
        };
        let mut rest = apply.sites.iter();
        loop {
            let batch: Vec<(&Name, &Value)> = rest.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            comparison.compare(batch).await?;
        }
        comparison.look_for_gone().await?;
        comparison.findings.extend(std::mem::take(&mut comparison.claims).into_findings());
        Ok(comparison)
    }
}

impl<C: Collect> Comparison<'_, C> {
    /// Compares some sites of the file. The store is asked once for all of them.
    async fn compare(&mut self, batch: Vec<(&Name, &Value)>) -> Result<(), ControlError> {
        let control = self.control;
        let names: Vec<&Name> = batch.iter().map(|(name, _)| *name).collect();
        let rows = control.inner.store.sites().by_names(self.actor.visible(), &names).await?;
        control.owners_of(rows.values(), &mut self.owners).await?;
        let mut sites = Vec::with_capacity(batch.len());
        for (name, spec) in batch {
            let row = rows.get(name);
            let id = row.map_or_else(|| Id::from_uuid(Uuid::now_v7()), |row| row.id);
            let (owner, snippets) = (self.owner_of(row), Snippets::for_actor(self.actor, row)?);
            let site = control.read_site(Sent { id, name, spec, owner, snippets });
            if let Some(site) = &site.site {
                self.claims.claim(site)?;
            }
            sites.push(site);
        }
        for prepared in control.prepare(sites, &self.beside).await? {
            match prepared {
                Err(findings) => self.findings.extend(findings),
                Ok(prepared) => self.touch(rows.get(&prepared.name), prepared)?,
            }
        }
        Ok(())
    }

    fn owner_of(&self, row: Option<&SiteRow>) -> Owner {
        row.map_or_else(|| self.owner.clone(), |row| self.owners.of(row))
    }

    /// Passes a site on, unless it is as it should be.
    fn touch(&mut self, row: Option<&SiteRow>, prepared: Prepared) -> Result<(), ControlError> {
        self.findings.extend(prepared.findings.iter().cloned());
        let before = row.map(spec_of).transpose()?;
        let is_adopted =
            self.source.prunes && row.is_some_and(|row| row.origin != self.source.origin);
        if before.as_ref() == Some(&prepared.spec) && !is_adopted {
            self.unchanged += 1;
            return Ok(());
        }
        let owner = self.owner_of(row);
        let put = Box::new(Put { row, before, prepared, owner });
        self.touched.add(Touched::Put(put), &self.source)
    }

    /// Sites that came from this source and are not in it any more.
    async fn look_for_gone(&mut self) -> Result<(), ControlError> {
        let origin = Some(self.source.origin.clone());
        let filter = SiteFilter { origin, ..SiteFilter::default() };
        let sites = self.control.inner.store.sites();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = sites.list(self.actor.visible(), &filter, &page).await?;
            for row in found.items.iter().filter(|row| !self.apply.sites.contains_key(&row.name)) {
                if self.source.prunes {
                    self.touched.add(Touched::Gone { row }, &self.source)?;
                } else {
                    self.findings.push(left_alone(row, &self.apply.source));
                }
            }
            request = page.next(&found);
        }
        Ok(())
    }
}

/// The site is as it should be, but was made elsewhere; from now on the file declares it.
fn adoption(name: &Name) -> PlannedChange {
    PlannedChange { site: name.to_string(), action: PlannedAction::Update, diff: String::new() }
}

/// Lists names for people; of many the first, and how many more there are.
fn listed(names: &[String]) -> String {
    let mut list = String::new();
    for (at, name) in names.iter().enumerate() {
        if at > 0 && list.len() + name.len() > LISTED {
            return format!("{list} and {} more", names.len() - at);
        }
        if at > 0 {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    list
}

fn left_alone(row: &SiteRow, source: &str) -> Finding {
    let mut findings = Findings::about(ResourceKind::Site, row.name.as_str());
    findings
        .warning(
            FindingCode::Advice,
            &portway_model::FieldPath::root(),
            format!(
                "`{}` came from {source} and is no longer in it; it is left as it is",
                row.name
            ),
        )
        .remedy("apply with `--prune` to remove it");
    findings.into_vec().remove(0)
}
