//! `SQLite`'s log is copied into the file beside the writers.

use std::time::{Duration, Instant};

use portway_store::{Store, Visible};

use crate::support::{TestDb, add_many};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_copied_long_before_a_writer_has_to() {
    let db = TestDb::sqlite().await;
    let path = db.address().replace("sqlite:", "");
    let size = || std::fs::metadata(&path).unwrap().len();

    // A few megabytes; at 32 the writer would copy them.
    add_many(&db.store, "site", 5000).await;

    let deadline = Instant::now() + Duration::from_secs(20);
    while size() < 1 << 20 {
        assert!(Instant::now() < deadline, "the file has {} bytes", size());
        // What is written wakes it too.
        db.store.health().await.unwrap();
    }
    db.store.clone().close().await.unwrap();
    let again = Store::open(&db.url).await.unwrap();
    assert_eq!(again.sites().count(Visible::All).await.unwrap(), 5000);
    again.close().await.unwrap();
    db.remove().await;
}
