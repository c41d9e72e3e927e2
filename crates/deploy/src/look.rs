//! What a node has, read from the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Layout, Link, Object, Probe, Release};
use portway_policy::Digest;
use portway_transport::{Content, Done, Entry, Transport};
use uuid::Uuid;

use crate::{
    Journal, NodeState, StepError, access,
    home::{self, Home},
    probe,
    step::{Act, Node},
    turn::{self, Notes},
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

/// What stands in the folders that a deployment looks at, read in one go.
#[derive(Debug, Default)]
pub(crate) struct Folders(BTreeMap<Utf8PathBuf, Vec<Entry>>);

impl Folders {
    /// Returns what lists them.
    pub(crate) fn act(layout: &Layout, link: &Link) -> Act {
        Act::list(Self::all(layout, link))
    }

    /// Reads what was listed.
    pub(crate) fn of(layout: &Layout, link: &Link, done: Option<Done>) -> Self {
        let listed = match done {
            Some(Done::Listed(listed)) => listed,
            Some(Done::Ran(_) | Done::Done(_) | Done::Got(_)) | None => Vec::new(),
        };
        let listed = listed.into_iter().map(Option::unwrap_or_default);
        Self(Self::all(layout, link).into_iter().zip(listed).collect())
    }

    /// Returns what stands in one of them.
    pub(crate) fn entries(&self, folder: &Utf8Path) -> &[Entry] {
        self.0.get(folder).map(Vec::as_slice).unwrap_or_default()
    }

    fn all(layout: &Layout, link: &Link) -> Vec<Utf8PathBuf> {
        let home = Home::of(layout);
        let all = BTreeSet::from([
            folder_of(&link.link).to_owned(),
            folder_of(&layout.reached_by).to_owned(),
            home.objects,
            home.releases,
        ]);
        all.into_iter().collect()
    }

    /// Says what they tell of a node.
    pub(crate) fn look(
        &self,
        layout: &Layout,
        link: &Link,
        state: Option<NodeState>,
    ) -> Result<Look, StepError> {
        let name = link.link.file_name().unwrap_or_default();
        let found = self.entries(folder_of(&link.link)).iter().find(|entry| entry.name == name);
        let target = match found.map(|entry| &entry.content) {
            None => None,
            Some(Content::Link { target }) => Some(target.clone()),
            // What [`crate::clean`] leaves for an engine that insists on a file.
            Some(Content::File { digest, .. }) if *digest == Digest::of(b"") => None,
            Some(_) => {
                let what = "it is no symbolic link".to_owned();
                return Err(StepError::InTheWay { path: link.link.clone(), what });
            }
        };
        let linked = target.as_deref().and_then(Utf8Path::file_name).and_then(home::named);
        let home = Home::of(layout);
        let objects = digests(self.entries(&home.objects));
        let releases = digests(self.entries(&home.releases));
        let (running, silent, is_open) = (None, None, false);
        Ok(Look { state, target, linked, running, silent, is_open, objects, releases })
    }
}

/// Returns the folder in which a file stands.
pub(crate) fn folder_of(path: &Utf8Path) -> &Utf8Path {
    path.parent().unwrap_or(Utf8Path::new("/"))
}

/// Reads what a node has. `probe` says how the engine is asked what it serves.
pub(crate) async fn read<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    layout: &Layout,
    link: &Link,
    probe: &Probe,
) -> Result<Look, StepError> {
    let home = Home::of(layout);
    let acts = [access::look(layout)?, Notes::act(&home)?, Folders::act(layout, link)];
    // They change nothing, and neither waits for the other.
    let (read, answer) = tokio::join!(node.all(&acts), probe::ask(node.transport, probe, ASK));
    let mut read = read?.into_iter();
    let mut ran = || match read.next() {
        Some(Done::Ran(output)) => Some(output),
        Some(Done::Listed(_) | Done::Done(_) | Done::Got(_)) | None => None,
    };
    let is_open = ran().is_some_and(|output| access::is_open(&output));
    let notes = ran().map(|output| Notes::of(&output)).filter(|notes| !notes.is_last_gone());
    let notes = match notes {
        Some(notes) => notes,
        None => turn::notes(node, &home).await?,
    };
    let look = Folders::of(layout, link, read.next()).look(layout, link, notes.state(&home)?)?;
    let (running, silent) = match answer {
        Ok(answer) => match answer.parse() {
            Ok(digest) => (Some(digest), None),
            Err(_) => (None, Some(format!("it answers `{answer}`"))),
        },
        Err(problem) => (None, Some(problem.to_string())),
    };
    Ok(Look { running, silent, is_open, ..look })
}

fn digests(entries: &[Entry]) -> BTreeMap<String, Digest> {
    let file = |entry: &Entry| match &entry.content {
        Content::File { digest, .. } => Some((entry.name.clone(), *digest)),
        Content::Folder | Content::Link { .. } | Content::Other => None,
    };
    entries.iter().filter_map(file).collect()
}
