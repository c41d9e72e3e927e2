//! The notes of turns on a node: read, written, and looked at before anything is switched. Why there
//! is one for each turn stands in [`fence`].

use camino::{Utf8Path, Utf8PathBuf};
use portway_transport::{Done, Output, Status, Transport};
use uuid::Uuid;

use crate::{
    FORMAT, Journal, NodeState, Owner, StepError,
    fence::{self, Turn},
    home::Home,
    step::{Act, Node, counted},
};

/// A note that was just seen may be gone, because a later turn has removed it.
const TRIES: usize = 3;
/// Up to how many files are named to the command that removes them.
const NAMED: usize = 32;

/// The notes that lie on a node, the last one last.
#[derive(Debug)]
pub(crate) struct Notes(Vec<(Turn, Vec<u8>)>);

impl Notes {
    /// Returns what prints them.
    pub(crate) fn act(home: &Home) -> Result<Act, StepError> {
        Act::look("read the notes of turns", fence::NOTES, &[home.turns.as_str()])
    }

    /// Reads what was printed.
    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let note = |part: &str| {
            let (name, content) = part.split_once('\n')?;
            Some((Turn::of(name)?, content.as_bytes().to_vec()))
        };
        let mut notes: Vec<_> = text.split("\n== ").filter_map(note).collect();
        notes.sort_unstable();
        Self(notes)
    }

    fn have(&self, turn: Turn) -> bool {
        self.0.iter().any(|(known, _)| *known == turn)
    }

    /// Tells whether the last one was gone when it was to be read.
    pub(crate) fn is_last_gone(&self) -> bool {
        self.0.last().is_some_and(|(_, content)| content.trim_ascii().is_empty())
    }

    /// Returns what the last one says; nothing where there is none.
    pub(crate) fn state(&self, home: &Home) -> Result<Option<NodeState>, StepError> {
        let Some((turn, content)) = self.0.last() else { return Ok(None) };
        let path = path_of(home, *turn);
        if self.is_last_gone() {
            let problem = "it is gone each time it is read".to_owned();
            return Err(StepError::Note { path, problem });
        }
        NodeState::read(content).map(Some).map_err(|problem| StepError::Note { path, problem })
    }

    /// Makes sure that nobody else's turn is on the node.
    pub(crate) fn check(&self, home: &Home, owner: &Owner) -> Result<(), StepError> {
        let manager = |content: &[u8]| {
            NodeState::read(content).map(|state| state.manager).unwrap_or_default()
        };
        let is_foreign = |(turn, _): &&(Turn, _)| turn.installation != owner.installation;
        if let Some((turn, content)) = self.0.iter().find(is_foreign) {
            return Err(StepError::Foreign {
                manager: manager(content),
                path: path_of(home, *turn),
            });
        }
        match self.0.last() {
            Some((last, content)) if last.fence > owner.fence => Err(StepError::Fenced {
                manager: manager(content),
                theirs: last.fence,
                ours: owner.fence,
            }),
            _ => Ok(()),
        }
    }

    /// Returns what begins the owner's turn on the node, before anything else is done there.
    pub(crate) fn begin(&self, home: &Home, owner: &Owner) -> Result<Vec<Act>, StepError> {
        self.check(home, owner)?;
        let mine = turn_of(owner);
        let mut acts = Vec::new();
        if !self.have(mine) {
            let proven = self.state(home)?.map(|state| (state.release, state.entry, state.before));
            let (release, entry, before) = proven.unwrap_or_default();
            acts.push(note(home, owner, &NodeState { release, entry, before, ..blank(owner) })?);
        }
        let over = self.0.iter().map(|(turn, _)| *turn).filter(|turn| *turn != mine);
        acts.extend(Act::remove(over.map(|turn| path_of(home, turn)).collect()));
        Ok(acts)
    }
}

/// Reads the notes.
pub(crate) async fn notes<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<Notes, StepError> {
    let mut notes = Notes(Vec::new());
    for _ in 0..TRIES {
        if let Some(Done::Ran(output)) = node.all(&[Notes::act(home)?]).await?.first() {
            notes = Notes::of(output);
        }
        if !notes.is_last_gone() {
            break;
        }
    }
    Ok(notes)
}

/// Reads the notes after some acts, in the same command. Returns what came of those, too.
pub(crate) async fn notes_after<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    mut acts: Vec<Act>,
) -> Result<(Vec<Done>, Notes), StepError> {
    acts.push(Notes::act(home)?);
    let mut done = node.all(&acts).await?;
    let read = match done.pop() {
        Some(Done::Ran(output)) => Some(Notes::of(&output)),
        Some(Done::Done(_) | Done::Got(_) | Done::Listed(_)) | None => None,
    };
    let read = match read.filter(|notes| !notes.is_last_gone()) {
        Some(read) => read,
        None => notes(node, home).await?,
    };
    Ok((done, read))
}

/// Reads the note of the last turn; nothing where there was none.
pub(crate) async fn state<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<Option<NodeState>, StepError> {
    notes(node, home).await?.state(home)
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

/// Makes sure that it still is the owner's turn, which has begun.
pub(crate) async fn hold<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
) -> Result<(), StepError> {
    let notes = notes(node, home).await?;
    notes.check(home, owner)?;
    if notes.have(turn_of(owner)) {
        return Ok(());
    }
    Err(StepError::TurnGone { path: path_of(home, turn_of(owner)) })
}

/// Begins the owner's turn on the node.
pub(crate) async fn take<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
) -> Result<(), StepError> {
    let notes = notes(node, home).await?;
    node.all(&notes.begin(home, owner)?).await.map(drop)
}

/// Returns what writes the note of the owner's turn. It holds no secret.
pub(crate) fn note(home: &Home, owner: &Owner, state: &NodeState) -> Result<Act, StepError> {
    let told = match state.release {
        Some(release) => format!("noted turn {}, with release {release} proven", owner.fence),
        None => format!("noted turn {}, with nothing proven", owner.fence),
    };
    let (number, name) = words(owner);
    let text = String::from_utf8_lossy(&state.write()).into_owned();
    Act::script(told, fence::WRITE_NOTE, &[home.turns.as_str(), &number, &name, &text])
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

/// Returns what ends several acts where it is no longer the owner's turn. See [`in_turn`].
pub(crate) fn held(home: &Home, owner: &Owner) -> Result<Act, StepError> {
    let (number, name) = words(owner);
    let words = [home.turns.as_str(), &number, &name];
    Act::look("looked whether it still is this turn", fence::HELD, &words).map(Act::fenced)
}

/// Returns what leads a link to a target, in the owner's turn only. See [`in_turn`].
pub(crate) fn lead(
    home: &Home,
    owner: &Owner,
    link: &Utf8Path,
    target: &Utf8Path,
) -> Result<Act, StepError> {
    let prepared = fence::prepared(link, owner.fence);
    let (number, name) = words(owner);
    let words = [home.turns.as_str(), &number, &name, prepared.as_str(), link.as_str()];
    let words: Vec<_> = words.into_iter().chain([target.as_str()]).collect();
    let what = format!("linked {link} to {target}");
    Ok(Act::script(what, fence::SWITCH, &words)?.fenced())
}

/// Returns what removes files, in the owner's turn only. See [`in_turn`].
pub(crate) fn removal(
    home: &Home,
    owner: &Owner,
    paths: &[Utf8PathBuf],
) -> Result<Option<Act>, StepError> {
    if paths.is_empty() {
        return Ok(None);
    }
    let (number, name) = words(owner);
    let mut words = vec![home.turns.as_str(), &number, &name];
    let what = format!("removed {}", counted(paths.len(), "file"));
    if paths.len() <= NAMED {
        words.extend(paths.iter().map(|path| path.as_str()));
        let act = Act::script(what, fence::REMOVE_NAMED, &words)?;
        return Ok(Some(act.fenced()));
    }
    let names = paths.iter().flat_map(|path| [path.as_str(), "\0"].concat().into_bytes());
    Ok(Some(Act::fed(what, fence::REMOVE, &words, names.collect())?.fenced()))
}

/// Does several things that must all go well. Where one of them found that the turn is over, who has
/// the node is told.
pub(crate) async fn in_turn<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
    acts: &[Act],
) -> Result<Vec<Done>, StepError> {
    in_turn_so_far(node, home, owner, acts).await.into_iter().collect()
}

/// The same; an error stands behind what went well before.
pub(crate) async fn in_turn_so_far<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
    acts: &[Act],
) -> Vec<Result<Done, StepError>> {
    let mut all = Vec::with_capacity(acts.len());
    for (act, result) in acts.iter().zip(node.several(acts).await) {
        all.push(match result {
            Ok(done) if act.is_fenced() && is_over(&done) => {
                let held = hold(node, home, owner).await;
                let path = path_of(home, turn_of(owner));
                Err(held.err().unwrap_or(StepError::TurnGone { path }))
            }
            result => result.and_then(|done| act.succeeded(done)),
        });
    }
    all
}

/// Removes files, in the owner's turn only. See [`fence`].
pub(crate) async fn remove<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
    owner: &Owner,
    paths: &[Utf8PathBuf],
) -> Result<(), StepError> {
    let acts: Vec<_> = removal(home, owner, paths)?.into_iter().collect();
    in_turn(node, home, owner, &acts).await.map(drop)
}

fn is_over(done: &Done) -> bool {
    matches!(done, Done::Ran(output) if output.status == Status::Exited(fence::TURN_OVER))
}

/// Returns the number and the note's name, as scripts are given them.
fn words(owner: &Owner) -> (String, String) {
    (owner.fence.to_string(), turn_of(owner).file_name())
}

fn turn_of(owner: &Owner) -> Turn {
    Turn { fence: owner.fence, installation: owner.installation }
}

fn path_of(home: &Home, turn: Turn) -> Utf8PathBuf {
    home.turns.join(turn.file_name())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn printed(text: &str) -> Notes {
        Notes::of(&Output {
            status: Status::Exited(0),
            stdout: text.as_bytes().to_vec(),
            stderr: Vec::new(),
            duration: Duration::ZERO,
        })
    }

    #[test]
    fn notes_are_read_as_they_are_printed_and_the_greatest_counts() {
        let owner = Owner {
            installation: Uuid::from_u128(1),
            node: Uuid::from_u128(2),
            manager: "box".to_owned(),
            fence: 9,
        };
        let [turns, objects, releases] =
            ["turns", "objects", "releases"].map(|name| Utf8PathBuf::from("/home").join(name));
        let home = Home { turns, objects, releases };
        let state = |fence| NodeState { fence, ..blank(&owner) };
        let name = |fence| Turn { fence, installation: owner.installation }.file_name();
        let text = |fence| String::from_utf8(state(fence).write()).unwrap();

        let notes = printed(&format!(
            "\n== {}\n{}\n== {}\n{}\n== x.json\n{{}}",
            name(10),
            text(10),
            name(7),
            text(7)
        ));

        assert_eq!(notes.state(&home).unwrap(), Some(state(10)));
        assert!(matches!(notes.check(&home, &owner), Err(StepError::Fenced { theirs: 10, .. })));
        assert!(printed("").0.is_empty());
        let gone = printed(&format!("\n== {}\n", name(7)));
        assert!(gone.is_last_gone() && gone.state(&home).is_err());
    }
}
