//! The notes of turns on a node: read, written, and looked at before anything is switched. Why there
//! is one for each turn stands in [`fence`](crate::fence).

use camino::Utf8PathBuf;
use portway_transport::{Mode, Transport, Upload};
use uuid::Uuid;

use crate::{FORMAT, Journal, NodeState, Owner, StepError, fence::Turn, home::Home, step::Node};

/// A note that was just seen may be gone, because a later turn has removed it.
const TRIES: usize = 3;

/// Returns the turns of which there are notes, the last one last.
async fn turns<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<Vec<Turn>, StepError> {
    let names = node.list(&home.turns).await?;
    let mut turns: Vec<_> = names.iter().filter_map(|entry| Turn::of(&entry.name)).collect();
    turns.sort_unstable();
    Ok(turns)
}

/// Reads the note of the last turn; nothing where there was none.
pub(crate) async fn state<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<Option<NodeState>, StepError> {
    for _ in 0..TRIES {
        let Some(last) = turns(node, home).await?.pop() else { return Ok(None) };
        if let Some(state) = read(node, home, last).await? {
            return Ok(Some(state));
        }
    }
    let problem = "it is gone each time it is read".to_owned();
    Err(StepError::Note { path: home.turns.clone(), problem })
}

/// Returns the node whose turn the last one was, where the note says that it is not the owner's.
pub(crate) async fn other_node<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
) -> Result<Option<Uuid>, StepError> {
    let state = state(node, home).await?;
    let state = state.filter(|state| state.installation == owner.installation);
    Ok(state.and_then(|state| state.node).filter(|node| *node != owner.node))
}

async fn read<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    turn: Turn,
) -> Result<Option<NodeState>, StepError> {
    let path = path_of(home, turn);
    let Some(bytes) = node.get(&path).await? else { return Ok(None) };
    NodeState::read(&bytes).map(Some).map_err(|problem| StepError::Note { path, problem })
}

/// Makes sure that nobody else's turn is on the node. Returns the turns of which there are notes.
pub(crate) async fn check<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
) -> Result<Vec<Turn>, StepError> {
    let turns = turns(node, home).await?;
    let manager = async |turn: Turn| -> Result<String, StepError> {
        let state = read(node, home, turn).await?;
        Ok(state.map(|state| state.manager).unwrap_or_default())
    };
    if let Some(foreign) = turns.iter().find(|turn| turn.installation != owner.installation) {
        let path = path_of(home, *foreign);
        return Err(StepError::Foreign { manager: manager(*foreign).await?, path });
    }
    match turns.last() {
        Some(last) if last.fence > owner.fence => Err(StepError::Fenced {
            manager: manager(*last).await?,
            theirs: last.fence,
            ours: owner.fence,
        }),
        _ => Ok(turns),
    }
}

/// Makes sure that it still is the owner's turn, which has begun.
pub(crate) async fn hold<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
) -> Result<(), StepError> {
    if check(node, home, owner).await?.contains(&turn_of(owner)) {
        return Ok(());
    }
    Err(StepError::TurnGone { path: path_of(home, turn_of(owner)) })
}

/// Begins the owner's turn on the node, before anything else is done there.
pub(crate) async fn take<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
) -> Result<(), StepError> {
    let mine = turn_of(owner);
    let turns = check(node, home, owner).await?;
    if !turns.contains(&mine) {
        let found = state(node, home).await?;
        let proven = found.map(|state| (state.release, state.entry, state.before));
        let (release, entry, before) = proven.unwrap_or_default();
        note(node, home, owner, NodeState { release, entry, before, ..blank(owner) }).await?;
    }
    let over = turns.into_iter().filter(|turn| *turn != mine).map(|turn| path_of(home, turn));
    node.remove(&over.collect::<Vec<_>>()).await
}

/// Writes the note of the owner's turn.
pub(crate) async fn note<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
    state: NodeState,
) -> Result<(), StepError> {
    let path = path_of(home, turn_of(owner));
    node.put(&[Upload::new(&path, Mode::PRIVATE, state.write())?]).await
}

/// Returns a note of the owner's turn that tells of nothing proven.
pub(crate) fn blank(owner: &Owner) -> NodeState {
    NodeState {
        format: FORMAT,
        installation: owner.installation,
        node: Some(owner.node),
        manager: owner.manager.clone(),
        fence: owner.fence,
        release: None,
        entry: None,
        before: None,
    }
}

/// Removes files, in the owner's turn only. See [`fence`](crate::fence).
pub(crate) async fn remove<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
    paths: &[Utf8PathBuf],
) -> Result<(), StepError> {
    if node.remove_in_turn(&home.turns, turn_of(owner), paths).await? {
        return Ok(());
    }
    hold(node, home, owner).await?;
    Err(StepError::TurnGone { path: path_of(home, turn_of(owner)) })
}

fn turn_of(owner: &Owner) -> Turn {
    Turn { fence: owner.fence, installation: owner.installation }
}

fn path_of(home: &Home, turn: Turn) -> Utf8PathBuf {
    home.turns.join(turn.file_name())
}
