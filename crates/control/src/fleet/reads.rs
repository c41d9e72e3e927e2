//! What was seen of nodes, kept in the store with its time: a plan uses it instead of speaking with
//! nodes, also after the manager was started anew, and whichever manager looked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use camino::Utf8PathBuf;
use portway_deploy::{Deployment, Look, Survey, layout, look, survey};
use portway_engine::{Engine, EngineFacts, Ports, Release};
use portway_model::Node;
use portway_policy::{Digest, NodeSettings};
use portway_store::{ContentRead, MachineRead, NodeRow};
use portway_transport::Transport as _;
use serde::{Deserialize, Serialize};

use super::{
    bring::BringError,
    connect::{Reach, ReachError},
    engine_of,
    hosts::Hosts,
};
use crate::{Control, ControlError, deploy::lock};

/// So long is waited for a node that is only read.
const PATIENCE: Duration = Duration::from_secs(30);
/// So long is waited for a deployment to end before its node is read in the midst of it.
const FOR_ITS_END: Duration = Duration::from_secs(10);
/// So many files that are not Portway's are named.
const NAMED: usize = 100;

/// What of a machine decides what is rendered for it, beside what is declared.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    version: String,
    modules: BTreeSet<String>,
    authorities: Option<Utf8PathBuf>,
    program: Option<Utf8PathBuf>,
    /// The hosts of what stands beside Portway's, where that was read.
    #[serde(default, skip_serializing_if = "Hosts::is_empty")]
    pub(super) hosts: Hosts,
}

impl Control {
    /// Reads a node and keeps what was seen, or why nothing was. Nothing is changed there. What only
    /// another manager can reach is left to that one.
    pub(crate) async fn look_anew(&self, row: &NodeRow, node: &Node) -> Result<(), ControlError> {
        // In the midst of a deployment of ours a node has neither what was nor what is to be.
        let turn = tokio::time::timeout(FOR_ITS_END, self.inner.fleet.workers.turn(row.id)).await;
        let read = tokio::time::timeout(PATIENCE, self.try_read(row, node)).await;
        drop(turn);
        let error = match read {
            Ok(Ok(()) | Err(BringError::Reach(ReachError::Elsewhere(_)))) => return Ok(()),
            Ok(Err(BringError::Control(error))) => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => BringError::Unfit("it does not answer in time".to_owned()),
        };
        self.note_trouble(row, &error).await
    }

    async fn try_read(&self, row: &NodeRow, node: &Node) -> Result<(), BringError> {
        let Some(engine) = engine_of(node.engine) else { return Ok(()) };
        let reach = self.reach(row, node).await?;
        let survey = survey(&*reach, node, || self.now()).await?;
        self.keep_survey(row, &survey).await?;
        let Some(facts) = survey.facts(node) else {
            let why = survey.engine.as_ref().err().cloned().unwrap_or_default();
            return Err(BringError::Unfit(why));
        };
        lock(&self.inner.fleet.surveys).insert(row.id, Arc::new(survey));
        let release = empty_release(engine, &facts)?;
        // Nobody's turn: nothing is changed.
        let owner = self.owner(row.id, 0).await?;
        let it = Deployment::to_look(&*reach, engine, &facts, &release, &owner);
        let look = look(&it).await?;
        let gone = gone(&reach, &facts, &look).await?;
        self.keep_look(row, &look, &gone).await?;
        self.look_at_hosts(row, node, &reach).await?;
        Ok(())
    }

    /// Keeps what was seen of a node's machine. Where its engine was not seen, what was seen of it
    /// before stands.
    pub(super) async fn keep_survey(
        &self,
        row: &NodeRow,
        survey: &Survey,
    ) -> Result<(), ControlError> {
        let Ok(engine) = &survey.engine else { return Ok(()) };
        let machine = Machine {
            version: engine.version.to_string(),
            modules: engine.modules.clone(),
            authorities: survey.authorities.as_ref().ok().cloned(),
            program: survey.program.as_ref().ok().cloned(),
            hosts: self.hosts_of(row).await?,
        };
        let machine = serde_json::to_value(machine)
            .map_err(|error| ControlError::internal("noting what a node is like", error))?;
        let beside = survey.beside.iter().flatten().map(ToString::to_string);
        let read = MachineRead { at: survey.at, machine, beside: shortened(beside) };
        self.inner.store.nodes().put_machine(row.id, &read).await?;
        Ok(())
    }

    /// Keeps what was seen of Portway's on a node; `gone` are objects that should be there.
    pub(super) async fn keep_look(
        &self,
        row: &NodeRow,
        look: &Look,
        gone: &BTreeSet<String>,
    ) -> Result<(), ControlError> {
        let read = ContentRead {
            at: self.now(),
            linked: look.linked.map(|digest| digest.to_string()),
            serves: look.running.map(|digest| digest.to_string()),
            changed: shortened(changed_in(look, gone)),
        };
        self.inner.store.nodes().put_content(row.id, &read).await?;
        Ok(())
    }

    /// Keeps that a node has a release, proven this moment.
    pub(super) async fn keep_proven(
        &self,
        row: &NodeRow,
        release: Digest,
    ) -> Result<(), ControlError> {
        let release = Some(release.to_string());
        let read = ContentRead {
            at: self.now(),
            linked: release.clone(),
            serves: release,
            changed: Vec::new(),
        };
        self.inner.store.nodes().put_content(row.id, &read).await?;
        Ok(())
    }
}

/// Returns a release by which it is known where to look on a node: what it holds does not matter.
pub(super) fn empty_release(
    engine: &dyn Engine,
    facts: &EngineFacts,
) -> Result<Release, ControlError> {
    engine
        .render_node(&[], &NodeSettings::default(), &BTreeMap::new(), facts)
        .map_err(|error| ControlError::internal("writing an empty release", error))
}

/// Returns what is rendered for on a node, as its machine was last seen. Nothing where what was kept
/// means nothing to this version of Portway: the next look will.
pub(crate) fn facts_kept(node: &Node, read: &MachineRead) -> Option<EngineFacts> {
    let machine: Machine = serde_json::from_value(read.machine.clone()).ok()?;
    Some(EngineFacts {
        version: machine.version.parse().ok()?,
        modules: machine.modules,
        layout: layout(node, machine.authorities.as_ref(), machine.program.as_ref()),
        ports: Ports {
            addresses: Vec::new(),
            http: node.ports.http,
            https: node.ports.https,
            probe: node.ports.probe,
        },
    })
}

/// Returns the objects that the release which counts names and that are not there: a list beside it
/// tells.
pub(super) async fn gone(
    reach: &Reach,
    facts: &EngineFacts,
    look: &Look,
) -> Result<BTreeSet<String>, BringError> {
    let Some(linked) = look.linked else { return Ok(BTreeSet::new()) };
    let list = facts.layout.releases().join(format!("{linked}.objects"));
    let bytes = reach.get(&list).await?.unwrap_or_default();
    let names = String::from_utf8_lossy(&bytes);
    let names = names.lines().map(str::trim).filter(|name| !name.is_empty());
    let gone = names.filter(|name| !look.objects.contains_key(*name)).map(str::to_owned);
    Ok(gone.collect())
}

/// Returns what of Portway's somebody else changed, and what lies among it that is not Portway's.
fn changed_in(look: &Look, gone: &BTreeSet<String>) -> Vec<String> {
    let mut changed: Vec<_> =
        look.changed_objects().map(|name| format!("objects/{name} was changed")).collect();
    let unknown = look.unknown_objects().map(|name| format!("objects/{name} is not Portway's"));
    changed.extend(unknown);
    changed.extend(look.changed_entry().map(|name| format!("releases/{name} was changed")));
    changed.extend(gone.iter().map(|name| format!("objects/{name} is gone")));
    if let (Some(target), None) = (&look.target, look.linked) {
        changed.push(format!("the link to the release leads to {target}"));
    }
    changed
}

fn shortened(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut words: Vec<_> = words.into_iter().collect();
    if let Some(more) = words.len().checked_sub(NAMED).filter(|more| *more > 0) {
        words.truncate(NAMED);
        words.push(format!("and {more} more"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_did_among_portways_files_is_told_and_what_is_as_it_was_is_not() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let objects = [
            (format!("{one}.conf"), one),
            (format!("{other}.conf"), one),
            ("notes.txt".to_owned(), one),
        ];
        let look =
            Look { objects: objects.into(), target: Some("/etc/passwd".into()), ..Look::default() };

        let changed = changed_in(&look, &BTreeSet::from(["a.conf".to_owned()]));

        let mut told = vec![
            format!("objects/{other}.conf was changed"),
            "objects/notes.txt is not Portway's".to_owned(),
        ];
        told.sort();
        told.push("objects/a.conf is gone".to_owned());
        told.push("the link to the release leads to /etc/passwd".to_owned());
        assert_eq!(changed, told);
    }

    #[test]
    fn of_many_files_the_first_are_named() {
        let words = shortened((0..130).map(|n| format!("file {n}")));
        assert_eq!((words.len(), words[100].as_str()), (101, "and 30 more"));
    }
}
