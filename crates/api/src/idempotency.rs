//! Requests that are carried out once, however often they are sent.
//!
//! A caller who got no answer sends the same request with the same `Idempotency-Key` again, and
//! gets the first answer. The answer is kept by the control plane, so that any manager knows it.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
};
use http::{HeaderMap, StatusCode, request::Parts};
use portway_control::{Actor, Control, Idempotency};
use portway_wire::ProblemCode;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{extract::Raw, problem::Refusal};

const HEADER: &str = "idempotency-key";
const MAX_KEY: usize = 128;

/// A JSON body that may be carried out only once.
pub(crate) struct Once<T> {
    pub(crate) body: T,
    pub(crate) key: Option<Key>,
}

/// A request without a body that may be carried out only once.
pub(crate) struct OnceEmpty(pub(crate) Option<Key>);

/// The key of a request with the digest of what it asks for.
pub(crate) struct Key {
    text: String,
    request: [u8; 32],
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Once<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let text = key(request.headers())?;
        let target = format!("{} {}", request.method(), request.uri().path());
        let Raw { value, bytes } = Raw::from_request(request, state).await?;
        let key = text.map(|text| Key { text, request: digest(&target, &bytes) });
        Ok(Self { body: value, key })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OnceEmpty {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let target = format!("{} {}", parts.method, parts.uri.path());
        let text = key(&parts.headers)?;
        Ok(Self(text.map(|text| Key { text, request: digest(&target, &Bytes::new()) })))
    }
}

/// Does `work`, or returns what it came to when the same request was sent before: the answer that
/// was kept, or, where a manager died before it could keep it, what `found` makes of the revision
/// that was written.
pub(crate) async fn once<T, W, F>(
    control: &Control,
    actor: &Actor,
    key: Option<Key>,
    status: StatusCode,
    work: W,
    found: impl FnOnce(i64) -> F,
) -> Result<T, Refusal>
where
    T: Serialize + DeserializeOwned,
    W: Future<Output = Result<T, Refusal>>,
    F: Future<Output = Result<T, Refusal>>,
{
    let Some(key) = key else { return work.await };
    match control.idempotent(actor, &key.text, key.request).await? {
        Idempotency::Replay { body, .. } => serde_json::from_str(&body).map_err(unreadable),
        Idempotency::Written { revision } => found(revision).await,
        Idempotency::UnderWay { retry_after } => {
            let detail = "the same request is being carried out, or was when a manager ended; \
                          send it again in a moment to learn what came of it";
            Err(Refusal::new(ProblemCode::Conflict, detail).retry_after(retry_after))
        }
        Idempotency::New(claim) => match claim.carry_out(work).await {
            Ok(answer) => {
                let body = serde_json::to_string(&answer).map_err(unreadable)?;
                claim.store(status.as_u16(), &body).await?;
                Ok(answer)
            }
            Err(refusal) => {
                claim.release().await?;
                Err(refusal)
            }
        },
    }
}

/// Refuses a repetition whose answer cannot be given again, because it held a secret that was shown
/// to nobody.
pub(crate) fn lost<T>(what: &str) -> impl FnOnce(i64) -> std::future::Ready<Result<T, Refusal>> {
    let detail = format!("the request was carried out, but its answer was lost; {what}");
    move |revision| {
        let detail = format!("{detail} (revision {revision})");
        std::future::ready(Err(Refusal::new(ProblemCode::Conflict, detail)))
    }
}

fn unreadable(error: serde_json::Error) -> Refusal {
    let detail = "the kept answer to this request cannot be read";
    Refusal::new(ProblemCode::Internal, detail).cause(error)
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let is_key = |text: &&str| {
        (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    value.to_str().ok().filter(is_key).map(|text| Some(text.to_owned())).ok_or_else(|| {
        let detail = format!(
            "an Idempotency-Key has 1 to {MAX_KEY} visible ASCII characters, for example a UUID"
        );
        Refusal::new(ProblemCode::BadRequest, detail)
    })
}

fn digest(target: &str, body: &Bytes) -> [u8; 32] {
    Sha256::new().chain_update(target).chain_update([0]).chain_update(body).finalize().into()
}
