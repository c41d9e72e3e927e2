//! Two managers that both believe that it is their turn.

use portway_deploy::{Deployment, Ended, StepError, deploy};
use portway_transport::Local;
use uuid::Uuid;

use crate::{
    bed::{Bed, Notes, Tiny, owner},
    faulty::{Fault, Faulty},
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

/// Whatever operation a manager was frozen at, once another had its turn, it does no harm.
#[tokio::test]
async fn a_manager_that_wakes_up_in_anothers_turn_does_no_harm() {
    let bed = Bed::start().await;
    bed.deploy("before", 1).await;
    let all = Faulty::new(None, 0);
    bed.deploy_by(&all, &bed.release("measure"), 2).await;
    let mut fence = 3;
    for at in 0..all.operations() {
        // The first half of the late manager's work; it is frozen before operation `at`.
        let word = format!("late {at}");
        let release = bed.release(&word);
        let frozen = Faulty::new(Some(Fault::KilledBefore), at);
        let late = bed.deploy_by(&frozen, &release, fence);
        tokio::select! {
            // How often the engine is asked differs a little, and with it the number of operations.
            (ended, _) = late => {
                assert!(at > 30 && matches!(ended, Ended::Live { .. }), "{at}: {ended:?}");
                break;
            }
            () = until(|| frozen.operations() > at) => {}
        }
        let next = format!("next {at}");
        assert!(matches!(bed.deploy(&next, fence + 1).await, Ended::Live { .. }), "{at}");

        // It wakes up, and whatever it does from here on is of its own turn.
        let ended = bed.deploy_by(&Local::new(), &release, fence).await.0;

        assert!(matches!(ended, Ended::Failed(StepError::Fenced { .. })), "{at}: {ended:?}");
        assert!(bed.serves(Some(&bed.release(&next))).await, "{at}");
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
    };

    let ended = deploy(&it, &Notes::default()).await;

    assert!(matches!(ended, Ended::Failed(StepError::Foreign { .. })), "{ended:?}");
    assert!(bed.serves(Some(&bed.release("theirs"))).await);
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
