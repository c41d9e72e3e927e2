//! Takes everything that Portway put on a node away again. The engine serves on what else it has.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Candidate, Command, Rights};
use portway_model::Stage;
use portway_transport::{Content, Mode, Transport, Upload};
use uuid::Uuid;

use crate::{Deployment, Journal, StepError, home::Home, stage, step::Node, turn};

/// How long empty folders may take to go.
const FOLDERS: Duration = Duration::from_secs(10);

/// What became of a node that was to be cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// Nothing of Portway's is there any more.
    Wholly,
    /// An empty file is left, because the engine's own configuration names it, or a link beside that
    /// which root made, and the engine would refuse that otherwise.
    ButEntrance {
        /// The engine's own configuration.
        top_level: Utf8PathBuf,
        /// What names the file.
        reached_by: Utf8PathBuf,
    },
    /// Another node was declared there since, and has what lies there: nothing was touched.
    Another {
        /// The other node.
        node: Uuid,
    },
}

/// Takes Portway's away from a node: first what makes the engine read it, then, when the engine has
/// read what is left, the files. The release of the deployment says only how the engine is made to
/// read. Can be done again after half of it.
///
/// # Errors
/// When a step fails; what was taken away stays away.
pub async fn clean<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    journal: &J,
) -> Result<Cleaned, StepError> {
    let node = Node { transport: it.transport, journal, stage: Stage::Activating };
    let layout = &it.facts.layout;
    let home = Home::of(layout);
    let is_there = node.transport.list(&layout.home).await?.is_some();
    if is_there {
        if let Some(other) = turn::other_node(&node, &home, it.owner).await? {
            return Ok(Cleaned::Another { node: other });
        }
        // All that follows is done in a turn, which needs its note.
        stage::make_turns(&node, &home).await?;
        turn::take(&node, &home, it.owner).await?;
    }
    let steps = it.engine.steps(Candidate { files: Vec::new() }, it.release, it.facts);
    stage::clear_stale(it, &node, &steps.activate).await?;
    let link = &steps.activate.link;
    let mut links = vec![link.clone()];
    let is_led_here = is_ours(&node, &layout.reached_by, &layout.home).await?;
    let stays = is_led_here && !may_remove(&node, &layout.reached_by).await?;
    if is_led_here {
        // The engine is kept from following a link that leads nowhere.
        links.insert(0, layout.reached_by.clone());
    }
    let is_named = || async {
        it.engine.insists_on_entrance() && stage::trial::candidate(it, &node).await.is_ok()
    };
    let still_named = is_there && (stays || is_named().await);
    if still_named {
        // The engine would refuse its whole configuration, so that it reads nothing in the meantime.
        turn::hold(&node, &home, it.owner).await?;
        node.put(&[Upload::new(link, Mode::PUBLIC, Vec::new())?]).await?;
    } else if is_there {
        turn::remove(&node, &home, it.owner, &links).await?;
    } else {
        // Without the folder there are no turns, and what leads to it leads nowhere.
        node.remove(&links).await?;
    }
    node.reload(steps.reload.as_ref()).await?;
    if !is_there {
        return Ok(Cleaned::Wholly);
    }
    // The notes last: until then they tell whose the rest is.
    for folder in [&home.objects, &home.releases, &home.turns] {
        let files = node.list(folder).await?.into_iter().map(|entry| folder.join(entry.name));
        turn::remove(&node, &home, it.owner, &files.collect::<Vec<_>>()).await?;
    }
    // A folder in which somebody else put something stays.
    let argv =
        ["find", layout.home.as_str(), "-depth", "-type", "d", "-exec", "rmdir", "--", "{}", ";"];
    let argv = argv.map(str::to_owned).to_vec();
    node.run(&Command { argv, rights: Rights::Login, deadline: FOLDERS }).await?;
    if still_named {
        let (top_level, reached_by) = (layout.top_level.clone(), layout.reached_by.clone());
        return Ok(Cleaned::ButEntrance { top_level, reached_by });
    }
    Ok(Cleaned::Wholly)
}

/// Tells whether whoever logs in may take something away from the folder that it is in.
async fn may_remove<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    path: &Utf8Path,
) -> Result<bool, StepError> {
    let folder = path.parent().unwrap_or(Utf8Path::new("/"));
    let argv = ["test", "-w", folder.as_str()].map(str::to_owned).to_vec();
    let asked = Command { argv, rights: Rights::Login, deadline: FOLDERS };
    node.run(&asked).await.map(|output| output.is_success())
}

async fn is_ours<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    entrance: &Utf8PathBuf,
    home: &Utf8PathBuf,
) -> Result<bool, StepError> {
    let (Some(folder), Some(name)) = (entrance.parent(), entrance.file_name()) else {
        return Ok(false);
    };
    let found = node.list(folder).await?.into_iter().find(|entry| entry.name == name);
    Ok(found.is_some_and(
        |entry| matches!(entry.content, Content::Link { target } if target.starts_with(home)),
    ))
}
