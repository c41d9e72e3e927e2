//! The whole program on PostgreSQL, in a database of the test's own. `make test` starts the server.

use std::process::Command;

use portway_testkit::manager::Manager;
use serde_json::json;

use crate::{
    support::{PASSWORD, PROGRAM, file, json, may_skip, ok, repository},
    web::{Web, api},
};

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_holds_everything() {
    let Ok(server) = std::env::var("PORTWAY_TEST_POSTGRES") else {
        may_skip("postgresql_holds_everything", "PORTWAY_TEST_POSTGRES");
        return;
    };
    let database = Database::new(&server);
    let option = format!("--database={}", database.url);
    let mut manager = Manager::new(PROGRAM).unwrap().with(option);
    manager.serve().await.unwrap();
    let web = Web::of(&manager).await;
    let setup = ["setup", "--name", "ann", "--password-stdin"];
    assert_eq!(manager.run_with(&setup, PASSWORD, &[]).await.unwrap().code, 0);

    for word in ["one", "two"] {
        let text = format!(
            "sites: {{ app: {{ hosts: [app.localhost], respond: {{ body: {word} }} }} }}\n"
        );
        ok(&manager, &["apply", "-f", &file(&manager, "app.yaml", &text), "-m", word]).await;
        assert_eq!(web.get("app.localhost", "/").send().await.text(), word);
    }
    let login = json!({ "name": "ann", "password": PASSWORD });
    assert_eq!(api(&manager, "POST", "/api/v1/login", Some(&login)).await.status, 200);

    manager.kill().await.unwrap();
    manager.serve().await.unwrap();
    let history = json(&manager, &["history", "--site", "app"]).await;
    let messages: Vec<_> = history.as_array().unwrap().iter().map(|one| &one["message"]).collect();
    assert_eq!(messages, [&json!("two"), &json!("one")]);
    let number = history[0]["number"].to_string();
    ok(&manager, &["revert", &number]).await;
    assert_eq!(web.get("app.localhost", "/").send().await.text(), "one");
    let health = manager.health().await.unwrap().to_string();
    assert!(health.contains("Postgres"), "{health}");
    assert!(!manager.data().join("portway.db").exists());

    // The key of this database is changed without naming it again, and another key is refused.
    manager.stop().await.unwrap();
    let rotated = ok(&manager, &["key", "rotate"]).await;
    assert!(rotated.err.contains(&database.name), "{rotated:?}");
    let kept = std::fs::read_to_string(manager.data().join("manager.json")).unwrap();
    assert!(!kept.contains("postgres"), "{kept}");
    let key = manager.data().join("master.key");
    std::fs::rename(&key, manager.folder().join("aside.key")).unwrap();
    let refused = manager.serve().await.unwrap_err().to_string();
    assert!(refused.contains("there is none"), "{refused}");
    assert!(!key.exists());
    std::fs::rename(manager.folder().join("aside.key"), &key).unwrap();
    manager.serve().await.unwrap();
    assert_eq!(web.get("app.localhost", "/").send().await.text(), "one");
    drop(manager);
    database.remove();
}

/// A database of its own on the server of the test run.
pub(crate) struct Database {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn new(server: &str) -> Self {
        let name = format!("e2e{}", uuid::Uuid::now_v7().simple());
        let (base, _) = server.rsplit_once('/').unwrap();
        let database = Self { server: server.to_owned(), url: format!("{base}/{name}"), name };
        database.run(&format!("CREATE DATABASE {}", database.name));
        database
    }

    pub(crate) fn remove(self) {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }

    fn run(&self, sql: &str) {
        let script = repository().join("scripts/testbed/start-postgres.sh");
        let bin = Command::new(script).arg("bin").output().unwrap().stdout;
        let bin = String::from_utf8(bin).unwrap();
        let psql = format!("{}/psql", bin.trim());
        let output = Command::new(psql)
            .args(["--no-psqlrc", "--quiet", "--dbname", &self.server, "--command", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
