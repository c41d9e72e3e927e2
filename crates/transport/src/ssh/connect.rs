//! From an address to a session: over jump hosts, with the right host keys, logged in.

use std::{borrow::Cow, sync::Arc, time::Duration};

use portway_model::node::HostKeyPin;
use russh::{
    Preferred, SshId,
    client::{Config, Handle, connect_stream},
    compression,
    keys::{Algorithm, EcdsaCurve, HashAlg},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    guard::Guarded,
    handler::{Client, Ending, Refused, reason_of},
    hop::{Hop, Timing},
    login::log_in,
};
use crate::{BoxStream, HostKey, TransportError};

/// A session with one server, logged in.
pub(super) struct Session {
    pub(super) handle: Handle<Client>,
    pub(super) ending: Ending,
}

/// The kinds of host keys that are asked for, the preferred first. Certificates and SHA-1 are not.
const KINDS: [&[Algorithm]; 3] = [
    &[Algorithm::Ed25519],
    &[
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    ],
    &[
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ],
];

/// Connects to a server, directly or over the session before it, and logs in.
///
/// `end` ends the connection, however far it has come.
pub(super) async fn connect(
    hop: &Hop,
    via: Option<&Session>,
    timing: &Timing,
    end: &CancellationToken,
) -> Result<Session, TransportError> {
    let mut session = recognise(hop, via, timing, end).await?;
    let address = hop.address.to_string();
    within(timing.login, format!("logging in to {address}"), log_in(&mut session, hop)).await?;
    Ok(session)
}

/// Agrees on keys with a server that has one of the host keys that were confirmed.
///
/// A pin is a fingerprint and says nothing of the kind of key. A server shows one of its keys, of the
/// kind that we prefer; so where that one is not confirmed, the other kinds are asked for before the
/// server counts as changed.
async fn recognise(
    hop: &Hop,
    via: Option<&Session>,
    timing: &Timing,
    end: &CancellationToken,
) -> Result<Session, TransportError> {
    let offered = match attempt(hop, via, timing, end, KINDS.concat()).await? {
        Shown::Confirmed(session) => return Ok(*session),
        Shown::Other(offered) => *offered,
    };
    let address = hop.address.to_string();
    if hop.pins.is_empty() {
        return Err(TransportError::HostKeyUnknown { address, offered });
    }
    for kinds in other_kinds(&offered) {
        match attempt(hop, via, timing, end, kinds.to_vec()).await {
            Ok(Shown::Confirmed(session)) => return Ok(*session),
            // It has no key of this kind, or one that is not confirmed either.
            Ok(Shown::Other(_)) | Err(TransportError::Incompatible { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(TransportError::HostKeyChanged { address, pinned: hop.pins.clone(), offered })
}

fn other_kinds(offered: &HostKey) -> impl Iterator<Item = &'static [Algorithm]> {
    let offered = offered.algorithm().to_owned();
    let is_offered = move |kind: &Algorithm| {
        let name = kind.as_str();
        name == offered || (offered == "ssh-rsa" && name.starts_with("rsa-"))
    };
    KINDS.into_iter().filter(move |kinds| !kinds.iter().any(&is_offered))
}

/// What a server showed.
enum Shown {
    /// A key that was confirmed.
    Confirmed(Box<Session>),
    /// Another key. The connection has ended.
    Other(Box<HostKey>),
}

async fn attempt(
    hop: &Hop,
    via: Option<&Session>,
    timing: &Timing,
    end: &CancellationToken,
    kinds: Vec<Algorithm>,
) -> Result<Shown, TransportError> {
    let address = hop.address.to_string();
    let stream = dial(hop, via, timing).await?;
    let stream = Guarded::new(stream, timing.silence(), end.clone());
    let (ending, pins) = (Ending::default(), hop.pins.clone());
    let agreeing = agree(stream, pins, Arc::clone(&ending), config(timing, kinds));
    let agreed = timeout(timing.handshake, agreeing).await;
    match agreed {
        Ok(Ok(handle)) => Ok(Shown::Confirmed(Box::new(Session { handle, ending }))),
        Ok(Err(Refused::Key(offered))) => Ok(Shown::Other(offered)),
        Ok(Err(error)) => Err(failure(address, &error)),
        Err(_) => Err(TransportError::TimedOut {
            what: format!("agreeing on keys with {address}"),
            deadline: timing.handshake,
        }),
    }
}

async fn agree(
    stream: Guarded<BoxStream>,
    pins: Vec<HostKeyPin>,
    ending: Ending,
    config: Config,
) -> Result<Handle<Client>, Refused> {
    connect_stream(Arc::new(config), stream, Client::new(pins, ending)).await
}

async fn dial(
    hop: &Hop,
    via: Option<&Session>,
    timing: &Timing,
) -> Result<BoxStream, TransportError> {
    let address = hop.address.to_string();
    let dialling = async {
        match via {
            None => {
                let to = (hop.address.host.as_str(), hop.address.port);
                let stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                Ok(Box::new(stream) as BoxStream)
            }
            Some(before) => {
                let (host, port) = (hop.address.host.clone(), u32::from(hop.address.port));
                let channel = before.handle.channel_open_direct_tcpip(host, port, "127.0.0.1", 0);
                let channel =
                    channel.await.map_err(|error| format!("its jump host says: {error}"))?;
                Ok(Box::new(channel.into_stream()) as BoxStream)
            }
        }
    };
    match timeout(timing.connect, dialling).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(reason)) => Err(TransportError::Unreachable { address, reason }),
        Err(_) => {
            let reason = format!("no answer within {} s", timing.connect.as_secs_f32());
            Err(TransportError::Unreachable { address, reason })
        }
    }
}

fn config(timing: &Timing, kinds: Vec<Algorithm>) -> Config {
    Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-Portway_",
            env!("CARGO_PKG_VERSION")
        ))),
        keepalive_interval: Some(timing.keepalive),
        keepalive_max: usize::from(timing.missed),
        nodelay: true,
        preferred: Preferred {
            key: Cow::Owned(kinds),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}

fn failure(address: String, error: &Refused) -> TransportError {
    match error {
        Refused::Protocol(russh::Error::NoCommonAlgo { kind, theirs, .. }) => {
            let reason = format!("no common {kind:?} algorithm; it has {}", theirs.join(", "));
            TransportError::Incompatible { address, reason }
        }
        Refused::Protocol(russh::Error::Version) => {
            let reason = "it does not speak SSH 2".to_owned();
            TransportError::Incompatible { address, reason }
        }
        Refused::Protocol(_) | Refused::Key(_) => TransportError::Lost {
            address,
            what: "agreeing on keys".to_owned(),
            reason: reason_of(error),
        },
    }
}

/// Gives something its time.
pub(super) async fn within<T>(
    deadline: Duration,
    what: String,
    work: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let done = timeout(deadline, work).await;
    done.unwrap_or(Err(TransportError::TimedOut { what, deadline }))
}
