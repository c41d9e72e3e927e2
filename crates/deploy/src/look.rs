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
    turn,
};

/// How long an engine that runs takes to say what it serves.
const ASK: Duration = Duration::from_secs(3);

/// Who works on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The installation.
    pub installation: Uuid,
    /// The node, as the installation calls it. One that was declared anew is another one.
    pub node: Uuid,
    /// The manager, for people.
    pub manager: String,
    /// The number of its turn on this node: greater than that of every turn before.
    pub fence: u64,
}

/// What a node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The note of the last turn.
    pub state: Option<NodeState>,
    /// Where the link leads that makes a release the one that counts; nothing where there is none.
    pub target: Option<Utf8PathBuf>,
    /// The release that counts, where the link leads to one.
    pub linked: Option<Digest>,
    /// The release that the engine says it serves.
    pub running: Option<Digest>,
    /// Why the engine does not say.
    pub silent: Option<String>,
    /// Whether others than the engine may read there, as earlier versions left it.
    pub is_open: bool,
    /// The digests of the bytes of objects, by file name.
    pub objects: BTreeMap<String, Digest>,
    /// The digests of the bytes of releases, by file name.
    pub releases: BTreeMap<String, Digest>,
}

/// How a node stands that is to serve a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves it, and has it as it was sent.
    Serves,
    /// It does not serve it: it has another one, or none, or its engine does not answer; or others may
    /// read what lies there.
    Behind,
    /// Somebody changed what Portway put there; what, in words.
    Changed(String),
}

impl Look {
    /// Returns the objects whose bytes are not those that their names tell of: someone changed them.
    pub fn changed_objects(&self) -> impl Iterator<Item = &str> {
        self.objects
            .iter()
            .filter(|(name, digest)| home::named(name).is_some_and(|named| named != **digest))
            .map(|(name, _)| name.as_str())
    }

    /// Returns the files among the objects that are none. Nothing of Portway's names them, so they are
    /// left alone.
    pub fn unknown_objects(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().filter(|name| home::named(name).is_none()).map(String::as_str)
    }

    /// Says what somebody changed of what Portway put on the node; nothing where nobody did.
    pub fn changed_by_others(&self) -> Option<String> {
        let mut changed: Vec<_> = self.changed_objects().map(str::to_owned).collect();
        changed.extend(self.changed_entry());
        if !changed.is_empty() {
            return Some(format!("changed on the node: {}", changed.join(", ")));
        }
        let foreign = self.target.as_ref().filter(|_| self.linked.is_none());
        foreign.map(|target| format!("the link on the node leads to {target}"))
    }

    /// Returns the entry of the release that was proven last, where its bytes are others now.
    pub fn changed_entry(&self) -> Option<String> {
        let state = self.state.as_ref()?;
        let (release, entry) = (state.release?, state.entry?);
        let is_it = |(name, found): &(&String, &Digest)| {
            home::is_entry(name) && home::named(name) == Some(release) && **found != entry
        };
        self.releases.iter().find(is_it).map(|(name, _)| name.clone())
    }

    /// Tells how a node stands that is to serve a release.
    pub fn standing(&self, release: &Release) -> Standing {
        if let Some(changed) = self.changed_by_others() {
            return Standing::Changed(changed);
        }
        let is_gone =
            |(name, object): &(&String, &Arc<Object>)| !self.has_object(name, object.digest());
        let gone: Vec<_> =
            release.objects.iter().filter(is_gone).map(|(name, _)| name.as_str()).collect();
        let is_proven =
            self.state.as_ref().is_some_and(|state| state.release == Some(release.digest));
        if is_proven && !gone.is_empty() {
            return Standing::Changed(format!("gone from the node: {}", gone.join(", ")));
        }
        let is_served = self.linked == Some(release.digest) && self.running == Some(release.digest);
        if is_served && !self.is_open { Standing::Serves } else { Standing::Behind }
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
    let state = turn::state(node, &home).await?;
    let folder = link.link.parent().unwrap_or(Utf8Path::new("/"));
    let name = link.link.file_name().unwrap_or_default();
    let target = match node.list(folder).await?.into_iter().find(|entry| entry.name == name) {
        None => None,
        Some(Entry { content: Content::Link { target }, .. }) => Some(target),
        // What [`crate::clean`] leaves for an engine that insists on a file.
        Some(Entry { content: Content::File { digest, .. }, .. }) if digest == Digest::of(b"") => {
            None
        }
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
        Err(problem) => (None, Some(problem.to_string())),
    };
    let objects = digests(node.list(&home.objects).await?);
    let releases = digests(node.list(&home.releases).await?);
    let is_open = false;
    Ok(Look { state, target, linked, running, silent, is_open, objects, releases })
}

fn digests(entries: Vec<Entry>) -> BTreeMap<String, Digest> {
    let file = |entry: Entry| match entry.content {
        Content::File { digest, .. } => Some((entry.name, digest)),
        Content::Folder | Content::Link { .. } | Content::Other => None,
    };
    entries.into_iter().filter_map(file).collect()
}
