//! Planning and applying site files.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{Finding, FindingCode, Findings, Id, Name, Origin, ResourceKind, SiteSpec};
use portway_store::{ChangeDraft, Expected, PageRequest, SealedSecret, SiteFilter, SiteRow};
use portway_wire::site::{ApplySites, Changed, Plan, PlannedChange};

use uuid::Uuid;

use super::{
    prepare::{Owner, Prepared},
    view::spec_of,
    write::{Draft, limit},
};
use crate::{
    Control, ControlError,
    actor::Actor,
    diff,
    rights::{Editor, Sites},
};

/// Sites of a file compared with what is declared.
struct Comparison {
    owner: Owner,
    touched: Vec<Touched>,
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
struct Touched {
    planned: PlannedChange,
    draft: ChangeDraft,
    secrets: Vec<SealedSecret>,
}

impl Sites<'_> {
    /// Says what applying would do, without doing it.
    pub async fn plan(&self, apply: &ApplySites) -> Result<Plan, ControlError> {
        let compared = self.control.compare(self.actor, apply).await?;
        Ok(Plan {
            changes: compared.touched.into_iter().map(|touched| touched.planned).collect(),
            unchanged: compared.unchanged,
            findings: compared.findings,
        })
    }
}

impl Editor<'_> {
    /// Brings the declared sites to what a file says, all in one revision or none.
    pub async fn apply(&self, apply: &ApplySites) -> Result<Changed, ControlError> {
        let control = self.control;
        let compared = control.compare(self.actor, apply).await?;
        if compared.findings.iter().any(Finding::is_error) {
            return Err(ControlError::Invalid(compared.findings));
        }
        if compared.touched.is_empty() {
            let findings = compared.findings;
            return Ok(Changed { revision: None, sites: Vec::new(), findings });
        }
        let names: Vec<String> =
            compared.touched.iter().map(|touched| touched.planned.site.clone()).collect();
        let (mut changes, mut secrets) = (Vec::new(), Vec::new());
        for touched in compared.touched {
            changes.push(touched.draft);
            secrets.extend(touched.secrets);
        }
        let draft = Draft {
            action: "site.apply",
            name: names.join(", "),
            message: apply.message.clone().unwrap_or_else(|| format!("apply {}", apply.source)),
            origin: Origin::File(apply.source.clone()),
            changes,
            secrets,
            limits: limit(&compared.owner),
        };
        let revision = control.commit(self.actor, draft).await?;
        Ok(Changed { revision: Some(revision.0), sites: names, findings: compared.findings })
    }
}

impl Control {
    async fn compare(&self, actor: &Actor, apply: &ApplySites) -> Result<Comparison, ControlError> {
        let owner = self.owner_of_new(actor, apply.owner.as_deref()).await?;
        let source = Source { origin: Origin::File(apply.source.clone()), prunes: apply.prune };
        let beside: BTreeSet<&Name> = apply.sites.keys().collect();
        let mut compared =
            Comparison { owner, touched: Vec::new(), unchanged: 0, findings: Vec::new() };
        for (name, sent) in &apply.sites {
            let current = self.inner.store.sites().by_name(actor.visible(), name).await?;
            let owner = match &current {
                Some(row) => self.owner_of(row).await?,
                None => compared.owner.clone(),
            };
            let id = current.as_ref().map_or_else(|| Id::from_uuid(Uuid::now_v7()), |row| row.id);
            match self.prepare(id, name, sent, &owner, &beside).await? {
                Err(findings) => compared.findings.extend(findings),
                Ok(prepared) => {
                    compared.findings.extend(prepared.findings.iter().cloned());
                    match touch(&prepared, current.as_ref(), &owner, &source)? {
                        Some(touched) => compared.touched.push(touched),
                        None => compared.unchanged += 1,
                    }
                }
            }
        }
        self.gone(actor, apply, &source.origin, &mut compared).await?;
        compared.findings.extend(clashes(&apply.sites));
        Ok(compared)
    }

    /// Sites that came from this source and are not in it any more.
    async fn gone(
        &self,
        actor: &Actor,
        apply: &ApplySites,
        origin: &Origin,
        compared: &mut Comparison,
    ) -> Result<(), ControlError> {
        let filter = SiteFilter { origin: Some(origin.clone()), ..SiteFilter::default() };
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.sites().list(actor.visible(), &filter, &page).await?;
            for row in found.items.iter().filter(|row| !apply.sites.contains_key(&row.name)) {
                if apply.prune {
                    compared.touched.extend(remove(row)?);
                } else {
                    compared.findings.push(left_alone(row, &apply.source));
                }
            }
            request = page.next(&found);
        }
        Ok(())
    }
}

fn touch(
    prepared: &Prepared,
    current: Option<&SiteRow>,
    owner: &Owner,
    source: &Source,
) -> Result<Option<Touched>, ControlError> {
    let before = current.map(spec_of).transpose()?;
    let adopted = source.prunes && current.is_some_and(|row| row.origin != source.origin);
    let change = diff::change(&prepared.name, before.as_ref(), Some(&prepared.spec));
    let Some(planned) = change.or_else(|| adopted.then(|| adoption(&prepared.name))) else {
        return Ok(None);
    };
    let expected = current.map_or(Expected::New, |row| Expected::At(row.revision));
    let version = prepared.version(owner.id, source.origin.clone())?;
    let draft = ChangeDraft::site(prepared.id, expected, version);
    Ok(Some(Touched { planned, draft, secrets: prepared.secrets.clone() }))
}

/// The site is as it should be, but was made elsewhere; from now on the file declares it.
fn adoption(name: &Name) -> PlannedChange {
    PlannedChange {
        site: name.to_string(),
        action: portway_wire::site::PlannedAction::Update,
        diff: String::new(),
    }
}

fn remove(row: &SiteRow) -> Result<Option<Touched>, ControlError> {
    let before: SiteSpec = spec_of(row)?;
    let planned = diff::change(&row.name, Some(&before), None);
    Ok(planned.map(|planned| Touched {
        planned,
        draft: ChangeDraft::delete_site(row.id, Expected::At(row.revision)),
        secrets: Vec::new(),
    }))
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

/// Routes that two sites of the same file both claim, which the store cannot know yet.
fn clashes(sites: &indexmap::IndexMap<Name, serde_json::Value>) -> Vec<Finding> {
    let mut claimed: BTreeMap<(String, String), Name> = BTreeMap::new();
    let mut found = Vec::new();
    for (name, sent) in sites {
        let Ok(spec) = serde_json::from_value::<SiteSpec>(sent.clone()) else { continue };
        let (Some(site), _) = portway_model::site::check(name, &spec) else { continue };
        let mut findings = Findings::about(ResourceKind::Site, name.as_str());
        for (index, host) in site.hosts.iter().enumerate() {
            for route in &site.routes {
                let matches = serde_json::to_string(&route.matches).unwrap_or_default();
                let key = (host.to_string(), matches);
                match claimed.get(&key) {
                    Some(other) if other != name => {
                        let path = portway_model::FieldPath::root().key("hosts").index(index);
                        findings
                            .error(
                                FindingCode::RouteTaken,
                                &path,
                                format!(
                                    "site `{other}` of this file already answers `{host}{}`",
                                    route.matches.path
                                ),
                            )
                            .remedy("give one of the sites another host or path");
                    }
                    Some(_) => {}
                    None => {
                        claimed.insert(key, name.clone());
                    }
                }
            }
        }
        found.extend(findings.into_vec());
    }
    found
}
