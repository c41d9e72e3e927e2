//! `portway import`: site files out of what nginx, Caddy or Traefik was told, and a report of it all.

mod local;

use std::{fs, io, os::unix::fs::OpenOptionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use indexmap::IndexMap;
use portway_import::{Detail, Entry, Imported, Options, Outcome as Became, usual_own};
use portway_wire::scan::{ScanEntry, ScanNode, ScanOutcome};

use self::local::LocalTree;
use super::apply;
use crate::{
    args::{ImportCommand, ImportOptions},
    exit::{Exit, Failure, Outcome},
    out::{clean, list},
    session::Session,
};

/// The name of the report in the folder of site files.
const REPORT: &str = "import-report.txt";

/// `portway import`
pub(super) async fn run(session: &Session, command: ImportCommand) -> Outcome {
    match command {
        ImportCommand::Nginx { path, nodes, options } => {
            let layout = portway_engine::nginx::usual_facts().layout;
            let path = main_file(&path, "nginx.conf")?;
            let how = how(&options, nodes, usual_own(&layout));
            let imported = portway_import::nginx(&path, &LocalTree, &how);
            finish(session, &imported.map_err(|e| unreadable(&e))?, &options, path.as_str()).await
        }
        ImportCommand::Caddy { path, nodes, options } => {
            let layout = portway_engine::caddy::usual_facts().layout;
            let path = main_file(&path, "Caddyfile")?;
            let how = how(&options, nodes, usual_own(&layout));
            let imported = portway_import::caddy(&path, &LocalTree, &how);
            finish(session, &imported.map_err(|e| unreadable(&e))?, &options, path.as_str()).await
        }
        ImportCommand::Traefik { path, nodes, options } => {
            let layout = portway_engine::traefik::usual_facts().layout;
            let path = camino::absolute_utf8(&path)
                .map_err(|error| Failure::failed(format!("cannot read {path}")).because(&error))?;
            let how = how(&options, nodes, usual_own(&layout));
            let imported = portway_import::traefik(&path, &LocalTree, &how);
            finish(session, &imported.map_err(|e| unreadable(&e))?, &options, path.as_str()).await
        }
    }
}

fn how(options: &ImportOptions, nodes: Vec<String>, own: Vec<Utf8PathBuf>) -> Options {
    Options { nodes, without_limits: options.without_limits, own, taken: Vec::new() }
}

fn unreadable(error: &portway_import::ImportError) -> Failure {
    Failure::failed(error.to_string()).help("name the file with which the configuration begins")
}

/// Returns the file with which a configuration begins, by its whole path.
fn main_file(path: &Utf8Path, name: &str) -> Result<Utf8PathBuf, Failure> {
    let absolute = camino::absolute_utf8(path)
        .map_err(|error| Failure::failed(format!("cannot read {path}")).because(&error))?;
    Ok(if absolute.is_dir() { absolute.join(name) } else { absolute })
}

/// `portway node scan`: what the engine on a node was told before Portway.
pub(super) async fn scan(session: &Session, node: &str, options: &ImportOptions) -> Outcome {
    let client = session.client().await?;
    let how = ScanNode { without_limits: options.without_limits };
    let progress = session.out.progress("the node's configuration is being read");
    let scanned = progress.during(client.scan_node(node, &how)).await?;
    let entries = scanned.report.into_iter().map(|entry| {
        let ScanEntry { file, line, text, outcome, notes, closes, sites } = entry;
        let outcome = match outcome {
            ScanOutcome::Converted => Became::Converted,
            ScanOutcome::Approximated => Became::Approximated,
            ScanOutcome::NotConverted => Became::NotConverted,
        };
        Entry { file, line, text, outcome, notes, closes, sites }
    });
    let imported = Imported { sites: scanned.sites, entries: entries.collect() };
    let source = format!("{node}:{}", scanned.from);
    finish(session, &imported, options, &source).await
}

/// Shows and writes what was taken over, and applies it where that is wanted.
async fn finish(
    session: &Session,
    imported: &Imported,
    options: &ImportOptions,
    source: &str,
) -> Outcome {
    let out = &session.out;
    if out.is_json() && !options.apply {
        out.json(&serde_json::json!({
            "sites": imported.sites,
            "report": imported.entries,
        }))?;
    } else {
        let detail = if options.all { Detail::All } else { Detail::Changed };
        out.note(&clean(&imported.report(detail)))?;
        out.note(&summary(imported))?;
    }
    if let Some(folder) = &options.to {
        write_all(imported, folder)?;
        let count = imported.sites.len();
        out.note(&format!("{folder}: {count} site files and {REPORT}"))?;
    }
    if options.apply {
        let name = format!("import of {source}");
        let text = imported.site_file();
        return apply::apply_text(session, &name, &text, options.yes, options.waiting).await;
    }
    if options.to.is_none() && !out.is_json() {
        out.text(&imported.site_file())?;
    }
    Ok(Exit::Ok)
}

/// Counts what became of the directives, and names what lets nobody in.
fn summary(imported: &Imported) -> String {
    let count = |outcome| imported.count(outcome);
    let text = format!(
        "{} sites; of {} directives {} converted, {} approximated, {} not converted",
        imported.sites.len(),
        imported.entries.len(),
        count(Became::Converted),
        count(Became::Approximated),
        count(Became::NotConverted),
    );
    let closes = imported.entries.iter().filter(|entry| entry.closes).count();
    if closes == 0 {
        return text;
    }
    format!(
        "{text}\n{closes} protect something that cannot be protected here; what they stand in lets \
         nobody in: see `(closes)` above, and `allow: []` in the site files"
    )
}

/// Writes a site file for each site, and the report. Password hashes may stand in them, so others
/// cannot read them.
fn write_all(imported: &Imported, folder: &Utf8Path) -> Result<(), Failure> {
    let failed = |path: &Utf8Path, error: &io::Error| {
        Failure::failed(format!("cannot write {path}")).because(error)
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let mut files: Vec<(Utf8PathBuf, String)> = Vec::new();
    for (name, spec) in &imported.sites {
        let one = IndexMap::from([(name.clone(), spec.clone())]);
        files.push((folder.join(format!("{name}.yaml")), portway_sitefile::export(&one)));
    }
    files.push((folder.join(REPORT), imported.report(Detail::All)));
    let existing: Vec<&str> =
        files.iter().filter(|(path, _)| path.exists()).map(|(path, _)| path.as_str()).collect();
    if !existing.is_empty() {
        return Err(Failure::failed(format!("already there: {}", list(&existing)))
            .help("nothing was written; name another folder, or remove them first"));
    }
    for (path, text) in files {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}
