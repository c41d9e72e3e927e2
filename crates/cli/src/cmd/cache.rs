//! `cache purge|stats`.

use portway_wire::cache::{CachePurged, CacheView, NodeCache, PurgeCache};

use crate::{
    args::{CacheCommand, CachePurge},
    exit::{Exit, Outcome},
    out::{Paint, Table, clean_line, or_dash},
    session::Session,
};

/// `portway cache …`
pub(super) async fn run(session: &Session, command: CacheCommand) -> Outcome {
    match command {
        CacheCommand::Purge(args) => purge(session, args).await,
        CacheCommand::Stats { site } => stats(session, &site).await,
    }
}

async fn purge(session: &Session, args: CachePurge) -> Outcome {
    let CachePurge { site, url, prefix, tags, all } = args;
    let client = session.client().await?;
    let purged = client.purge_cache(&site, &PurgeCache { all, url, prefix, tags }).await?;
    session.out.show(&purged, |paint| purged_text(&purged, paint))?;
    let failed = purged.nodes.iter().any(|node| node.problem.is_some());
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn purged_text(purged: &CachePurged, paint: Paint) -> String {
    let mut lines = vec![format!("purged {} kept answers", purged.purged)];
    for node in &purged.nodes {
        if let Some(problem) = &node.problem {
            let text = format!("{}: {}", node.node, clean_line(problem));
            lines.push(paint.bad(&text));
        }
    }
    lines.join("\n")
}

async fn stats(session: &Session, site: &str) -> Outcome {
    let view: CacheView = session.client().await?.cache(site).await?;
    session.out.list(&view.nodes, table, "no node keeps anything of this site")?;
    Ok(Exit::Ok)
}

fn table(nodes: &[NodeCache]) -> Table {
    Table::new(["NODE", "ANSWERS", "BYTES", "HITS", "REQUESTS", "MEMORY", "PROBLEM"])
        .right("ANSWERS")
        .right("BYTES")
        .right("HITS")
        .right("REQUESTS")
        .rows(nodes.iter().map(row))
}

fn row(node: &NodeCache) -> [String; 7] {
    let hits = ["hit", "stale", "stale_if_error", "revalidated"];
    let hits: u64 = hits.iter().filter_map(|word| node.requests.get(*word)).sum();
    let all: u64 = node.requests.values().sum();
    let known = node.problem.is_none();
    let memory = node.used.zip(node.capacity).map(|(used, most)| {
        let percent = used.saturating_mul(100) / most.max(1);
        format!("{percent}% of {} MB", most / 1_000_000)
    });
    [
        node.node.clone(),
        or_dash(node.objects),
        or_dash(node.bytes),
        or_dash(known.then_some(hits)),
        or_dash(known.then_some(all)),
        or_dash(memory),
        clean_line(node.problem.as_deref().unwrap_or_default()),
    ]
}
