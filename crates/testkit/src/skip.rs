//! Tests that cannot run everywhere.

use std::fs;

use anyhow::ensure;
use camino::{Utf8Path, Utf8PathBuf};

/// Says that a test is left out, and why. Where everything must run, only one that is listed in
/// `.ci/skipped-tests.txt` may be; `test` is its name there: `portway-transport::it bed::a_test`.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub fn skip(test: &str, reason: &str) -> anyhow::Result<()> {
    let listed = fs::read_to_string(repository()?.join(".ci/skipped-tests.txt"))?;
    let must = std::env::var("CI").as_deref() == Ok("true");
    let may = !must || listed.lines().any(|line| line == test);
    ensure!(may, "{reason}\n(or list `{test}` in .ci/skipped-tests.txt, with the reason)");
    eprintln!("skipped: {test}: {reason}");
    Ok(())
}

/// Returns the folder of the repository.
pub(crate) fn repository() -> anyhow::Result<Utf8PathBuf> {
    Ok(Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize_utf8()?)
}
