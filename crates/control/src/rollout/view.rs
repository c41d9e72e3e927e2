//! Rollouts as they are shown, and waiting for them.

use std::time::Duration;

use portway_model::{
    RevisionNumber,
    rollout::{RolloutState, Standing, WhyBack, WhyPaused},
};
use portway_store::{RolloutRow, Visible};
use portway_wire::{
    Page, PageQuery,
    rollout::{RolloutCounts, RolloutEvent, RolloutNode, RolloutView},
};
use tokio::time::Instant;

use crate::{Control, ControlError, page, rights::Overseer};

/// How often it is looked what other managers wrote.
const LOOK: Duration = Duration::from_secs(1);

impl Overseer<'_> {
    /// Lists rollouts, the newest first.
    pub async fn rollouts(&self, query: PageQuery) -> Result<Page<RolloutView>, ControlError> {
        let found = self.control.inner.store.rollouts().list(&page::of(&query)?).await?;
        Ok(page::map(found, |row| view(&row)))
    }

    /// Returns the rollout of a revision.
    pub async fn rollout(&self, revision: i64) -> Result<RolloutView, ControlError> {
        Ok(view(&self.control.rollout(RevisionNumber(revision)).await?))
    }
}

impl Control {
    /// Returns the rollout of a revision as somebody may see it, if it has one.
    pub(crate) async fn rollout_seen(
        &self,
        visible: Visible,
        revision: RevisionNumber,
    ) -> Result<Option<RolloutView>, ControlError> {
        let found = self.inner.store.rollouts().get(revision).await?;
        Ok(found.map(|row| {
            let mut view = view(&row);
            if visible != Visible::All {
                view.nodes.clear();
                view.strategy.canary.clear();
            }
            view
        }))
    }

    /// Waits until the rollout of a revision rests, at most until `end`. Returns whether it does;
    /// nothing where the revision has no rollout.
    pub(crate) async fn rollout_rests(
        &self,
        revision: RevisionNumber,
        end: Instant,
    ) -> Result<Option<bool>, ControlError> {
        let mut changed = self.inner.rollouts.changed.subscribe();
        loop {
            let Some(row) = self.inner.store.rollouts().get(revision).await? else {
                return Ok(None);
            };
            if row.state.rests() {
                return Ok(Some(true));
            }
            let now = Instant::now();
            if now >= end {
                return Ok(Some(false));
            }
            // Both are cancel-safe.
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(end.min(now + LOOK)) => {}
            }
        }
    }
}

/// Returns a rollout as it is shown.
pub(super) fn view(row: &RolloutRow) -> RolloutView {
    let nodes = row.nodes.iter().map(|place| RolloutNode {
        node: place.name.to_string(),
        wave: place.wave + 1,
        standing: place.standing,
        since: place.since,
        findings: place.findings.clone(),
    });
    RolloutView {
        revision: row.revision.0,
        state: row.state.word().to_owned(),
        why: why(row.state).map(str::to_owned),
        wave: row.state.wave().map(|wave| wave + 1),
        waves: waves(row),
        rests: row.state.rests(),
        strategy: row.strategy.clone().into(),
        author: row.author_name.clone(),
        started_at: row.started_at,
        updated_at: row.updated_at,
        finished_at: row.finished_at,
        counts: counts(row),
        nodes: nodes.collect(),
    }
}

/// Returns what is told when a rollout came to where it stands.
pub(super) fn event(row: &RolloutRow) -> RolloutEvent {
    let failed = row
        .nodes
        .iter()
        .filter(|place| matches!(place.standing, Standing::Failed | Standing::Behind))
        .map(|place| place.name.to_string());
    RolloutEvent {
        revision: row.revision.0,
        state: row.state.word().to_owned(),
        why: why(row.state).map(str::to_owned),
        ended: row.state.is_end(),
        wave: row.state.wave().map(|wave| wave + 1),
        waves: waves(row),
        author: row.author_name.clone(),
        counts: counts(row),
        failed: failed.collect(),
    }
}

fn waves(row: &RolloutRow) -> u32 {
    row.nodes.iter().map(|place| place.wave + 1).max().unwrap_or(0)
}

fn counts(row: &RolloutRow) -> RolloutCounts {
    let of = |wanted: &[Standing]| {
        let found = row.nodes.iter().filter(|place| wanted.contains(&place.standing)).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    RolloutCounts {
        nodes: u32::try_from(row.nodes.len()).unwrap_or(u32::MAX),
        have: of(&[Standing::Has]),
        failed: of(&[Standing::Failed, Standing::Behind]),
        back: of(&[Standing::Back]),
    }
}

fn why(state: RolloutState) -> Option<&'static str> {
    match state {
        RolloutState::Paused { why, .. } => Some(match why {
            WhyPaused::Asked => "asked",
            WhyPaused::WaveDone => "wave_done",
            WhyPaused::Failure => "failure",
        }),
        RolloutState::GoingBack { why } | RolloutState::Undone { why } => Some(match why {
            WhyBack::Failure => "failure",
            WhyBack::Asked => "asked",
        }),
        RolloutState::Queued
        | RolloutState::Running { .. }
        | RolloutState::Done
        | RolloutState::Partial
        | RolloutState::Aborted { .. }
        | RolloutState::Superseded { .. } => None,
    }
}
