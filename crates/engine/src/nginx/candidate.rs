//! How a release is tried, brought to life and proven.
//!
//! The test reads a copy of the node's own configuration, beside it so that relative names lead to the same
//! files, in which the `include` that reaches Portway's link names what else it matches, and the release to
//! be tried.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    parse::parse,
    syntax::{Directive, line, print},
};
use crate::{
    Candidate, CandidateError, CandidateFile, Command, EngineFacts, Layout, Link, Probe, Release,
    Rights, Secrecy, Steps, Test, TopLevel, Workers,
};

/// The name of the copy.
const COPY: &str = "portway-test.conf";

/// How long nginx may take to test or to take a signal: ten thousand sites with TLS take half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the first worker of a new release may take to answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(60);

/// A worker that was told to leave says so in its title, and closes its listening sockets next.
const WORKERS: Workers =
    Workers { header: WORKER, title: "^nginx: w[o]rker process", leaving: "is shutting d[o]wn" };

/// The header in which a worker says which process it is.
pub(super) const WORKER: &str = "portway-worker";

pub(super) fn of(
    top_level: &TopLevel,
    release: &Release,
    facts: &EngineFacts,
) -> Result<Candidate, CandidateError> {
    let layout = &facts.layout;
    let mut directives = parse(&top_level.text).map_err(|error| CandidateError::Syntax {
        top_level: layout.top_level.clone(),
        line: error.line,
        problem: error.problem,
    })?;
    let folder = layout.top_level.parent().unwrap_or(Utf8Path::new("/"));
    let reached = Reached {
        folder,
        link: &layout.reached_by,
        beside: &top_level.beside,
        release: release.path(layout),
    };
    if !reached.replace_in_http(&mut directives) {
        return Err(CandidateError::NotReached {
            top_level: layout.top_level.clone(),
            reached_by: layout.reached_by.clone(),
            remedy: lacking(&layout.reached_by).into(),
        });
    }
    // The process that runs keeps its own; the test leaves an empty one behind.
    let pid = layout.home.join("test.pid");
    set(&mut directives, line!("pid", pid));
    // What it copies may hold secrets, and whoever logs in, or root, tests it.
    let file = |path, text| CandidateFile { path, text, secrecy: Secrecy::Owner };
    let copy = layout.copy.clone().unwrap_or_else(|| copy_of(&layout.top_level));
    let copy = file(copy, print(&directives).text);
    Ok(Candidate { files: vec![copy, file(pid, String::new())] })
}

/// Returns the path by which the test reads the copy of an `nginx.conf`.
pub fn copy_of(top_level: &Utf8Path) -> Utf8PathBuf {
    top_level.parent().unwrap_or(Utf8Path::new("/")).join(COPY)
}

/// nginx refuses to start while a file is missing that it is to include by its name, and Portway's comes
/// with the first release; a pattern may fit nothing.
fn lacking(link: &Utf8Path) -> String {
    let mut pattern = link.to_string();
    if let Some(last) = pattern.pop() {
        pattern.extend(['[', last, ']']);
    }
    format!(
        "add `include {pattern};` to the block `http` (as a pattern it may be missing until the first deployment)"
    )
}

struct Reached<'a> {
    folder: &'a Utf8Path,
    link: &'a Utf8Path,
    beside: &'a [Utf8PathBuf],
    release: Utf8PathBuf,
}

impl Reached<'_> {
    fn replace_in_http(&self, directives: &mut [Directive]) -> bool {
        let mut found = false;
        for block in directives.iter_mut().filter(|directive| directive.name() == "http") {
            let Some(inner) = &mut block.block else { continue };
            let replaced: Vec<Directive> = std::mem::take(inner)
                .into_iter()
                .flat_map(|directive| match self.reaches(&directive) {
                    Some(pattern) => {
                        // Read twice, everything in it would clash with itself.
                        let first = !std::mem::replace(&mut found, true);
                        self.replacement(&pattern, first)
                    }
                    None => vec![directive],
                })
                .collect();
            *inner = replaced;
        }
        found
    }

    /// Returns the pattern of an `include` that reads Portway's link.
    fn reaches(&self, directive: &Directive) -> Option<Utf8PathBuf> {
        let [name, pattern] = directive.words.as_slice() else { return None };
        if name != "include" {
            return None;
        }
        let pattern = self.folder.join(pattern);
        matches(&pattern, self.link).then_some(pattern)
    }

    fn replacement(&self, pattern: &Utf8Path, first: bool) -> Vec<Directive> {
        let others = self.beside.iter().filter(|file| *file != self.link);
        let mut files: Vec<&Utf8PathBuf> = others.filter(|file| matches(pattern, file)).collect();
        if first {
            files.push(&self.release);
        }
        // nginx reads in the order of names, in which the release has the place of its link.
        files.sort_by_key(|file| if **file == self.release { self.link } else { file.as_path() });
        files.into_iter().map(|file| line!("include", file)).collect()
    }
}

fn set(directives: &mut Vec<Directive>, wanted: Directive) {
    directives.retain(|directive| directive.name() != wanted.name());
    directives.push(wanted);
}

/// Tells whether a pattern of file names as of glob(3) matches a path. A star and a question mark stop at
/// slashes and at a dot in front; sets of characters are read as `?`, so a file too many may be found.
fn matches(pattern: &Utf8Path, path: &Utf8Path) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.components().collect(), path.components().collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(pattern, name)| fits(pattern.as_str(), name.as_str()))
}

fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    fits_rest(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

fn fits_rest(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| fits_rest(rest, tail)))
        }
        (Some(('[', rest)), Some((_, tail))) => {
            let end = rest.iter().skip(1).position(|c| *c == ']');
            end.and_then(|end| rest.get(end + 2..)).is_some_and(|rest| fits_rest(rest, tail))
        }
        (Some(('?', rest)), Some((_, tail))) => fits_rest(rest, tail),
        (Some((wanted, rest)), Some((found, tail))) => wanted == found && fits_rest(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

pub(super) fn steps(candidate: Candidate, release: &Release, facts: &EngineFacts) -> Steps {
    let layout = &facts.layout;
    let copy = copy_of(&layout.top_level).to_string();
    let program = layout.program.to_string();
    let command =
        |argv: Vec<String>| Command { argv, rights: Rights::Superuser, deadline: PATIENCE };
    let test = vec![program.clone(), "-t".to_owned(), "-q".to_owned(), "-c".to_owned(), copy];
    let own = layout.top_level.to_string();
    let reload = vec![program, "-c".to_owned(), own, "-s".to_owned(), "reload".to_owned()];
    Steps {
        test: Test::Command { files: candidate.files, command: command(test) },
        activate: Link { link: release.current(layout), target: release.path(layout) },
        reload: Some(command(reload)),
        probe: probe(release.digest, facts),
    }
}

/// Returns the command that has nginx open its logs anew.
pub(super) fn reopen(layout: &Layout) -> Command {
    let words = [layout.program.as_str(), "-c", layout.top_level.as_str(), "-s", "reopen"];
    let argv = words.map(str::to_owned).to_vec();
    Command { argv, rights: Rights::Superuser, deadline: PATIENCE }
}

/// Returns what proves that a release is served.
pub(super) fn probe(release: portway_policy::Digest, facts: &EngineFacts) -> Probe {
    Probe {
        port: facts.ports.probe,
        path: "/portway/digest".to_owned(),
        status: 200,
        answer: release.to_string(),
        header: None,
        workers: Some(WORKERS),
        deadline: PROBE_PATIENCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_as_by_the_machine() {
        for (pattern, path, fits) in [
            ("/etc/nginx/conf.d/*.conf", "/etc/nginx/conf.d/portway.conf", true),
            ("/etc/nginx/conf.d/*.conf", "/etc/nginx/conf.d/.portway.conf", false),
            ("/etc/nginx/conf.d/*", "/etc/nginx/conf.d/a/portway.conf", false),
            ("/etc/nginx/*/portway.conf", "/etc/nginx/conf.d/portway.conf", true),
            ("/etc/nginx/conf.d/p?rtwa[xy].conf", "/etc/nginx/conf.d/portway.conf", true),
            ("/etc/nginx/conf.d/portway.con[f]", "/etc/nginx/conf.d/portway.conf", true),
            ("/etc/nginx/modules-enabled/*.conf", "/etc/nginx/conf.d/portway.conf", false),
        ] {
            assert_eq!(matches(pattern.into(), path.into()), fits, "{pattern} {path}");
        }
    }
}
