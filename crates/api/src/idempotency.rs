//! Requests that are carried out once, however often they are sent.
//!
//! A caller who got no answer sends the same request with the same `Idempotency-Key` again, and
//! gets the first answer. The answer is kept by the control plane, so that any manager knows it.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use http::{HeaderMap, StatusCode};
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

/// Does `work`, or returns what it came to when the same request was sent before.
pub(crate) async fn once<T, W>(
    control: &Control,
    actor: &Actor,
    key: Option<Key>,
    status: StatusCode,
    work: W,
) -> Result<T, Refusal>
where
    T: Serialize + DeserializeOwned,
    W: Future<Output = Result<T, Refusal>>,
{
    let Some(key) = key else { return work.await };
    match control.idempotent(actor, &key.text, key.request).await? {
        Idempotency::Replay { body, .. } => serde_json::from_str(&body).map_err(unreadable),
        Idempotency::New(claim) => match work.await {
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
