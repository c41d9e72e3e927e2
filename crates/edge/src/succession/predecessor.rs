//! The side of the edge that gives its place away.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release},
    },
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use portway_policy::bundle::{FailedUpgrade, ListenerStatus};
use rustix::{
    net::UCred,
    process::{Signal, geteuid, getpid, kill_process},
};
use tokio::net::UnixStream as TokioStream;

use super::{
    Message, OfferedListener, PREPARING, PROMPT, PROTOCOL, UPGRADE,
    channel::{Channel, ChannelError},
};
use crate::{
    body,
    config::EdgeConfig,
    content::ChangeError,
    control::{Answer, problem},
    herald::Herald,
    listener::Bound,
    worker::Shared,
};

/// What an edge has to give, and what became of it.
pub(crate) struct Predecessor {
    shared: Arc<Shared>,
    herald: Arc<dyn Herald>,
    state_dir: camino::Utf8PathBuf,
    /// Nothing once the edge stops, so that nobody waits at a door behind which nobody is.
    ways: Mutex<Option<Ways>>,
    /// Whether somebody is on the way to take its place.
    under_way: AtomicBool,
    failed: Mutex<Option<FailedUpgrade>>,
}

/// The ways into an edge: copies of the descriptors that its threads use.
pub(crate) struct Ways {
    /// Listening sockets.
    pub(crate) bound: Vec<Bound>,
    /// The control socket.
    pub(crate) control: UnixListener,
}

/// Why the place was not given away.
#[derive(Debug, thiserror::Error)]
enum GivingError {
    #[error("the other process is of the user {0}, and this edge is not")]
    Stranger(u32),
    #[error("it speaks version {0} of the protocol, and this edge version {PROTOCOL}")]
    Protocol(u32),
    #[error("it would use the state in {theirs}, and this edge has {ours}")]
    OtherState { ours: camino::Utf8PathBuf, theirs: camino::Utf8PathBuf },
    #[error("this edge stops")]
    Stopping,
    #[error("the state cannot be given away")]
    State(#[source] ChangeError),
    #[error("the other process failed: {0}")]
    Failed(String),
    #[error("the other process said something else than was expected: {0}")]
    Unexpected(String),
    #[error("the other process failed")]
    Channel(#[from] ChannelError),
    #[error("the connection cannot be used")]
    Connection(#[source] io::Error),
}

impl Predecessor {
    /// Returns what the edge `shared` has to give.
    pub(crate) fn new(shared: Arc<Shared>, config: &EdgeConfig, ways: Ways) -> Self {
        let state_dir = &config.state_dir;
        Self {
            shared,
            herald: Arc::clone(&config.herald),
            state_dir: state_dir.canonicalize_utf8().unwrap_or_else(|_| state_dir.clone()),
            ways: Mutex::new(Some(ways)),
            under_way: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// Returns the last attempt that failed.
    pub(crate) fn failed(&self) -> Option<FailedUpgrade> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the copies of the descriptors.
    pub(crate) fn close(&self) {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Gives the place away over a connection that has left HTTP. Blocks.
    fn give(&self, stream: UnixStream) {
        let mut version = "unknown".to_owned();
        self.herald.reloading();
        match self.try_give(stream, &mut version) {
            Ok(pid) => {
                tracing::info!(successor.pid = pid, successor.version = %version, "another edge has taken the place of this one, which ends what it began");
            }
            Err(error) => {
                let reason = body::chain(&error);
                tracing::error!(successor.version = %version, "another edge did not take the place of this one, which serves on: {reason}");
                let failed = FailedUpgrade { at: Timestamp::now(), version, reason };
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
                self.herald.ready();
            }
        }
        self.under_way.store(false, Release);
    }

    fn try_give(&self, stream: UnixStream, version: &mut String) -> Result<i32, GivingError> {
        let stop = self.shared.stop.clone();
        let mut channel = Channel::new(stream, stop).map_err(GivingError::Connection)?;
        let peer = channel.peer().map_err(GivingError::Connection)?;
        let heard = self.hear(&mut channel, peer, version);
        heard.inspect_err(|error| refuse(&mut channel, error))?;
        self.hand_over(&mut channel, peer)?;
        Ok(peer.pid.as_raw_nonzero().get())
    }

    /// Learns who it is.
    fn hear(
        &self,
        channel: &mut Channel,
        peer: UCred,
        heard: &mut String,
    ) -> Result<(), GivingError> {
        let (protocol, version, state_dir) = match channel.receive(PROMPT)? {
            Message::Hello { protocol, version, state_dir } => (protocol, version, state_dir),
            other @ (Message::Offer { .. }
            | Message::Prepared { .. }
            | Message::Go
            | Message::Refused { .. }) => {
                return Err(GivingError::Unexpected(format!("{other:?}")));
            }
        };
        *heard = version;
        // Whoever may change sites may not therefore have the sockets.
        if peer.uid != geteuid() && !peer.uid.is_root() {
            return Err(GivingError::Stranger(peer.uid.as_raw()));
        }
        if protocol != PROTOCOL {
            return Err(GivingError::Protocol(protocol));
        }
        if state_dir != self.state_dir {
            let ours = self.state_dir.clone();
            return Err(GivingError::OtherState { ours, theirs: state_dir });
        }
        Ok(())
    }

    /// Offers everything, and lets go when the other one is prepared.
    fn hand_over(&self, channel: &mut Channel, peer: UCred) -> Result<(), GivingError> {
        let giving = self.shared.content.give().map_err(GivingError::State);
        let giving = giving.inspect_err(|error| refuse(channel, error))?;
        let outcome = self.offer(channel).and_then(|taken| {
            self.herald.succeeded_by(peer.pid.as_raw_nonzero().get().unsigned_abs());
            channel.send(&Message::Go)?;
            Ok(taken)
        });
        match outcome {
            Ok(taken) => {
                giving.conclude();
                self.shared.succeeded(taken);
                Ok(())
            }
            Err(error) => {
                end_silent(&error, peer);
                // It lets go of the state when it is told.
                refuse(channel, &error);
                if let Err(error) = giving.take_back() {
                    let text = body::chain(&error);
                    tracing::error!("this edge serves on, but cannot take changes yet: {text}");
                }
                Err(error)
            }
        }
    }

    fn offer(&self, channel: &mut Channel) -> Result<Vec<ListenerStatus>, GivingError> {
        {
            let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
            let ways = ways.as_ref().ok_or(GivingError::Stopping)?;
            channel.send(&Message::Offer {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                listeners: ways.offered(),
            })?;
            let (out, err) = (io::stdout(), io::stderr());
            let mut fds = ways.descriptors();
            fds.extend([out.as_fd(), err.as_fd()]);
            channel.send_descriptors(&fds)?;
        }
        match channel.receive(PREPARING)? {
            Message::Prepared { listeners } if !self.shared.stop.is_cancelled() => Ok(listeners),
            Message::Prepared { .. } => Err(GivingError::Stopping),
            Message::Refused { reason } => Err(GivingError::Failed(reason)),
            other @ (Message::Hello { .. } | Message::Offer { .. } | Message::Go) => {
                Err(GivingError::Unexpected(format!("{other:?}")))
            }
        }
    }
}

impl Ways {
    fn offered(&self) -> Vec<OfferedListener> {
        let offer = |bound: &Bound| OfferedListener {
            status: bound.status.clone(),
            sockets: bound.sockets.len(),
        };
        self.bound.iter().map(offer).collect()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.bound.iter().flat_map(|bound| &bound.sockets);
        let sockets = sockets.map(|socket| socket.as_fd());
        sockets.chain([self.control.as_fd()]).collect()
    }
}

/// The other process may be gone, or may have been the first to say so.
fn refuse(channel: &mut Channel, error: &GivingError) {
    let refused = Message::Refused { reason: body::chain(error) };
    if let Err(error) = channel.send(&refused) {
        tracing::debug!(%error, "the other process could not be told");
    }
}

/// One that hangs must not come to itself later and accept as well.
fn end_silent(error: &GivingError, peer: UCred) {
    let silent = matches!(error, GivingError::Channel(ChannelError::TimedOut(_)));
    if silent
        && peer.pid != getpid()
        && let Err(error) = kill_process(peer.pid, Signal::KILL)
    {
        tracing::error!(pid = %peer.pid, %error, "the process that hangs cannot be ended");
    }
}

/// Answers the request for the place of this edge, and gives it away on the connection then.
pub(crate) fn accept(
    predecessor: &Arc<Predecessor>,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|value| value == UPGRADE);
    if !wanted {
        let text = format!("ask with the header `Upgrade: {UPGRADE}`");
        return problem(StatusCode::UPGRADE_REQUIRED, "upgrade_required", &text);
    }
    if predecessor.shared.stop.is_cancelled() {
        return problem(StatusCode::CONFLICT, "stopping", "the edge stops");
    }
    if predecessor.under_way.swap(true, AcqRel) {
        let text = "another process is about to take its place";
        return problem(StatusCode::CONFLICT, "under_way", text);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let predecessor = Arc::clone(predecessor);
    // It ends with the conversation, each step of which has a deadline.
    let _task = tokio::spawn(async move { leave_http(predecessor, upgrade).await });
    let mut response = Response::new(Answer::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(UPGRADE));
    response
}

async fn leave_http(predecessor: Arc<Predecessor>, upgrade: OnUpgrade) {
    let stream = match tokio::time::timeout(PROMPT, upgrade).await {
        Ok(Ok(upgraded)) => upgraded.downcast::<TokioIo<TokioStream>>().ok(),
        Ok(Err(_)) | Err(_) => None,
    };
    // The other side says nothing before it has read the answer, so nothing was read ahead.
    let stream = stream.and_then(|parts| parts.io.into_inner().into_std().ok());
    let Some(stream) = stream else {
        tracing::warn!("a process asked for the place of this edge and went away");
        predecessor.under_way.store(false, Release);
        return;
    };
    let give = move || predecessor.give(stream);
    if let Err(error) = tokio::task::spawn_blocking(give).await {
        tracing::error!(%error, "the place of this edge was not given away");
    }
}
