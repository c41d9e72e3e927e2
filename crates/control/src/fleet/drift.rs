//! What somebody changed on a node of what Portway put there: each file as it was deployed against as
//! it is found. Nothing is changed; what somebody did is told and never taken for an error to be put
//! right.
//!
//! What was deployed is written anew from what the node is known to have, and counts only where that
//! gives the very file that was sent. No password or key is ever shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use camino::Utf8PathBuf;
use portway_deploy::{Deployment, Look, Survey, look};
use portway_engine::{Engine, EngineFacts, Object, Release, Rendered};
use portway_model::{EngineKind, Id, Node, RevisionNumber, Site};
use portway_policy::Digest;
use portway_store::{NodeRow, SiteRow, Visible};
use portway_wire::drift::{Drifted, DriftedFile, NodeDrift};

use super::{
    bring::BringError, connect::Reach, engine_of, hands::unreached, made::render, reads::gone,
    scan, veil::Veil, wanted::settings_of,
};
use crate::{
    Control, ControlError, EdgeClient,
    deploy::{Owners, lock},
    diff::unified,
    nodes,
    rights::Operator,
};

/// So many files are shown with their difference; of the others it is told that there is one.
const SHOWN: usize = 50;

/// What differs on a node, with what it takes to take it over.
pub(super) struct Drift {
    pub(super) view: NodeDrift,
    /// Of each file of the view, in the same order.
    pub(super) files: Vec<Differing>,
    /// What is rendered for there; nothing of an edge.
    pub(super) facts: Option<EngineFacts>,
}

/// A file that differs.
pub(super) struct Differing {
    /// The site that it belongs to, as the node has it.
    pub(super) site: Option<Arc<Deployed>>,
    /// As it was deployed, where that is known.
    pub(super) deployed: Option<Arc<Object>>,
    /// Its text as it is, where it can be shown.
    pub(super) text: Option<String>,
}

/// A site as a node was given it.
pub(super) struct Deployed {
    /// As it was then.
    pub(super) row: SiteRow,
    /// The revision that it is at now.
    pub(super) now: RevisionNumber,
    pub(super) rendered: Arc<Rendered>,
    /// What in it must not be shown.
    pub(super) secrets: Vec<String>,
}

/// What a node is known to have.
struct Known {
    sites: Vec<Arc<Deployed>>,
    release: Release,
}

impl Operator<'_> {
    /// Reads a node and says what somebody changed there of what Portway put there.
    pub async fn node_drift(&self, node: &str) -> Result<NodeDrift, ControlError> {
        let (row, declared) = self.control.drifting(node).await?;
        let turn = self.control.inner.fleet.workers.turn(row.id).await;
        let drift = self.control.drift(&row, &declared).await;
        drop(turn);
        Ok(drift?.view)
    }
}

impl Control {
    /// Returns a node that can be read for what somebody changed.
    pub(super) async fn drifting(&self, node: &str) -> Result<(NodeRow, Node), ControlError> {
        let row = self.node_named(node).await?;
        match nodes::declared(&row)? {
            Some(declared) => Ok((row, declared)),
            None => Err(ControlError::BadRequest(
                "the edge of a manager is put right by itself, whatever is changed there"
                    .to_owned(),
            )),
        }
    }

    /// Reads what somebody changed on a node. In this manager's turn only.
    pub(super) async fn drift(&self, row: &NodeRow, node: &Node) -> Result<Drift, ControlError> {
        let drift = match engine_of(node.engine) {
            Some(engine) => self.drift_of_files(row, node, engine).await,
            None => self.drift_of_edge(row, node).await,
        };
        drift.map_err(unreached)
    }

    async fn drift_of_files(
        &self,
        row: &NodeRow,
        node: &Node,
        engine: &'static dyn Engine,
    ) -> Result<Drift, BringError> {
        let reach = self.reach(row, node).await?;
        let survey = self.surveyed(row, node, &reach).await?;
        let facts = survey.facts(node).ok_or_else(|| {
            lock(&self.inner.fleet.surveys).remove(&row.id);
            BringError::Unfit(survey.engine.as_ref().err().cloned().unwrap_or_default())
        })?;
        let known = self.known_release(row, node, engine, &facts).await?;
        // Nobody's turn: nothing is changed.
        let owner = self.owner(row.id, 0).await?;
        let it = Deployment::to_look(&*reach, engine, &facts, &known.release, &owner);
        let look = look(&it).await?;
        let gone = gone(&reach, &facts, &look).await?;
        let mut reading =
            Reading { facts: &facts, known: &known, files: Vec::new(), seen: Vec::new() };
        reading.objects(&reach, &look).await?;
        reading.gone(&gone);
        reading.entry(&reach, &look).await?;
        reading.link(&look);
        let release = look.state.as_ref().and_then(|state| state.release);
        let seen = Digest::of(reading.seen.join("\n").as_bytes()).to_string();
        let (files, differing) = reading.files.into_iter().unzip();
        let view = NodeDrift {
            node: row.name.to_string(),
            engine: node.engine.as_str().to_owned(),
            read_at: self.now(),
            release: release.map(|digest| digest.to_string()),
            files,
            beside: beside(&survey),
            seen,
        };
        Ok(Drift { view, files: differing, facts: Some(facts) })
    }

    /// Writes anew what a node is known to have.
    async fn known_release(
        &self,
        row: &NodeRow,
        node: &Node,
        engine: &dyn Engine,
        facts: &EngineFacts,
    ) -> Result<Known, ControlError> {
        let there = self.known_of(row.id).await?;
        let ids: Vec<Id<Site>> = there.keys().copied().collect();
        let rows = self.inner.store.sites().by_ids(Visible::All, &ids).await?;
        let (mut owners, mut sites) = (Owners::new(), Vec::new());
        for (id, known) in &there {
            let (Some(revision), Some(newest)) = (known.revision, rows.get(id)) else { continue };
            let Some(then) = self.version_of(newest, revision).await? else { continue };
            let nothing = BTreeMap::new();
            let Ok(proposed) = self.compile_proposed(&then, &mut owners, &nothing).await? else {
                continue;
            };
            let compiled = &proposed.compiled;
            let rendered = render(&compiled.policy, compiled.certificate.as_ref(), engine, facts)?;
            let Ok(rendered) = rendered else { continue };
            let (now, secrets) = (newest.revision, proposed.secrets);
            sites.push(Arc::new(Deployed { row: then, now, rendered, secrets }));
        }
        let rendered: Vec<_> = sites.iter().map(|site| Arc::clone(&site.rendered)).collect();
        let release = engine
            .render_node(&rendered, &settings_of(node), &BTreeMap::new(), facts)
            .map_err(|error| ControlError::internal("writing what a node has", error))?;
        Ok(Known { sites, release })
    }

    /// An edge is asked what it has. What differs there is put right at the next look.
    async fn drift_of_edge(&self, row: &NodeRow, node: &Node) -> Result<Drift, BringError> {
        let reach = self.reach(row, node).await?;
        let client = EdgeClient::there(reach, node.control_socket());
        let listing = client.index().await?;
        let known = self.known_of(row.id).await?;
        let ids: Vec<Id<Site>> = known.keys().chain(listing.sites.keys()).copied().collect();
        let names = self.inner.store.sites().by_ids(Visible::All, &ids).await?;
        let name = |id: &Id<Site>| {
            names.get(id).map_or_else(|| id.to_string(), |row| row.name.to_string())
        };
        let mut files = Vec::new();
        for (id, there) in known.iter().filter(|(_, there)| there.revision.is_some()) {
            let what = match listing.sites.get(id).map(ToString::to_string) {
                found if found == there.digest => continue,
                Some(_) => Drifted::Changed,
                None => Drifted::Gone,
            };
            files.push(of_edge(name(id), what));
        }
        let unknown = listing.sites.keys().filter(|id| !known.contains_key(id));
        files.extend(unknown.map(|id| of_edge(name(id), Drifted::Unknown)));
        let view = NodeDrift {
            node: row.name.to_string(),
            engine: EngineKind::Edge.as_str().to_owned(),
            read_at: self.now(),
            release: Some(listing.digest.to_string()),
            beside: Vec::new(),
            seen: listing.digest.to_string(),
            files,
        };
        let nothing = || Differing { site: None, deployed: None, text: None };
        let files = view.files.iter().map(|_| nothing()).collect();
        Ok(Drift { view, files, facts: None })
    }
}

fn of_edge(site: String, what: Drifted) -> DriftedFile {
    let note = Some("an edge is put right by itself, at the next look at it".to_owned());
    DriftedFile { path: site.clone(), what, site: Some(site), diff: None, note }
}

fn beside(survey: &Survey) -> Vec<String> {
    survey.beside.iter().flatten().map(ToString::to_string).collect()
}

/// The reading of one node.
struct Reading<'a> {
    facts: &'a EngineFacts,
    known: &'a Known,
    files: Vec<(DriftedFile, Differing)>,
    /// What was found, in words that change with it.
    seen: Vec<String>,
}

impl Reading<'_> {
    /// Objects whose bytes are others than their names tell, and files that are no objects.
    async fn objects(&mut self, reach: &Reach, look: &Look) -> Result<(), BringError> {
        for name in look.unknown_objects() {
            let path = self.facts.layout.objects().join(name);
            let digest = look.objects.get(name).copied();
            let note = Some("it is not Portway's, and is left alone".to_owned());
            self.push(path, Drifted::Unknown, digest, note, Differing::nothing());
        }
        for name in look.changed_objects() {
            let path = self.facts.layout.objects().join(name);
            let digest = look.objects.get(name).copied();
            let site = self.site_of(name);
            let deployed = self.known.release.objects.get(name).map(Arc::clone).or_else(|| {
                let objects = &site.as_ref()?.rendered.objects;
                objects.iter().find(|object| object.file_name() == name).map(Arc::clone)
            });
            self.changed(reach, path, digest, site, deployed).await?;
        }
        Ok(())
    }

    fn gone(&mut self, gone: &BTreeSet<String>) {
        for name in gone {
            let path = self.facts.layout.objects().join(name);
            let site = self.site_of(name);
            let differing = Differing { site, ..Differing::nothing() };
            self.push(path, Drifted::Gone, None, None, differing);
        }
    }

    /// What the engine reads first.
    async fn entry(&mut self, reach: &Reach, look: &Look) -> Result<(), BringError> {
        let Some(name) = look.changed_entry() else { return Ok(()) };
        let path = self.facts.layout.releases().join(&name);
        let release = &self.known.release;
        let is_it = release.path(&self.facts.layout) == path;
        let deployed = is_it.then(|| Arc::clone(&release.entry));
        let digest = look.releases.get(&name).copied();
        self.changed(reach, path, digest, None, deployed).await
    }

    fn link(&mut self, look: &Look) {
        let (Some(target), None) = (&look.target, look.linked) else { return };
        let path = self.known.release.current(&self.facts.layout);
        let note = format!("the link leads to {target}, which is no release of Portway's");
        self.seen.push(note.clone());
        self.push(path, Drifted::Changed, None, Some(note), Differing::nothing());
    }

    /// Reads a file that was changed, and makes the difference.
    async fn changed(
        &mut self,
        reach: &Reach,
        path: Utf8PathBuf,
        digest: Option<Digest>,
        site: Option<Arc<Deployed>>,
        deployed: Option<Arc<Object>>,
    ) -> Result<(), BringError> {
        if !may_be_shown(&path, deployed.as_deref()) {
            let note = "it holds passwords, keys or certificates and is not shown".to_owned();
            let differing = Differing { site, deployed, text: None };
            self.push(path, Drifted::Changed, digest, Some(note), differing);
            return Ok(());
        }
        let text = match scan::file(reach, &path).await? {
            Ok(text) => text,
            Err(why) => {
                let differing = Differing { site, deployed, text: None };
                self.push(path, Drifted::Changed, digest, Some(why.to_string()), differing);
                return Ok(());
            }
        };
        let secrets = site.iter().flat_map(|site| site.secrets.iter().cloned());
        let all = self.known.sites.iter().flat_map(|site| site.secrets.iter().cloned());
        let veil = Veil::over(if deployed.is_some() && site.is_some() {
            secrets.collect()
        } else {
            all.collect()
        });
        let (diff, note) = match &deployed {
            None => (
                None,
                Some(
                    "what was deployed cannot be written any more, so no difference is shown"
                        .to_owned(),
                ),
            ),
            Some(_) if self.files.len() >= SHOWN => {
                (None, Some("so many files differ that this one is not shown".to_owned()))
            }
            Some(object) => {
                let before = veil.cover(&String::from_utf8_lossy(object.bytes()));
                let diff = unified(&before, &veil.cover(&text));
                let is_secret = diff.is_empty().then(|| "secrets in it differ".to_owned());
                (Some(diff).filter(|diff| !diff.is_empty()), is_secret)
            }
        };
        let differing = Differing { site, deployed, text: Some(text) };
        self.push(path, Drifted::Changed, digest, note, differing);
        if let Some((file, _)) = self.files.last_mut() {
            file.diff = diff;
        }
        Ok(())
    }

    fn push(
        &mut self,
        path: Utf8PathBuf,
        what: Drifted,
        digest: Option<Digest>,
        note: Option<String>,
        differing: Differing,
    ) {
        let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
        self.seen.push(format!("{path} {what:?} {digest}"));
        let site = differing.site.as_ref().map(|site| site.row.name.to_string());
        let file = DriftedFile { path: path.into_string(), what, site, diff: None, note };
        self.files.push((file, differing));
    }

    fn site_of(&self, name: &str) -> Option<Arc<Deployed>> {
        let has_it = |site: &&Arc<Deployed>| {
            site.rendered.objects.iter().any(|object| object.file_name() == name)
        };
        self.known.sites.iter().find(has_it).map(Arc::clone)
    }
}

impl Differing {
    const fn nothing() -> Self {
        Self { site: None, deployed: None, text: None }
    }
}

/// Tells whether a file is a text without secrets. Where it is not known what it was, its name says
/// what it is.
fn may_be_shown(path: &camino::Utf8Path, deployed: Option<&Object>) -> bool {
    let is_open = deployed.is_none_or(|object| match object.secrecy() {
        portway_engine::Secrecy::Open => true,
        portway_engine::Secrecy::Workers | portway_engine::Secrecy::Owner => false,
    });
    is_open && matches!(path.extension(), Some("conf" | "caddy" | "yml" | "html"))
}
