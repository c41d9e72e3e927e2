//! What was acknowledged is there after `kill -9`.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use portway_model::RevisionNumber;
use portway_store::{Backend, PageRequest, Store, Visible};

use crate::support::{TestDb, add_site, site};

const ADDRESS: &str = "PORTWAY_STORE_TEST_ADDRESS";

pub(crate) async fn a_killed_writer_loses_nothing_it_was_told_is_written(db: &TestDb) {
    let mut acknowledged = 0;
    for round in 0..3 {
        acknowledged = write_until_killed(&db.address(), acknowledged + 10 + round);

        let store = Store::open(&db.url).await.unwrap();
        let latest = store.revisions().latest().await.unwrap();
        assert!(latest.0 >= acknowledged, "{latest} is less than {acknowledged}");
        // At most the one that was being written came without being acknowledged.
        assert!(latest.0 <= acknowledged + 1, "{latest} is more than {acknowledged} and one");
        assert_eq!(store.sites().count(Visible::All).await.unwrap(), latest.0.unsigned_abs());
        let changes =
            store.revisions().changes_since(RevisionNumber(0), &PageRequest::first(1000)).await;
        assert_eq!(changes.unwrap().items.len() as u64, latest.0.unsigned_abs());
        acknowledged = latest.0;
        store.close().await.unwrap();
    }
    if db.store.backend() == Backend::Sqlite {
        assert_eq!(db.rows("PRAGMA integrity_check").await, ["ok"]);
        db.sql("INSERT INTO site_search (site_search, rank) VALUES ('integrity-check', 1)").await;
    }
}

/// Runs [`a_writer`] in a process of its own, kills it after it was told that revision `until` is
/// written, and returns the last one that it was told of.
fn write_until_killed(address: &str, until: i64) -> i64 {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::a_writer", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ADDRESS, address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut last = 0;
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    for line in lines {
        let line = line.unwrap();
        let Some((_, number)) = line.split_once("written ") else { continue };
        last = number.parse().unwrap();
        if last == until {
            // SIGKILL; what it wrote into the pipe before is still read.
            writer.kill().unwrap();
        }
    }
    writer.wait().unwrap();
    assert!(last >= until, "the writer ended by itself at {last}");
    last
}

#[tokio::test]
#[ignore = "the process that another test kills"]
async fn a_writer() {
    use std::io::Write;

    let Ok(address) = std::env::var(ADDRESS) else { return };
    let store = Store::open(&address.parse().unwrap()).await.unwrap();
    let mut number = store.revisions().latest().await.unwrap().0;
    loop {
        number += 1;
        add_site(&store, site(&format!("site-{number}"), None, &[&format!("h{number}.example")]))
            .await;
        writeln!(std::io::stdout(), "written {number}").unwrap();
    }
}
