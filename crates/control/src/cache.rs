//! What edges keep of a site's answers: told, and purged on every node of the site.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use portway_model::{EngineKind, Id, ResourceKind, Site};
use portway_policy::bundle::{CacheStats, Purge, PurgeWhat};
use portway_store::AuditOutcome;
use portway_wire::cache::{CachePurged, CacheView, NodeCache, NodePurged, PurgeCache};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::{
    Control, ControlError, EdgeClient, EdgeClientError,
    audit::Record,
    fleet::ReachError,
    nodes,
    rights::{Editor, Sites},
};

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What those who may not see nodes are told of one that cannot be asked.
const UNREADABLE: &str = "the node cannot be asked now; if that lasts, ask an administrator";

/// An edge that may keep answers of a site.
struct Place {
    node: String,
    client: Result<EdgeClient, Silence>,
}

/// Why an edge tells nothing.
#[derive(Debug, Error)]
enum Silence {
    #[error("this edge is another manager's; ask that one")]
    Elsewhere,
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error("its edge is of a version that has no cache; upgrade it")]
    NoCache,
    #[error("{}", .0.detail())]
    Edge(#[source] EdgeClientError),
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("it was not asked")]
    NotAsked,
}

impl Silence {
    fn of(error: EdgeClientError) -> Self {
        match error.status() {
            Some(StatusCode::NOT_FOUND) => Self::NoCache,
            Some(_) | None => Self::Edge(error),
        }
    }

    /// Returns what is told of it: addresses, logins and host keys only to those who may see nodes.
    fn told(&self, sees_nodes: bool) -> String {
        let is_harmless = match self {
            Self::Elsewhere | Self::NoCache | Self::Late | Self::NotAsked => true,
            Self::Edge(error) => error.status() == Some(StatusCode::BAD_REQUEST),
            Self::Reach(_) => false,
        };
        if sees_nodes || is_harmless { self.to_string() } else { UNREADABLE.to_owned() }
    }
}

impl Sites<'_> {
    /// Tells what is kept of a site, on each node.
    pub async fn cache(&self, site: &str) -> Result<CacheView, ControlError> {
        let row = self.control.site_row(self.actor, site).await?;
        let places = self.control.cache_places(row.id).await?;
        let asked = each(places, move |client| async move { client.cache(row.id).await }).await;
        let sees_nodes = self.actor.sees_nodes();
        let view = |(node, stats): (String, Result<CacheStats, Silence>)| match stats {
            Ok(CacheStats { objects, bytes, used, capacity, requests }) => NodeCache {
                node,
                objects: Some(objects),
                bytes: Some(bytes),
                used: Some(used),
                capacity: Some(capacity),
                requests,
                problem: None,
            },
            Err(silence) => {
                let problem = Some(silence.told(sees_nodes));
                NodeCache { node, problem, ..NodeCache::default() }
            }
        };
        Ok(CacheView { nodes: asked.into_iter().map(view).collect() })
    }
}

impl Editor<'_> {
    /// Purges kept answers of a site on all its nodes. A node that cannot be reached is told, and
    /// hinders no other one.
    pub async fn purge_cache(
        &self,
        site: &str,
        wanted: PurgeCache,
    ) -> Result<CachePurged, ControlError> {
        let row = self.control.site_row(self.actor, site).await?;
        let (what, detail) = read(wanted)?;
        let purge = Arc::new(Purge { site: row.id, what });
        let places = self.control.cache_places(row.id).await?;
        let asked = each(places, move |client| {
            let purge = Arc::clone(&purge);
            async move { client.purge(&purge).await }
        });
        let mut nodes = Vec::new();
        for (node, report) in asked.await {
            let (purged, problem) = match report {
                Ok(report) => (Some(report.purged), None),
                Err(silence) => (None, Some(silence.told(self.actor.sees_nodes()))),
            };
            nodes.push(NodePurged { node, purged, problem });
        }
        let purged = nodes.iter().filter_map(|node| node.purged).sum();
        let failed = nodes.iter().any(|node| node.problem.is_some());
        let outcome = if failed { AuditOutcome::Failed } else { AuditOutcome::Done };
        let record = Record::of(self.actor, "cache.purge")
            .resource(ResourceKind::Site, row.name.as_str())
            .outcome(outcome)
            .detail(format!("{detail}: {purged} answers"));
        self.control.write_audit(record).await?;
        Ok(CachePurged { purged, nodes })
    }
}

impl Control {
    /// Returns the edges that may keep answers of a site: that of this machine, and those of nodes.
    async fn cache_places(&self, site: Id<Site>) -> Result<Vec<Place>, ControlError> {
        let own = self.inner.node_name.to_string();
        let mut places = vec![Place { node: own, client: Ok(self.inner.edge.clone()) }];
        for manager in self.inner.store.managers().all().await? {
            if manager.id != self.inner.manager.id {
                let node = format!("edge-{}", manager.name);
                places.push(Place { node, client: Err(Silence::Elsewhere) });
            }
        }
        let on = self.inner.store.nodes().of_sites(&[site]).await?;
        for (_, node) in on.into_keys() {
            let Some(row) = self.inner.store.nodes().get(node).await? else { continue };
            let Some(node) = nodes::declared(&row)? else { continue };
            if node.engine != EngineKind::Edge {
                continue;
            }
            let reach = self.reach(&row, &node).await;
            let client = reach.map(|reach| EdgeClient::there(reach, node.control_socket()));
            let client = client.map_err(Silence::from);
            places.push(Place { node: row.name.to_string(), client });
        }
        Ok(places)
    }
}

/// Asks all edges at once; what they say stands in the order of the places.
async fn each<T, F>(
    places: Vec<Place>,
    ask: impl Fn(EdgeClient) -> F,
) -> Vec<(String, Result<T, Silence>)>
where
    T: Send + 'static,
    F: Future<Output = Result<T, EdgeClientError>> + Send + 'static,
{
    let mut asking = JoinSet::new();
    let mut said: Vec<(String, Result<T, Silence>)> = Vec::with_capacity(places.len());
    for (index, Place { node, client }) in places.into_iter().enumerate() {
        match client {
            Err(silence) => said.push((node, Err(silence))),
            Ok(client) => {
                said.push((node, Err(Silence::NotAsked)));
                let answer = tokio::time::timeout(PATIENCE, ask(client));
                asking.spawn(async move { (index, answer.await) });
            }
        }
    }
    while let Some(Ok((index, answer))) = asking.join_next().await {
        let answer = match answer {
            Ok(answer) => answer.map_err(Silence::of),
            Err(_) => Err(Silence::Late),
        };
        if let Some((_, slot)) = said.get_mut(index) {
            *slot = answer;
        }
    }
    said
}

/// Reads what is to go, and says it for the audit log.
fn read(wanted: PurgeCache) -> Result<(PurgeWhat, String), ControlError> {
    let bad = |text: &str| ControlError::BadRequest(text.to_owned());
    let PurgeCache { all, url, prefix, tags } = wanted;
    let is_address = |text: &str| {
        text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://")
    };
    let given = [all, url.is_some(), prefix.is_some(), !tags.is_empty()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(bad("give exactly one of `all`, `url`, `prefix` and `tags`"));
    }
    if url.iter().chain(&prefix).any(|text| !is_address(text)) {
        return Err(bad("a URL begins with http:// or https://, a path with /"));
    }
    Ok(match (url, prefix) {
        (Some(url), _) => {
            let detail = format!("url {url}");
            (PurgeWhat::Url(url), detail)
        }
        (None, Some(prefix)) => {
            let detail = format!("prefix {prefix}");
            (PurgeWhat::Prefix(prefix), detail)
        }
        (None, None) if all => (PurgeWhat::All, "all".to_owned()),
        (None, None) => {
            let detail = format!("tags {}", tags.join(", "));
            (PurgeWhat::Tags(tags), detail)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hear_no_addresses() {
        let text = r#"{"code": "bad", "detail": "a path begins with /"}"#.to_owned();
        let refused = |status| Silence::of(EdgeClientError::Refused { status, text: text.clone() });
        let socket = "/run/edge-7.sock".into();
        let source = std::io::ErrorKind::NotFound.into();
        let away = Silence::of(EdgeClientError::Unreachable { socket, source });

        assert!(away.told(true).contains("edge-7"), "{away}");
        assert_eq!(away.told(false), UNREADABLE);
        assert_eq!(refused(StatusCode::BAD_REQUEST).told(false), "a path begins with /");
        assert_eq!(refused(StatusCode::INTERNAL_SERVER_ERROR).told(false), UNREADABLE);
        assert!(refused(StatusCode::NOT_FOUND).told(false).contains("upgrade"));
    }

    #[test]
    fn exactly_one_thing_is_purged() {
        let tags = vec!["a".to_owned()];
        let all = PurgeCache { all: true, ..PurgeCache::default() };
        assert_eq!(read(all.clone()).unwrap().0, PurgeWhat::All);
        assert!(read(PurgeCache::default()).is_err());
        assert!(read(PurgeCache { tags: tags.clone(), ..all }).is_err());
        let of = |url: &str| PurgeCache { url: Some(url.to_owned()), ..PurgeCache::default() };
        assert!(read(of("/a")).is_ok() && read(of("https://a.example/")).is_ok());
        assert!(read(of("a.example/")).is_err());
        let (what, detail) = read(PurgeCache { tags, ..PurgeCache::default() }).unwrap();
        assert_eq!((what, &*detail), (PurgeWhat::Tags(vec!["a".to_owned()]), "tags a"));
    }
}
