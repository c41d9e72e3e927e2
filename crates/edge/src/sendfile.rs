//! Connections to which the system can copy from a file by itself (sendfile(2)), so that the bytes
//! pass neither through the edge's memory nor twice through the processor's caches.

use std::{
    io,
    task::{Context, Poll, ready},
};

use rustix::{
    fs::sendfile,
    io::Errno,
    net::{SendFlags, send},
};
use tokio::{io::Interest, net::TcpStream};

use crate::{body::Slice, tls::TlsStream};

/// A connection that may be able to. Unless it says so, it is not.
pub(crate) trait SendFile {
    /// Tells whether it is.
    fn sends_files(&self) -> bool {
        false
    }

    /// Writes, and says that more follows at once: it is best sent together.
    fn poll_write_more(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Sends from the front of a slice and returns how much; 0 when the file ends before it. The
    /// error [`Unsupported`](io::ErrorKind::Unsupported) says that the slice must be read instead.
    fn poll_send_file(&mut self, _: &mut Context<'_>, _: &Slice<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// Tells whether sending failed because of the file, and not of the connection.
pub(crate) fn is_of_file(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::IO)
}

/// What goes through TLS must pass through the edge.
impl<S> SendFile for Box<TlsStream<S>> {}

impl SendFile for TcpStream {
    fn sends_files(&self) -> bool {
        true
    }

    fn poll_write_more(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        poll_call(self, cx, || send(&*self, bytes, flags))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        slice: &Slice<'_>,
    ) -> Poll<io::Result<usize>> {
        let length = usize::try_from(slice.length).unwrap_or(usize::MAX);
        let sent = ready!(poll_call(self, cx, || {
            let mut offset = slice.offset;
            sendfile(&*self, slice.file, Some(&mut offset), length)
        }));
        Poll::Ready(sent.map_err(|error| match Errno::from_io_error(&error) {
            // The file system, the kernel or a sandbox does not know how.
            Some(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
                io::ErrorKind::Unsupported.into()
            }
            _ => error,
        }))
    }
}

/// Makes a call once the socket can be written to, and again if it could not after all.
fn poll_call(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    call: impl Fn() -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, || call().map_err(io::Error::from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return Poll::Ready(other),
        }
    }
}
