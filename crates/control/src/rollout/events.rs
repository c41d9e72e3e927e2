//! Events as they come: what became of rollouts, and the steps of a deployment. Who listens is asked
//! again and again whether that is still permitted, and is sent nothing that may not be seen.

use std::time::Duration;

use futures_util::Stream;
use portway_model::{Id, RevisionNumber, Role};
use portway_store::{DeploymentRow, EventRow, StepRow};
use portway_wire::{
    deploy::DeploymentStep,
    rollout::{Event, EventQuery, RolloutEvent},
};
use tokio::{sync::mpsc, time::Instant};
use tracing::warn;
use uuid::Uuid;

use super::settle::KIND;
use crate::{
    Actor, Control, ControlError,
    rights::{History, Overseer},
};

/// How often it is looked what is new.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is asked whether the listener may still listen.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// So many events are read at once.
const AT_ONCE: u32 = 100;

/// What a listener is sent, or the end of it.
type Sender<T> = mpsc::Sender<T>;

impl History<'_> {
    /// Returns events as they come, for as long as the actor is logged in: those after `query.after`,
    /// or those from now on.
    pub async fn events(
        &self,
        query: EventQuery,
    ) -> Result<impl Stream<Item = Event> + Send + use<>, ControlError> {
        let after = match query.after {
            Some(after) => after,
            None => self.control.inner.store.events().latest().await?,
        };
        let (sender, receiver) = mpsc::channel(64);
        let listener = Listener { control: self.control.clone(), actor: self.actor.clone() };
        // It ends when nobody listens any more: sending fails then.
        tokio::spawn(async move { listener.events(after, query.revision, sender).await });
        Ok(stream(receiver))
    }
}

impl Overseer<'_> {
    /// Returns the steps of a deployment as they are done, until it has ended: those after the one of
    /// number `after`.
    pub async fn follow_steps(
        &self,
        actor: &Actor,
        id: Uuid,
        after: u32,
    ) -> Result<impl Stream<Item = DeploymentStep> + Send + use<>, ControlError> {
        let deployment = self.deployment(id).await?;
        let (sender, receiver) = mpsc::channel(64);
        let listener = Listener { control: self.control.clone(), actor: actor.clone() };
        let id = Id::from_uuid(deployment.id);
        tokio::spawn(async move { listener.steps(id, after, sender).await });
        Ok(stream(receiver))
    }
}

fn stream<T>(mut receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + use<T>
where
    T: Send,
{
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// Who listens.
struct Listener {
    control: Control,
    actor: Actor,
}

impl Listener {
    async fn events(mut self, mut after: i64, only: Option<i64>, sender: Sender<Event>) {
        let mut asked = Instant::now();
        loop {
            if !self.may_still(&mut asked).await {
                return;
            }
            let found = match self.control.inner.store.events().since(after, AT_ONCE).await {
                Ok(found) => found,
                Err(error) => {
                    warn!(%error, "events cannot be read now");
                    Vec::new()
                }
            };
            for row in found {
                after = row.id;
                if only.is_some_and(|only| row.event.revision != Some(RevisionNumber(only))) {
                    continue;
                }
                let event = match self.seen(row).await {
                    Ok(Some(event)) => event,
                    Ok(None) => continue,
                    Err(error) => return warn!(%error, "an event cannot be told"),
                };
                if sender.send(event).await.is_err() {
                    return;
                }
            }
            if is_closed(&sender).await {
                return;
            }
        }
    }

    async fn steps(
        mut self,
        id: Id<DeploymentRow>,
        mut after: u32,
        sender: Sender<DeploymentStep>,
    ) {
        let mut asked = Instant::now();
        loop {
            if !self.may_still(&mut asked).await {
                return;
            }
            let deployments = self.control.inner.store.deployments();
            // Asked before the steps are: what was done until then is among them.
            let ended = match deployments.get(id).await {
                Ok(row) => row.is_none_or(|row| row.finished_at.is_some()),
                Err(_) => false,
            };
            match deployments.steps(id, after).await {
                Ok(steps) => {
                    for step in steps {
                        after = step.number;
                        if sender.send(step_view(step)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => warn!(%error, "the steps of a deployment cannot be read now"),
            }
            if ended || is_closed(&sender).await {
                return;
            }
        }
    }

    /// Tells whether the listener is still logged in. A database that does not answer takes nobody's
    /// right away, as it gives nobody one.
    async fn may_still(&mut self, asked: &mut Instant) -> bool {
        if asked.elapsed() < ASK_EVERY {
            return true;
        }
        *asked = Instant::now();
        match self.control.renewed(&self.actor).await {
            Ok(actor) => {
                let is_same = actor.role() == self.actor.role();
                self.actor = actor;
                is_same
            }
            Err(error) => matches!(error, ControlError::Unavailable { .. }),
        }
    }

    /// Returns an event as the listener may see it, if so.
    async fn seen(&self, row: EventRow) -> Result<Option<Event>, ControlError> {
        let event = row.event;
        if event.kind != KIND {
            return Ok(None);
        }
        let mut rollout: RolloutEvent = serde_json::from_value(event.body)
            .map_err(|error| ControlError::internal("reading an event", error))?;
        if self.actor.role() == Role::Client {
            let number = RevisionNumber(rollout.revision);
            let revisions = self.control.inner.store.revisions();
            if revisions.get(self.actor.visible(), number).await?.is_none() {
                return Ok(None);
            }
            rollout.failed.clear();
        }
        Ok(Some(Event { id: row.id, at: event.at, kind: event.kind, rollout: Some(rollout) }))
    }
}

/// Waits for the next look. Returns whether nobody listens any more.
async fn is_closed<T>(sender: &Sender<T>) -> bool {
    // Both are cancel-safe.
    tokio::select! {
        () = sender.closed() => true,
        () = tokio::time::sleep(LOOK) => false,
    }
}

/// Returns a step as it is shown.
pub(crate) fn step_view(step: StepRow) -> DeploymentStep {
    let StepRow { number, at, stage, action, output, ok, milliseconds } = step;
    DeploymentStep { stage, action, output, ok, milliseconds, number, at: Some(at) }
}
