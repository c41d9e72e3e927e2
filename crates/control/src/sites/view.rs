//! Sites as the API shows them.

use std::collections::BTreeMap;

use portway_model::{
    Finding, FindingCode, Findings, Id, Name, ResourceKind, Site, SiteSpec, User, site::check,
};
use portway_store::{NodeSiteRow, SiteRow};
use portway_wire::site::{SiteState, SiteSummary, SiteView};

use crate::ControlError;

/// What is shown beside the site itself.
pub(super) struct Context<'a> {
    /// The names of owners.
    pub(super) owners: &'a BTreeMap<Id<User>, String>,
    /// How sites stand on the edge.
    pub(super) deployed: &'a BTreeMap<Id<Site>, NodeSiteRow>,
}

/// Returns a site as it was written.
pub(crate) fn spec_of(row: &SiteRow) -> Result<SiteSpec, ControlError> {
    serde_json::from_value(row.spec.clone())
        .map_err(|error| ControlError::internal("reading a stored site", error))
}

/// Returns a site as it is meant. What was stored has been checked; a later version of Portway may
/// see it otherwise.
pub(crate) fn checked(name: &Name, spec: &SiteSpec) -> Result<(Site, Vec<Finding>), ControlError> {
    match check(name, spec) {
        (Some(site), findings) => Ok((site, findings)),
        (None, findings) => Err(ControlError::Invalid(findings)),
    }
}

pub(super) fn summary(row: &SiteRow, spec: &SiteSpec, context: &Context<'_>) -> SiteSummary {
    SiteSummary {
        id: row.id,
        name: row.name.to_string(),
        hosts: spec.hosts.clone(),
        target: target_in_short(spec),
        tags: spec.tags.clone(),
        owner: row.owner.and_then(|owner| context.owners.get(&owner).cloned()),
        state: state(row, context.deployed.get(&row.id)),
        revision: row.revision.0,
        updated_at: row.updated_at,
    }
}

pub(super) fn view(row: &SiteRow, context: &Context<'_>) -> Result<SiteView, ControlError> {
    let spec = spec_of(row)?;
    let (effective, mut findings) = checked(&row.name, &spec)?;
    if let Some(held) = context.deployed.get(&row.id).filter(|node| is_held(row, node)) {
        findings.extend(held.findings.iter().cloned());
        if held.findings.is_empty() {
            let mut about = Findings::about(ResourceKind::Site, row.name.as_str());
            about.error(
                FindingCode::Held,
                &portway_model::FieldPath::root(),
                "the edge could not take this version; the one before serves on",
            );
            findings.extend(about.into_vec());
        }
    }
    if let Some(live) = context.deployed.get(&row.id).filter(|node| !is_held(row, node)) {
        let is_of_probe = |finding: &&Finding| finding.code == FindingCode::ProbeFailed;
        findings.extend(live.findings.iter().filter(is_of_probe).cloned());
    }
    Ok(SiteView {
        summary: summary(row, &spec, context),
        spec,
        effective,
        origin: row.origin.clone(),
        blocked_reason: row.blocked.as_ref().map(|block| block.reason.clone()),
        findings,
        created_at: row.created_at,
    })
}

fn is_held(row: &SiteRow, node: &NodeSiteRow) -> bool {
    node.held.is_some_and(|held| held >= row.revision)
}

fn state(row: &SiteRow, node: Option<&NodeSiteRow>) -> SiteState {
    if row.blocked.is_some() {
        return SiteState::Blocked;
    }
    match node {
        Some(node) if is_held(row, node) => SiteState::Held,
        Some(node) if node.revision.is_some_and(|live| live >= row.revision) => SiteState::Live,
        Some(_) | None => SiteState::Pending,
    }
}

/// Says in a few words where requests go.
fn target_in_short(spec: &SiteSpec) -> String {
    use portway_model::site::spec::{FilesSpec, RedirectSpec, SplitSpec};
    if let Some(to) = &spec.to {
        return to.targets().into_iter().map(in_full).collect::<Vec<_>>().join(", ");
    }
    if let Some(split) = &spec.split {
        let (SplitSpec::Sides(sides)
        | SplitSpec::Settings(portway_model::site::spec::SplitSettingsSpec { sides, .. })) = split;
        return format!("{} sides", sides.len());
    }
    if let Some(files) = &spec.files {
        let (FilesSpec::Root(root)
        | FilesSpec::Settings(portway_model::site::spec::FileSettingsSpec { root, .. })) = files;
        return format!("files {root}");
    }
    if let Some(redirect) = &spec.redirect {
        let (RedirectSpec::To(to)
        | RedirectSpec::Settings(portway_model::site::spec::RedirectSettingsSpec {
            to, ..
        })) = redirect;
        return format!("redirect to {to}");
    }
    if spec.respond.is_some() {
        return "a fixed answer".to_owned();
    }
    match spec.routes.len() {
        1 => "1 route".to_owned(),
        n => format!("{n} routes"),
    }
}

/// A bare port means one of this machine.
fn in_full(target: &str) -> String {
    if !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("127.0.0.1:{target}")
    } else {
        target.to_owned()
    }
}
