//! Taking over what somebody changed by hand in a site's files on a node: the site is changed so that
//! it says the same, which is proven by writing it anew before anything is changed. Each site gets an
//! ordinary revision, and the node is brought to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use indexmap::IndexMap;
use portway_deploy::ByOthers;
use portway_engine::{Engine, EngineFacts, Extension, Object};
use portway_import::adopt::{self, Found, Obstacle};
use portway_model::{
    EngineKind, Finding, Id, Node, NodeSelector, ResourceKind, Site, SiteSpec, rollout::Strategy,
};
use portway_store::{NodeRow, SiteRow};
use portway_wire::{
    drift::{AdoptNode, Adopted, AdoptedSite, Adoption, Drifted, DriftedFile, NotAdopted},
    rollout::RolloutStrategy,
    site::{ApplySites, EditSite},
};
use tracing::warn;

use super::{
    drift::{Deployed, Differing, Drift},
    engine_of,
    made::render,
};
use crate::{
    Control, ControlError,
    audit::Record,
    deploy::Owners,
    rights::Operator,
    sites::{Precondition, spec_of},
};

/// What nobody should expect of a site.
const BY_SITE: &str =
    "write it as a snippet of the site (`snippets`), or overwrite it with `portway node deploy`";
const OVERWRITE: &str = "`portway node deploy` overwrites it";

/// What would be taken over, and what not.
struct Judged {
    sites: Vec<Taken>,
    left: Vec<NotAdopted>,
}

/// A site that would say what was found.
struct Taken {
    row: SiteRow,
    spec: SiteSpec,
}

/// The files of one site that were changed.
struct OfSite<'a> {
    site: Arc<Deployed>,
    files: Vec<(&'a DriftedFile, Arc<Object>, &'a str)>,
}

impl Operator<'_> {
    /// Says what would be taken over of what somebody changed on a node.
    pub async fn plan_adoption(&self, node: &str) -> Result<Adoption, ControlError> {
        let control = self.control;
        let (row, declared) = control.drifting(node).await?;
        let turn = control.inner.fleet.workers.turn(row.id).await;
        let drift = control.drift(&row, &declared).await;
        drop(turn);
        let drift = drift?;
        let Judged { sites, left } = control.judge_drift(&declared, &drift).await?;
        let names = sites.iter().map(|taken| taken.row.name.to_string()).collect();
        let plan = if sites.is_empty() {
            None
        } else {
            let apply = wanted(&row, &sites)?;
            Some(control.sites(self.actor).await?.plan(&apply).await?)
        };
        Ok(Adoption { drift: drift.view, sites: names, plan, left })
    }

    /// Takes over what somebody changed on a node, and brings the node to it.
    pub async fn adopt_node(&self, node: &str, how: &AdoptNode) -> Result<Adopted, ControlError> {
        let control = self.control;
        let editor = control.editor(self.actor).await?;
        let (row, declared) = control.drifting(node).await?;
        let turn = control.inner.fleet.workers.turn(row.id).await;
        let drift = control.drift(&row, &declared).await?;
        let Judged { sites, left } = control.judge_drift(&declared, &drift).await?;
        refuse(&row, &declared, &drift, how, &sites, &left)?;
        let record = Record::of(self.actor, "node.adopt")
            .resource(ResourceKind::Node, row.name.as_str())
            .detail(format!("{} site(s), {} file(s) overwritten", sites.len(), left.len()));
        control.write_audit(record).await?;
        let rollout = control.first_on(&declared);
        let mut adopted = Vec::new();
        for taken in sites {
            let usual = format!("adopt what was changed by hand on node {}", row.name);
            let edit = EditSite {
                spec: to_json(&taken.spec)?,
                message: Some(how.message.clone().unwrap_or(usual)),
                rollout: rollout.clone(),
            };
            let expected = Precondition::Revision(taken.row.revision.0);
            let changed = editor.edit(&taken.row.id.to_string(), edit, expected).await?;
            let site = taken.row.name.to_string();
            adopted.push(AdoptedSite { site, revision: changed.revision });
        }
        if rollout.is_some()
            && let Err(error) = control.drive_rollouts().await
        {
            // The node gets what it had, and then this.
            warn!(node.name = %row.name, %error, "the rollout of what was adopted did not begin");
        }
        control.inner.fleet.look_at_node(row.id);
        let row = control.node_named(row.name.as_str()).await?;
        control.look_after(&row, ByOthers::Overwrite).await;
        drop(turn);
        let node = control.node_view(&control.node_named(row.name.as_str()).await?).await?;
        Ok(Adopted { sites: adopted, node })
    }
}

/// Refuses to touch what nobody has seen, or has not said to be overwritten.
fn refuse(
    row: &NodeRow,
    node: &Node,
    drift: &Drift,
    how: &AdoptNode,
    sites: &[Taken],
    left: &[NotAdopted],
) -> Result<(), ControlError> {
    let conflict = |text: String| Err(ControlError::Conflict(text));
    if !node.active {
        return conflict(format!(
            "node {} is not active; `portway node activate` comes first",
            row.name
        ));
    }
    if drift.view.seen != how.seen {
        return conflict(format!(
            "node {} has something else than was shown; `portway node drift {}` shows it",
            row.name, row.name
        ));
    }
    if sites.is_empty() {
        return conflict(format!("there is nothing on node {} that can be taken over", row.name));
    }
    if !left.is_empty() && !how.overwrite_rest {
        let paths: BTreeSet<&str> = left.iter().map(|left| left.path.as_str()).collect();
        return conflict(format!(
            "not all of it can be taken over ({}), and nothing is overwritten unasked; `overwrite_rest` does",
            paths.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(())
}

impl Control {
    /// Returns how what a node proves comes to the other nodes of its sites, where changes come in waves:
    /// this one is the first. One that is pinned gets none of it.
    fn first_on(&self, node: &Node) -> Option<RolloutStrategy> {
        let usual = self.inner.config.rollouts.clone().filter(|_| node.pinned.is_none())?;
        let canary = vec![NodeSelector::Name(node.name.clone())];
        Some(Strategy { canary, ..usual }.into())
    }

    /// Finds out what of a drift sites can say.
    async fn judge_drift(&self, node: &Node, drift: &Drift) -> Result<Judged, ControlError> {
        let mut judged = Judged { sites: Vec::new(), left: Vec::new() };
        let mut sites: BTreeMap<Id<Site>, OfSite<'_>> = BTreeMap::new();
        let files = drift.view.files.iter().zip(&drift.files);
        for (file, differing) in files.filter(|(file, _)| file.what != Drifted::Unknown) {
            match adoptable(node.engine, file, differing) {
                Ok((site, deployed, text)) => {
                    let of_site = sites
                        .entry(site.row.id)
                        .or_insert_with(|| OfSite { site: Arc::clone(site), files: Vec::new() });
                    of_site.files.push((file, deployed, text));
                }
                Err((why, remedy)) => judged.left.push(left(&file.path, why, remedy)),
            }
        }
        let (Some(engine), Some(facts)) = (engine_of(node.engine), &drift.facts) else {
            return Ok(judged);
        };
        for of_site in sites.into_values() {
            match self.say(&of_site, engine, facts).await? {
                Ok(taken) => judged.sites.push(taken),
                Err(left) => judged.left.extend(left),
            }
        }
        Ok(judged)
    }

    /// Finds the site that says what was found, and proves that it does.
    async fn say(
        &self,
        of_site: &OfSite<'_>,
        engine: &dyn Engine,
        facts: &EngineFacts,
    ) -> Result<Result<Taken, Vec<NotAdopted>>, ControlError> {
        let Deployed { row, now, rendered, .. } = &*of_site.site;
        let refused = |why: String, remedy: &str| {
            let files = of_site.files.iter();
            Err(files.map(|(file, ..)| left(&file.path, why.clone(), remedy)).collect())
        };
        if *now != row.revision {
            let why =
                format!("the site is at revision {now} by now, and the node has {}", row.revision);
            return Ok(refused(
                why,
                "write it into the site, then overwrite it with `portway node deploy`",
            ));
        }
        let files: Vec<Found<'_>> =
            of_site.files.iter().map(|(_, deployed, text)| Found { deployed, text }).collect();
        let adoption = match adopt::nginx(&spec_of(row)?, &files) {
            Ok(adoption) => adoption,
            Err(obstacles) => return Ok(Err(in_their_files(of_site, &obstacles))),
        };
        if adoption.differences == 0 {
            let why = "comments and blanks alone were changed, which no site keeps".to_owned();
            return Ok(refused(why, OVERWRITE));
        }
        let changed = SiteRow { spec: to_json(&adoption.spec)?, ..row.clone() };
        let nothing = BTreeMap::new();
        let proposed = self.compile_proposed(&changed, &mut Owners::new(), &nothing).await?;
        let written = match proposed {
            Ok(proposed) => {
                let compiled = &proposed.compiled;
                render(&compiled.policy, compiled.certificate.as_ref(), engine, facts)?
            }
            Err(findings) => Err(findings),
        };
        let written = match written {
            Ok(written) => written,
            Err(findings) => return Ok(refused(told(&findings), BY_SITE)),
        };
        let (before, after) = (texts(&rendered.objects), texts(&written.objects));
        if before.len() != after.len() {
            let why = "the changed site is written in other files".to_owned();
            return Ok(refused(why, BY_SITE));
        }
        let mut lost = Vec::new();
        for ((file, deployed, _), found) in of_site.files.iter().zip(&files) {
            let at = before.iter().position(|object| object.digest() == deployed.digest());
            let Some(written) = at.and_then(|at| after.get(at)) else {
                let why = "the changed site is written in other files".to_owned();
                return Ok(refused(why, BY_SITE));
            };
            if let Err(obstacles) = adopt::proven(found, written) {
                lost.extend(obstacles.iter().map(|obstacle| in_file(&file.path, obstacle)));
            }
        }
        if !lost.is_empty() {
            return Ok(Err(lost));
        }
        Ok(Ok(Taken { row: row.clone(), spec: adoption.spec }))
    }
}

type Why = (String, &'static str);

/// Returns what it takes to take a file over, or why that cannot be.
fn adoptable<'a>(
    engine: EngineKind,
    file: &DriftedFile,
    differing: &'a Differing,
) -> Result<(&'a Arc<Deployed>, Arc<Object>, &'a str), Why> {
    let why = |why: &str, remedy| Err((why.to_owned(), remedy));
    match engine {
        EngineKind::Nginx => {}
        EngineKind::Caddy | EngineKind::Traefik => {
            return why(
                "what is changed by hand is read back of nginx alone",
                "change the site itself, then overwrite it with `portway node deploy`",
            );
        }
        EngineKind::Edge => {
            return why("an edge is put right by itself", "change the site itself");
        }
    }
    match file.what {
        Drifted::Changed => {}
        Drifted::Gone => return why("it is gone", "`portway node deploy` brings it back"),
        // It is passed over before.
        Drifted::Unknown => return why("it is not Portway's", "Portway leaves it alone"),
    }
    let Some(site) = &differing.site else {
        return why("it belongs to the node and to no site", OVERWRITE);
    };
    match (&differing.deployed, &differing.text) {
        (Some(deployed), Some(text)) => Ok((site, Arc::clone(deployed), text)),
        (Some(_), None) => why(
            "it holds secrets, which are not read back",
            "write passwords and keys into the site, then overwrite it with `portway node deploy`",
        ),
        (None, _) => why("what was deployed cannot be written any more", OVERWRITE),
    }
}

/// Returns the objects of a site that hold configuration, in their order.
fn texts(objects: &[Arc<Object>]) -> Vec<&Arc<Object>> {
    objects.iter().filter(|object| object.extension() == Extension::Conf).collect()
}

fn in_their_files(of_site: &OfSite<'_>, obstacles: &[Obstacle]) -> Vec<NotAdopted> {
    let path = |file: usize| of_site.files.get(file).map(|(file, ..)| file.path.as_str());
    let named = |obstacle: &Obstacle| in_file(path(obstacle.file).unwrap_or_default(), obstacle);
    obstacles.iter().map(named).collect()
}

fn in_file(path: &str, obstacle: &Obstacle) -> NotAdopted {
    NotAdopted {
        path: path.to_owned(),
        line: Some(obstacle.line),
        text: Some(super::veil::Veil::over(Vec::new()).cover(&obstacle.text)),
        why: obstacle.why.clone(),
        remedy: BY_SITE.to_owned(),
    }
}

fn left(path: &str, why: String, remedy: &str) -> NotAdopted {
    NotAdopted { path: path.to_owned(), line: None, text: None, why, remedy: remedy.to_owned() }
}

fn told(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.text.as_str()).collect::<Vec<_>>().join("; ")
}

fn wanted(row: &NodeRow, sites: &[Taken]) -> Result<ApplySites, ControlError> {
    let mut specs = IndexMap::new();
    for taken in sites {
        specs.insert(taken.row.name.clone(), to_json(&taken.spec)?);
    }
    Ok(ApplySites {
        source: format!("node {}", row.name),
        sites: specs,
        prune: false,
        owner: None,
        message: None,
        rollout: None,
        basis: None,
    })
}

fn to_json(spec: &SiteSpec) -> Result<serde_json::Value, ControlError> {
    serde_json::to_value(spec).map_err(|error| ControlError::internal("writing a site", error))
}
