//! Two managers that both believe that it is their turn.

use std::sync::atomic::{AtomicBool, Ordering};

use portway_deploy::{ByOthers, Deployment, Ended, StepError, deploy};
use portway_engine::Release;
use portway_transport::Local;
use uuid::Uuid;

use crate::{
    bed::{Bed, Notes, Tiny, owner},
    faulty::{Fault, Faulty},
    meddled::Meddled,
};

#[tokio::test]
async fn a_late_manager_switches_nothing() {
    let bed = Bed::start().await;
    bed.deploy("theirs", 5).await;

    let ended = bed.deploy("ours", 4).await;

    let Ended::Failed(StepError::Fenced { theirs: 5, ours: 4, .. }) = ended else {
        panic!("{ended:?}")
    };
    assert!(bed.serves(Some(&bed.release("theirs"))).await);
}

/// A manager is frozen before each operation in turn. Another one has its turn, and then the first one
/// wakes up and goes on from where it was.
#[tokio::test]
async fn a_manager_that_wakes_up_in_anothers_turn_does_no_harm() {
    let bed = Bed::start().await;
    bed.deploy("before", 1).await;
    let all = Faulty::new(None, 0);
    bed.deploy_by(&all, &bed.release("measure"), 2).await;
    let mut fence = 3;
    for at in 0..all.operations() {
        let late = bed.release(&format!("late {at}"));
        let next = bed.release(&format!("next {at}"));
        Box::pin(frozen_for_a_turn(&bed, at, (&late, fence), (&next, fence + 1))).await;
        fence += 2;
    }
}

#[tokio::test]
async fn a_node_of_another_installation_is_left_alone() {
    let bed = Bed::start().await;
    bed.deploy("theirs", 1).await;
    let mut stranger = owner(9);
    stranger.installation = Uuid::from_u128(2);
    let release = bed.release("ours");
    let it = Deployment {
        transport: &Local::new(),
        engine: &Tiny,
        facts: &bed.facts,
        release: &release,
        owner: &stranger,
        by_others: ByOthers::Respect,
        proofs: &[],
    };

    let ended = deploy(&it, &Notes::default()).await;

    assert!(matches!(ended, Ended::Failed(StepError::Foreign { .. })), "{ended:?}");
    assert!(bed.serves(Some(&bed.release("theirs"))).await);
}

/// Has a manager frozen before its operation `at` for as long as another one's turn is.
async fn frozen_for_a_turn(
    bed: &Bed,
    at: usize,
    (late, fence): (&Release, u64),
    (next, next_fence): (&Release, u64),
) {
    let frozen = Faulty::new(Some(Fault::Frozen), at);
    let has_ended = AtomicBool::new(false);
    let theirs = async {
        let (ended, _) = bed.deploy_by(&frozen, late, fence).await;
        has_ended.store(true, Ordering::SeqCst);
        ended
    };
    let ours = async {
        until(|| frozen.is_frozen() || has_ended.load(Ordering::SeqCst)).await;
        let (ended, _) = bed.deploy_by(&Local::new(), next, next_fence).await;
        frozen.thaw();
        ended
    };
    let (late, in_between) = tokio::join!(theirs, ours);
    assert!(matches!(in_between, Ended::Live { .. }), "{at}: {in_between:?}");
    assert_eq!(bed.linked(), Some(next.digest), "{at}: {late:?}");
    assert!(bed.serves(Some(next)).await, "{at}: {late:?}");
    bed.assert_whole();
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// The first release is not served and is taken back, by a manager that is frozen before each of its
/// last operations in turn, while another one has its turn.
#[tokio::test]
async fn a_first_release_that_is_taken_back_late_takes_nothing_from_the_next_turn() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let word = format!("port {}", taken.local_addr().unwrap().port());
    let bed = Bed::start().await;
    let all = Faulty::new(None, 0);
    let (ended, _) = bed.deploy_by(&all, &bed.release(&word), 1).await;
    assert!(matches!(ended, Ended::RolledBack(_)), "{ended:?}");
    let mut fence = 2;
    // Before that nothing is taken back.
    for at in all.operations() - 8..all.operations() {
        bed.forget();
        let (late, next) = (bed.release(&word), bed.release(&format!("next {at}")));
        Box::pin(frozen_for_a_turn(&bed, at, (&late, fence), (&next, fence + 1))).await;
        fence += 2;
    }
}

/// What another manager's test made of a candidate that is not its own is nobody's fault.
#[tokio::test]
async fn a_candidate_that_was_changed_under_the_test_is_blamed_on_nobody() {
    let bed = Bed::start().await;
    bed.deploy("before", 1).await;
    let candidate = bed.facts.layout.top_level.with_file_name("portway-test.conf");
    let meddled = Meddled { local: Local::new(), candidate: candidate.into_std_path_buf() };

    let (ended, _) = bed.deploy_by(&meddled, &bed.release("good"), 2).await;

    assert!(matches!(ended, Ended::Failed(StepError::CandidateChanged { .. })), "{ended:?}");
    assert!(bed.serves(Some(&bed.release("before"))).await);
}
