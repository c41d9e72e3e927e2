//! Five nodes of which four fail at once, each at another step of its deployment, in every way that a
//! machine, its engine, the link to it or the manager can. A step is an operation just before it is done,
//! or a command just after it has ended, counted on the node itself; so every step of a deployment is
//! met by every fault.
//!
//! However a cell ends, each node answers with all of the old version or all of the new one, what is
//! recorded is what it serves, and no file is half written. The fifth node is not disturbed by the others.
//! The next change comes to all of them.

use std::{collections::BTreeSet, time::Duration};

use camino::Utf8PathBuf;
use futures_util::future::join_all;
use portway_model::Stage;
use portway_policy::Digest;
use portway_testkit::{
    disk::SmallDisk,
    manager::Manager,
    nginx::Nginx,
    sshd::{Sshd, SshdOptions},
};
use portway_wire::{PageQuery, client::Client, deploy::DeploymentView};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    machine::{Engine, Machine, get},
    rollouts::{Bed, stand},
};
use crate::support::{PROGRAM, may_skip};

const NODES: usize = 5;
/// So many of them are struck at once, each at another step.
const STRUCK: usize = 4;
/// What a manager may take to finish or undo what another one left in the middle.
const RECOVERY: Duration = Duration::from_secs(10);
/// How long nodes hang at most: it is nine seconds until that can be known.
const HANGING: Duration = Duration::from_secs(15);
/// How long anything else is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// What a deployment has at least: eight commands, most of several operations.
const LEAST_STEPS: usize = 24;
/// The room on disks that can be filled.
const ROOM: &str = "128m";

/// What is wrong with a node from a step on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nobody listens any more, and what was begun is not gone on with.
    Unreachable,
    /// All that speaks SSH is stopped, and goes on later from where it was.
    Hung,
    /// Nobody is let in, and who was in is thrown out.
    LoginRefused,
    /// Nothing can be written.
    DiskFull,
    /// The engine takes no configuration.
    EngineTestFails,
    /// The engine cannot be told to read anew.
    ReloadFails,
    /// All sessions end at once. New ones may begin.
    LinkCut,
    /// The manager is killed, on all nodes in the middle of a step.
    ManagerKilled,
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_hang_at_any_step() {
    // Until a node is known to hang, nine seconds go by: it is waited for in several beds at once.
    let cells = join_all((0..3).map(|part| at_every_step(Fault::Hung, part, 3))).await;
    assert_cells(Fault::Hung, cells.iter().sum());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_cannot_be_reached_or_entered_at_any_step() {
    at_every_step_of([Fault::Unreachable, Fault::LoginRefused, Fault::LinkCut]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_refuse_or_are_deaf_and_disks_that_are_full_at_any_step() {
    if SmallDisk::is_possible() {
        at_every_step_of([Fault::EngineTestFails, Fault::ReloadFails, Fault::DiskFull]).await;
    } else {
        may_skip("disks_that_are_full_at_any_step", "right to mount");
        at_every_step_of([Fault::EngineTestFails, Fault::ReloadFails]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_killed_at_any_step() {
    at_every_step_of([Fault::ManagerKilled]).await;
}

/// Each fault has a bed of its own, and all of them run at once: most of the time is waiting.
async fn at_every_step_of<const N: usize>(faults: [Fault; N]) {
    let cells = faults.map(async |fault| (fault, at_every_step(fault, 0, 1).await));
    for (fault, cells) in join_all(cells).await {
        assert_cells(fault, cells);
    }
}

/// Each step is a cell, under one policy or the other.
fn assert_cells(fault: Fault, cells: usize) {
    eprintln!("{fault:?}: {cells} cells");
    assert!(cells >= LEAST_STEPS, "{fault:?}: only {cells} cells");
}

/// Goes through one of several parts of all steps. Returns how many cells that were.
async fn at_every_step(fault: Fault, part: usize, parts: usize) -> usize {
    let mut yard = Yard::new(fault).await;
    let steps: Vec<usize> = (1..=yard.measure().await).collect();
    let mut cells = 0;
    for (round, steps) in steps.chunks(STRUCK).enumerate().filter(|(at, _)| at % parts == part) {
        let policy =
            if round.is_multiple_of(2) { Policy::BestEffort } else { Policy::AllOrNothing };
        let cell = format!("{fault:?} at {steps:?}, {policy:?}");
        cells += yard.strike(fault, policy, (round, steps), &cell).await;
    }
    yard.assert_recovered();
    cells
}

/// What becomes of the others where a node fails.
#[derive(Clone, Copy, Debug)]
enum Policy {
    AllOrNothing,
    BestEffort,
}

/// Five nodes with gates, and their manager.
struct Yard {
    bed: Bed,
    client: Client,
    /// The version that every node has.
    version: u32,
    /// What managers took to finish what a killed one had begun.
    recoveries: Vec<Duration>,
}

impl Yard {
    async fn new(fault: Fault) -> Self {
        // What is read of the machines meanwhile is another matter.
        let mut manager = Manager::new(PROGRAM).unwrap().with("--observe-every=3600");
        manager.serve().await.unwrap();
        let client = manager.client().unwrap();
        let gated = || Machine {
            engine: Engine::Nginx(Nginx::start().unwrap()),
            sshd: SshdOptions::default().with_gate().start().unwrap(),
        };
        let machines = (0..NODES).map(|_| gated()).collect();
        let small: &[usize] = if fault == Fault::DiskFull { &[1, 2, 3, 4] } else { &[] };
        let bed = Bed::with_machines(manager, machines, small).await;
        Self { bed, client, version: 0, recoveries: Vec::new() }
    }

    /// Counts the steps of a deployment, which are the same on every node.
    async fn measure(&mut self) -> usize {
        // What an earlier version left there is removed by the third.
        for _ in 0..3 {
            self.bring_next("measuring").await;
        }
        for machine in &self.bed.machines {
            machine.sshd.strike_at(0, "").unwrap();
        }
        self.bring_next("measuring").await;
        let counted: Vec<Vec<String>> = self.gates().map(|sshd| sshd.gate().steps()).collect();
        let numbers: BTreeSet<usize> = counted.iter().map(Vec::len).collect();
        assert_eq!(numbers.len(), 1, "{counted:#?}");
        let steps = counted[0].len();
        assert!(steps >= LEAST_STEPS, "{:#?}", counted[0]);
        steps
    }

    fn gates(&self) -> impl Iterator<Item = &Sshd> {
        self.bed.machines.iter().map(|machine| &machine.sshd)
    }

    /// Brings a version to all nodes while nothing is wrong, and looks whether all is as it should be.
    async fn bring_next(&mut self, cell: &str) {
        self.version += 1;
        let body = body(self.version);
        let ran = self.bed.apply(&body, &[], &["--at-once", "--no-wait"]).await;
        assert_eq!(ran.code, 0, "{cell}: {}{}", ran.out, ran.err);
        soon(&format!("{body} of all: {cell}"), PATIENCE, async || {
            let serve = self.bed.serve().await;
            if serve.iter().all(|served| *served == body) { Ok(()) } else { Err(serve) }
        })
        .await;
        soon(&format!("all is recorded: {cell}"), PATIENCE, async || self.is_settled().await).await;
    }

    /// Strikes nodes at steps while a version comes to all of them.
    async fn strike(
        &mut self,
        fault: Fault,
        policy: Policy,
        (round, steps): (usize, &[usize]),
        cell: &str,
    ) -> usize {
        self.version += 1;
        let (old, new) = (body(self.version - 1), body(self.version));
        for (machine, step) in self.bed.machines.iter().zip(steps) {
            machine.sshd.strike_at(*step, &fault.strike(machine)).unwrap();
        }
        let policy_flag = match policy {
            Policy::AllOrNothing => "--all-or-nothing",
            Policy::BestEffort => "--best-effort",
        };
        let patience = if fault == Fault::ManagerKilled { "60s" } else { "4s" };
        let flags = ["--waves", "100%", "--patience", patience, policy_flag, "--no-wait"];
        let ran = self.bed.apply(&new, &[], &flags).await;
        assert_eq!(ran.code, 0, "{cell}: {}{}", ran.out, ran.err);
        if fault == Fault::ManagerKilled {
            self.survive(round, steps.len(), &new, cell).await;
        }
        let ended = self.end(cell).await;
        if fault == Fault::Hung {
            self.is_noticed(steps.len(), ended["revision"].as_i64().unwrap()).await;
        }
        let [old, new] = [old, new].map(|body| format!("200 {body}"));
        self.judge(&ended, policy, [&old, &new], cell).await;

        let struck = (0..steps.len()).filter(|at| self.lift(fault, *at)).count();
        self.bring_next(cell).await;
        struck
    }

    /// Kills the manager when every node that is to be struck is in the middle of its step. The next one
    /// finishes what this one began.
    async fn survive(&mut self, round: usize, struck: usize, new: &str, cell: &str) {
        soon(&format!("all are struck: {cell}"), PATIENCE, async || {
            let missed = self.missed(struck);
            if missed.is_empty() { Ok(()) } else { Err(missed) }
        })
        .await;
        self.bed.manager.kill().await.unwrap();
        // What was begun goes on by itself on the nodes: before the next manager comes, or beside it.
        let goes_on_before = (round / 2).is_multiple_of(2);
        if goes_on_before {
            self.gates().for_each(|sshd| sshd.gate().lift().unwrap());
        }
        self.bed.manager.serve().await.unwrap();
        let began = Instant::now();
        if !goes_on_before {
            self.gates().for_each(|sshd| sshd.gate().lift().unwrap());
        }
        soon(&format!("{new} of all: {cell}"), PATIENCE, async || {
            let serve = self.bed.serve().await;
            if serve.iter().all(|served| served == new) { Ok(()) } else { Err(serve) }
        })
        .await;
        soon(&format!("it is recorded: {cell}"), PATIENCE, async || self.is_settled().await).await;
        self.recoveries.push(began.elapsed());
    }

    /// Makes sure that managers finish in time what another one left in the middle: of all times the one
    /// in the middle, for a busy machine makes a single one long.
    fn assert_recovered(&mut self) {
        self.recoveries.sort_unstable();
        if let Some(usual) = self.recoveries.get(self.recoveries.len() / 2) {
            assert!(*usual <= RECOVERY, "{:?}", self.recoveries);
        }
    }

    /// Returns the steps of those that were to be struck and were not.
    fn missed(&self, struck: usize) -> Vec<Vec<String>> {
        let gates = self.gates().take(struck).map(Sshd::gate);
        gates.filter(|gate| !gate.has_struck()).map(|gate| gate.steps()).collect()
    }

    /// Waits until the manager has given up waiting for the nodes that hang, or has lost them for sure: one
    /// that hangs after the switch is asked for a minute.
    async fn is_noticed(&self, struck: usize, revision: i64) {
        let end = Instant::now() + HANGING;
        while Instant::now() < end && !self.are_noticed(struck, revision).await {
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn are_noticed(&self, struck: usize, revision: i64) -> bool {
        let hangs = |at: &usize| self.bed.machines[*at].sshd.gate().has_struck();
        for at in (0..struck).filter(hangs) {
            let node = self.client.node(&name(at)).await.unwrap();
            let deployments = self.deployments(at).await;
            let has_ended = |deployment: &DeploymentView| {
                deployment.to_revision >= revision && deployment.finished_at.is_some()
            };
            if node.facts.error.is_none() && !deployments.iter().any(has_ended) {
                return false;
            }
        }
        true
    }

    /// Returns the last deployments to a node, the newest first.
    async fn deployments(&self, at: usize) -> Vec<DeploymentView> {
        let all = PageQuery { limit: Some(100), ..PageQuery::default() };
        let all = self.client.deployments(&all).await.unwrap().items;
        all.into_iter().filter(|deployment| deployment.node == name(at)).collect()
    }

    /// Waits for the end of the rollout, and returns it.
    async fn end(&self, cell: &str) -> Value {
        soon(&format!("the end of {cell}"), PATIENCE, async || {
            let newest = PageQuery { limit: Some(1), ..PageQuery::default() };
            let newest = self.client.rollouts(&newest).await.unwrap().items.remove(0);
            let is_over = newest.finished_at.is_some();
            let told = json!(newest);
            if is_over { Ok(told) } else { Err(told) }
        })
        .await
    }

    /// Looks whether every node has what the end of the rollout and its own last deployment tell of it.
    async fn judge(&self, ended: &Value, policy: Policy, [old, new]: [&str; 2], cell: &str) {
        let state = ended["state"].as_str().unwrap();
        let may_be = match policy {
            Policy::BestEffort => ["done", "partial"],
            Policy::AllOrNothing => ["done", "undone"],
        };
        assert!(may_be.contains(&state), "{cell} ended {state}: {ended}");
        let standings = stand(ended);
        for (at, standing) in standings.iter().enumerate() {
            let wanted: &[&str] = match standing.as_str() {
                "has" => &[new],
                "back" => &[old],
                // It could not be brought there, or back: what it has is whole.
                "failed" | "behind" => &[old, new],
                _ => panic!("{cell}: {} is {standing}: {ended}", name(at)),
            };
            let what = format!("{} is {standing} and serves {wanted:?}: {cell}", name(at));
            soon(&what, PATIENCE, async || {
                let served = self.served(at).await;
                assert!(served == *old || served == *new, "{what}: `{served}`");
                if wanted.contains(&served.as_str()) { Ok(()) } else { Err(served) }
            })
            .await;
            if state != "undone" {
                self.is_as_recorded(at, ended["revision"].as_i64().unwrap(), new, cell).await;
            }
            is_whole(&self.bed.machines[at], cell);
        }
        // The one that was not struck was not disturbed; on a busy machine it may have been late.
        let wanted = if state == "undone" { old } else { new };
        let what = format!("{wanted} of the fifth: {cell}");
        soon(&what, PATIENCE, async || {
            let served = self.served(NODES - 1).await;
            if served == *wanted { Ok(()) } else { Err(served) }
        })
        .await;
    }

    /// Looks whether a node serves what its deployments ended with, as far as they claim to know.
    async fn is_as_recorded(&self, at: usize, revision: i64, new: &str, cell: &str) {
        soon(&format!("{} is as recorded: {cell}", name(at)), PATIENCE, async || {
            let before = self.claims_new(at, revision).await;
            let serves_new = self.served(at).await == new;
            let after = self.claims_new(at, revision).await;
            let is_true = before == after && after.is_none_or(|claim| claim == serves_new);
            if is_true { Ok(()) } else { Err((before, serves_new, after)) }
        })
        .await;
    }

    /// Tells whether a node serves a revision according to its deployments; nothing where they do not know.
    async fn claims_new(&self, at: usize, revision: i64) -> Option<bool> {
        for deployment in self.deployments(at).await {
            match deployment.stage {
                Stage::Live => return Some(deployment.to_revision >= revision),
                // It serves what it served before.
                Stage::RolledBack | Stage::Rejected => {}
                Stage::Stuck
                | Stage::Queued
                | Stage::Staging
                | Stage::Testing
                | Stage::Activating
                | Stage::Probing
                | Stage::RollingBack => return None,
            }
        }
        None
    }

    /// Tells whether all that is recorded is what the nodes have, and nothing else is left there.
    async fn is_settled(&self) -> Result<(), String> {
        let site = self.client.site("app").await.unwrap();
        if json!(site)["state"] != json!("live") {
            return Err(json!(site).to_string());
        }
        for (at, machine) in self.bed.machines.iter().enumerate() {
            let node = self.client.node(&name(at)).await.unwrap();
            let runs = get(machine.engine.probe(), "localhost", "/portway/digest").await;
            let runs = runs.map(|(_, body)| body.trim().to_owned());
            let home = machine.engine.folder().join("portway");
            let linked = std::fs::read_link(home.join("current.conf")).ok();
            let linked = linked.and_then(|to| Some(to.file_stem()?.to_str()?.to_owned()));
            let recorded = &node.facts.digest;
            if node.facts.error.is_some() || *recorded != runs || *recorded != linked {
                return Err(format!("runs {runs:?}, linked {linked:?}: {}", json!(node)));
            }
            let strays = strays(machine);
            if !strays.is_empty() {
                return Err(format!("left on {}: {strays:?}", name(at)));
            }
            is_whole(machine, &name(at));
        }
        Ok(())
    }

    /// Returns what a node serves.
    async fn served(&self, at: usize) -> String {
        let answer = self.bed.machines[at].get("app.example", "/").await;
        answer.map(|(status, body)| format!("{status} {body}")).unwrap_or_default()
    }

    /// Makes a node well again. Tells whether anything was wrong with it: where all go back already, a
    /// late step may not have come.
    fn lift(&mut self, fault: Fault, at: usize) -> bool {
        let (number, gate) = (at + 1, self.bed.machines[at].sshd.gate());
        gate.lift().unwrap();
        if !gate.has_struck() {
            return false;
        }
        let machine = &mut self.bed.machines[at];
        let back = |path: Utf8PathBuf| {
            std::fs::rename(path.with_extension("aside"), path).unwrap();
        };
        match fault {
            Fault::Unreachable => {
                machine.sshd.kill().unwrap();
                machine.sshd.start().unwrap();
            }
            Fault::Hung => machine.sshd.thaw().unwrap(),
            Fault::LoginRefused => back(machine.sshd.folder().join("authorized_keys")),
            Fault::DiskFull => self.bed.disks[&number].resize(ROOM).unwrap(),
            Fault::EngineTestFails => self.bed.mend(number),
            Fault::ReloadFails => back(machine.engine.folder().join("nginx.pid")),
            Fault::LinkCut | Fault::ManagerKilled => {}
        }
        true
    }
}

impl Fault {
    /// Returns what does it, on the machine itself.
    fn strike(self, machine: &Machine) -> String {
        let engine = machine.engine.folder();
        match self {
            Self::Unreachable => "kill -KILL \"$server\"; cut_off; exit 1".to_owned(),
            Self::Hung => "kill -STOP \"$server\" $(sessions \"$server\"); hold".to_owned(),
            Self::LoginRefused => {
                let keys = machine.sshd.folder().join("authorized_keys");
                format!("mv '{keys}' '{}'; cut_off", keys.with_extension("aside"))
            }
            Self::DiskFull => {
                let home = engine.join("portway");
                format!(
                    "used=$(df -P -k '{home}' | awk 'NR == 2 {{ print $3 }}'); \
                     mount -o \"remount,size=${{used}}k\" '{home}'"
                )
            }
            Self::EngineTestFails => {
                format!("echo 'no_such_directive on;' > '{engine}/conf.d/broken.conf'")
            }
            Self::ReloadFails => format!("mv '{engine}/nginx.pid' '{engine}/nginx.aside'"),
            Self::LinkCut => "cut_off".to_owned(),
            Self::ManagerKilled => "hold".to_owned(),
        }
    }
}

/// Returns how the site answers in a version.
fn body(version: u32) -> String {
    format!("version {version}")
}

fn name(at: usize) -> String {
    format!("web-{}", at + 1)
}

/// Makes sure that every object on a machine has the bytes that its name tells of.
fn is_whole(machine: &Machine, what: &str) {
    let objects = machine.engine.folder().join("portway/objects");
    for entry in objects.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        // Another one may just be removed.
        let Ok(bytes) = std::fs::read(entry.path()) else { continue };
        let digest = Digest::of(&bytes).to_string();
        let name = entry.file_name();
        assert!(
            name.starts_with('.') || name.starts_with(&digest),
            "{what}: {name} is half written"
        );
    }
}

/// Returns what a deployment has on its way only: files that are being sent, links that are prepared, and
/// what the engine was to test.
fn strays(machine: &Machine) -> Vec<String> {
    let folder = machine.engine.folder();
    let places = ["", "conf.d", "portway", "portway/objects", "portway/releases", "portway/turns"];
    let mut found = Vec::new();
    for place in places {
        let Ok(entries) = folder.join(place).read_dir_utf8() else { continue };
        let names = entries.map(|entry| entry.unwrap().file_name().to_owned());
        let on_its_way = |name: &String| {
            name.starts_with(".portway-") || name == "portway-test.conf" || name == "test.pid"
        };
        found.extend(names.filter(on_its_way).map(|name| format!("{place}/{name}")));
    }
    found
}

/// Waits until something is so, and returns what comes of it.
async fn soon<T, E: std::fmt::Debug, F>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> F,
) -> T
where
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + patience;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(seen) => assert!(Instant::now() < deadline, "waited in vain for {what}: {seen:#?}"),
        }
        tokio::time::sleep(EVERY).await;
    }
}
