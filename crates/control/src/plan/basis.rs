//! What a plan was made of, and what of that has moved on when it is to be applied.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{Finding, FindingCode, Findings, ResourceKind};
use portway_secrets::SecretKind;
use portway_wire::{
    plan::{NodeBasis, PlanBasis},
    site::ApplySites,
};

use super::{
    effects::{Looking, concerned, ids},
    touched::TouchedSite,
    world::{Known, World},
};
use crate::{Control, ControlError, actor::Actor};

impl Control {
    /// Returns a digest over what is to be applied. It is made with a key, because what is to be
    /// applied may hold passwords that could be guessed.
    pub(crate) fn proposed(&self, apply: &ApplySites) -> Result<String, ControlError> {
        let what = (&apply.source, &apply.sites, apply.prune, &apply.owner);
        let text = serde_json::to_vec(&what)
            .map_err(|error| ControlError::internal("comparing a plan", error))?;
        let reference = self.inner.fingerprints.reference(SecretKind::Password, "plan", &text);
        let digits = reference.as_str().rsplit('-').next().unwrap_or_default();
        Ok(digits.to_owned())
    }

    /// Has the nodes of a plan read, so that it can be compared with what is there now. Whoever may
    /// not see nodes learns nothing of them by naming some.
    pub(crate) async fn read_nodes_of(
        &self,
        actor: &Actor,
        basis: &PlanBasis,
    ) -> Result<(), ControlError> {
        if basis.nodes.is_empty() {
            return Ok(());
        }
        if !actor.sees_nodes() {
            let why = "the plan speaks of nodes, which only an administrator or a viewer sees";
            return self.refuse(actor, "site.apply", why).await;
        }
        let world = self.world(&[]).await?;
        let is_of_plan = |node: &&Known| basis.nodes.contains_key(node.row.name.as_str());
        self.read_anew(&world.nodes.iter().filter(is_of_plan).collect::<Vec<_>>()).await;
        Ok(())
    }

    /// Returns what has moved on since a plan was made. `proposed` and `touched` are what would be
    /// applied now.
    pub(crate) async fn moved_on(
        &self,
        actor: &Actor,
        basis: &PlanBasis,
        proposed: &str,
        touched: &[TouchedSite],
    ) -> Result<Vec<Finding>, ControlError> {
        if basis.proposed != proposed {
            let mut findings = Findings::about(ResourceKind::Site, "");
            let text = "what is to be applied is not what was planned";
            moved(&mut findings, text.to_owned());
            return Ok(findings.into_vec());
        }
        let mut findings = moved_sites(basis, touched);
        if actor.sees_nodes() {
            let world = self.world(&ids(touched)).await?;
            findings.extend(moved_nodes(basis, &world, touched));
        }
        Ok(findings)
    }
}

/// Returns what a plan is made of.
pub(super) fn basis(proposed: String, touched: &[TouchedSite], nodes: &[&Known]) -> PlanBasis {
    let sites = touched.iter().map(|site| (site.name.to_string(), site.revision()));
    let nodes = nodes.iter().filter_map(|node| Some((node.row.name.to_string(), node.basis()?)));
    PlanBasis { proposed, sites: sites.collect(), nodes: nodes.collect() }
}

fn moved(findings: &mut Findings, text: String) {
    let root = portway_model::FieldPath::root();
    findings.error(FindingCode::MovedOn, &root, text).remedy("make the plan again");
}

fn moved_sites(basis: &PlanBasis, touched: &[TouchedSite]) -> Vec<Finding> {
    let now: BTreeMap<String, Option<i64>> =
        touched.iter().map(|site| (site.name.to_string(), site.revision())).collect();
    let names: BTreeSet<&String> = basis.sites.keys().chain(now.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        let text = match (basis.sites.get(name), now.get(name)) {
            (Some(planned), Some(found)) if planned == found => continue,
            (Some(Some(planned)), Some(Some(found))) => {
                format!("`{name}` is at revision {found}; the plan was made for revision {planned}")
            }
            (Some(Some(_)), Some(None)) => format!("`{name}` is gone"),
            (Some(None), Some(_)) => format!("`{name}` exists by now; the plan was to make it"),
            (Some(_), None) => format!("`{name}` is by now as the plan was to make it"),
            (None, _) => format!("`{name}` was changed; the plan was to leave it as it was"),
        };
        let mut findings = Findings::about(ResourceKind::Site, name.as_str());
        moved(&mut findings, text);
        all.extend(findings.into_vec());
    }
    all
}

fn moved_nodes(basis: &PlanBasis, world: &World, touched: &[TouchedSite]) -> Vec<Finding> {
    let now: BTreeMap<String, (NodeBasis, Option<String>)> =
        concerned(world, touched, Looking::Ahead)
            .into_iter()
            .filter_map(|node| Some((node.row.name.to_string(), (node.basis()?, node.problem()))))
            .collect();
    let names: BTreeSet<&String> = basis.nodes.keys().chain(now.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        let mut findings = Findings::about(ResourceKind::Node, name.as_str());
        match (basis.nodes.get(name), now.get(name)) {
            (Some(planned), Some((found, problem))) => {
                compare(name, planned, found, problem.as_deref(), &mut findings);
            }
            (Some(_), None) => {
                moved(&mut findings, format!("nothing would come to node `{name}` any more"));
            }
            (None, _) => moved(&mut findings, format!("node `{name}` is not in the plan")),
        }
        all.extend(findings.into_vec());
    }
    all
}

/// A node that was away may be back: then what is read there decides.
fn compare(
    name: &str,
    planned: &NodeBasis,
    found: &NodeBasis,
    problem: Option<&str>,
    findings: &mut Findings,
) {
    if planned.revision != found.revision {
        moved(findings, format!("node `{name}` was declared anew"));
    }
    if planned.release != found.release {
        moved(findings, format!("node `{name}` was given another release since"));
    }
    if let (true, Some(problem)) = (planned.readable, problem) {
        moved(findings, format!("node `{name}` cannot be read: {problem}"));
        return;
    }
    if planned.serves != found.serves {
        let serves = found.serves.as_deref().unwrap_or("nothing that it tells of");
        moved(findings, format!("the engine of node `{name}` serves {serves}"));
    }
    if planned.foreign != found.foreign {
        let new: Vec<&str> = found
            .foreign
            .iter()
            .filter(|what| !planned.foreign.contains(what))
            .map(String::as_str)
            .collect();
        let text = if new.is_empty() {
            "what was not Portway's is gone or put right".to_owned()
        } else {
            new.join("; ")
        };
        moved(findings, format!("somebody changed node `{name}`: {text}"));
    }
}
