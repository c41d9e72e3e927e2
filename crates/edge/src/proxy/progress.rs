//! How far a request has come on its way to the upstream: whose turn it is to move, and since
//! when. It decides which timeout counts, and keeps the reason when it was the client's body that
//! broke.

use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use portway_http1::{Kind, Reject};
use portway_model::site::Timeouts;
use tokio::time::{Instant, sleep_until};

use crate::body::{Body, BodyError, Side, chain};

/// Shared by the one who waits for the answer and the body on its way.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<State>>);

struct State {
    turn: Turn,
    since: Instant,
    fault: Option<BodyFault>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client's: it has more to send.
    Client,
    /// The upstream's: it has to take what was read.
    Take,
    /// The upstream's: it has the whole request and has to answer.
    Answer,
}

/// Why the body of a request broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is larger than the route allows.
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The client sent nothing for too long.
    Silent(String),
    /// The client went away.
    Gone(String),
    /// The client sent nonsense.
    Broken(String),
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The upstream does not take the request.
    Send,
    /// The upstream does not answer.
    FirstByte,
}

impl Progress {
    /// Watches a body. Time begins now.
    pub(crate) fn watch(body: Body) -> (Self, Body) {
        let turn = if body.is_end_stream() { Turn::Answer } else { Turn::Take };
        let progress =
            Self(Arc::new(Mutex::new(State { turn, since: Instant::now(), fault: None })));
        let watched = Watched { body, progress: progress.clone() };
        (progress, Body::new(watched))
    }

    /// Returns why the body broke off, if it did.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        self.state().fault.clone()
    }

    /// Waits until something takes too long.
    pub(crate) async fn expired(&self, timeouts: &Timeouts) -> Expired {
        loop {
            let (turn, since) = {
                let state = self.state();
                (state.turn, state.since)
            };
            let (limit, expired) = match turn {
                // A silent client is the body's to notice; look again when it could have moved.
                Turn::Client => (timeouts.send, None),
                Turn::Take => (timeouts.send, Some(Expired::Send)),
                Turn::Answer => (timeouts.first_byte, Some(Expired::FirstByte)),
            };
            let now = Instant::now();
            let deadline = since + limit.duration();
            match expired {
                Some(expired) if deadline <= now => return expired,
                Some(_) => sleep_until(deadline).await,
                None => sleep_until(now + limit.duration()).await,
            }
        }
    }

    fn turn(&self, turn: Turn) {
        let mut state = self.state();
        if state.turn != turn || turn == Turn::Take {
            state.turn = turn;
            state.since = Instant::now();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Progress::watch`].
struct Watched {
    body: Body,
    progress: Progress,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Pending => this.progress.turn(Turn::Client),
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => {
                this.progress.turn(Turn::Answer);
            }
            Poll::Ready(Some(Ok(_))) => this.progress.turn(Turn::Take),
            Poll::Ready(Some(Err(error))) => this.progress.state().fault = Some(error.into()),
            Poll::Ready(None) => this.progress.turn(Turn::Answer),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl From<&BodyError> for BodyFault {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::TooLarge { limit: *limit },
            BodyError::TooSlow { .. } | BodyError::Silent { side: Side::Client, .. } => {
                Self::Silent(chain(error))
            }
            BodyError::Broken { source, .. } if !is_nonsense(&**source) => Self::Gone(chain(error)),
            BodyError::Silent { .. }
            | BodyError::Broken { .. }
            | BodyError::File(_)
            | BodyError::Truncated
            | BodyError::Compress(_) => Self::Broken(chain(error)),
        }
    }
}

/// Tells whether a body broke by what was sent, and not because nothing came any more.
fn is_nonsense(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<Reject>().is_some_and(|reject| reject.kind != Kind::Truncated)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use portway_model::Seconds;

    use super::*;
    use crate::body;

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_does_not_take_the_body_and_one_that_does_not_answer_differ() {
        let timeouts = Timeouts { first_byte: Seconds(5), send: Seconds(7), ..Timeouts::default() };
        let begun = Instant::now();
        let (progress, _body) = Progress::watch(body::full("x"));
        assert_eq!(progress.expired(&timeouts).await, Expired::Send);
        assert_eq!(begun.elapsed().as_secs(), 7);

        let begun = Instant::now();
        let (progress, _body) = Progress::watch(body::empty());
        assert_eq!(progress.expired(&timeouts).await, Expired::FirstByte);
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test]
    async fn the_reason_is_kept_when_the_clients_body_breaks() {
        let (progress, body) = Progress::watch(body::limited(body::full("abc"), 2));
        assert!(body.collect().await.is_err());
        assert_eq!(progress.fault(), Some(BodyFault::TooLarge { limit: 2 }));
    }
}
