//! From what was sent to what can be written: every fault as a finding, all at once.

use std::collections::{BTreeMap, BTreeSet};

use portway_engine::review_snippets;
use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, Location, Name, ResourceKind, Role, Site,
    SiteSpec, User, site::check,
};
use portway_sitefile::SourceText;
use portway_store::{SiteRow, SiteVersion};
use serde_json::{Value, json};

use super::{
    seal::{KnownSecrets, NewSecret, Password},
    snippets::Snippets,
    view::checked,
};
use crate::{Control, ControlError, actor::Actor, bounds};

/// Whose a site is to be.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// The user; nobody for sites of the installation.
    pub(super) id: Option<Id<User>>,
    /// The user, when it is a client, whose bounds hold.
    pub(super) client: Option<User>,
}

/// Whose sites are, read once for each owner.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<Id<User>, Owner>);

/// A site as it was sent.
pub(super) struct Sent<'a> {
    pub(super) id: Id<Site>,
    pub(super) name: &'a Name,
    pub(super) spec: &'a Value,
    pub(super) owner: Owner,
    /// What whoever sent it may write as its snippets.
    pub(super) snippets: Snippets,
}

/// A site that was read, and judged alone.
pub(super) struct ReadSite<'a> {
    sent: Sent<'a>,
    spec: Option<SiteSpec>,
    /// What it means, where it is sound.
    pub(super) site: Option<Site>,
    findings: Vec<Finding>,
}

/// A site that can be written.
pub(super) struct Prepared {
    pub(super) id: Id<Site>,
    pub(super) name: Name,
    pub(super) site: Site,
    /// As written, with references in the place of passwords.
    pub(super) spec: SiteSpec,
    /// Passwords to be sealed and written with it.
    pub(super) passwords: Vec<NewSecret>,
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
            nodes: self.site.nodes.clone(),
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

    /// Returns whose sites are.
    pub(super) async fn owners_of(
        &self,
        rows: impl Iterator<Item = &SiteRow>,
        owners: &mut Owners,
    ) -> Result<(), ControlError> {
        let unknown: BTreeSet<_> =
            rows.filter_map(|row| row.owner).filter(|id| !owners.0.contains_key(id)).collect();
        let unknown: Vec<_> = unknown.into_iter().collect();
        let mut users = self.inner.store.users().by_ids(&unknown).await?;
        for id in unknown {
            let owner = match users.remove(&id) {
                Some(row) => Owner::of(row.user),
                None => Owner { id: Some(id), client: None },
            };
            owners.0.insert(id, owner);
        }
        Ok(())
    }

    /// Reads a site and judges it as far as it can be judged alone.
    pub(super) fn read_site<'a>(&self, sent: Sent<'a>) -> ReadSite<'a> {
        let (spec, mut findings) = read_spec(sent.name, sent.spec);
        let mut site = None;
        if let Some(spec) = &spec {
            let (checked, found) = check(sent.name, spec);
            findings.extend(found);
            findings.extend(sent.snippets.judge(sent.name, spec));
            findings.extend(checked.as_ref().map(review_snippets).unwrap_or_default());
            if let (Some(site), Some(client)) = (&checked, &sent.owner.client) {
                findings.extend(bounds::judge(site, &client.bounds, &self.own_addresses()));
            }
            site = checked;
        }
        ReadSite { sent, spec, site, findings }
    }

    /// Turns what was read into sites that can be written, or into findings, in the same order.
    /// `beside` names the sites that are changed with them, whose present routes do not count. It
    /// asks the store once for all of them.
    pub(super) async fn prepare(
        &self,
        mut sites: Vec<ReadSite<'_>>,
        beside: &BTreeSet<&Name>,
    ) -> Result<Vec<Result<Prepared, Vec<Finding>>>, ControlError> {
        let checked: Vec<_> =
            sites.iter().filter_map(|read| Some((read.sent.id, read.site.as_ref()?))).collect();
        let mut taken = self.taken(&checked, beside).await?;
        let nodes = self.chosen_nodes(checked.iter().map(|(_, site)| *site)).await?;
        for read in &mut sites {
            if let Some(site) = &read.site {
                read.findings.extend(taken.judge(read.sent.id, site, &read.sent.owner)?);
                let client = read.sent.owner.client.as_ref();
                read.findings.extend(nodes.judge(site, client.map(|client| &client.bounds)));
            }
        }
        let mut passwords = Vec::with_capacity(sites.len());
        for read in &mut sites {
            passwords.push(
                match read.spec.as_mut().filter(|_| !read.findings.iter().any(Finding::is_error)) {
                    Some(spec) => self.take_passwords(read.sent.id, read.sent.owner.id, spec),
                    None => Vec::new(),
                },
            );
        }
        let known = self.known_secrets(&passwords).await?;
        sites
            .into_iter()
            .zip(passwords)
            .map(|(read, passwords)| read.prepared(passwords, &known))
            .collect()
    }

    /// Does the same for one site that is changed alone.
    pub(super) async fn prepare_one(&self, sent: Sent<'_>) -> Result<Prepared, ControlError> {
        let read = self.read_site(sent);
        let prepared = self.prepare(vec![read], &BTreeSet::new()).await?.pop();
        let nothing = || ControlError::internal("preparing a site", "nothing came of it");
        prepared.ok_or_else(nothing)?.map_err(ControlError::Invalid)
    }
}

impl ReadSite<'_> {
    /// Finishes a site whose passwords were taken out of it.
    fn prepared(
        mut self,
        passwords: Vec<Password>,
        known: &KnownSecrets,
    ) -> Result<Result<Prepared, Vec<Finding>>, ControlError> {
        let name = self.sent.name;
        let resolved = known.resolve(name, self.sent.id, passwords);
        self.findings.extend(resolved.findings);
        let is_sound = !self.findings.iter().any(Finding::is_error);
        let (Some(site), Some(spec), true) = (self.site, self.spec, is_sound) else {
            return Ok(Err(self.findings));
        };
        // Checked again as it will be read: with references in the place of passwords.
        let site =
            if spec_unchanged(self.sent.spec, &spec) { site } else { checked(name, &spec)?.0 };
        Ok(Ok(Prepared {
            id: self.sent.id,
            name: name.clone(),
            site,
            spec,
            passwords: resolved.new,
            findings: self.findings,
        }))
    }
}

impl Owners {
    /// Returns whose a site is, of which [`Control::owners_of`] was told.
    pub(super) fn of(&self, row: &SiteRow) -> Owner {
        let known = row.owner.and_then(|id| self.0.get(&id).cloned());
        known.unwrap_or(Owner { id: row.owner, client: None })
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
