//! The links by which a release comes to count on a node, and the way back.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Command, Layout, Link, Rights};
use portway_transport::{Content, Mode, Transport, Upload};

use crate::{Journal, Look, Owner, StepError, fence, home::Home, step::Node, turn};

/// How long a rename may take.
const RENAME: Duration = Duration::from_secs(10);

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
    /// Finds out what is to be switched. Changes nothing.
    pub(crate) async fn plan<T: Transport, J: Journal>(
        node: &Node<'_, T, J>,
        layout: &Layout,
        link: &Link,
        look: &Look,
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
            let made = entrance(node, &layout.reached_by, &link.link).await?;
            // What was led here by somebody else is not taken away again, and must not lead nowhere.
            insists |= made.is_none();
            changes.extend(made);
        }
        Ok(Self { changes, insists })
    }

    pub(crate) async fn apply<T: Transport, J: Journal>(
        &self,
        node: &Node<'_, T, J>,
        home: &Home,
        owner: &Owner,
    ) -> Result<(), StepError> {
        for change in &self.changes {
            lead(node, home, owner, &change.link, &change.to).await?;
        }
        Ok(())
    }

    /// Switches back. Can be done again, and after half a switch.
    pub(crate) async fn undo<T: Transport, J: Journal>(
        &self,
        node: &Node<'_, T, J>,
        home: &Home,
        owner: &Owner,
    ) -> Result<(), StepError> {
        for change in self.changes.iter().rev() {
            match &change.before {
                Some(before) => lead(node, home, owner, &change.link, before).await?,
                None if self.insists => {
                    turn::hold(node, home, owner).await?;
                    node.put(&[Upload::new(&change.link, Mode::PUBLIC, Vec::new())?]).await?;
                }
                None => {
                    turn::remove(node, home, owner, std::slice::from_ref(&change.link)).await?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the link in the engine's own folder, where it is missing.
async fn entrance<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    reached_by: &Utf8Path,
    link: &Utf8Path,
) -> Result<Option<Change>, StepError> {
    let folder = reached_by.parent().unwrap_or(Utf8Path::new("/"));
    let name = reached_by.file_name().unwrap_or_default();
    let in_the_way = |what: String| StepError::InTheWay { path: reached_by.to_owned(), what };
    let found = node.list(folder).await?.into_iter().find(|entry| entry.name == name);
    match found.map(|entry| entry.content) {
        None => Ok(Some(Change { link: reached_by.to_owned(), to: link.to_owned(), before: None })),
        Some(Content::Link { target }) if target == link => Ok(None),
        Some(Content::Link { target }) => Err(in_the_way(format!("it leads to {target}"))),
        Some(Content::File { .. } | Content::Folder | Content::Other) => {
            Err(in_the_way("it is no symbolic link".to_owned()))
        }
    }
}

/// Leads a link to a target, in this manager's turn only; see [`fence`].
async fn lead<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
    link: &Utf8Path,
    target: &Utf8Path,
) -> Result<(), StepError> {
    let prepared = fence::prepared(link, owner.fence);
    node.relink(&prepared, target).await?;
    turn::hold(node, home, owner).await?;
    let argv = ["mv", "-f", "-T", "--", prepared.as_str(), link.as_str()].map(str::to_owned);
    let rename = Command { argv: argv.to_vec(), rights: Rights::Login, deadline: RENAME };
    node.must(&rename).await.map(drop)
}
