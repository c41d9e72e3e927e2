//! Everything that an open port meets, at once and for some minutes: no good request fails, and manager
//! and edge stay as large as they are. `make soak` runs the same for hours.

use std::time::Duration;

use portway_testkit::soak::{self, Plan};

use crate::support::manager;

/// Long enough that a leak of some hundred bytes for each request is seen. Until the last connection is
/// gone it takes half a minute more.
const DURATION: Duration = Duration::from_secs(270);
/// Other tests run beside it.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_and_nothing_grows_for_five_minutes() {
    let manager = manager().await;
    let plan = Plan { duration: DURATION, pause: PAUSE };

    let outcome = soak::run(&manager, plan, |told| eprintln!("{told}")).await.unwrap();

    let (good, malformed) = outcome.good();
    eprintln!("{good} good, {malformed:.1} % malformed; {outcome:#?}");
    assert!(good > 5_000 && (4.0..=6.0).contains(&malformed), "the load is what it should be");
    let faults = outcome.faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
