//! Rollouts over five nodes of which one fails in every way that a machine can, in the first wave and in
//! the second one, under each policy. Every cell ends all new, all old, or as far as the policy allows;
//! and what is recorded is what the nodes serve, then and when the node is well again.

use std::time::Duration;

use portway_testkit::disk::SmallDisk;
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

#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_is_unreachable() {
    in_each_cell(Fault::Unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_hangs() {
    in_each_cell(Fault::Hung).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_lets_nobody_in() {
    in_each_cell(Fault::LoginRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_of_one_of_five_refuses_it() {
    in_each_cell(Fault::EngineTestFails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_of_one_of_five_does_not_read_it() {
    in_each_cell(Fault::ReloadFails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_one_of_five_is_cut_again_and_again() {
    in_each_cell(Fault::LinkCut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_one_of_five_is_full() {
    if !SmallDisk::is_possible() {
        may_skip("the_disk_of_one_of_five_is_full", "right to mount");
        return;
    }
    in_each_cell(Fault::DiskFull).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_is_killed_while_one_of_five_is_worked_on() {
    in_each_cell(Fault::ManagerKilled).await;
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
    let flags = ["--waves", WAVES, "--patience", "5s", policy, "--no-wait"];
    let ran = bed.apply(&new, &[MORE], &flags).await;
    assert_eq!(ran.code, 0, "{cell}: {}{}", ran.out, ran.err);
    bed.disturb(fault, node).await;
    let ended = eventually(&format!("the end of {cell}"), async || {
        let newest = bed.newest().await;
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
        crate::support::json(&self.manager, &["site", "show", "app"]).await
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
            let newest = self.newest().await;
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
