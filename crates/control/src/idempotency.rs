//! Requests that are carried out at most once, however often they arrive.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portway_secrets::Context;
use portway_store::{Claim, IdempotencyKey};

use crate::{Control, ControlError, actor::Actor};

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
        };
        match self.inner.store.idempotency().claim(&key, self.now()).await? {
            Claim::New => Ok(Idempotency::New(Claimed { control: self.clone(), key })),
            Claim::Reused => Err(ControlError::Conflict(
                "this idempotency key was used for another request; use a new key".to_owned(),
            )),
            Claim::Repeated(record) => match (record.status, record.body) {
                (Some(status), body) => {
                    let body = self.open_answer(&key, &body.unwrap_or_default())?;
                    Ok(Idempotency::Replay { status, body })
                }
                (None, _) => Err(ControlError::Conflict(
                    "the same request is being carried out; wait and ask again".to_owned(),
                )),
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

fn place(key: &IdempotencyKey) -> Context {
    Context::new("idempotent-answer", format_args!("{} {}", key.actor, key.key))
}

impl Claimed {
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
