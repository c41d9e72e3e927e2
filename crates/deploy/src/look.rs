//! What a node has, read from the node.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Layout, Link, Object, Probe, Release};
use portway_policy::Digest;
use portway_transport::{Content, Entry, Transport};
use uuid::Uuid;

use crate::{
    Journal, NodeState, StepError,
    home::{self, Home},
    probe,
    step::Node,
};

/// How long an engine that runs takes to say what it serves.
const ASK: Duration = Duration::from_secs(3);

/// Who works on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The installation.
    pub installation: Uuid,
    /// The manager, for people.
    pub manager: String,
    /// The number of its turn on this node: greater than that of every turn before.
    pub fence: u64,
}

/// What a node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The note of whoever was here last.
    pub state: Option<NodeState>,
    /// Where the link leads that makes a release the one that counts; nothing where there is none.
    pub target: Option<Utf8PathBuf>,
    /// The release that counts, where the link leads to one.
    pub linked: Option<Digest>,
    /// The release that the engine says it serves.
    pub running: Option<Digest>,
    /// Why the engine does not say.
    pub silent: Option<String>,
    /// The digests of the bytes of objects, by file name.
    pub objects: BTreeMap<String, Digest>,
    /// The digests of the bytes of releases, by file name.
    pub releases: BTreeMap<String, Digest>,
}

impl Look {
    /// Returns the objects whose bytes are not those that their names tell of: someone changed them.
    pub fn changed_objects(&self) -> impl Iterator<Item = &str> {
        self.objects
            .iter()
            .filter(|(name, digest)| home::named(name) != Some(**digest))
            .map(|(name, _)| name.as_str())
    }

    /// Says how the node differs from having a release, proven; nothing where it does not.
    pub fn drift_from(&self, release: &Release) -> Option<String> {
        let wanted = release.digest;
        if self.linked != Some(wanted) {
            let has = self.target.as_ref().map_or("nothing".to_owned(), ToString::to_string);
            return Some(format!("the link leads to {has}, not to release {wanted}"));
        }
        let changed = |(name, object): (&String, &Arc<Object>)| {
            (!self.has_object(name, object.digest())).then(|| name.clone())
        };
        let changed: Vec<_> = release.objects.iter().filter_map(changed).collect();
        if !changed.is_empty() {
            return Some(format!("changed or gone on the node: {}", changed.join(", ")));
        }
        match (self.running, &self.silent) {
            (Some(running), _) if running == wanted => None,
            (Some(running), _) => {
                Some(format!("its engine serves release {running}, not {wanted}"))
            }
            (None, Some(why)) => Some(format!("its engine does not say what it serves: {why}")),
            (None, None) => Some("its engine does not say what it serves".to_owned()),
        }
    }

    /// Tells whether an object is there and unchanged.
    pub(crate) fn has_object(&self, name: &str, digest: Digest) -> bool {
        self.objects.get(name) == Some(&digest)
    }
}

/// Reads what a node has. `probe` says how the engine is asked what it serves.
pub(crate) async fn read<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    layout: &Layout,
    link: &Link,
    probe: &Probe,
) -> Result<Look, StepError> {
    let home = Home::of(layout);
    let state = state(node, &home).await?;
    let folder = link.link.parent().unwrap_or(Utf8Path::new("/"));
    let name = link.link.file_name().unwrap_or_default();
    let target = match node.list(folder).await?.into_iter().find(|entry| entry.name == name) {
        None => None,
        Some(Entry { content: Content::Link { target }, .. }) => Some(target),
        Some(_) => {
            let what = "it is no symbolic link".to_owned();
            return Err(StepError::InTheWay { path: link.link.clone(), what });
        }
    };
    let linked = target.as_deref().and_then(Utf8Path::file_name).and_then(home::named);
    let (running, silent) = match probe::ask(node.transport, probe, ASK).await {
        Ok(answer) => match answer.parse() {
            Ok(digest) => (Some(digest), None),
            Err(_) => (None, Some(format!("it answers `{answer}`"))),
        },
        Err(problem) => (None, Some(problem)),
    };
    let objects = digests(node.list(&home.objects).await?);
    let releases = digests(node.list(&home.releases).await?);
    Ok(Look { state, target, linked, running, silent, objects, releases })
}

pub(crate) async fn state<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<Option<NodeState>, StepError> {
    let Some(bytes) = node.get(&home.state).await? else { return Ok(None) };
    NodeState::read(&bytes)
        .map(Some)
        .map_err(|problem| StepError::Note { path: home.state.clone(), problem })
}

fn digests(entries: Vec<Entry>) -> BTreeMap<String, Digest> {
    let file = |entry: Entry| match entry.content {
        Content::File { digest, .. } => Some((entry.name, digest)),
        Content::Folder | Content::Link { .. } | Content::Other => None,
    };
    entries.into_iter().filter_map(file).collect()
}
