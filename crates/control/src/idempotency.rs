//! Requests that are carried out at most once, however often they arrive and whichever manager
//! they reach.
//!
//! A request holds its key while it is carried out. The revision that it writes is bound to the key
//! in the same transaction, so that whoever sends it again after a crash learns that it was done; or
//! it was not done, and the key is free soon after.

use std::{future::Future, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use portway_model::{ResourceKind, RevisionNumber};
use portway_secrets::Context;
use portway_store::{Claim, IdempotencyKey, PageRequest};
use portway_wire::site::Changed;
use tracing::warn;
use uuid::Uuid;

use crate::{Control, ControlError, actor::Actor, rights::Sites};

/// How long a key is held; a manager that died gives it back after this.
const HELD: Duration = Duration::from_secs(60);
/// How often it is held for longer while its request is carried out.
const RENEW: Duration = Duration::from_secs(20);
/// The longest that one is told to wait before asking again, in seconds.
const RETRY: u64 = 5;

/// Whether a request with an idempotency key is carried out.
#[derive(Debug)]
pub enum Idempotency {
    /// It is new; its answer is to be stored, or the key given back.
    New(Claimed),
    /// It was carried out before; this was its answer.
    Replay {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// It was carried out before, and its answer was lost; this revision is what it wrote.
    Written {
        /// The revision.
        revision: i64,
    },
    /// It is being carried out, or was when a manager died.
    UnderWay {
        /// When it is worth asking again, in seconds.
        retry_after: u64,
    },
}

/// A key that is held while its request is carried out.
#[derive(Debug)]
pub struct Claimed {
    control: Control,
    key: IdempotencyKey,
}

impl Control {
    /// Claims a key for a request of an actor.
    pub async fn idempotent(
        &self,
        actor: &Actor,
        key: &str,
        request_digest: [u8; 32],
    ) -> Result<Idempotency, ControlError> {
        if key.is_empty() || key.len() > 200 || !key.bytes().all(|b| b.is_ascii_graphic()) {
            let text = "an idempotency key has 1 to 200 printable ASCII characters without spaces";
            return Err(ControlError::BadRequest(text.to_owned()));
        }
        let who = actor.user_id().map_or_else(|| actor.name().to_owned(), |id| id.to_string());
        let key = IdempotencyKey {
            actor: who,
            key: key.to_owned(),
            request_digest: request_digest.to_vec(),
            attempt: Uuid::now_v7(),
        };
        let now = self.now();
        match self.inner.store.idempotency().claim(&key, later(now, HELD), now).await? {
            Claim::New => Ok(Idempotency::New(Claimed { control: self.clone(), key })),
            Claim::Reused => Err(ControlError::Conflict(
                "this idempotency key was used for another request; use a new key".to_owned(),
            )),
            Claim::Repeated(record) => match (record.status, record.revision) {
                (Some(status), _) => {
                    let body = self.open_answer(&key, &record.body.unwrap_or_default())?;
                    Ok(Idempotency::Replay { status, body })
                }
                (None, Some(revision)) => Ok(Idempotency::Written { revision: revision.0 }),
                (None, None) => {
                    Ok(Idempotency::UnderWay { retry_after: seconds_until(record.held_until, now) })
                }
            },
        }
    }
}

/// Answers may hold what is shown only once, a token or a link: they are kept sealed.
impl Control {
    fn seal_answer(&self, key: &IdempotencyKey, body: &str) -> Result<String, ControlError> {
        let sealed = self
            .keys()
            .seal(&place(key), body.as_bytes())
            .map_err(|error| ControlError::internal("sealing an answer", error))?;
        Ok(STANDARD.encode(sealed.to_bytes()))
    }

    fn open_answer(&self, key: &IdempotencyKey, kept: &str) -> Result<String, ControlError> {
        let internal = |error: Box<dyn std::error::Error + Send + Sync>| {
            ControlError::internal("opening a kept answer", error)
        };
        let bytes = STANDARD.decode(kept).map_err(|error| internal(error.into()))?;
        let body =
            self.keys().open_text(&place(key), &bytes).map_err(|error| internal(error.into()))?;
        Ok(body.expose().clone())
    }
}

fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

fn place(key: &IdempotencyKey) -> Context {
    Context::new("idempotent-answer", format_args!("{} {}", key.actor, key.key))
}

/// Returns when to ask again: soon, as most requests end soon, and at the latest when the key is
/// free if nobody works on it any more.
fn seconds_until(held_until: Option<Timestamp>, now: Timestamp) -> u64 {
    let left = held_until.map_or(0, |until| until.duration_since(now).as_secs());
    u64::try_from(left).unwrap_or(0).clamp(1, RETRY)
}

tokio::task_local! {
    /// The key of the request that is being carried out.
    static HOLDING: IdempotencyKey;
}

/// Returns the key of the request that is being carried out. What it writes is bound to the key.
pub(crate) fn held() -> Option<IdempotencyKey> {
    HOLDING.try_with(Clone::clone).ok()
}

impl Sites<'_> {
    /// Returns what a revision did to sites, for those whose answer was lost.
    pub async fn written_by(&self, revision: i64) -> Result<Changed, ControlError> {
        let revisions = self.control.inner.store.revisions();
        let (visible, number) = (self.actor.visible(), RevisionNumber(revision));
        let mut sites = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = revisions.changes_of(visible, number, &page).await?;
            let of_sites = found.items.iter().filter(|change| change.kind == ResourceKind::Site);
            sites.extend(of_sites.map(|change| change.name.clone()));
            request = page.next(&found);
        }
        Ok(Changed { revision: Some(revision), sites, findings: Vec::new() })
    }
}

impl Claimed {
    /// Carries the request out and holds its key meanwhile.
    pub async fn carry_out<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(HOLDING.scope(self.key.clone(), work));
        let mut ticks = tokio::time::interval(RENEW);
        ticks.tick().await;
        loop {
            // Both are cancel-safe: the work is only borrowed, and a tick that is due stays due.
            tokio::select! {
                result = &mut work => return result,
                _ = ticks.tick() => self.hold().await,
            }
        }
    }

    /// A key that is lost for once does no harm: what the request writes then is refused.
    async fn hold(&self) {
        let until = later(self.control.now(), HELD);
        if let Err(error) = self.control.inner.store.idempotency().renew(&self.key, until).await {
            warn!(%error, "cannot hold an idempotency key for longer yet");
        }
    }

    /// Keeps the answer, so that a repeated request gets it too.
    pub async fn store(self, status: u16, body: &str) -> Result<(), ControlError> {
        let sealed = self.control.seal_answer(&self.key, body)?;
        Ok(self.control.inner.store.idempotency().answer(&self.key, status, &sealed).await?)
    }

    /// Gives the key back: nothing was carried out.
    pub async fn release(self) -> Result<(), ControlError> {
        Ok(self.control.inner.store.idempotency().release(&self.key).await?)
    }
}
