//! The links by which a release comes to count on a node, and the way back.

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Layout, Link};
use portway_transport::{Content, Mode, Upload};

use crate::{
    Look, Owner, StepError,
    home::Home,
    look::{Folders, folder_of},
    step::Act,
    turn,
};

/// What is switched: usually one link; two on a node whose engine does not reach Portway's yet.
#[derive(Debug)]
pub(crate) struct Switch {
    changes: Vec<Change>,
    /// Whether the engine refuses its whole configuration where nothing lies at the link.
    insists: bool,
}

#[derive(Debug)]
struct Change {
    link: Utf8PathBuf,
    to: Utf8PathBuf,
    /// Where it led; nothing where it was not there.
    before: Option<Utf8PathBuf>,
}

impl Switch {
    /// Finds out what is to be switched.
    pub(crate) fn plan(
        layout: &Layout,
        link: &Link,
        look: &Look,
        folders: &Folders,
        insists: bool,
    ) -> Result<Self, StepError> {
        let first = Change {
            link: link.link.clone(),
            to: link.target.clone(),
            before: look.target.clone(),
        };
        let mut changes = vec![first];
        let mut insists = insists;
        if layout.reached_by != link.link {
            let made = entrance(folders, &layout.reached_by, &link.link)?;
            // What was led here by somebody else is not taken away again, and must not lead nowhere.
            insists |= made.is_none();
            changes.extend(made);
        }
        Ok(Self { changes, insists })
    }

    /// Returns what switches, in the owner's turn only.
    pub(crate) fn acts(&self, home: &Home, owner: &Owner) -> Result<Vec<Act>, StepError> {
        let mut acts = Vec::new();
        for change in &self.changes {
            acts.push(turn::lead(home, owner, &change.link, &change.to)?);
        }
        Ok(acts)
    }

    /// Returns what switches back. Can be done again, and after half a switch.
    pub(crate) fn acts_back(&self, home: &Home, owner: &Owner) -> Result<Vec<Act>, StepError> {
        let mut acts = Vec::new();
        for change in self.changes.iter().rev() {
            match &change.before {
                Some(before) => acts.push(turn::lead(home, owner, &change.link, before)?),
                None if self.insists => {
                    acts.push(turn::held(home, owner)?);
                    acts.extend(Act::put(&[Upload::new(&change.link, Mode::PUBLIC, Vec::new())?]));
                }
                None => {
                    let link = std::slice::from_ref(&change.link);
                    acts.extend(turn::removal(home, owner, link)?);
                }
            }
        }
        Ok(acts)
    }
}

/// Returns the link in the engine's own folder, where it is missing.
fn entrance(
    folders: &Folders,
    reached_by: &Utf8Path,
    link: &Utf8Path,
) -> Result<Option<Change>, StepError> {
    let name = reached_by.file_name().unwrap_or_default();
    let in_the_way = |what: String| StepError::InTheWay { path: reached_by.to_owned(), what };
    let found = folders.entries(folder_of(reached_by)).iter().find(|entry| entry.name == name);
    match found.map(|entry| &entry.content) {
        None => Ok(Some(Change { link: reached_by.to_owned(), to: link.to_owned(), before: None })),
        Some(Content::Link { target }) if target == link => Ok(None),
        Some(Content::Link { target }) => Err(in_the_way(format!("it leads to {target}"))),
        Some(Content::File { .. } | Content::Folder | Content::Other) => {
            Err(in_the_way("it is no symbolic link".to_owned()))
        }
    }
}
