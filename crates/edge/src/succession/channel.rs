//! Messages and descriptors over a unix socket. Blocks; each message has a deadline.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, UCred, recvmsg, sendmsg, sockopt::socket_peercred,
};
use tokio_util::sync::CancellationToken;

use super::Message;

/// The largest message.
const LARGEST: usize = 1 << 20;

/// How many descriptors go at once; the system's limit is 253.
const AT_ONCE: usize = 64;

/// How soon it is noticed that nothing is to come of it.
const ATTENTION: Duration = Duration::from_millis(100);

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    /// Ends the waiting for the other side.
    stop: CancellationToken,
}

/// Why the conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other process ended, or closed its end.
    #[error("it ended without a word")]
    Closed,
    /// The other process is there and silent.
    #[error("it said nothing within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// This one is to stop.
    #[error("this edge was told to stop meanwhile")]
    Stopped,
    /// The system.
    #[error("it cannot be spoken to")]
    Io(#[source] io::Error),
    /// Not in the language of this version.
    #[error("it cannot be understood")]
    Unreadable(#[source] serde_json::Error),
    /// Fewer descriptors came than were announced: this process may have no more open files.
    #[error("its sockets did not arrive; is the limit of open files (`ulimit -n`) reached?")]
    Descriptors,
}

impl Channel {
    /// Takes a connection. `stop` ends whatever is waited for.
    pub(super) fn new(stream: UnixStream, stop: CancellationToken) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(ATTENTION))?;
        stream.set_write_timeout(Some(super::PROMPT))?;
        Ok(Self { stream, stop })
    }

    /// Returns which process of which user is at the other end.
    pub(super) fn peer(&self) -> io::Result<UCred> {
        Ok(socket_peercred(&self.stream)?)
    }

    /// Says something.
    pub(super) fn send(&mut self, message: &Message) -> Result<(), ChannelError> {
        let bytes = serde_json::to_vec(message).map_err(ChannelError::Unreadable)?;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let framed = [&length.to_le_bytes(), bytes.as_slice()].concat();
        self.stream.write_all(&framed).map_err(ChannelError::Io)
    }

    /// Waits for what the other side says.
    pub(super) fn receive(&mut self, patience: Duration) -> Result<Message, ChannelError> {
        let mut length = [0; 4];
        self.read(&mut length, patience)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(ChannelError::Io(io::ErrorKind::InvalidData.into()));
        }
        let mut bytes = vec![0; length];
        self.read(&mut bytes, patience)?;
        serde_json::from_slice(&bytes).map_err(ChannelError::Unreadable)
    }

    fn read(&mut self, mut rest: &mut [u8], patience: Duration) -> Result<(), ChannelError> {
        let deadline = Instant::now() + patience;
        while !rest.is_empty() {
            match self.stream.read(rest) {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                Err(error) => self.wait_on(error, deadline, patience)?,
            }
        }
        Ok(())
    }

    /// Tells whether an error of reading only means that nothing came yet.
    fn wait_on(
        &self,
        error: io::Error,
        deadline: Instant,
        patience: Duration,
    ) -> Result<(), ChannelError> {
        let kind = error.kind();
        if kind == io::ErrorKind::Interrupted {
            return Ok(());
        }
        if matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
            return Err(ChannelError::Closed);
        }
        if !matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Err(ChannelError::Io(error));
        }
        if self.stop.is_cancelled() {
            return Err(ChannelError::Stopped);
        }
        if Instant::now() < deadline { Ok(()) } else { Err(ChannelError::TimedOut(patience)) }
    }

    /// Passes descriptors. Each message that carries some has one byte, so that none is read by
    /// accident with something else.
    pub(super) fn send_descriptors(&self, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        for some in fds.chunks(AT_ONCE) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(some)) {
                return Err(ChannelError::Descriptors);
            }
            let byte = [IoSlice::new(b"d")];
            sendmsg(&self.stream, &byte, &mut control, SendFlags::NOSIGNAL)
                .map_err(|error| ChannelError::Io(error.into()))?;
        }
        Ok(())
    }

    /// Takes as many descriptors as were announced.
    pub(super) fn receive_descriptors(
        &self,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<OwnedFd>, ChannelError> {
        let deadline = Instant::now() + patience;
        let mut fds = Vec::with_capacity(count);
        while fds.len() < count {
            match self.receive_some(&mut fds) {
                Ok(()) => {}
                Err(ChannelError::Io(error)) => self.wait_on(error, deadline, patience)?,
                Err(other) => return Err(other),
            }
        }
        Ok(fds)
    }

    fn receive_some(&self, fds: &mut Vec<OwnedFd>) -> Result<(), ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        // None of them must leak into a process that is started at the same moment.
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.stream, &mut slices, &mut control, flags)
            .map_err(|error| ChannelError::Io(error.into()))?;
        if received.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        let before = fds.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                fds.extend(some);
            }
        }
        let cut = received.flags.contains(ReturnFlags::CTRUNC);
        if cut || fds.len() == before { Err(ChannelError::Descriptors) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        let channel = |stream| Channel::new(stream, CancellationToken::new()).unwrap();
        (channel(one), channel(other))
    }

    #[test]
    fn descriptors_come_in_their_order_between_messages_however_many_there_are() {
        let (mut one, mut other) = pair();
        let folder = tempfile::tempdir().unwrap();
        let file = |number: usize| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, number.to_string()).unwrap();
            File::open(path).unwrap()
        };
        let files: Vec<File> = (0..AT_ONCE * 2 + 3).map(file).collect();
        let borrowed: Vec<_> = files.iter().map(|file| file.as_fd()).collect();

        let go = |message: &Message| matches!(message, Message::Go);
        one.send(&Message::Go).unwrap();
        one.send_descriptors(&borrowed).unwrap();
        one.send(&Message::Go).unwrap();

        assert!(go(&other.receive(super::super::PROMPT).unwrap()));
        let got = other.receive_descriptors(files.len(), super::super::PROMPT).unwrap();
        assert!(go(&other.receive(super::super::PROMPT).unwrap()));
        for (number, fd) in got.into_iter().enumerate() {
            let mut text = String::new();
            File::from(fd).read_to_string(&mut text).unwrap();
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn an_end_without_a_word_and_silence_are_told_apart() {
        let (one, mut other) = pair();
        let soon = Duration::from_millis(1);
        assert!(matches!(other.receive(soon), Err(ChannelError::TimedOut(_))));
        other.stop.cancel();
        assert!(matches!(other.receive(super::super::PROMPT), Err(ChannelError::Stopped)));
        drop(one);
        assert!(matches!(other.receive(super::super::PROMPT), Err(ChannelError::Closed)));
    }
}
