//! Options of rollouts: how a change comes to its nodes, and the commands about that.

use clap::{Args, Subcommand, ValueEnum};
use portway_model::{
    NodeSelector, Seconds,
    rollout::{OnFailure, PauseAfter, WaveSize},
};
use portway_wire::rollout::RolloutStrategy;

/// `portway rollout …`
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// List rollouts, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// At most this many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = super::count)]
        limit: usize,
    },
    /// Show a rollout with its nodes
    Show {
        /// The revision that comes to its nodes
        #[arg(value_name = "REVISION")]
        revision: i64,
    },
    /// Let no further node in
    Pause {
        /// The revision that comes to its nodes
        #[arg(value_name = "REVISION")]
        revision: i64,
    },
    /// Have a paused rollout go on, past the failures that there are
    Resume {
        /// The revision that comes to its nodes
        #[arg(value_name = "REVISION")]
        revision: i64,
        /// Wait until it is paused again or has ended
        #[arg(long)]
        wait: bool,
    },
    /// End a rollout: nodes keep what they have, or with --back get what they had before
    Abort {
        /// The revision that comes to its nodes
        #[arg(value_name = "REVISION")]
        revision: i64,
        /// Bring every node back to what it had
        #[arg(long)]
        back: bool,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// Tell what becomes of a rollout until it is paused or has ended; without a revision, of all, on
    /// and on
    Watch {
        /// The revision that comes to its nodes
        #[arg(value_name = "REVISION")]
        revision: Option<i64>,
    },
}

/// How a change comes to its nodes. Without any of these it comes as `rollouts` in config.yaml says, and
/// otherwise to all of them at once.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rollout")]
pub(crate) struct RolloutArgs {
    /// A node that gets it first: a name, `group:NAME`, `label:KEY=VALUE`, `zone:NAME` or `local`;
    /// can be given several times
    #[arg(long, value_name = "NODE")]
    pub(crate) canary: Vec<NodeSelector>,
    /// How many nodes have it after each wave: numbers and shares [default: 1,25%,100%]
    #[arg(long, value_name = "N,N%,…", value_delimiter = ',')]
    pub(crate) waves: Vec<WaveSize>,
    /// When a node cannot take it, bring every node back (without this and --best-effort: pause)
    #[arg(long, conflicts_with = "best_effort")]
    pub(crate) all_or_nothing: bool,
    /// When a node cannot take it, go on, and list it; a canary that fails pauses it all the same
    #[arg(long)]
    pub(crate) best_effort: bool,
    /// After which wave somebody has to resume it
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) pause_after: Option<PauseAfterArg>,
    /// How long a node may take before it counts as failed [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub(crate) patience: Option<Seconds>,
    /// How long all nodes of a wave must have it before the next one begins [default: 0s]
    #[arg(long, value_name = "TIME")]
    pub(crate) soak: Option<Seconds>,
    /// Have it come to all nodes at once, whatever `rollouts` in config.yaml says
    #[arg(long, conflicts_with_all = ["canary", "waves", "all_or_nothing", "best_effort", "pause_after", "patience", "soak"])]
    pub(crate) at_once: bool,
}

/// After which wave somebody has to resume a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PauseAfterArg {
    /// After the first one
    Canary,
    /// After each one
    Wave,
}

impl RolloutArgs {
    /// Returns how the change comes to its nodes, where anything was said of it.
    pub(crate) fn strategy(&self) -> Option<RolloutStrategy> {
        let Self {
            canary,
            waves,
            all_or_nothing,
            best_effort,
            pause_after,
            patience,
            soak,
            at_once,
        } = self;
        let seconds = |time: &Seconds| u32::try_from(time.0).unwrap_or(u32::MAX);
        let is_said = !canary.is_empty()
            || !waves.is_empty()
            || *all_or_nothing
            || *best_effort
            || pause_after.is_some()
            || patience.is_some()
            || soak.is_some()
            || *at_once;
        let base = RolloutStrategy::default();
        is_said.then(|| RolloutStrategy {
            canary: canary.clone(),
            waves: waves.clone(),
            on_failure: match (all_or_nothing, best_effort) {
                (true, _) => OnFailure::AllOrNothing,
                (false, true) => OnFailure::BestEffort,
                (false, false) => OnFailure::Pause,
            },
            pause_after: match pause_after {
                None => PauseAfter::Nothing,
                Some(PauseAfterArg::Canary) => PauseAfter::Canary,
                Some(PauseAfterArg::Wave) => PauseAfter::Wave,
            },
            patience: patience.as_ref().map_or(base.patience, seconds),
            soak: soak.as_ref().map_or(base.soak, seconds),
            at_once: *at_once,
        })
    }
}
