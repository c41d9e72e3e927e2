//! A connection that stands: its sessions, its channels, and how it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use russh::{Channel, Disconnect, client::Msg};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    connect::{Session, connect},
    exec::OPENING,
    hop::{Hop, Timing},
    shell,
};
use crate::{Target, TransportError};

/// How many sessions are open on one connection at once. OpenSSH allows ten, unless told otherwise;
/// a few are left for those that are being closed.
const SESSIONS: usize = 8;
/// How many of them are open for people who only look at something, so that whatever they do leaves places
/// for what changes the node.
const FOR_READERS: usize = SESSIONS / 2;
/// How long somebody waits for a place who only looks at something.
const READERS_WAIT: Duration = Duration::from_secs(10);
/// How long anybody else waits: longer than commands take, save those that people type.
const WAITING: Duration = Duration::from_secs(120);

/// A connection to a node, logged in and proven to have a shell that takes commands.
pub(super) struct Connection {
    to: Hop,
    node: Session,
    /// The sessions that carry the next one, the nearest first. Dropped after the node's own.
    jumps: Vec<Session>,
    places: Arc<Semaphore>,
    /// Whoever only looks at something needs one of these beside.
    for_readers: Arc<Semaphore>,
    allowed: AtomicUsize,
    _end: DropGuard,
}

/// A channel for a command, with its place among the sessions of the connection.
pub(super) struct Lease {
    pub(super) channel: Channel<Msg>,
    pub(super) place: Place,
}

/// A place among the sessions of a connection.
pub(super) struct Place {
    all: OwnedSemaphorePermit,
    of_readers: Option<OwnedSemaphorePermit>,
}

/// Who wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Somebody who only looks at something.
    ToRead,
    /// Whoever does something on the node.
    ToAct,
}

impl Connection {
    /// Connects to a node over its jump hosts.
    pub(super) async fn open(
        to: &Hop,
        jumps: &[Hop],
        timing: &Timing,
    ) -> Result<Self, TransportError> {
        let end = CancellationToken::new();
        let guard = end.clone().drop_guard();
        let mut carrying = Vec::<Session>::new();
        for jump in jumps {
            let session = connect(jump, carrying.last(), timing, &end).await?;
            carrying.push(session);
        }
        let node = connect(to, carrying.last(), timing, &end).await?;
        let connection = Self {
            to: to.clone(),
            node,
            jumps: carrying,
            places: Arc::new(Semaphore::new(SESSIONS)),
            for_readers: Arc::new(Semaphore::new(FOR_READERS)),
            allowed: AtomicUsize::new(SESSIONS),
            _end: guard,
        };
        shell::prove(&connection).await?;
        Ok(connection)
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_over(&self) -> bool {
        self.node.handle.is_closed() || self.jumps.iter().any(|jump| jump.handle.is_closed())
    }

    /// Says farewell. What is under way is lost.
    pub(super) async fn close(&self) {
        let farewell = self.node.handle.disconnect(Disconnect::ByApplication, "", "en");
        match timeout(OPENING, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the connection had ended before: {error}"),
            Err(_) => tracing::debug!("the connection takes no farewell"),
        }
    }

    /// Opens a channel for a command, when there is a place for one.
    ///
    /// A server may allow fewer sessions than is usual; it is believed, and asked for fewer.
    pub(super) async fn lease(&self, wants: Wants) -> Result<Lease, TransportError> {
        loop {
            let place = self.place(wants).await?;
            match timeout(OPENING, self.node.handle.channel_open_session()).await {
                Ok(Ok(channel)) => return Ok(Lease { channel, place }),
                Ok(Err(russh::Error::ChannelOpenFailure(_))) if self.is_one_place_less() => {
                    self.give_up(place);
                }
                Ok(Err(russh::Error::ChannelOpenFailure(_))) => return Err(self.no_session()),
                Ok(Err(_)) => return Err(self.lost("opening a session")),
                Err(_) => {
                    let what = format!("opening a session on {}", self.to.address);
                    return Err(TransportError::TimedOut { what, deadline: OPENING });
                }
            }
        }
    }

    /// Waits for a place, for so long.
    async fn place(&self, wants: Wants) -> Result<Place, TransportError> {
        let patience = match wants {
            Wants::ToRead => READERS_WAIT,
            Wants::ToAct => WAITING,
        };
        let waiting = async {
            let of_readers = match wants {
                Wants::ToRead => Some(Arc::clone(&self.for_readers).acquire_owned().await?),
                Wants::ToAct => None,
            };
            let all = Arc::clone(&self.places).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>(Place { all, of_readers })
        };
        match timeout(patience, waiting).await {
            Ok(place) => place.map_err(|_| self.lost("opening a session")),
            Err(_) => {
                let what = format!("waiting for a place among the sessions on {}", self.to.address);
                Err(TransportError::TimedOut { what, deadline: patience })
            }
        }
    }

    /// Gives up a place for good. Of those that are left, whoever only looks has half, and at least one.
    fn give_up(&self, place: Place) {
        place.all.forget();
        let left = self.allowed.load(Ordering::Relaxed);
        if left < 3 || left.is_multiple_of(2) {
            return;
        }
        match place.of_readers {
            Some(own) => own.forget(),
            None => {
                self.for_readers.forget_permits(1);
            }
        }
    }

    /// Opens a channel to something that listens on the node.
    pub(super) async fn forward(&self, target: &Target) -> Result<Channel<Msg>, TransportError> {
        let handle = &self.node.handle;
        let opening = async {
            match target {
                Target::Tcp { host, port } => {
                    let port = u32::from(*port);
                    handle.channel_open_direct_tcpip(host.as_str(), port, "127.0.0.1", 0).await
                }
                Target::Unix(path) => handle.channel_open_direct_streamlocal(path.as_str()).await,
            }
        };
        match timeout(OPENING, opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => {
                Err(self.not_forwarded(target, &failure))
            }
            Ok(Err(_)) => Err(self.lost(&format!("dialling {target}"))),
            Err(_) => Err(TransportError::TimedOut {
                what: format!("dialling {target} on {}", self.to.address),
                deadline: OPENING,
            }),
        }
    }

    pub(super) fn lost(&self, what: &str) -> TransportError {
        let jumps = self.jumps.iter().rev().map(|jump| &jump.ending);
        let mut endings = [&self.node.ending].into_iter().chain(jumps);
        let reason = endings.find_map(|ending| ending.get().cloned());
        TransportError::Lost {
            address: self.to.address.to_string(),
            what: what.to_owned(),
            reason: reason.unwrap_or_else(|| "it hung up".to_owned()),
        }
    }

    pub(super) fn no_session(&self) -> TransportError {
        TransportError::NoSession { address: self.to.address.to_string() }
    }

    pub(super) fn user(&self) -> &str {
        self.to.user.as_str()
    }

    pub(super) fn address(&self) -> String {
        self.to.address.to_string()
    }

    fn is_one_place_less(&self) -> bool {
        let fewer = |allowed: usize| (allowed > 1).then(|| allowed - 1);
        self.allowed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }

    fn not_forwarded(
        &self,
        target: &Target,
        failure: &russh::ChannelOpenFailure,
    ) -> TransportError {
        let (address, target) = (self.to.address.to_string(), target.to_string());
        if *failure == russh::ChannelOpenFailure::AdministrativelyProhibited {
            let user = self.to.user.to_string();
            return TransportError::ForwardingForbidden { address, user, target };
        }
        let reason = failure.description().to_lowercase();
        TransportError::Refused { address, target, reason }
    }
}
