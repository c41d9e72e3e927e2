//! Every operation of a deployment meets every fault. Whatever happens, the node serves all of the
//! new release or all of the old one, what is told is true, nothing is half written, and the next
//! deployment brings the node to what it should have.

use portway_deploy::Ended;
use portway_transport::Local;

use crate::{
    bed::Bed,
    faulty::{Fault, Faulty},
};

#[tokio::test]
async fn a_node_that_becomes_unreachable() {
    at_every_operation(Fault::Unreachable).await;
}

#[tokio::test]
async fn a_node_that_hangs() {
    at_every_operation(Fault::Hung).await;
}

#[tokio::test]
async fn a_node_that_lets_nobody_in() {
    at_every_operation(Fault::LoginRefused).await;
}

#[tokio::test]
async fn a_link_that_is_cut() {
    at_every_operation(Fault::Cut).await;
}

#[tokio::test]
async fn a_link_that_is_cut_for_a_moment() {
    at_every_operation(Fault::Blinks).await;
}

#[tokio::test]
async fn a_disk_that_is_full() {
    at_every_operation(Fault::DiskFull).await;
}

#[tokio::test]
async fn a_command_that_fails() {
    at_every_operation(Fault::CommandFails).await;
}

#[tokio::test]
async fn a_manager_that_is_killed_before_an_operation() {
    at_every_operation(Fault::KilledBefore).await;
}

#[tokio::test]
async fn a_manager_that_is_killed_after_an_operation() {
    at_every_operation(Fault::KilledAfter).await;
}

/// Each operation is one cell of the matrix.
async fn at_every_operation(fault: Fault) {
    let bed = Bed::start().await;
    bed.deploy("first", 1).await;
    let all = Faulty::new(None, 0);
    let mut serving = bed.release("second");
    let (ended, _) = bed.deploy_by(&all, &serving, 2).await;
    assert!(matches!(ended, Ended::Live { .. }));
    // What is asked of the engine comes on top.
    let operations = all.operations() + 3;
    for at in 0..operations {
        let cell = format!("{fault:?} at {at}");
        let fence = 3 + 2 * u64::try_from(at).unwrap();
        let wanted = bed.release(&format!("wanted {at}"));
        let faulty = Faulty::new(Some(fault), at);
        let ended = tokio::select! {
            (ended, _) = bed.deploy_by(&faulty, &wanted, fence) => Some(ended),
            () = killed(&faulty) => None,
        };
        check(&bed, &cell, ended.as_ref(), &serving, &wanted).await;
        if let Some(Ended::RolledBack(error)) = &ended
            && fault != Fault::CommandFails
        {
            assert!(!error.is_verdict(), "{cell}: the release is not at fault: {error}");
        }

        let (ended, _) = bed.deploy_by(&Local::new(), &wanted, fence + 1).await;
        assert!(matches!(ended, Ended::Live { .. }), "{cell}, the next: {ended:?}");
        assert!(bed.serves(Some(&wanted)).await, "{cell}, the next");
        serving = wanted;
    }
    assert!(operations > 20, "a deployment has more operations than {operations}");
}

async fn check(
    bed: &Bed,
    cell: &str,
    ended: Option<&Ended>,
    old: &portway_engine::Release,
    new: &portway_engine::Release,
) {
    bed.assert_whole();
    let linked = bed.linked();
    let known = [Some(old.digest), Some(new.digest)];
    assert!(known.contains(&linked), "{cell}: linked to {linked:?}");
    // nginx's old workers answer a little longer.
    assert!(bed.serves_one_of(&known).await, "{cell}: serves {:?}", bed.served());
    match ended {
        Some(Ended::Live { .. }) => {
            assert_eq!(linked, Some(new.digest), "{cell}");
            assert!(bed.serves(Some(new)).await, "{cell}");
        }
        Some(Ended::Refused { .. } | Ended::Failed(_) | Ended::RolledBack(_)) => {
            assert_eq!(linked, Some(old.digest), "{cell}: {ended:?}");
            assert!(bed.serves(Some(old)).await, "{cell}: {ended:?}");
        }
        // Nothing is claimed of it.
        Some(Ended::Stuck { .. }) | None => {}
    }
}

/// Returns when the manager is dead.
async fn killed(faulty: &Faulty) {
    while !faulty.is_dead() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
