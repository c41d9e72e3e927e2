//! What the tests share: the program, its answers, files, logs and waiting.

use std::{borrow::Borrow, future::Future, path::Path, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{
    backend::Backend,
    manager::{Manager, Ran},
};
use serde_json::Value;
use tokio::time::Instant;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_portway");
/// A password that is good enough.
pub(crate) const PASSWORD: &str = "seven herons over the quay";

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a manager that nothing was done to.
pub(crate) async fn manager() -> Manager {
    Manager::start(PROGRAM).await.unwrap()
}

/// Runs a command that must succeed.
pub(crate) async fn ok(manager: &Manager, words: &[&str]) -> Ran {
    ends(manager, words, 0).await
}

/// Runs a command that must end with a code.
pub(crate) async fn ends(manager: &Manager, words: &[&str], code: i32) -> Ran {
    let ran = manager.run(words).await.unwrap();
    assert_eq!(ran.code, code, "{words:?}: {}{}", ran.out, ran.err);
    ran
}

/// Runs a command that must succeed, and reads its JSON.
pub(crate) async fn json(manager: &Manager, words: &[&str]) -> Value {
    let words = [&["--output=json"], words].concat();
    ok(manager, &words).await.json().unwrap()
}

/// Writes a file of the test and returns its path.
pub(crate) fn file(manager: &Manager, name: &str, text: &str) -> String {
    let path = manager.folder().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.into_string()
}

/// Applies a site file of the test, whoever has to be asked.
pub(crate) async fn apply(manager: &Manager, text: &str) {
    ok(manager, &["apply", "-f", &file(manager, "sites.yaml", text), "--yes"]).await;
}

/// Returns targets as a site file lists them.
pub(crate) fn targets(backends: &[impl Borrow<Backend>]) -> String {
    let addresses = backends.iter().map(|backend| backend.borrow().address().to_string());
    format!("[{}]", addresses.collect::<Vec<_>>().join(", "))
}

/// Waits until a condition gives a value.
pub(crate) async fn eventually<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a line in a log of any site, and reads it. `file` is for example `open.access.log`.
pub(crate) async fn log_line(manager: &Manager, file: &str, part: &str) -> Value {
    eventually(&format!("`{part}` in {file}"), async || {
        let lines = log_lines(manager, file);
        lines.into_iter().find(|line| line.contains(part))
    })
    .await
    .parse()
    .unwrap()
}

/// Returns the lines of a log of any site.
pub(crate) fn log_lines(manager: &Manager, file: &str) -> Vec<String> {
    let Ok(folders) = (manager.data().join("edge/logs")).read_dir_utf8() else { return Vec::new() };
    let read = |folder: std::io::Result<camino::Utf8DirEntry>| {
        std::fs::read_to_string(folder.unwrap().path().join(file)).ok()
    };
    let texts: Vec<String> = folders.filter_map(read).collect();
    texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
}

/// Returns the root of the repository.
pub(crate) fn repository() -> Utf8PathBuf {
    let here = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize_utf8().unwrap()
}

/// Copies a folder, without what cannot be read as a file.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Tells whether a test that needs something which this machine lacks may be left out. Where
/// everything must run, it may not.
pub(crate) fn may_skip(test: &str, lacking: &str) -> bool {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs {lacking}");
    eprintln!("skipped: {test}: there is no {lacking}");
    true
}
