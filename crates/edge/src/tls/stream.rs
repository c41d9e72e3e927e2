//! A client's connection under TLS. What goes out is put together where it can be, as each write is a
//! segment of its own on the network and a call to the system: the tickets for a later handshake go
//! with the first answer, and the goodbye with the last one.

use std::{
    future::poll_fn,
    io::{self, BufRead as _, IoSlice, Read, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{
    ProtocolVersion, ServerConfig, ServerConnection,
    server::{Accepted, AcceptedAlert},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
pub(crate) struct TlsStream<S> {
    stream: S,
    session: ServerConnection,
    /// What is written is the last.
    ending: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Makes the rest of a handshake of which the client's hello was read. It is boxed, so that who
    /// holds it can hand it on without a copy.
    pub(super) async fn accept(
        mut stream: S,
        accepted: Accepted,
        config: Arc<ServerConfig>,
    ) -> io::Result<Box<Self>> {
        let session = match accepted.into_connection(config) {
            Ok(session) => session,
            Err((error, alert)) => {
                tell(&mut stream, alert).await;
                return Err(invalid(error));
            }
        };
        let mut this = Box::new(Self { stream, session, ending: false });
        poll_fn(|cx| this.poll_handshake(cx)).await?;
        Ok(this)
    }

    /// Returns what was agreed on.
    pub(super) fn session(&self) -> &ServerConnection {
        &self.session
    }

    /// Takes note that what is written from here on is the last of the connection: it is held until
    /// it is flushed, and goes out with the goodbye.
    pub(crate) fn end_with_next_flush(&mut self) {
        self.ending = true;
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let done = !self.session.is_handshaking();
            let is_tls13 = self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
            // With TLS 1.3, what is left to be sent are tickets, for which nobody waits.
            if done && is_tls13 {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_send(cx))?;
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            if done {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(cx))? == 0 {
                let reason = "the connection was closed during the handshake";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
            }
        }
    }

    /// Reads once from the network, and returns how much; 0 is the end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.session.read_tls(&mut Network { stream: &mut self.stream, cx });
        let read = ready!(blocking(read))?;
        if let Err(error) = self.session.process_new_packets() {
            // There is an alert for the client; it is not worth waiting for that it takes it.
            drop(self.poll_send(cx));
            return Poll::Ready(Err(invalid(error)));
        }
        Poll::Ready(Ok(read))
    }

    /// Writes to the network what is there.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let written = self.session.write_tls(&mut Network { stream: &mut self.stream, cx });
            if ready!(blocking(written))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts what `write` gives to the session, and sends it.
    fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let taken = write(&mut self.session.writer())?;
            if taken > 0 && self.ending {
                return Poll::Ready(Ok(taken));
            }
            match self.poll_send(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // The session had no room, and has some now.
                Poll::Ready(Ok(())) if taken == 0 => {}
                Poll::Pending if taken == 0 => return Poll::Pending,
                // What the network does not take now is sent later.
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Ready(Ok(taken)),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.session.reader().fill_buf() {
                Ok(plain) => {
                    let taken = plain.len().min(buffer.remaining());
                    buffer.put_slice(plain.get(..taken).unwrap_or_default());
                    self.session.reader().consume(taken);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_receive(cx))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_encrypt(cx, |writer| writer.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll_encrypt(cx, |writer| writer.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending {
            self.session.send_close_notify();
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.send_close_notify();
        ready!(self.poll_send(cx))?;
        match ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
            // Whoever is gone need not be told.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

/// Says why there is no handshake, unless the client is gone.
async fn tell<S: AsyncWrite + Unpin>(stream: &mut S, mut alert: AcceptedAlert) {
    let telling = poll_fn(|cx| {
        while ready!(blocking(alert.write(&mut Network { stream, cx })))? > 0 {}
        Pin::new(&mut *stream).poll_flush(cx)
    });
    // The handshake has failed already.
    drop(telling.await);
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A connection as the session reads and writes it: what has to be waited for fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock), and whoever waits is woken.
struct Network<'a, 'b, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncRead + Unpin> Read for Network<'_, '_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut bytes = ReadBuf::new(bytes);
        let read = Pin::new(&mut *self.stream).poll_read(self.cx, &mut bytes);
        or_would_block(read).map(|()| bytes.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> Write for Network<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.stream).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.stream).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        or_would_block(Pin::new(&mut *self.stream).poll_flush(self.cx))
    }
}

fn or_would_block<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn blocking<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use portway_testkit::ca::TestCa;
    use rustls::{ClientConfig, HandshakeKind, RootCertStore, server::Acceptor, version};
    use rustls_pki_types::ServerName;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client};

    use super::*;

    #[tokio::test]
    async fn tickets_go_with_the_first_answer_and_the_goodbye_with_the_last() {
        let bed = Bed::new(&[&version::TLS13]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (mut client, mut server, writes) = bed.connect().await;
            assert_eq!(client.get_ref().1.handshake_kind(), Some(expected));
            assert_eq!(writes.get(), 1, "the handshake");
            server.end_with_next_flush();
            server.write_all(b"the last answer").await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(writes.get(), 2, "the answer with what goes beside it");
            let mut answer = Vec::new();
            // Without a goodbye this would be an error once the connection is closed.
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"the last answer");
        }
    }

    #[tokio::test]
    async fn with_tls_1_2_the_handshake_comes_to_its_end_by_itself() {
        let (mut client, mut server, _) = Bed::new(&[&version::TLS12]).connect().await;
        client.write_all(b"request").await.unwrap();
        let mut request = [0; 7];
        server.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"request");
    }

    #[tokio::test]
    async fn what_the_network_takes_slowly_arrives_whole() {
        let (mut client, mut server, _) = Bed::new(&[&version::TLS13]).connect().await;
        for ending in [false, true] {
            let sent: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
            let mut read = vec![0; sent.len()];
            if ending {
                server.end_with_next_flush();
            }
            let writing = async {
                server.write_all(&sent).await.unwrap();
                server.flush().await.unwrap();
            };
            let ((), got) = tokio::join!(writing, client.read_exact(&mut read));
            got.unwrap();
            assert!(read == sent, "ending: {ending}");
        }
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_end_without_a_goodbye_is_an_error() {
        let (client, mut server, _) = Bed::new(&[&version::TLS13]).connect().await;
        drop(client.into_inner().0);
        let error = server.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// Both ends' configurations.
    struct Bed {
        client: TlsConnector,
        server: Arc<ServerConfig>,
    }

    impl Bed {
        fn new(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
            let ca = TestCa::new().unwrap();
            let mut server = Arc::unwrap_or_clone(ca.server("a.example", &[]).unwrap());
            server.send_tls13_tickets = 1;
            server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(ca.root()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let client = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            Self { client: Arc::new(client).into(), server: Arc::new(server) }
        }

        /// Returns both ends of a connection, and how often the server has written.
        async fn connect(
            &self,
        ) -> (client::TlsStream<DuplexStream>, Box<TlsStream<Counted>>, Rc<Cell<u32>>) {
            let (ours, theirs) = tokio::io::duplex(30_000);
            let writes = Rc::<Cell<u32>>::default();
            let ours = Counted { stream: ours, writes: Rc::clone(&writes) };
            let serving = async {
                let start = LazyConfigAcceptor::new(Acceptor::default(), ours).await.unwrap();
                TlsStream::accept(start.io, start.accepted, Arc::clone(&self.server)).await.unwrap()
            };
            let name = ServerName::try_from("a.example").unwrap();
            let (server, client) = tokio::join!(serving, self.client.connect(name, theirs));
            (client.unwrap(), server, writes)
        }
    }

    /// Counts what would be calls to the system.
    struct Counted {
        stream: DuplexStream,
        writes: Rc<Cell<u32>>,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.writes.set(self.writes.get() + 1);
            Pin::new(&mut self.stream).poll_write(cx, bytes)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let whole: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &whole)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}
