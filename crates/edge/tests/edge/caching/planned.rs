//! An application whose answers are planned, path by path.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

/// An application on a free port.
pub(crate) struct Planned {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

type Shape = dyn Fn(&Asked) -> Plan + Send + Sync;

struct State {
    shape: Mutex<Arc<Shape>>,
    seen: Mutex<Vec<Asked>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// How many came to the target before.
    pub(crate) before: usize,
}

/// What is answered.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// A permit of it is taken before the head.
    pub(crate) gate: Option<Arc<Semaphore>>,
    /// The connection breaks in the middle of the body, once a permit of it is there.
    pub(crate) breaks: Option<Arc<Semaphore>>,
    /// Whether the length of the body is not told.
    pub(crate) pieces: bool,
}

impl Plan {
    pub(crate) fn of(body: impl Into<Bytes>, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let headers = headers.collect();
        Self { status: 200, headers, body: body.into(), gate: None, breaks: None, pieces: false }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn in_pieces(mut self) -> Self {
        self.pieces = true;
        self
    }

    pub(crate) fn gated(mut self, gate: &Arc<Semaphore>) -> Self {
        self.gate = Some(Arc::clone(gate));
        self
    }
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Planned {
    /// Starts one that numbers its answers and sends these headers with all of them.
    pub(crate) async fn with(headers: &'static [(&'static str, &'static str)]) -> Self {
        Self::start(move |asked| Plan::of(numbered(asked), headers)).await
    }

    /// Starts one that numbers its answers; the first waits at a gate.
    pub(crate) async fn whose_first_answer_waits(
        headers: &'static [(&'static str, &'static str)],
    ) -> (Self, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let own = Arc::clone(&gate);
        let shape = move |asked: &Asked| {
            let plan = Plan::of(numbered(asked), headers);
            if asked.before == 0 { plan.gated(&own) } else { plan }
        };
        (Self::start(shape).await, gate)
    }

    pub(crate) async fn start(shape: impl Fn(&Asked) -> Plan + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { shape: Mutex::new(Arc::new(shape)), seen: Mutex::default() });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| Arc::clone(&state).answer(request));
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, state, task }
    }

    /// Answers otherwise from now on.
    pub(crate) fn change(&self, shape: impl Fn(&Asked) -> Plan + Send + Sync + 'static) {
        *self.state.shape.lock().unwrap() = Arc::new(shape);
    }

    /// What came.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// Takes no connections any more.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Planned {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The target and how often it was asked for.
pub(crate) fn numbered(asked: &Asked) -> String {
    format!("{} {}", asked.target, asked.before + 1)
}

type Sent = UnsyncBoxBody<Bytes, std::io::Error>;

impl State {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Sent>, Infallible> {
        let (parts, body) = request.into_parts();
        // All of it is read, so that the connection can be used again.
        body.collect().await.map(drop).unwrap_or_default();
        let target = parts.uri.to_string();
        let asked = {
            let mut seen = self.seen.lock().unwrap();
            let mut counts = BTreeMap::<&str, usize>::new();
            for asked in seen.iter() {
                *counts.entry(&asked.target).or_default() += 1;
            }
            let before = counts.get(&*target).copied().unwrap_or_default();
            let method = parts.method.to_string();
            let asked = Asked { method, target, headers: parts.headers, before };
            seen.push(asked.clone());
            asked
        };
        let shape = Arc::clone(&self.shape.lock().unwrap());
        let plan = shape(&asked);
        if let Some(gate) = &plan.gate {
            gate.acquire().await.unwrap().forget();
        }
        Ok(plan.response(&asked))
    }
}

impl Plan {
    fn response(self, asked: &Asked) -> Response<Sent> {
        let tag = self.headers.iter().find(|(name, _)| name == "etag").map(|(_, tag)| tag);
        let known = tag.is_some_and(|tag| asked.header("if-none-match").contains(&**tag));
        let status = if known { 304 } else { self.status };
        let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        if known || asked.method == "HEAD" {
            return response.body(empty()).unwrap();
        }
        if let Some(breaks) = self.breaks {
            let half = self.body.slice(..self.body.len() / 2);
            let broken = async move {
                breaks.acquire().await.unwrap().forget();
                Err(std::io::Error::other("planned"))
            };
            let frames = stream::iter([Ok(Frame::data(half))]).chain(stream::once(broken));
            return response.body(StreamBody::new(frames).boxed_unsync()).unwrap();
        }
        if self.pieces {
            let pieces: Vec<_> = self
                .body
                .chunks(1_000)
                .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
                .collect();
            let stream = StreamBody::new(stream::iter(pieces));
            return response.body(stream.boxed_unsync()).unwrap();
        }
        response.body(Full::new(self.body).map_err(|never| match never {}).boxed_unsync()).unwrap()
    }
}

fn empty() -> Sent {
    Full::default().map_err(|never| match never {}).boxed_unsync()
}
