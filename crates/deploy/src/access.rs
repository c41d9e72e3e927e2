//! Who passes into the folders on a node in which private keys and password hashes lie: whoever logs
//! in, root, and the group in which the engine reads. The folders keep everybody else out, so the files
//! in them need no groups of their own.
//!
//! Which group that is follows from what only root can write (`access::group`). Whoever runs a program
//! of the engine's name proves nothing by it; such processes count only where they contradict. Folders
//! that are closed to others and open to a group are left as they are, so that root can decide it.

mod group;

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Command, Layout, Rights};
use portway_transport::{Output, Transport};

use crate::{
    Journal, StepError,
    home::Home,
    step::{Act, Node, printed},
    tools,
};

/// How long one command here may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The bits of a mode by which others may do anything, and by which the group passes.
const OTHERS: u32 = 0o007;
const GROUP_PASSES: u32 = 0o010;
/// Prints the modes of folders, of those that are there.
const MODES: &str = r#"stat -c %a -- "$@" 2>/dev/null || :"#;

/// How the folders of a node are, or come to be, closed to all but those who must read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// They are closed to others, and open to a group.
    Settled,
    /// Nobody but whoever logs in, and root, reads there.
    Private,
    /// Whoever logs in gives them to this group.
    Group(String),
    /// Whoever logs in puts this group on their access list.
    Listed(String),
    /// Whoever logs in can do none of that.
    Barred {
        /// Why not.
        why: String,
        /// What root does on the node instead, once.
        remedy: String,
    },
}

/// Returns the folders.
fn folders(layout: &Layout) -> [Utf8PathBuf; 2] {
    let home = Home::of(layout);
    [home.objects, home.releases]
}

/// Returns what tells whether others than the engine and whoever logs in pass into the folders; see
/// [`is_open`]. What is not there is open to nobody.
pub(crate) fn look(layout: &Layout) -> Result<Act, StepError> {
    let folders = folders(layout);
    let words: Vec<_> = folders.iter().map(|path| path.as_str()).collect();
    Act::look("looked who may read objects and releases", MODES, &words)
}

/// Reads what that printed.
pub(crate) fn is_open(output: &Output) -> bool {
    modes_of(output).iter().any(|mode| mode & OTHERS != 0)
}

async fn modes<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    layout: &Layout,
) -> Result<Vec<u32>, StepError> {
    let folders = folders(layout);
    let words = ["stat", "-c", "%a", "--"].into_iter().chain(folders.iter().map(|it| it.as_str()));
    Ok(modes_of(&node.run(&command(words)).await?))
}

/// Reads the modes that `stat -c %a` prints.
pub(crate) fn modes_of(output: &Output) -> Vec<u32> {
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().filter_map(|line| u32::from_str_radix(line.trim(), 8).ok()).collect()
}

/// Tells whether both folders are there, closed to others, and open to a group.
pub(crate) fn is_settled(modes: &[u32]) -> bool {
    let is_closed = |mode: &u32| mode & OTHERS == 0 && mode & GROUP_PASSES != 0;
    modes.len() == 2 && modes.iter().all(is_closed)
}

/// Finds out how the folders are closed. Changes nothing.
pub(crate) async fn plan<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    engine: &str,
    layout: &Layout,
) -> Result<Access, StepError> {
    if is_settled(&modes(node, layout).await?) {
        return Ok(Access::Settled);
    }
    let login = Login::see(node).await?;
    let found = group::of(node, engine, layout).await?;
    let runs = group::processes(node, engine, layout).await?;
    if !runs.is_empty() && runs.iter().all(|process| process.user == login.user) {
        return Ok(Access::Private);
    }
    let barred = |why: String, group: &str| Access::Barred {
        why: format!("everybody on the node could read keys and passwords there: {why}"),
        remedy: remedy(layout, &login.name, group),
    };
    let strangers: Vec<_> =
        runs.iter().filter(|process| process.user != 0 && process.user != login.user).collect();
    let Some(group) = found else {
        return Ok(match strangers.first() {
            None => Access::Private,
            Some(one) => {
                let why = format!(
                    "{engine} runs as user {} there, and no unit of a service says so",
                    one.user
                );
                barred(why, &one.group.to_string())
            }
        });
    };
    if !group.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Ok(barred(format!("`{group}` is no usual name of a group"), "GROUP"));
    }
    let number = group::number(node, &group).await?;
    if let (Some(number), Some(one)) = (number, strangers.first())
        && strangers.iter().all(|process| process.group != number)
    {
        let why = format!("{engine} should read as group {group}, and runs as group {}", one.group);
        return Ok(barred(why, &one.group.to_string()));
    }
    if login.user == 0 || login.groups.contains(&group) {
        return Ok(Access::Group(group));
    }
    if tools::program(node.transport, "setfacl").await?.is_some() {
        return Ok(Access::Listed(group));
    }
    let why = format!(
        "{engine} reads as group {group}, of which {} is no member, and there is no `setfacl`",
        login.name
    );
    Ok(barred(why, &group))
}

/// Closes the folders as planned.
pub(crate) async fn close<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    layout: &Layout,
    access: &Access,
) -> Result<(), StepError> {
    let folders = folders(layout);
    let paths = || folders.iter().map(|path| path.as_str());
    match access {
        Access::Settled => {}
        Access::Private => {
            node.must(&command(["chmod", "0700", "--"].into_iter().chain(paths()))).await?;
        }
        Access::Group(group) => {
            node.must(&command(["chgrp", "--", group.as_str()].into_iter().chain(paths()))).await?;
            node.must(&command(["chmod", "0710", "--"].into_iter().chain(paths()))).await?;
        }
        Access::Listed(group) => {
            // In one step: where lists are not kept, the engine is not shut out.
            let list = format!("g::---,g:{group}:--x,o::---");
            node.must(&command(["setfacl", "-m", list.as_str(), "--"].into_iter().chain(paths())))
                .await?;
        }
        Access::Barred { why, remedy } => {
            return Err(StepError::Open {
                home: layout.home.clone(),
                why: why.clone(),
                remedy: remedy.clone(),
            });
        }
    }
    Ok(())
}

/// Who logs in.
struct Login {
    user: u32,
    name: String,
    groups: Vec<String>,
}

impl Login {
    async fn see<T: Transport, J: Journal>(node: &Node<'_, T, J>) -> Result<Self, StepError> {
        let said = async |option: &str| -> Result<String, StepError> {
            let output = node.must(&command(["id", option])).await?;
            Ok(printed(&output).trim().to_owned())
        };
        let user = said("-u").await?;
        // Not every user and group has a name.
        let name = said("-un").await.unwrap_or_else(|_| user.clone());
        let groups = node.run(&command(["id", "-Gn"])).await?;
        let groups = String::from_utf8_lossy(&groups.stdout).into_owned();
        Ok(Self {
            // Nobody that is known.
            user: user.parse().unwrap_or(u32::MAX),
            name,
            groups: groups.split_whitespace().map(str::to_owned).collect(),
        })
    }
}

fn remedy(layout: &Layout, login: &str, group: &str) -> String {
    let folders = folders(layout);
    let [objects, releases] = folders.each_ref().map(|path| Utf8Path::as_str(path));
    format!(
        "as root on the node: `install -d -m 0710 -o {login} -g {group} {objects} {releases}`; it is never changed again"
    )
}

fn command(words: impl IntoIterator<Item = impl AsRef<str>>) -> Command {
    let argv = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
    Command { argv, rights: Rights::Login, deadline: PATIENCE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_settled_that_a_group_passes_into_and_nobody_else() {
        assert!(is_settled(&[0o710, 0o2750]));
        for modes in [&[0o711, 0o710][..], &[0o700, 0o700], &[0o710], &[]] {
            assert!(!is_settled(modes), "{modes:?}");
        }
    }
}
