//! Rollouts over five nodes of which one fails in every way that a machine can, in the first wave and in
//! the second one, under each policy. Every cell ends all new, all old, or as far as the policy allows;
//! and what is recorded is what the nodes serve, then and when the node is well again.

use std::time::Duration;

use futures_util::future::join_all;
use portway_testkit::disk::SmallDisk;
use portway_wire::PageQuery;
use serde_json::{Value, json};

use super::rollouts::{Bed, MORE, stand};
use crate::support::{eventually, may_skip};

const NODES: usize = 5;
const WAVES: &str = "1,3,5";
/// The node that fails: in the first wave, and in the second one.
const FAILING: [usize; 2] = [1, 3];

/// What is wrong with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unreachable,
    Hung,
    LoginRefused,
    EngineTestFails,
    ReloadFails,
    LinkCut,
    DiskFull,
    ManagerKilled,
}

impl Fault {
    /// How long a node may take. What passes by itself is waited for, on a busy machine too.
    const fn patience(self) -> &'static str {
        match self {
            Self::LinkCut | Self::ManagerKilled => "60s",
            Self::Unreachable
            | Self::Hung
            | Self::LoginRefused
            | Self::EngineTestFails
            | Self::ReloadFails
            | Self::DiskFull => "6s",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_cannot_be_reached_or_its_manager_is_killed() {
    let faults = [Fault::Unreachable, Fault::LoginRefused, Fault::LinkCut, Fault::ManagerKilled];
    in_each_cell_of(&faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_hangs_or_does_not_take_it() {
    in_each_cell_of(&[Fault::Hung, Fault::EngineTestFails, Fault::ReloadFails]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_one_of_five_is_full() {
    if !SmallDisk::is_possible() {
        may_skip("the_disk_of_one_of_five_is_full", "right to mount");
        return;
    }
    in_each_cell_of(&[Fault::DiskFull]).await;
}

/// Each fault has a bed of its own, and all of them run at once: most of the time is waiting.
async fn in_each_cell_of(faults: &[Fault]) {
    join_all(faults.iter().map(|fault| in_each_cell(*fault))).await;
}

async fn in_each_cell(fault: Fault) {
    let small: &[usize] = if fault == Fault::DiskFull { &FAILING } else { &[] };
    let mut bed = Bed::with_small_disks(NODES, small).await;
    for (at, policy) in ["--all-or-nothing", "--best-effort"].into_iter().enumerate() {
        for (place, node) in FAILING.into_iter().enumerate() {
            let cell = format!("{fault:?} of web-{node}, {policy}");
            let old = format!("old-{at}-{place}");
            let ran = bed.apply(&old, &[], &[]).await;
            assert_eq!(ran.code, 0, "{cell}: {}{}", ran.out, ran.err);
            bed.assert_serve(&[old.as_str(); NODES]).await;
            try_out(&mut bed, fault, node, policy, &old, &cell).await;
        }
    }
}

async fn try_out(bed: &mut Bed, fault: Fault, node: usize, policy: &str, old: &str, cell: &str) {
    let new = old.replace("old", "new");
    bed.harm(fault, node);
    let flags = ["--waves", WAVES, "--patience", fault.patience(), policy, "--no-wait"];
    let ran = bed.apply(&new, &[MORE], &flags).await;
    assert_eq!(ran.code, 0, "{cell}: {}{}", ran.out, ran.err);
    bed.disturb(fault, node).await;
    let ended = eventually(&format!("the end of {cell}"), async || {
        let newest = bed.seen().await;
        newest["finished_at"].is_string().then_some(newest)
    })
    .await;

    let others = |bodies: &[String], wanted: &str| {
        bodies.iter().enumerate().all(|(at, body)| at + 1 == node || body == wanted)
    };
    let state = ended["state"].as_str().unwrap();
    let wanted = match (policy, state) {
        (_, "done") | ("--best-effort", "partial") => new.as_str(),
        ("--all-or-nothing", "undone") => old,
        _ => panic!("{cell} ended {state}: {ended}"),
    };
    if state == "partial" {
        assert_eq!(stand(&ended)[node - 1], "failed", "{cell}: {ended}");
    }
    eventually(&format!("{wanted} of the others: {cell}"), async || {
        others(&bed.serve().await, wanted).then_some(())
    })
    .await;

    bed.heal(fault, node);
    // No version is blamed for what is wrong with the node: it comes when the node is well.
    eventually(&format!("{wanted} of all: {cell}"), async || {
        bed.serve().await.iter().all(|body| body == wanted).then_some(())
    })
    .await;
    let recorded = if wanted == new { "live" } else { "held" };
    eventually(&format!("{recorded} is recorded: {cell}"), async || {
        (bed.site().await["state"] == json!(recorded)).then_some(())
    })
    .await;
}

impl Bed {
    async fn site(&self) -> Value {
        json!(self.manager.client().unwrap().site("app").await.unwrap())
    }

    /// Returns the newest rollout. Asking so costs no process, however often it is done.
    async fn seen(&self) -> Value {
        let one = PageQuery { limit: Some(1), ..PageQuery::default() };
        json!(self.manager.client().unwrap().rollouts(&one).await.unwrap().items[0])
    }

    /// Does to a node what is wrong with it from the beginning.
    fn harm(&mut self, fault: Fault, node: usize) {
        let machine = &mut self.machines[node - 1];
        match fault {
            Fault::Unreachable => machine.sshd.kill().unwrap(),
            Fault::Hung => machine.sshd.freeze().unwrap(),
            Fault::LoginRefused => {
                let keys = machine.sshd.folder().join("authorized_keys");
                std::fs::rename(&keys, keys.with_extension("aside")).unwrap();
                machine.sshd.kill_sessions().unwrap();
            }
            Fault::EngineTestFails => self.spoil(node),
            Fault::ReloadFails => {
                let pid = machine.engine.folder().join("nginx.pid");
                std::fs::rename(&pid, pid.with_extension("aside")).unwrap();
            }
            Fault::DiskFull => self.disks[&node].fill().unwrap(),
            Fault::LinkCut | Fault::ManagerKilled => {}
        }
    }

    /// Does what comes in the middle.
    async fn disturb(&mut self, fault: Fault, node: usize) {
        if !matches!(fault, Fault::LinkCut | Fault::ManagerKilled) {
            return;
        }
        eventually("the node is worked on", async || {
            let newest = self.seen().await;
            let is_waiting = stand(&newest)[node - 1] == "waiting";
            (!is_waiting || newest["finished_at"].is_string()).then_some(())
        })
        .await;
        if fault == Fault::ManagerKilled {
            self.manager.kill().await.unwrap();
            return self.manager.serve().await.unwrap();
        }
        for _ in 0..20 {
            self.machines[node - 1].sshd.kill_sessions().unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes a node well again.
    fn heal(&mut self, fault: Fault, node: usize) {
        let machine = &mut self.machines[node - 1];
        let back = |path: camino::Utf8PathBuf| {
            std::fs::rename(path.with_extension("aside"), path).unwrap();
        };
        match fault {
            Fault::Unreachable => machine.sshd.start().unwrap(),
            Fault::Hung => machine.sshd.thaw().unwrap(),
            Fault::LoginRefused => back(machine.sshd.folder().join("authorized_keys")),
            Fault::EngineTestFails => self.mend(node),
            Fault::ReloadFails => back(machine.engine.folder().join("nginx.pid")),
            Fault::DiskFull => self.disks[&node].empty().unwrap(),
            Fault::LinkCut | Fault::ManagerKilled => {}
        }
    }
}
