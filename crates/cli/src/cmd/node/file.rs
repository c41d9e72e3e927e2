//! `node import|export|discover`: nodes and files of nodes.

use std::fs;

use camino::Utf8Path;
use indexmap::IndexMap;
use portway_model::{Finding, Name, NodeSpec};
use portway_sitefile::{Loaded, SourceText};
use portway_wire::node::{
    ImportNodes, ImportOutcome, NodeImported, NodeQuery, NodeView, NodesImported,
};

use super::{all, to_json};
use crate::{
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    out::{Table, clean},
    session::Session,
};

/// `portway node discover`
pub(in crate::cmd) async fn discover(session: &Session) -> Outcome {
    let imported = session.client().await?.discover().await?;
    finish(session, &imported, &Sources::default())
}

/// `portway node import`
pub(in crate::cmd) async fn import(
    session: &Session,
    file: &Utf8Path,
    source: Option<String>,
    overwrite: bool,
) -> Outcome {
    let cannot = |error| Failure::failed(format!("cannot read {file}")).because(&error);
    let text = fs::read_to_string(file).map_err(cannot)?;
    let path = camino::absolute_utf8(file).map_err(cannot)?;
    let source = source.unwrap_or_else(|| path.to_string());
    let text = SourceText { name: file.to_string(), folder: "/".into(), text };
    let loaded = portway_sitefile::load_nodes(&text);
    let sources = Sources::new(vec![text], &Loaded::default());
    let mut nodes = IndexMap::new();
    for (name, spec) in &loaded.nodes {
        nodes.insert(name.clone(), to_json(spec)?);
    }
    let import = ImportNodes { source, nodes, overwrite };
    let mut imported = session.client().await?.import_nodes(&import).await?;
    let refused = loaded.refused.into_iter();
    imported
        .nodes
        .extend(refused.map(|node| NodeImported { node, outcome: ImportOutcome::Refused }));
    imported.findings.extend(loaded.findings.into_iter().filter(Finding::is_error));
    finish(session, &imported, &sources)
}

/// `portway node export`
pub(in crate::cmd) async fn export(session: &Session, file: Option<&Utf8Path>) -> Outcome {
    let client = session.client().await?;
    let mut nodes = IndexMap::new();
    for view in all(&client, &NodeQuery::default()).await? {
        // The numbers of revisions mean nothing elsewhere, and what a file says nothing of stays here.
        nodes.extend(
            named(&view)
                .map(|(name, spec)| (name, NodeSpec { pinned: None, draining: None, ..spec })),
        );
    }
    let text = portway_sitefile::export_nodes(&nodes);
    match file {
        Some(path) => {
            fs::write(path, text)
                .map_err(|error| Failure::failed(format!("cannot write {path}")).because(&error))?;
            session.out.note(&format!("{path}: {} node(s)", nodes.len()))?;
        }
        None => session.out.show(&nodes, |_| text)?,
    }
    Ok(Exit::Ok)
}

/// Returns a node as it stands in a file of nodes.
pub(super) fn written(view: &NodeView) -> Option<String> {
    let nodes: IndexMap<_, _> = named(view).into_iter().collect();
    (!nodes.is_empty()).then(|| portway_sitefile::export_nodes(&nodes))
}

fn named(view: &NodeView) -> Option<(Name, NodeSpec)> {
    Some((view.name.parse().ok()?, view.spec.clone()?))
}

/// Entries that are refused make the command fail, though the others were taken.
fn finish(session: &Session, imported: &NodesImported, sources: &Sources) -> Outcome {
    if session.out.is_json() {
        session.out.json(imported)?;
    } else {
        session.out.list(&imported.nodes, table, "no nodes in it")?;
        findings::show(&session.out, &imported.findings, sources)?;
    }
    let refused =
        imported.nodes.iter().filter(|node| node.outcome == ImportOutcome::Refused).count();
    match refused {
        0 if !imported.findings.iter().any(Finding::is_error) => Ok(Exit::Ok),
        0 => Err(Failure::failed("the file of nodes cannot be read")),
        _ => Err(Failure::failed(format!("{refused} entries were refused; the others are taken"))),
    }
}

fn table(nodes: &[NodeImported]) -> Table {
    let rows = nodes.iter().map(|entry| [clean(&entry.node), word(entry.outcome).to_owned()]);
    Table::new(["node", "outcome"]).rows(rows)
}

fn word(outcome: ImportOutcome) -> &'static str {
    match outcome {
        ImportOutcome::Created => "made",
        ImportOutcome::Updated => "changed",
        ImportOutcome::Unchanged => "as it was",
        ImportOutcome::Kept => "kept, changed by hand",
        ImportOutcome::Refused => "refused",
        ImportOutcome::Gone => "no longer in the file, left as it is",
    }
}
