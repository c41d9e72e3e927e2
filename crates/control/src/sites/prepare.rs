//! From what was sent to what can be written: every fault as a finding, all at once.

use std::collections::BTreeSet;

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, Location, Name, ResourceKind, Role, Site,
    SiteSpec, User, site::check,
};
use portway_sitefile::SourceText;
use portway_store::{SealedSecret, SiteRow, SiteVersion};
use serde_json::{Value, json};

use super::view::{checked, spec_of};
use crate::{Control, ControlError, actor::Actor, bounds};

/// Whose a site is to be.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// The user; nobody for sites of the installation.
    pub(super) id: Option<Id<User>>,
    /// The user, when it is a client, whose bounds hold.
    pub(super) client: Option<User>,
}

/// A site that can be written.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: Id<Site>,
    pub(super) name: Name,
    pub(super) site: Site,
    /// As written, with references in the place of passwords.
    pub(super) spec: SiteSpec,
    pub(super) secrets: Vec<SealedSecret>,
    /// What should be known; no errors.
    pub(super) findings: Vec<Finding>,
}

impl Prepared {
    pub(super) fn version(
        &self,
        owner: Option<Id<User>>,
        origin: portway_model::Origin,
    ) -> Result<SiteVersion, ControlError> {
        let spec = serde_json::to_value(&self.spec)
            .map_err(|error| ControlError::internal("writing a site", error))?;
        Ok(SiteVersion {
            name: self.name.clone(),
            owner,
            origin,
            spec,
            hosts: self.site.hosts.clone(),
            tags: self.site.tags.clone(),
        })
    }
}

impl Control {
    /// Returns whose a site is that `actor` makes, for `wanted` or for the actor itself.
    pub(super) async fn owner_of_new(
        &self,
        actor: &Actor,
        wanted: Option<&str>,
    ) -> Result<Owner, ControlError> {
        match (actor.role(), actor.user(), wanted) {
            (Role::Client, Some(user), None) => Ok(Owner::of(user.clone())),
            (Role::Client, Some(user), Some(name)) if user.name.as_str() == name => {
                Ok(Owner::of(user.clone()))
            }
            // A viewer comes here with a plan only; the right to write is refused before.
            (Role::Admin | Role::Viewer, _, None) => Ok(Owner { id: None, client: None }),
            (Role::Admin | Role::Viewer, _, Some(name)) => {
                Ok(Owner::of(self.user_named(name).await?))
            }
            (Role::Client, ..) => {
                self.refuse(actor, "site.create", "a site can be made for oneself only").await
            }
        }
    }

    /// Returns whose a site is.
    pub(super) async fn owner_of(&self, row: &SiteRow) -> Result<Owner, ControlError> {
        let Some(id) = row.owner else { return Ok(Owner { id: None, client: None }) };
        let user = self.user_with(id).await?;
        Ok(user.map_or(Owner { id: Some(id), client: None }, Owner::of))
    }

    /// Turns what was sent into a site that can be written, or into findings. `beside` names the
    /// sites that are changed with it, whose present routes do not count.
    pub(super) async fn prepare(
        &self,
        id: Id<Site>,
        name: &Name,
        sent: &Value,
        owner: &Owner,
        beside: &BTreeSet<&Name>,
    ) -> Result<Result<Prepared, Vec<Finding>>, ControlError> {
        let (spec, mut findings) = read_spec(name, sent);
        let Some(mut spec) = spec else { return Ok(Err(findings)) };
        let (site, found) = check(name, &spec);
        findings.extend(found);
        if let (Some(site), Some(client)) = (&site, &owner.client) {
            findings.extend(bounds::judge(site, &client.bounds, &self.own_addresses()));
        }
        if let Some(site) = &site {
            findings.extend(self.taken_routes(id, site, owner, beside).await?);
        }
        let Some(site) = site.filter(|_| !findings.iter().any(Finding::is_error)) else {
            return Ok(Err(findings));
        };
        let sealed = self.seal_passwords(name.as_str(), id, owner.id, &mut spec).await?;
        findings.extend(sealed.findings);
        if findings.iter().any(Finding::is_error) {
            return Ok(Err(findings));
        }
        // Checked again as it will be read: with references in the place of passwords.
        let (site, _) = if sealed.secrets.is_empty() && spec_unchanged(sent, &spec) {
            (site, Vec::new())
        } else {
            checked(name, &spec)?
        };
        let secrets = sealed.secrets;
        Ok(Ok(Prepared { id, name: name.clone(), site, spec, secrets, findings }))
    }

    /// Several sites may share a host as long as no two routes take the same requests.
    async fn taken_routes(
        &self,
        id: Id<Site>,
        site: &Site,
        owner: &Owner,
        beside: &BTreeSet<&Name>,
    ) -> Result<Vec<Finding>, ControlError> {
        let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
        let uses = self.inner.store.sites().using_hosts(&site.hosts).await?;
        let others: Vec<_> = uses
            .into_iter()
            .filter(|used| used.site != id && !beside.contains(&used.name))
            .collect();
        let mut ids: Vec<_> = others.iter().map(|used| used.site).collect();
        ids.sort();
        ids.dedup();
        let rows = self.inner.store.sites().by_ids(portway_store::Visible::All, &ids).await?;
        for used in &others {
            let host_path = site
                .hosts
                .iter()
                .position(|host| *host == used.host)
                .map_or_else(FieldPath::root, |at| FieldPath::root().key("hosts").index(at));
            // The other owner's site is not named: it is not the actor's to see.
            if used.owner != owner.id && owner.client.is_some() {
                findings
                    .error(
                        FindingCode::HostTaken,
                        &host_path,
                        format!("`{}` belongs to someone else", used.host),
                    )
                    .remedy("use another host, or ask an administrator");
                continue;
            }
            let Some(row) = rows.get(&used.site) else { continue };
            let (other, _) = checked(&row.name, &spec_of(row)?)?;
            let clash = site
                .routes
                .iter()
                .find(|route| other.routes.iter().any(|theirs| theirs.matches == route.matches));
            if let Some(route) = clash {
                findings
                    .error(
                        FindingCode::RouteTaken,
                        &host_path,
                        format!(
                            "site `{}` already answers `{}{}`",
                            row.name, used.host, route.matches.path
                        ),
                    )
                    .remedy("give one of the sites another host or path, or remove the other");
            }
        }
        let mut list = findings.into_vec();
        list.dedup();
        Ok(list)
    }
}

impl Owner {
    fn of(user: User) -> Self {
        let id = Some(user.id);
        let client = (user.role == Role::Client).then_some(user);
        Self { id, client }
    }
}

/// Reads a site from JSON.
fn read_spec(name: &Name, sent: &Value) -> (Option<SiteSpec>, Vec<Finding>) {
    match serde_json::from_value(sent.clone()) {
        Ok(spec) => (Some(spec), Vec::new()),
        Err(error) => (None, shape_findings(name, sent, &error)),
    }
}

/// Says what is wrong with the shape of a site. The loader of site files judges it: JSON is YAML,
/// and it finds every fault with its field. The places in the text are nobody's and left out.
fn shape_findings(name: &Name, sent: &Value, error: &serde_json::Error) -> Vec<Finding> {
    let file = json!({ "sites": { name.as_str(): sent } });
    let text = SourceText {
        name: "request".to_owned(),
        folder: "/".into(),
        text: file.to_string().replace("${", "$${"),
    };
    let loaded = portway_sitefile::load(&[text], &portway_sitefile::Options::default(), &NoFiles);
    let mut findings: Vec<Finding> = loaded.findings;
    for finding in &mut findings {
        if let Location::Field { source, .. } = &mut finding.at {
            *source = None;
        }
    }
    if !findings.iter().any(Finding::is_error) {
        let mut about = Findings::about(ResourceKind::Site, name.as_str());
        about.error(FindingCode::WrongType, &FieldPath::root(), error.to_string());
        findings.extend(about.into_vec());
    }
    findings
}

/// What comes over the API names no files to be read here.
struct NoFiles;

impl portway_sitefile::Files for NoFiles {
    fn read(&self, _: &camino::Utf8Path) -> std::io::Result<String> {
        Err(std::io::Error::new(
            std::io::ErrorKind::Unsupported,
            "files are read by `portway apply`, not by the API",
        ))
    }
}

fn spec_unchanged(sent: &Value, spec: &SiteSpec) -> bool {
    serde_json::to_value(spec).is_ok_and(|value| value == *sent)
}
