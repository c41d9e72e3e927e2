//! A machine of the test's own, and what is done in it.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_portway");
/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine that runs.
pub(crate) struct Bed {
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bed {
    /// Boots a machine that has the program as `/opt/portway`. Nothing where this machine cannot,
    /// and the test may be left out.
    pub(crate) fn boot(test: &str) -> Option<Self> {
        let check = Command::new(script()).arg("check").output().unwrap();
        if !check.status.success() {
            skip(test, String::from_utf8_lossy(&check.stderr).trim());
            return None;
        }
        let bed = Self { folder: tempfile::tempdir().unwrap() };
        let pid = std::process::id().to_string();
        let started = bed.script("start").args(["--while", &pid]).output().unwrap();
        assert!(started.status.success(), "{}", ran(&started).err);
        bed.put("/opt/portway", fs::read(PROGRAM).unwrap());
        bed.sh("chmod 755 /opt/portway");
        Some(bed)
    }

    /// Boots a machine on which Portway is installed and runs.
    pub(crate) fn with_portway(test: &str) -> Option<Self> {
        let bed = Self::boot(test)?;
        for command in documented("## As a service").iter().filter(|c| !c.contains("setup")) {
            bed.sh(command);
        }
        Some(bed)
    }

    /// Shuts the machine down and boots it again.
    pub(crate) fn reboot(&self) {
        let rebooted = self.script("reboot").output().unwrap();
        assert!(rebooted.status.success(), "{}", ran(&rebooted).err);
    }

    /// Runs a line of shell that must succeed, and returns what it printed.
    pub(crate) fn sh(&self, line: &str) -> String {
        let ran = self.try_sh(line);
        assert_eq!(ran.code, 0, "{line}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs a line of shell.
    pub(crate) fn try_sh(&self, line: &str) -> Ran {
        ran(&self.shell(line).output().unwrap())
    }

    /// Runs a line of shell that must succeed as an ordinary user.
    pub(crate) fn sh_as(&self, user: &str, line: &str) -> String {
        let ran = self.try_sh_as(user, line);
        assert_eq!(ran.code, 0, "{user}: {line}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs a line of shell as an ordinary user.
    pub(crate) fn try_sh_as(&self, user: &str, line: &str) -> Ran {
        let home = format!("HOME=/home/{user}");
        let words = ["runuser", "-u", user, "--", "env", &home, "sh", "-c", line];
        ran(&self.command(&words).output().unwrap())
    }

    /// Returns a line of shell that is to be run.
    pub(crate) fn shell(&self, line: &str) -> Command {
        self.command(&["sh", "-c", &format!("sudo() {{ \"$@\"; }}; {line}")])
    }

    /// Writes a file.
    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let mut command = self.command(&["sh", "-c", &format!("cat >{path}")]);
        let mut writing = command.stdin(Stdio::piped()).spawn().unwrap();
        writing.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
        assert!(writing.wait().unwrap().success(), "cannot write {path}");
    }

    /// Publishes a fixed answer.
    pub(crate) fn publish(&self, host: &str, body: &str) {
        let site =
            format!("sites: {{ {host}: {{ hosts: [{host}], respond: {{ body: {body} }} }} }}\n");
        self.put("/srv/site.yaml", site);
        self.sh("portway apply -f /srv/site.yaml");
    }

    /// Returns the main process of a service.
    pub(crate) fn main_process(&self, service: &str) -> String {
        self.sh(&format!("systemctl show --property MainPID --value {service}")).trim().to_owned()
    }

    /// Waits until a line of shell succeeds, and returns how long that took.
    pub(crate) fn eventually(&self, line: &str) -> Duration {
        let began = Instant::now();
        while self.try_sh(line).code != 0 {
            assert!(began.elapsed() < PATIENCE, "waited in vain for: {line}");
            std::thread::yield_now();
        }
        began.elapsed()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.script("run");
        command.args(words).stdin(Stdio::null());
        command
    }

    fn script(&self, verb: &str) -> Command {
        let mut command = Command::new(script());
        command.arg(verb).arg(self.folder.path());
        command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let stopped = self.script("stop").output();
        if !stopped.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!(
                "the machine in {} was not stopped: {stopped:?}",
                self.folder.path().display()
            );
        }
    }
}

/// Returns the commands of the first console listing below a heading of the documentation.
pub(crate) fn documented(heading: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let section = text.split(&format!("{heading}\n")).nth(1).unwrap();
    let listing = section.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let command = |line: &str| {
        let line = line.strip_prefix("$ ").unwrap();
        let line = line.split("    #").next().unwrap();
        line.replace("target/release/portway", "/opt/portway")
    };
    listing.lines().map(command).collect()
}

/// Returns the files that are shown below a heading of the documentation: paths and contents.
pub(crate) fn shown_files(heading: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let section = text.split(&format!("{heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let listings = section.split("```ini\n# ").skip(1);
    let file = |listing: &str| {
        let (path, rest) = listing.split_once('\n').unwrap();
        (path.to_owned(), rest.split("```").next().unwrap().to_owned())
    };
    listings.map(file).collect()
}

fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Where everything must run, only a test that is listed may be left out.
pub(crate) fn skip(test: &str, reason: &str) {
    let listed = fs::read_to_string(repository().join(".ci/skipped-tests.txt")).unwrap();
    let name = format!("portway-cli::systemd {test}");
    let may = std::env::var("CI").as_deref() != Ok("true") || listed.lines().any(|l| l == name);
    assert!(may, "{reason}\n(or list `{name}` in .ci/skipped-tests.txt, with the reason)");
    eprintln!("skipped: {name}: {reason}");
}

fn script() -> PathBuf {
    repository().join("scripts/testbed/start-systemd.sh").into()
}

fn repository() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize_utf8().unwrap()
}
