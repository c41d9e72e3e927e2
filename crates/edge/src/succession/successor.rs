//! The side of the edge that takes another one's place.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::bundle::ListenerStatus;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{
    Message, OFFERING, OfferedListener, PREPARING, PROMPT, PROTOCOL, UPGRADE,
    channel::{Channel, ChannelError},
};
use crate::listener::Given;

/// The largest head or text of an answer that refuses.
const LARGEST_ANSWER: usize = 8 * 1024;

/// Why an edge did not take another one's place. The other one serves on.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// There is none.
    #[error("no edge answers on {socket} whose place could be taken")]
    Unreachable {
        /// The control socket.
        socket: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too old, or has something else to do.
    #[error("the edge that runs does not give its place away: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The conversation with it failed.
    #[error("taking the place of the edge that runs failed")]
    Broken(#[from] ChannelError),
}

/// The taking of another edge's place, under way.
#[derive(Debug)]
pub(crate) struct Succession {
    channel: Channel,
    /// The version of the predecessor.
    version: String,
    listeners: Vec<OfferedListener>,
    fds: Vec<OwnedFd>,
}

/// What the predecessor gave.
pub(crate) struct Inheritance {
    /// The sockets on which it listens.
    pub(crate) given: Given,
    /// The control socket.
    pub(crate) control: UnixListener,
    /// Where its own log goes.
    pub(crate) outputs: Outputs,
}

/// Where a process writes.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Standard output.
    pub(crate) out: OwnedFd,
    /// Standard error.
    pub(crate) err: OwnedFd,
}

impl Succession {
    /// Asks the edge that answers on a control socket for its place. Blocks. When this returns,
    /// that one's state can be opened.
    pub(crate) fn ask(
        socket: &Utf8Path,
        state_dir: &Utf8Path,
        stop: CancellationToken,
    ) -> Result<Self, SuccessionError> {
        let unreachable =
            |source| SuccessionError::Unreachable { socket: socket.to_owned(), source };
        let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
        upgrade(&mut stream).map_err(unreachable)??;
        let mut channel = Channel::new(stream, stop).map_err(ChannelError::Io)?;
        channel.send(&Message::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_dir: state_dir.canonicalize_utf8().unwrap_or_else(|_| state_dir.to_owned()),
        })?;
        let (version, listeners) = match channel.receive(OFFERING)? {
            Message::Offer { version, listeners } => (version, listeners),
            Message::Refused { reason } => return Err(SuccessionError::Refused { reason }),
            other @ (Message::Hello { .. } | Message::Prepared { .. } | Message::Go) => {
                return Err(unexpected(&other));
            }
        };
        let sockets = listeners.iter().fold(0_usize, |sum, one| sum.saturating_add(one.sockets));
        let fds = channel.receive_descriptors(sockets.saturating_add(3), PROMPT)?;
        Ok(Self { channel, version, listeners, fds })
    }

    /// Takes what was given.
    pub(crate) fn inherit(&mut self) -> Result<Inheritance, SuccessionError> {
        let mut fds = std::mem::take(&mut self.fds).into_iter();
        let mut given = Given::default();
        for OfferedListener { status, sockets } in &self.listeners {
            let sockets = fds.by_ref().take(*sockets).map(TcpListener::from).collect();
            given.put(status, sockets);
        }
        let mut next = || fds.next().ok_or(ChannelError::Descriptors);
        let control = UnixListener::from(next()?);
        Ok(Inheritance { given, control, outputs: Outputs { out: next()?, err: next()? } })
    }

    /// Says that everything is ready, and waits until the predecessor has let go. Blocks.
    pub(crate) fn conclude(
        mut self,
        listeners: Vec<ListenerStatus>,
    ) -> Result<(), SuccessionError> {
        let version = &self.version;
        match self.channel.send(&Message::Prepared { listeners }) {
            // It is gone: what follows finds that out, too.
            Ok(()) | Err(ChannelError::Io(_)) => {}
            Err(other) => return Err(other.into()),
        }
        match self.channel.receive(PREPARING) {
            Ok(Message::Go) => {
                tracing::info!(predecessor.version = %version, "took the place of the edge that ran");
                Ok(())
            }
            Ok(Message::Refused { reason }) => Err(SuccessionError::Refused { reason }),
            Ok(
                other @ (Message::Hello { .. } | Message::Offer { .. } | Message::Prepared { .. }),
            ) => Err(unexpected(&other)),
            Err(ChannelError::Closed) => {
                tracing::warn!(predecessor.version = %version, "the edge that ran has ended before it let go; this one serves in its place");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the predecessor that nothing comes of it.
    pub(crate) fn refuse(mut self, reason: String) {
        if let Err(error) = self.channel.send(&Message::Refused { reason }) {
            tracing::debug!(%error, "the edge that runs could not be told");
        }
    }
}

fn unexpected(message: &Message) -> SuccessionError {
    SuccessionError::Refused { reason: format!("it said {message:?}") }
}

/// Leaves HTTP on the control socket.
fn upgrade(stream: &mut UnixStream) -> io::Result<Result<(), SuccessionError>> {
    stream.set_read_timeout(Some(PROMPT))?;
    stream.set_write_timeout(Some(PROMPT))?;
    let request = format!(
        "POST /v1/succeed HTTP/1.1\r\nHost: edge\r\nConnection: upgrade\r\nUpgrade: {UPGRADE}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let head = read_head(stream)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "101" {
        return Ok(Ok(()));
    }
    let reason = match status {
        "404" => "its version is too old for that; stop it by `portway edge --stop`".to_owned(),
        _ => detail(stream, &head)?.unwrap_or_else(|| format!("it answered with status {status}")),
    };
    Ok(Err(SuccessionError::Refused { reason }))
}

/// Reads up to the empty line and no further: what follows is not HTTP.
fn read_head(stream: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < LARGEST_ANSWER {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Returns what an answer says of itself.
fn detail(stream: &mut UnixStream, head: &str) -> io::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or_default().min(LARGEST_ANSWER)];
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice::<Problem>(&body).ok().map(|problem| problem.detail))
}
