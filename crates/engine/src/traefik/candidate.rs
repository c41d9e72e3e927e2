//! How a release is tried, and the steps of a deployment.
//!
//! Traefik has no test: an instance of it is started on loopback with the release alone. Its API tells
//! that as many of our routers as there are were taken; a router that is not counts as one less.

use std::{borrow::Cow, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::Digest;
use serde_json::json;

use super::{PROBE, WEB, WEBSECURE, node::DIGEST_HEADER, yaml};
use crate::{
    Candidate, CandidateError, CandidateFile, Command, EngineFacts, Link, Probe, Release, Rights,
    Secrecy, Steps, Test, TopLevel,
};

const TEST_DEADLINE: Duration = Duration::from_secs(30);
/// The watcher of the folder waits up to two seconds for more changes.
const PROBE_DEADLINE: Duration = Duration::from_secs(20);

/// Returns the files of an instance that serves the release alone.
pub(super) fn candidate(
    top_level: &TopLevel,
    release: &Release,
    facts: &EngineFacts,
) -> Result<Candidate, CandidateError> {
    refuse_unfit(&top_level.text, facts)?;
    let folder = test_folder(facts);
    let port = facts.ports.probe;
    let on = |port: u16| json!({"address": format!("127.0.0.1:{port}")});
    let settings = json!({
        "global": {"checkNewVersion": false, "sendAnonymousUsage": false},
        "entryPoints": {WEB: on(0), WEBSECURE: on(0), PROBE: on(0), "traefik": on(test_port(port))},
        "api": {"insecure": true, "dashboard": false},
        "providers": {"file": {"directory": folder.join("dynamic"), "watch": false}},
        "log": {"level": "ERROR", "format": "json"},
    });
    let settings = settings.as_object().map(yaml::write).unwrap_or_default();
    let entry = String::from_utf8_lossy(release.entry.bytes()).into_owned();
    // What it copies may hold secrets, and whoever logs in, or root, tests it.
    let file = |path, text| CandidateFile { path, text, secrecy: Secrecy::Owner };
    Ok(Candidate {
        files: vec![
            file(folder.join("traefik.yml"), settings),
            file(folder.join("dynamic/portway.yml"), entry),
        ],
    })
}

/// Returns the steps that bring a release to life.
pub(super) fn steps(candidate: Candidate, release: &Release, facts: &EngineFacts) -> Steps {
    let layout = &facts.layout;
    let settings = test_folder(facts).join("traefik.yml");
    let command = Command {
        argv: vec![layout.program.to_string(), format!("--configFile={settings}")],
        rights: Rights::Login,
        deadline: TEST_DEADLINE,
    };
    let text = String::from_utf8_lossy(release.entry.bytes());
    let routers = text.lines().filter(|line| line.trim_start().starts_with("rule: ")).count();
    Steps {
        test: Test::Instance {
            files: candidate.files,
            command,
            probe: Probe {
                port: test_port(facts.ports.probe),
                path: format!(
                    "/api/http/routers?status=enabled&search=portway-&per_page=1&page={routers}"
                ),
                status: 200,
                answer: "1".to_owned(),
                header: Some("X-Next-Page".to_owned()),
                workers: None,
                deadline: TEST_DEADLINE,
            },
        },
        activate: Link { link: layout.reached_by.clone(), target: release.path(layout) },
        reload: None,
        probe: probe(release.digest, facts),
    }
}

/// Returns what proves that a release is served.
pub(super) fn probe(release: Digest, facts: &EngineFacts) -> Probe {
    Probe {
        port: facts.ports.probe,
        path: "/portway/digest".to_owned(),
        // What Traefik answers where nothing is to be served.
        status: 418,
        answer: release.to_string(),
        header: Some(DIGEST_HEADER.to_owned()),
        workers: None,
        deadline: PROBE_DEADLINE,
    }
}

/// The port beside that of the probe.
const fn test_port(probe: u16) -> u16 {
    probe.wrapping_add(1)
}

fn test_folder(facts: &EngineFacts) -> Utf8PathBuf {
    facts.layout.home.join("test")
}

/// The machine's own configuration must read our folder, listen for the probe, and clean paths. Whether
/// it is YAML or TOML, it names these things in words.
fn refuse_unfit(text: &str, facts: &EngineFacts) -> Result<(), CandidateError> {
    let layout = &facts.layout;
    let folder = layout.reached_by.parent().unwrap_or(Utf8Path::new("/"));
    let not_reached = |remedy: String| CandidateError::NotReached {
        top_level: layout.top_level.clone(),
        reached_by: layout.reached_by.clone(),
        remedy: Cow::Owned(remedy),
    };
    if !text.contains(folder.as_str()) {
        return Err(not_reached(format!("let `providers.file` watch `directory: {folder}`")));
    }
    let port = facts.ports.probe;
    if !text.contains(&format!(":{port}")) || !text.contains(PROBE) {
        let what = format!("add the entry point `{PROBE}` with the address `127.0.0.1:{port}`");
        return Err(not_reached(what));
    }
    let lines = text.lines().enumerate();
    let mut odd = lines.filter(|(_, line)| line.to_ascii_lowercase().contains("sanitizepath"));
    match odd.find(|(_, line)| line.contains("false")) {
        Some((index, _)) => Err(CandidateError::Syntax {
            top_level: layout.top_level.clone(),
            line: index + 1,
            problem: "rules on paths hold only where paths are cleaned; remove `sanitizePath`"
                .to_owned(),
        }),
        None => Ok(()),
    }
}
