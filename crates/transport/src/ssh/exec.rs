//! One command on one channel: bytes in, bytes out, and how it ended.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client::Msg};
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, Lease, Place};
use crate::{Output, Status, TransportError};

/// The code with which SSH marks standard error.
const STANDARD_ERROR: u32 = 1;
/// How long a channel may say nothing after its command has ended. What the command left behind may
/// hold the channel open; output that is on its way comes sooner, or the connection is gone.
pub(super) const LINGERING: Duration = Duration::from_secs(10);
/// How long a channel may take to open on a connection that stands.
pub(super) const OPENING: Duration = Duration::from_secs(10);

/// A line for the login shell, and what goes with it.
pub(super) struct Line<'a> {
    /// What it is, for errors; nothing of what is sent.
    pub(super) what: &'a str,
    /// What the shell is given, quoted.
    pub(super) text: String,
    /// What the command is given.
    pub(super) stdin: Vec<Bytes>,
    /// How long to wait for its end. The node itself should have ended it before.
    pub(super) patience: Duration,
    /// How much it may print on either stream.
    pub(super) limit: usize,
}

/// Runs a line to its end.
pub(super) async fn exec(
    connection: &Connection,
    lease: Lease,
    line: Line<'_>,
) -> Result<Output, TransportError> {
    let began = Instant::now();
    let Line { what, text, stdin, patience, limit } = line;
    let (read, write) = lease.channel.split();
    let channel = Channel { write: Arc::new(write), is_closed: false, _place: lease.place };
    let mut heard = Heard { limit, ..Heard::default() };
    let following = follow(channel, read, text, stdin, &mut heard);
    let end = timeout(patience, following).await;
    if heard.too_long {
        let what = format!("what {what} prints");
        return Err(TransportError::TooLong { what, limit });
    }
    match (end, heard.status) {
        (Ok(_) | Err(_), Some(status)) => Ok(Output {
            status,
            stdout: heard.stdout,
            stderr: heard.stderr,
            duration: began.elapsed(),
        }),
        (Err(_), None) => {
            Err(TransportError::TimedOut { what: what.to_owned(), deadline: patience })
        }
        (Ok(End::Refused), None) => Err(connection.no_session()),
        (Ok(End::Closed), None) => Err(connection.lost(what)),
    }
}

/// The writing side of a channel; closes it when the caller stops waiting.
struct Channel {
    write: Arc<ChannelWriteHalf<Msg>>,
    is_closed: bool,
    _place: Place,
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        let write = Arc::clone(&self.write);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // It ends when the session has taken the message, or has ended.
            runtime.spawn(async move {
                if let Err(error) = write.close().await {
                    tracing::debug!("the session had ended before its channel: {error}");
                }
            });
        }
    }
}

/// How following a command ended.
enum End {
    /// The server does not run commands.
    Refused,
    /// The channel was closed, or the connection has ended.
    Closed,
}

/// What a command printed so far.
#[derive(Default)]
struct Heard {
    limit: usize,
    too_long: bool,
    status: Option<Status>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn follow(
    mut channel: Channel,
    mut read: ChannelReadHalf,
    text: String,
    stdin: Vec<Bytes>,
    heard: &mut Heard,
) -> End {
    let write = Arc::clone(&channel.write);
    // A failure here means that the channel or the connection is gone, which the reading side tells.
    // Writing can wait for ever on a channel that is gone, so it never holds up reading.
    let feeding = async move {
        write.exec(true, text).await?;
        for piece in stdin {
            write.data_bytes(piece).await?;
        }
        write.eof().await
    };
    tokio::pin!(feeding);
    let mut is_fed = false;
    loop {
        let has_ended = heard.status.is_some();
        // All are safe to be cancelled: one receives from a queue, the others are not dropped or
        // begin anew.
        tokio::select! {
            () = sleep(LINGERING), if has_ended => return End::Closed,
            fed = &mut feeding, if !is_fed => {
                is_fed = true;
                if let Err(error) = fed {
                    tracing::debug!("a command takes no more input: {error}");
                }
            }
            message = read.wait() => match message {
                None => return End::Closed,
                Some(ChannelMsg::Close) => {
                    channel.is_closed = true;
                    return End::Closed;
                }
                Some(ChannelMsg::Failure) if heard.status.is_none() => return End::Refused,
                Some(message) => heard.take(&message),
            },
        }
        if heard.too_long {
            return End::Closed;
        }
    }
}

impl Heard {
    fn take(&mut self, message: &ChannelMsg) {
        if let ChannelMsg::Data { data } = message {
            self.too_long |= self.stdout.len() + data.len() > self.limit;
            self.stdout.extend_from_slice(data);
        } else if let ChannelMsg::ExtendedData { data, ext: STANDARD_ERROR } = message {
            self.too_long |= self.stderr.len() + data.len() > self.limit;
            self.stderr.extend_from_slice(data);
        } else if let ChannelMsg::ExitStatus { exit_status } = message {
            self.status = Some(Status::Exited(*exit_status));
        } else if let ChannelMsg::ExitSignal { signal_name, .. } = message {
            self.status = Some(Status::Signalled(name_of(signal_name)));
        }
    }
}

fn name_of(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        Sig::ABRT
        | Sig::ALRM
        | Sig::FPE
        | Sig::HUP
        | Sig::ILL
        | Sig::INT
        | Sig::KILL
        | Sig::PIPE
        | Sig::QUIT
        | Sig::SEGV
        | Sig::TERM
        | Sig::USR1 => format!("{signal:?}"),
    }
}
