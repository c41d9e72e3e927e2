//! One deployment on one node, from its turn to its end. The order of stages, and what follows what,
//! stands in [`Stage::next`] alone.

use portway_engine::{Candidate, Engine, EngineFacts, Release, TopLevel};
use portway_model::{Finding, Outcome, Stage};
use portway_policy::Digest;
use portway_transport::Transport;

use tracing::warn;

use crate::{
    Journal, Look, Owner, StepError, Unwritten,
    look::read,
    proof::{Answers, Proof},
    stage,
    step::Node,
    switch::Switch,
    workers::Before,
};

/// What a node is to be brought to, and by whom.
pub struct Deployment<'a, T> {
    /// How the node is spoken with.
    pub transport: &'a T,
    /// Its engine.
    pub engine: &'a dyn Engine,
    /// What is known of the engine there.
    pub facts: &'a EngineFacts,
    /// What it is to serve.
    pub release: &'a Release,
    /// Whose turn it is.
    pub owner: &'a Owner,
    /// What becomes of what somebody else changed of Portway's on the node.
    pub by_others: ByOthers,
    /// What must be no worse afterwards.
    pub proofs: &'a [Proof],
}

impl<'a, T> Deployment<'a, T> {
    /// Returns one that only reads: it proves nothing, and what somebody changed stays.
    pub fn to_look(
        transport: &'a T,
        engine: &'a dyn Engine,
        facts: &'a EngineFacts,
        release: &'a Release,
        owner: &'a Owner,
    ) -> Self {
        let (by_others, proofs) = (ByOthers::Respect, [].as_slice());
        Self { transport, engine, facts, release, owner, by_others, proofs }
    }
}

/// What becomes of what somebody else changed of Portway's on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByOthers {
    /// It is told, and the deployment ends before anything is done.
    Respect,
    /// It is overwritten.
    Overwrite,
}

/// How a deployment ended.
#[derive(Debug)]
pub enum Ended {
    /// The node serves the release, proven.
    Live {
        /// How many files were sent.
        sent: usize,
        /// What should be known of its sites: warnings.
        told: Vec<Finding>,
    },
    /// The engine's own test refused the release; nothing was switched.
    Refused {
        /// What it said, down to the fields of sites where that can be known.
        findings: Vec<Finding>,
        /// What it printed.
        output: String,
    },
    /// It could not be done; nothing was switched.
    Failed(StepError),
    /// It was switched, was not served, and was switched back: the node serves what it served before.
    RolledBack(StepError),
    /// It was switched, and cannot be said to be served or to be undone.
    Stuck {
        /// Why it was to be undone.
        error: StepError,
        /// Why that failed.
        undo: StepError,
    },
}

/// Why a stage did not end well.
pub(crate) enum Fault {
    Refused { findings: Vec<Finding>, output: String },
    Failed(StepError),
}

impl From<StepError> for Fault {
    fn from(error: StepError) -> Self {
        Self::Failed(error)
    }
}

impl Fault {
    fn into_error(self) -> StepError {
        match self {
            Self::Failed(error) => error,
            Self::Refused { output, .. } => StepError::Refused { output },
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Refused { .. } => Outcome::Refused,
            Self::Failed(_) => Outcome::Failed,
        }
    }
}

/// What is learnt on the way.
#[derive(Default)]
pub(crate) struct Progress {
    /// What the node had.
    pub(crate) look: Look,
    /// What is to be switched, once it is known.
    pub(crate) switch: Option<Switch>,
    /// Whether switching has begun.
    pub(crate) switched: bool,
    /// The release that was proven before, where it is still on the node.
    pub(crate) before: Option<Digest>,
    /// The workers that were there before the engine was last told to read anew.
    pub(crate) workers: Before,
    /// The release that stays beside this one, with the names of its objects as they lie on the node.
    pub(crate) before_list: Option<(Digest, Vec<u8>)>,
    /// The engine's own configuration, for the test.
    pub(crate) top_level: Option<TopLevel>,
    /// How many files were sent.
    pub(crate) sent: usize,
    /// What sites answered before.
    pub(crate) answers: Answers,
    /// What should be known of them.
    pub(crate) told: Vec<Finding>,
}

/// Brings a node to a release, or leaves it as it was. Gone on with in the same way: what another
/// deployment left behind, whole or half, is what this one finds.
pub async fn deploy<T: Transport, J: Journal>(it: &Deployment<'_, T>, journal: &J) -> Ended {
    let mut progress = Progress::default();
    let (mut fault, mut undo) = (None, None);
    let mut stage = Stage::Staging;
    loop {
        let done = attempt(it, journal, stage, &mut progress).await;
        let outcome = done.as_ref().err().map_or(Outcome::Ok, Fault::outcome);
        if let Err(failed) = done {
            // The first fault is why; what happens on the way back is another matter.
            *if stage == Stage::RollingBack { &mut undo } else { &mut fault } = Some(failed);
        }
        match stage.next(outcome) {
            Some(next) if !next.is_end() => stage = next,
            _ => return ended(fault, undo, progress),
        }
    }
}

/// Has the engine of a node test a release beside what runs, and switches nothing.
///
/// # Errors
/// How a deployment of it would have ended.
pub async fn rehearse<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    journal: &J,
) -> Result<(), Ended> {
    let mut progress = Progress::default();
    for stage in [Stage::Staging, Stage::Testing] {
        let done = attempt(it, journal, stage, &mut progress).await;
        if let Err(fault) = done {
            return Err(ended(Some(fault), None, progress));
        }
    }
    Ok(())
}

/// Reads what a node has, and changes nothing.
///
/// # Errors
/// When the node cannot be read.
pub async fn look<T: Transport>(it: &Deployment<'_, T>) -> Result<Look, StepError> {
    let node = Node { transport: it.transport, journal: &Unwritten, stage: Stage::Queued };
    let steps = stage::steps(it, Candidate { files: Vec::new() });
    Box::pin(read(&node, &it.facts.layout, &steps.activate, &steps.probe)).await
}

/// Does the work of one stage.
async fn attempt<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    journal: &J,
    stage: Stage,
    progress: &mut Progress,
) -> Result<(), Fault> {
    if let Err(error) = journal.enter(stage).await {
        // What cannot be noted does not begin; but what was switched is switched back.
        if stage != Stage::RollingBack {
            return Err(StepError::from(error).into());
        }
        warn!(%error, "switching a node back without a note of it");
    }
    let node = Node { transport: it.transport, journal, stage };
    match stage {
        Stage::Staging => stage::send(it, &node, progress).await,
        Stage::Testing => stage::trial::attempt(it, &node, progress).await,
        Stage::Activating => stage::activate(it, &node, progress).await,
        Stage::Probing => stage::prove(it, &node, progress).await,
        Stage::RollingBack => stage::roll_back(it, &node, progress).await,
        // Waiting is the caller's, and ends are no work.
        Stage::Queued | Stage::Live | Stage::RolledBack | Stage::Rejected | Stage::Stuck => Ok(()),
    }
}

fn ended(fault: Option<Fault>, undo: Option<Fault>, progress: Progress) -> Ended {
    let Some(fault) = fault else {
        return Ended::Live { sent: progress.sent, told: progress.told };
    };
    match (fault, undo) {
        (fault, Some(undo)) => Ended::Stuck { error: fault.into_error(), undo: undo.into_error() },
        (fault, None) if progress.switched => Ended::RolledBack(fault.into_error()),
        (Fault::Refused { findings, output }, None) => Ended::Refused { findings, output },
        (Fault::Failed(error), None) => Ended::Failed(error),
    }
}
