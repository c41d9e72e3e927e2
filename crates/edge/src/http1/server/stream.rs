//! What a connection of a client can do, whether it is plain or under TLS.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{sendfile::SendFile, stall::StallGuard, tls::TlsStream};

/// A client's connection, plain or under TLS.
pub(crate) trait ClientStream: AsyncRead + AsyncWrite + SendFile + Unpin + 'static {
    /// Takes note that what is written from here on is the last, so that it may be sent together with
    /// the end of the connection.
    fn end_with_next_flush(&mut self) {}
}

impl ClientStream for StallGuard<TcpStream> {}

impl ClientStream for Box<TlsStream<StallGuard<TcpStream>>> {
    fn end_with_next_flush(&mut self) {
        (**self).end_with_next_flush();
    }
}
