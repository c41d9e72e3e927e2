//! Takes everything that Portway put on a node away again. The engine serves on what else it has.

use std::time::Duration;

use camino::Utf8PathBuf;
use portway_engine::{Candidate, Command, Rights};
use portway_model::Stage;
use portway_transport::{Content, Mode, Transport, Upload};

use crate::{Deployment, Journal, StepError, home::Home, stage, step::Node, turn};

/// How long empty folders may take to go.
const FOLDERS: Duration = Duration::from_secs(10);

/// Takes Portway's away from a node: first what makes the engine read it, then, when the engine has
/// read what is left, the files. The release of the deployment says only how the engine is made to
/// read. Can be done again after half of it.
///
/// # Errors
/// When a step fails; what was taken away stays away.
pub async fn clean<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    journal: &J,
) -> Result<(), StepError> {
    let node = Node { transport: it.transport, journal, stage: Stage::Activating };
    let layout = &it.facts.layout;
    let home = Home::of(layout);
    // A node that was cleaned before has no notes, and nobody's turn can be on it.
    let notes = node.list(&home.turns).await?;
    if !notes.is_empty() {
        turn::take(&node, &home, it.owner).await?;
    }
    let steps = it.engine.steps(Candidate { files: Vec::new() }, it.release, it.facts);
    stage::clear_stale(it, &node, &steps).await?;
    let mut links = vec![steps.activate.link.clone()];
    if is_ours(&node, &layout.reached_by, &layout.home).await? {
        // The engine is kept from following a link that leads nowhere.
        links.insert(0, layout.reached_by.clone());
    }
    let still_named = it.engine.insists_on_entrance() && stage::candidate(it, &node).await.is_ok();
    if still_named {
        // The engine would refuse its whole configuration, so that it reads nothing in the meantime.
        turn::check(&node, &home, it.owner).await?;
        let nothing = Upload::new(&layout.reached_by, Mode::PUBLIC, Vec::new());
        node.put(&[nothing?]).await?;
    } else if notes.is_empty() {
        node.remove(&links).await?;
    } else {
        turn::remove(&node, &home, it.owner, &links).await?;
    }
    node.reload(steps.reload.as_ref()).await?;
    for folder in [&home.objects, &home.releases, &home.turns] {
        let files = node.list(folder).await?.into_iter().map(|entry| folder.join(entry.name));
        node.remove(&files.collect::<Vec<_>>()).await?;
    }
    if node.transport.list(&layout.home).await?.is_none() {
        return Ok(());
    }
    // A folder in which somebody else put something stays.
    let argv =
        ["find", layout.home.as_str(), "-depth", "-type", "d", "-exec", "rmdir", "--", "{}", ";"];
    let argv = argv.map(str::to_owned).to_vec();
    node.run(&Command { argv, rights: Rights::Login, deadline: FOLDERS }).await?;
    if still_named {
        let (top_level, reached_by) = (layout.top_level.clone(), layout.reached_by.clone());
        return Err(StepError::StillNamed { top_level, reached_by });
    }
    Ok(())
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
