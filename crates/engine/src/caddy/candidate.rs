//! What lets Caddy's own test read a release without reaching what runs, and the steps of a deployment.

use std::{borrow::Cow, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::Digest;

use super::{
    node::PROBE_PATH,
    site::LOG,
    tokens::{Token, TokenError, tokens},
};
use crate::{
    Candidate, CandidateError, CandidateFile, Command, EngineFacts, Link, Probe, Release, Rights,
    Secrecy, Steps, Test, TopLevel,
};

const TEST_DEADLINE: Duration = Duration::from_secs(60);
const RELOAD_DEADLINE: Duration = Duration::from_secs(60);
const PROBE_DEADLINE: Duration = Duration::from_secs(15);

/// Returns a copy of the machine's Caddyfile that imports a copy of the release. The copy of the
/// release has no logs, since Caddy opens their files even when it only tries a configuration.
pub(super) fn candidate(
    top_level: &TopLevel,
    release: &Release,
    facts: &EngineFacts,
) -> Result<Candidate, CandidateError> {
    let layout = &facts.layout;
    let entry = beside(&layout.home, "portway-test.caddy");
    let tokens = tokens(&top_level.text).map_err(|TokenError { line, problem }| {
        let top_level = layout.top_level.clone();
        CandidateError::Syntax { top_level, line, problem: problem.to_owned() }
    })?;
    refuse_own_catch_all(&tokens, facts)?;
    let imported = reaching(&tokens, facts).ok_or_else(|| CandidateError::NotReached {
        top_level: layout.top_level.clone(),
        reached_by: layout.reached_by.clone(),
        remedy: Cow::Owned(format!(
            "add the line `import {0}` at the end, and make an empty file there first (`touch {0}`): Caddy does not start while it is missing",
            layout.reached_by
        )),
    })?;
    let (start, end) = imported.span;
    let before = top_level.text.get(..start).unwrap_or_default();
    let after = top_level.text.get(end..).unwrap_or_default();
    let copy = layout.copy.clone().unwrap_or_else(|| copy_of(&layout.top_level));
    // What it copies may hold secrets, and whoever logs in, or root, tests it.
    let file = |path, text| CandidateFile { path, text, secrecy: Secrecy::Owner };
    Ok(Candidate {
        files: vec![
            file(copy, format!("{before}{entry}{after}")),
            file(entry, without_logs(release)),
        ],
    })
}

/// Returns the steps that bring a release to life.
pub(super) fn steps(candidate: Candidate, release: &Release, facts: &EngineFacts) -> Steps {
    let layout = &facts.layout;
    let command = |words: &[&str], config: &Utf8Path, deadline| Command {
        argv: std::iter::once(layout.program.as_str())
            .chain(words.iter().copied())
            .chain(["--adapter", "caddyfile", "--config", config.as_str()])
            .map(str::to_owned)
            .collect(),
        rights: Rights::Login,
        deadline,
    };
    Steps {
        test: Test::Command {
            files: candidate.files,
            command: command(&["validate"], &copy_of(&layout.top_level), TEST_DEADLINE),
        },
        activate: Link { link: release.current(layout), target: release.path(layout) },
        reload: Some(command(&["reload"], &layout.top_level, RELOAD_DEADLINE)),
        probe: probe(release.digest, facts),
    }
}

/// Returns what proves that a release is served.
pub(super) fn probe(release: Digest, facts: &EngineFacts) -> Probe {
    Probe {
        port: facts.ports.probe,
        path: PROBE_PATH.to_owned(),
        status: 200,
        answer: release.to_string(),
        header: None,
        workers: None,
        deadline: PROBE_DEADLINE,
    }
}

/// Returns the argument of the `import` that reaches Portway's part.
fn reaching<'a>(tokens: &'a [Token], facts: &EngineFacts) -> Option<&'a Token> {
    let folder = facts.layout.top_level.parent().unwrap_or(Utf8Path::new("/"));
    let reached = &facts.layout.reached_by;
    tokens.windows(2).find_map(|pair| match pair {
        [import, path] if import.is_first && import.text == "import" && !path.is_first => {
            (folder.join(&path.text) == *reached).then_some(path)
        }
        _ => None,
    })
}

/// Hosts that no site has are Portway's to answer, and Caddy knows only one block for them.
fn refuse_own_catch_all(tokens: &[Token], facts: &EngineFacts) -> Result<(), CandidateError> {
    let port = facts.ports.http;
    let mut catch_all = vec![format!(":{port}"), format!("http://:{port}")];
    if port == 80 {
        catch_all.push("http://".to_owned());
    }
    let mut depth = 0_usize;
    for token in tokens {
        match token.text.as_str() {
            "{" if !token.is_quoted => depth += 1,
            "}" if !token.is_quoted => depth = depth.saturating_sub(1),
            text if depth == 0 && catch_all.iter().any(|key| key == text.trim_end_matches(',')) => {
                return Err(CandidateError::Syntax {
                    top_level: facts.layout.top_level.clone(),
                    line: token.line,
                    problem: format!(
                        "`{text}` answers every host, as Portway must; remove this block (it may be the welcome page of the package) or give it a host"
                    ),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn without_logs(release: &Release) -> String {
    let text = String::from_utf8_lossy(release.entry.bytes());
    let is_log = |line: &&str| {
        let path = line.trim().strip_prefix("import ").map(Utf8Path::new);
        let name = path.and_then(Utf8Path::file_name);
        let object = name.and_then(|name| release.objects.get(name));
        object.is_some_and(|object| object.bytes().starts_with(LOG.as_bytes()))
    };
    text.lines().filter(|line| !is_log(line)).fold(String::new(), |all, line| all + line + "\n")
}

/// Returns the path by which the test reads the copy of a Caddyfile: beside it, so that relative paths in
/// it work.
pub fn copy_of(top_level: &Utf8Path) -> Utf8PathBuf {
    beside(top_level.parent().unwrap_or(Utf8Path::new("/")), "portway-test.caddyfile")
}

fn beside(folder: &Utf8Path, name: &str) -> Utf8PathBuf {
    folder.join(name)
}
