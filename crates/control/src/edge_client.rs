//! The manager's side of an edge's control socket, on this machine or on a node: the same words over
//! another stream.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use portway_deploy::{Answers, Doors, Proof, after, before};
use portway_model::{Id, Site};
use portway_policy::{
    Digest, Owner,
    bundle::{
        CacheQuestion, CacheStats, Change, ChangeReport, Conflict, IndexListing, Purge,
        PurgeReport, SUCCEEDED, Status, Trial, TrialReport,
    },
};
use portway_transport::{Local, Target, Transport as _, TransportError};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use crate::fleet::Reach;

/// The most an edge may answer: the index of a million sites.
const MAX_ANSWER: usize = 256 << 20;
/// An edge answers at once, except to the first change after a restart with many sites.
const DEADLINE: Duration = Duration::from_secs(60);
/// How soon the edge that took the place of another one is asked.
const SOON: Duration = Duration::from_millis(5);

/// Speaks with one edge.
#[derive(Clone)]
pub struct EdgeClient {
    socket: Utf8PathBuf,
    /// The way to the machine of the socket; nothing where that is this one.
    reach: Option<Arc<Reach>>,
}

/// Why an edge could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EdgeClientError {
    /// Nobody answers on the socket.
    #[error("no edge answers on {socket}")]
    Unreachable {
        /// The socket.
        socket: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its socket on a node cannot be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The edge did not answer in time.
    #[error("the edge did not answer within {} s", DEADLINE.as_secs())]
    TimedOut,
    /// The conversation broke.
    #[error("the conversation with the edge broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The edge has other content than was believed.
    #[error("the edge has other content ({0}) than was believed")]
    Conflict(Digest),
    /// The edge is somebody else's, or that of a later turn.
    #[error("the edge is driven by manager `{}` (turn {})", .0.manager, .0.turn)]
    Owned(Box<Owner>),
    /// Another edge has taken its place.
    #[error("another edge has taken the place of this one")]
    Succeeded,
    /// The edge refused the request as a whole.
    #[error("the edge refused the request ({status}): {text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
}

/// What an edge answers where it does not do what it is asked (RFC 9457).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
}

impl EdgeClientError {
    /// Returns the status with which the edge refused the request, where it did.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. }
            | Self::Transport(_)
            | Self::TimedOut
            | Self::Broken(_)
            | Self::Conflict(_)
            | Self::Owned(_)
            | Self::Succeeded => None,
        }
    }

    /// Tells what is wrong, in the edge's own words where it has some.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Refused { text, .. } => match serde_json::from_str(text) {
                Ok(Problem { detail, .. }) if !detail.is_empty() => detail,
                Ok(Problem { .. }) | Err(_) => text.clone(),
            },
            Self::Unreachable { .. }
            | Self::Transport(_)
            | Self::TimedOut
            | Self::Broken(_)
            | Self::Conflict(_)
            | Self::Owned(_)
            | Self::Succeeded => self.to_string(),
        }
    }
}

impl EdgeClient {
    /// Returns a client of the edge behind this socket. Nothing is opened yet.
    pub fn new(socket: impl Into<Utf8PathBuf>) -> Self {
        Self { socket: socket.into(), reach: None }
    }

    /// Returns a client of the edge behind a socket of a node. Nothing is opened yet.
    pub(crate) fn there(reach: Arc<Reach>, socket: impl Into<Utf8PathBuf>) -> Self {
        Self { socket: socket.into(), reach: Some(reach) }
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Utf8Path {
        &self.socket
    }

    /// Asks how the edge is.
    pub async fn status(&self) -> Result<Status, EdgeClientError> {
        self.json(Method::GET, "/v1/status", Bytes::new()).await
    }

    /// Asks for everything the edge has, by digest.
    pub async fn index(&self) -> Result<IndexListing, EdgeClientError> {
        self.json(Method::GET, "/v1/index", Bytes::new()).await
    }

    /// Changes the edge's content.
    pub async fn change(&self, change: &Change) -> Result<ChangeReport, EdgeClientError> {
        let body = serde_json::to_vec(change).map_err(broken)?;
        self.json(Method::POST, "/v1/change", Bytes::from(body)).await
    }

    /// Asks what would become of a request.
    pub async fn explain(&self, trial: &Trial) -> Result<TrialReport, EdgeClientError> {
        let body = serde_json::to_vec(trial).map_err(broken)?;
        self.json(Method::POST, "/v1/explain", Bytes::from(body)).await
    }

    /// Takes kept answers away.
    pub async fn purge(&self, purge: &Purge) -> Result<PurgeReport, EdgeClientError> {
        let body = serde_json::to_vec(purge).map_err(broken)?;
        self.json(Method::POST, "/v1/cache/purge", Bytes::from(body)).await
    }

    /// Asks what is kept of a site.
    pub async fn cache(&self, site: Id<Site>) -> Result<CacheStats, EdgeClientError> {
        let body = serde_json::to_vec(&CacheQuestion { site }).map_err(broken)?;
        self.json(Method::POST, "/v1/cache/stats", Bytes::from(body)).await
    }

    /// Returns the edge's metrics in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, EdgeClientError> {
        let body = self.exchange(Method::GET, "/v1/metrics", Bytes::new()).await?;
        String::from_utf8(body.into()).map_err(broken)
    }

    /// Asks probes of sites at the doors of the edge's machine, before a change.
    pub(crate) async fn probe_before(&self, doors: &Doors, proofs: &[Proof]) -> Answers {
        match &self.reach {
            Some(reach) => Box::pin(before(&**reach, doors, proofs)).await,
            None => Box::pin(before(&Local::new(), doors, proofs)).await,
        }
    }

    /// Does the same after a change.
    pub(crate) async fn probe_after(&self, doors: &Doors, proofs: &[Proof]) -> Answers {
        match &self.reach {
            Some(reach) => Box::pin(after(&**reach, doors, proofs)).await,
            None => Box::pin(after(&Local::new(), doors, proofs)).await,
        }
    }

    /// Asks the edge to finish what it does and end.
    pub async fn stop(&self) -> Result<(), EdgeClientError> {
        self.exchange(Method::POST, "/v1/stop", Bytes::new()).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, EdgeClientError> {
        let answer = self.exchange(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(broken)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, EdgeClientError> {
        let exchange = async {
            loop {
                match self.exchange_once(method.clone(), path, body.clone()).await {
                    // Nothing was done; the edge that took its place answers from now on.
                    Err(EdgeClientError::Succeeded) => tokio::time::sleep(SOON).await,
                    other => return other,
                }
            }
        };
        tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| EdgeClientError::TimedOut)?
    }

    async fn exchange_once(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, EdgeClientError> {
        let Some(reach) = &self.reach else {
            let stream =
                UnixStream::connect(self.socket.as_std_path()).await.map_err(|source| {
                    EdgeClientError::Unreachable { socket: self.socket.clone(), source }
                })?;
            return converse(stream, method, path, body).await;
        };
        let target = Target::Unix(self.socket.clone());
        let stream = Box::pin(reach.dial(&target)).await?;
        converse(stream, method, path, body).await
    }
}

impl fmt::Debug for EdgeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeClient")
            .field("socket", &self.socket)
            .field("is_here", &self.reach.is_none())
            .finish()
    }
}

/// Asks once over a stream of its own.
async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, EdgeClientError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "edge")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok::<_, EdgeClientError>((status, body.map_err(EdgeClientError::Broken)?.to_bytes()))
    };
    // The connection is driven here, and ends with the exchange at the latest.
    let mut exchange = std::pin::pin!(exchange);
    let (status, body) = tokio::select! {
        result = &mut exchange => result?,
        // An edge that stops answers and closes in one go: the answer may be here already.
        end = connection => match exchange.await {
            Ok(answer) => answer,
            Err(_) => return Err(broken(ended(end))),
        },
    };
    match status {
        status if status.is_success() => Ok(body),
        StatusCode::CONFLICT => {
            let conflict: Conflict = serde_json::from_slice(&body).map_err(broken)?;
            Err(EdgeClientError::Conflict(conflict.digest))
        }
        StatusCode::LOCKED => {
            Err(EdgeClientError::Owned(serde_json::from_slice(&body).map_err(broken)?))
        }
        StatusCode::SERVICE_UNAVAILABLE if is_succeeded(&body) => Err(EdgeClientError::Succeeded),
        status => {
            let text = String::from_utf8_lossy(&body).trim().to_owned();
            Err(EdgeClientError::Refused { status, text })
        }
    }
}

fn is_succeeded(body: &[u8]) -> bool {
    serde_json::from_slice::<Problem>(body).is_ok_and(|problem| problem.code == SUCCEEDED)
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EdgeClientError {
    EdgeClientError::Broken(error.into())
}

fn ended(end: hyper::Result<()>) -> Box<dyn std::error::Error + Send + Sync> {
    match end {
        Ok(()) => "the edge closed the connection".into(),
        Err(error) => error.into(),
    }
}
