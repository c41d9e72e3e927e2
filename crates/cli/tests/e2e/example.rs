//! `examples/jwt-api`, started as its README says, in a folder of the test's own.

use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::manager::Manager;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    support::{copy_folder, ok, repository},
    web::Web,
};

/// The name under which the example is published.
pub(crate) const HOST: &str = "demo.localhost";

/// The example, started and published.
pub(crate) struct Example {
    pub(crate) manager: Manager,
    pub(crate) web: Web,
    /// The folder of its sources, a copy.
    pub(crate) folder: Utf8PathBuf,
    run_dir: Utf8PathBuf,
}

impl Example {
    /// Starts the application and a manager, and publishes the one through the other.
    pub(crate) async fn publish() -> Self {
        let manager = crate::support::manager().await;
        let folder = manager.folder().join("jwt-api");
        for part in ["app", "close", "landing", "open"] {
            let from = repository().join("examples/jwt-api").join(part);
            copy_folder(from.as_std_path(), folder.join(part).as_std_path());
        }
        for file in
            ["lib.sh", "start.sh", "stop.sh", "redis.conf", "requirements.txt", "portway.yaml"]
        {
            let from = repository().join("examples/jwt-api").join(file);
            std::fs::copy(from, folder.join(file)).unwrap();
        }
        let run_dir = manager.folder().join("run");
        let web = Web::of(&manager).await;
        let example = Self { manager, web, folder, run_dir };
        example.script("start.sh", &[]).await;
        let file = example.folder.join("portway.yaml").into_string();
        ok(&example.manager, &example.apply_words(&file)).await;
        example
    }

    fn apply_words<'a>(&'a self, file: &'a str) -> Vec<&'a str> {
        let run_dir: &'a str = self.run_dir_setting();
        vec!["apply", "-f", file, "--set", run_dir, "--set", "host=demo.localhost"]
    }

    fn run_dir_setting(&self) -> &'static str {
        String::leak(format!("run_dir={}", self.run_dir))
    }

    /// Runs a script of the example; it must succeed.
    pub(crate) async fn script(&self, name: &str, words: &[&str]) {
        let (program, run_dir) = (self.folder.join(name), &self.run_dir);
        let output = script(&program, run_dir).args(words).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{name} {words:?}: {said}");
    }

    /// Returns user and password of a part: `api` or `close`.
    pub(crate) fn login(&self, part: &str) -> (String, String) {
        let path = self.run_dir.join("secrets/credentials.json");
        let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let field = |name: &str| all[part][name].as_str().unwrap().to_owned();
        (field("user"), field("password"))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // The script ends what it started by process id, and waits for it.
        let stop = std::process::Command::new(self.folder.join("stop.sh"))
            .env("RUN_DIR", &self.run_dir)
            .stdout(Stdio::null())
            .status();
        assert!(stop.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn script(program: &Utf8Path, run_dir: &Utf8Path) -> Command {
    let shared = std::env::var("PORTWAY_PYTHON_ENV")
        .unwrap_or_else(|_| repository().join(".venv").into_string());
    let mut command = Command::new(program);
    command.env("RUN_DIR", run_dir).env("PORTWAY_PYTHON_ENV", shared).stdin(Stdio::null());
    command
}
