//! What happens when nothing else goes wrong.

use portway_deploy::{
    ByOthers, Cleaned, Deployment, Ended, Owner, Standing, StepError, clean, deploy, look, rehearse,
};
use portway_model::Stage;
use portway_transport::Local;

use crate::bed::{Bed, Notes, Tiny, owner};

#[tokio::test]
async fn the_first_release_is_reached_tested_and_proven() {
    let bed = Bed::start().await;

    let (ended, notes) = bed.deploy_by(&Local::new(), &bed.release("one"), 1).await;

    assert!(matches!(ended, Ended::Live { sent: 3, .. }), "{ended:?}");
    assert!(bed.serves(Some(&bed.release("one"))).await);
    let stages = notes.stages.lock().unwrap().clone();
    assert_eq!(stages, [Stage::Staging, Stage::Testing, Stage::Activating, Stage::Probing]);
    let steps = notes.steps.lock().unwrap();
    assert!(steps.iter().any(|step| step.action.starts_with("nginx -t") && step.ok));
    assert!(!bed.root().join("portway-test.conf").exists(), "the candidate is cleared away");
}

#[tokio::test]
async fn only_what_is_missing_is_sent_and_only_two_releases_are_kept() {
    let bed = Bed::start().await;
    for (fence, word) in (1..).zip(["one", "two", "three"]) {
        assert!(matches!(bed.deploy(word, fence).await, Ended::Live { sent: 3, .. }));
    }
    let again = bed.deploy("three", 4).await;

    assert!(matches!(again, Ended::Live { sent: 0, .. }), "{again:?}");
    let count = |folder| std::fs::read_dir(folder).unwrap().count();
    assert_eq!(count(bed.facts.layout.objects()), 2);
    assert_eq!(count(bed.facts.layout.releases()), 4, "two releases with their lists");
}

/// nginx lets its old workers take connections for 100 ms beside the new ones, and lets them live for as
/// long as somebody holds on to them.
#[tokio::test]
async fn who_comes_right_after_a_deployment_gets_what_was_deployed() {
    let bed = Bed::start().await;
    let began = std::time::Instant::now();
    let mut held = Vec::new();
    for turn in 1..=50 {
        let word = format!("release {turn}");
        let (ended, notes) = bed.deploy_by(&Local::new(), &bed.release(&word), turn).await;
        assert!(matches!(ended, Ended::Live { .. }), "{ended:?}");
        for _ in 0..12 {
            let served = bed.served();
            assert_eq!(served, Some(bed.release(&word).digest), "{turn}: {:?}", notes.steps);
        }
        let waited = "waited until no worker of before takes connections";
        let steps = notes.steps.lock().unwrap();
        let waited = steps.iter().find(|step| step.action == waited).unwrap();
        assert!(waited.ok && waited.output.is_empty(), "{waited:?}");
        held.push(bed.begin_a_request());
    }
    let took = began.elapsed();
    assert!(
        took < std::time::Duration::from_secs(60),
        "nobody waits for old connections: {took:?}"
    );
}

#[tokio::test]
async fn a_configuration_that_the_engine_refuses_is_never_switched_to() {
    let bed = Bed::start().await;
    bed.deploy("good", 1).await;

    let ended = bed.deploy("broken", 2).await;

    let Ended::Refused { output, .. } = ended else { panic!("{ended:?}") };
    assert!(output.contains("no_such_directive"), "{output}");
    assert_eq!(bed.linked(), Some(bed.release("good").digest));
    assert!(bed.serves(Some(&bed.release("good"))).await);
}

#[tokio::test]
async fn a_rehearsal_tells_what_the_engine_says_now_and_switches_nothing() {
    let bed = Bed::start().await;
    bed.deploy("good", 1).await;
    let (local, owner) = (Local::new(), owner(2));
    let (good, new) = (bed.release("good"), bed.release("new"));
    let it = |release| Deployment {
        transport: &local,
        engine: &Tiny,
        facts: &bed.facts,
        release,
        owner: &owner,
        by_others: ByOthers::Respect,
        proofs: &[],
    };
    assert!(rehearse(&it(&new), &Notes::default()).await.is_ok());
    assert_eq!(bed.linked(), Some(good.digest));

    let top_level = &bed.facts.layout.top_level;
    let text = std::fs::read_to_string(top_level).unwrap();
    std::fs::write(top_level, format!("no_such_directive;\n{text}")).unwrap();
    let refused = rehearse(&it(&good), &Notes::default()).await;

    let Err(Ended::Refused { output, .. }) = refused else { panic!("{refused:?}") };
    assert!(output.contains("no_such_directive"), "{output}");
    assert_eq!(bed.linked(), Some(good.digest));
}

#[tokio::test]
async fn a_release_that_is_not_served_is_switched_back() {
    let bed = Bed::start().await;
    bed.deploy("good", 1).await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let word = format!("port {}", taken.local_addr().unwrap().port());

    let ended = bed.deploy(&word, 2).await;

    let Ended::RolledBack(error @ StepError::NotServed { .. }) = ended else { panic!("{ended:?}") };
    assert!(error.is_verdict());
    assert_eq!(bed.linked(), Some(bed.release("good").digest));
    assert!(bed.serves(Some(&bed.release("good"))).await);
    assert!(matches!(bed.deploy("better", 3).await, Ended::Live { .. }), "and the node goes on");
}

#[tokio::test]
async fn the_first_release_that_is_not_served_leaves_the_engine_as_it_was() {
    let bed = Bed::start().await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let word = format!("port {}", taken.local_addr().unwrap().port());

    let ended = bed.deploy(&word, 1).await;

    assert!(matches!(ended, Ended::RolledBack(_)), "{ended:?}");
    assert!(!bed.facts.layout.reached_by.is_symlink());
    assert_eq!(bed.linked(), None);
}

#[tokio::test]
async fn what_portway_did_not_put_there_is_not_overwritten() {
    let bed = Bed::start().await;
    std::fs::write(&bed.facts.layout.reached_by, "# mine\n").unwrap();

    let ended = bed.deploy("one", 1).await;

    let Ended::Failed(StepError::InTheWay { path, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(path, bed.facts.layout.reached_by);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "# mine\n");
    assert_eq!(bed.linked(), None);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done_and_what_was_done_is_undone() {
    let bed = Bed::start().await;
    bed.deploy("good", 1).await;
    for (fence, stage) in
        (2..).zip([Stage::Staging, Stage::Testing, Stage::Activating, Stage::Probing])
    {
        let notes = Notes { broken_at: Some(stage), ..Notes::default() };
        let ended = bed.deploy_noting(&Local::new(), &bed.release("new"), fence, &notes).await;

        let undone = matches!(ended, Ended::RolledBack(StepError::Journal(_)));
        assert_eq!(undone, stage == Stage::Probing, "{stage:?}: {ended:?}");
        assert_eq!(bed.linked(), Some(bed.release("good").digest), "{stage:?}");
        assert!(bed.serves(Some(&bed.release("good"))).await, "{stage:?}");
    }
}

#[tokio::test]
async fn what_somebody_changed_is_told_and_overwritten_only_when_that_is_asked_for() {
    let bed = Bed::start().await;
    let (local, owner) = (Local::new(), owner(9));
    let release = bed.release("one");
    let mut it = Deployment {
        transport: &local,
        engine: &Tiny,
        facts: &bed.facts,
        release: &release,
        owner: &owner,
        by_others: ByOthers::Respect,
        proofs: &[],
    };
    let objects = bed.facts.layout.objects();
    let entry = release.path(&bed.facts.layout);
    for of in ["object", "entry", "link"] {
        it.by_others = ByOthers::Overwrite;
        assert!(matches!(deploy(&it, &Notes::default()).await, Ended::Live { .. }), "{of}");
        assert_eq!(look(&it).await.unwrap().standing(&release), Standing::Serves, "{of}");
        let object = std::fs::read_dir(&objects).unwrap().next().unwrap().unwrap().path();
        let changed = match of {
            "object" => object,
            "entry" => entry.clone().into_std_path_buf(),
            _ => bed.facts.layout.current(portway_engine::Extension::Conf).into(),
        };
        let by_hand = bed.root().join("by-hand.conf");
        std::fs::write(&by_hand, "# by hand\n").unwrap();
        std::fs::remove_file(&changed).unwrap();
        std::os::unix::fs::symlink(&by_hand, &changed).unwrap();
        if of != "link" {
            std::fs::remove_file(&changed).unwrap();
            std::fs::write(&changed, "# by hand\n").unwrap();
        }

        let standing = look(&it).await.unwrap().standing(&release);
        assert!(matches!(standing, Standing::Changed(_)), "{of}: {standing:?}");
        it.by_others = ByOthers::Respect;
        let ended = deploy(&it, &Notes::default()).await;
        assert!(matches!(ended, Ended::Failed(StepError::Changed { .. })), "{of}: {ended:?}");
        assert_eq!(std::fs::read_to_string(&changed).unwrap(), "# by hand\n", "{of}");
    }
    it.by_others = ByOthers::Overwrite;
    assert!(matches!(deploy(&it, &Notes::default()).await, Ended::Live { .. }));
    bed.assert_whole();
}

#[tokio::test]
async fn a_file_that_is_gone_is_told_and_one_that_no_release_had_is_not() {
    let bed = Bed::start().await;
    let (local, owner, release) = (Local::new(), owner(2), bed.release("one"));
    let it = Deployment {
        transport: &local,
        engine: &Tiny,
        facts: &bed.facts,
        release: &release,
        owner: &owner,
        by_others: ByOthers::Respect,
        proofs: &[],
    };
    assert_eq!(look(&it).await.unwrap().standing(&release), Standing::Behind);
    bed.deploy("one", 1).await;
    let object = std::fs::read_dir(bed.facts.layout.objects()).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(object.path()).unwrap();

    let standing = look(&it).await.unwrap().standing(&release);

    assert!(
        matches!(standing, Standing::Changed(ref what) if what.contains("gone")),
        "{standing:?}"
    );
}

#[tokio::test]
async fn a_node_that_is_cleaned_has_nothing_of_portways_and_serves_on() {
    let bed = Bed::start().await;
    let release = bed.release("one");
    bed.deploy("one", 1).await;
    let (local, owner) = (Local::new(), owner(2));
    let it = Deployment {
        transport: &local,
        engine: &Tiny,
        facts: &bed.facts,
        release: &release,
        owner: &owner,
        by_others: ByOthers::Respect,
        proofs: &[],
    };

    for _ in 0..2 {
        assert_eq!(clean(&it, &Notes::default()).await.unwrap(), Cleaned::Wholly);
        assert!(!bed.facts.layout.home.exists());
        assert!(!bed.facts.layout.reached_by.is_symlink());
        assert!(bed.serves(None).await);
    }
    assert!(matches!(bed.deploy("one", 3).await, Ended::Live { .. }), "and it can come back");
}

#[tokio::test]
async fn what_another_node_has_is_not_cleaned_by_the_one_before_it() {
    let bed = Bed::start().await;
    let (local, release) = (Local::new(), bed.release("one"));
    let gone = owner(1);
    let new = Owner { node: uuid::Uuid::from_u128(3), ..owner(2) };
    // The later turn is the cleaning one's.
    let late = Owner { fence: 9, ..gone.clone() };
    let it = |owner| Deployment {
        transport: &local,
        engine: &Tiny,
        facts: &bed.facts,
        release: &release,
        owner,
        by_others: ByOthers::Respect,
        proofs: &[],
    };
    for owner in [&gone, &new] {
        assert!(matches!(deploy(&it(owner), &Notes::default()).await, Ended::Live { .. }));
    }

    let cleaned = clean(&it(&late), &Notes::default()).await.unwrap();

    assert_eq!(cleaned, Cleaned::Another { node: new.node });
    assert!(bed.serves(Some(&release)).await);
    assert_eq!(look(&it(&new)).await.unwrap().standing(&release), Standing::Serves);
}

#[tokio::test]
async fn who_cleans_removes_nothing_when_the_turn_is_over() {
    let bed = Bed::start().await;
    let (local, release) = (Local::new(), bed.release("one"));
    bed.deploy("one", 5).await;
    let late = owner(4);
    let it = Deployment {
        transport: &local,
        engine: &Tiny,
        facts: &bed.facts,
        release: &release,
        owner: &late,
        by_others: ByOthers::Respect,
        proofs: &[],
    };

    let cleaned = clean(&it, &Notes::default()).await;

    assert!(matches!(cleaned, Err(StepError::Fenced { .. })), "{cleaned:?}");
    assert!(bed.serves(Some(&release)).await);
    assert_eq!(bed.linked(), Some(release.digest));
}
