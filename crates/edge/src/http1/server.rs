//! A client's connection: one request after the other, each answered before the next is read.

mod link;
mod stream;
mod write;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use portway_http1::{
    Framing, Kind, Limits, Reject,
    request::{Parser, RequestHead},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};

use self::link::{Link, RequestBody};
pub(super) use self::stream::ClientStream;
use super::{deadline::Deadline, limits, wire::Prefixed};
use crate::{
    body::{self, Body},
    content::Reading,
    http2::goaway,
    pages::Fault,
    pipeline::{self, Arrived, Served, Tunnel},
    proxy::{self, Passed, Switched, TunnelError},
    worker::{Connection, Worker},
};

/// How long a client may take to its first byte.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(10);

/// What the preface of HTTP/2 begins with (RFC 9113 §3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// RFC 9113 §7: what is asked is to be asked over HTTP/1.1.
const HTTP_1_1_REQUIRED: u32 = 13;

/// What a client is told that speaks HTTP/2 where it is not offered.
const HTTP2_DECLINED: &str = "HTTP/2 is spoken over TLS only; here it is HTTP/1.1";

/// How long a connection may be unused after a request.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// How much of a request that comes before its predecessor is answered is read ahead.
const AHEAD: usize = 8 * 1024;

/// What is read and thrown away of a body that nobody wanted, so that the connection can go on, or
/// at least the answer is not lost to a reset.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(3);

/// Serves a client's connection until one side is done with it.
pub(crate) fn serve<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
) -> impl Future<Output = ()>
where
    S: ClientStream,
{
    // Made before the future, which would keep a place for what it is made of.
    let link = Rc::new(RefCell::new(Link::new(stream)));
    converse(worker, connection, link)
}

/// Answers one request after the other. Unused connections are many, and each keeps the memory for the
/// most that it may come to; so what is rare or large is boxed.
async fn converse<S>(worker: Rc<Worker>, connection: Rc<Connection>, link: Rc<RefCell<Link<S>>>)
where
    S: ClientStream,
{
    let mut server = Server {
        link,
        parser: Parser::new(),
        limits: limits(),
        reading: None,
        head_time: Duration::ZERO,
        began: None,
        deadline: Deadline::default(),
        worker,
        connection,
    };
    server.deadline.set(Instant::now() + FIRST_BYTE_TIME);
    let last_call = server.worker.last_call.clone();
    let mut last_call = pin!(last_call.cancelled());
    loop {
        server.read_as_sites_want();
        match poll_fn(|cx| server.poll_next(cx, last_call.as_mut())).await {
            Next::Request(head, arrived) => match server.answer(head, arrived).await {
                After::Again => server.deadline.set(Instant::now() + IDLE_TIME),
                After::Linger => return Box::pin(server.linger()).await,
                After::Close => return server.close().await,
                After::Tunnel(tunnel) => return Box::pin(server.tunnel(*tunnel)).await,
                After::Gone => return,
            },
            Next::Refused(fault, reason) => {
                return Box::pin(server.refuse(fault, &reason)).await;
            }
            Next::Http2 => return Box::pin(server.decline_http2()).await,
            Next::Nothing => return server.close().await,
        }
    }
}

struct Server<S> {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    link: Rc<RefCell<Link<S>>>,
    parser: Parser,
    limits: Limits,
    /// What `limits` were made of.
    reading: Option<Reading>,
    /// How long a head may take.
    head_time: Duration,
    /// When the head that is being read began, unless it came at once.
    began: Option<Instant>,
    deadline: Deadline,
}

/// What comes next on a connection.
enum Next {
    /// A request.
    Request(Box<RequestHead>, Arrived),
    /// Something that is none, or came too late.
    Refused(Fault, String),
    /// What an HTTP/2 client says first.
    Http2,
    /// Nothing more.
    Nothing,
}

/// What becomes of a connection after an answer.
enum After {
    /// The next request.
    Again,
    /// It is closed, once the client had the time to read what it was answered.
    Linger,
    /// It is closed.
    Close,
    /// It left HTTP.
    Tunnel(Box<Tunnel>),
    /// The client closed it.
    Gone,
}

impl<S: ClientStream> Server<S> {
    /// Reads as much of the next head as the sites take that are served now.
    fn read_as_sites_want(&mut self) {
        let snapshot = self.worker.shared.content.snapshot();
        if self.reading == Some(snapshot.reading) {
            return;
        }
        self.reading = Some(snapshot.reading);
        let Reading { head, fields, target, head_time } = snapshot.reading;
        self.limits = Limits { head, fields, target, ..limits() };
        // The name in the handshake tells for which sites it is.
        let name = self.connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let local = self.connection.local.ip().to_canonical();
        let entry = name.and_then(|name| snapshot.find_tls(Some(name), local));
        self.head_time = entry.map_or(head_time, |entry| entry.head_time());
    }

    /// Reads the head of the next request.
    fn poll_next(&mut self, cx: &mut Context<'_>, last_call: Pin<&mut impl Future>) -> Poll<Next> {
        let mut link = self.link.borrow_mut();
        loop {
            if !link.wire.input.is_empty() {
                let there = link.wire.input.len();
                let is_http2 = link.wire.input.starts_with(HTTP2);
                match self.parser.parse(&mut link.wire.input, &self.limits) {
                    Ok(Some(head)) => {
                        let bytes = there - link.wire.input.len();
                        let took = self.began.take().map_or(Duration::ZERO, |at| at.elapsed());
                        let patience = Rc::clone(&self.connection.patience);
                        let arrived = Arrived { bytes, took, patience };
                        return Poll::Ready(Next::Request(Box::new(head), arrived));
                    }
                    Ok(None) => {}
                    Err(_) if is_http2 => return Poll::Ready(Next::Http2),
                    Err(reject) => return Poll::Ready(refused(reject)),
                }
                // Time counts from the first byte of a head, and no further byte stops it.
                if !link.began {
                    link.began = true;
                    let now = Instant::now();
                    self.began = Some(now);
                    self.deadline.set(now + self.head_time);
                }
            }
            match link.wire.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Nothing),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        if link.began {
            ready!(self.deadline.poll(cx));
            let seconds = self.head_time.as_secs();
            let reason = format!("the head of the request took more than {seconds} seconds");
            return Poll::Ready(Next::Refused(Fault::RequestTimeout, reason));
        }
        if last_call.poll(cx).is_ready() || self.deadline.poll(cx).is_ready() {
            return Poll::Ready(Next::Nothing);
        }
        Poll::Pending
    }

    /// Lets the request be answered and writes the answer.
    async fn answer(&mut self, head: Box<RequestHead>, arrived: Arrived) -> After {
        let persistent = head.persistent;
        let ask = write::Ask::of(&head);
        let request = self.request(*head);
        match self.served(request, arrived).await {
            Some(Served::Answer(response)) => self.send(ask, persistent, response).await,
            Some(Served::Tunnel(tunnel)) => After::Tunnel(tunnel),
            None => After::Gone,
        }
    }

    /// Waits until a request is answered, or the client is gone.
    fn served(
        &self,
        request: Request<Body>,
        arrived: Arrived,
    ) -> impl Future<Output = Option<Served>> + '_ {
        let (worker, connection) = (Rc::clone(&self.worker), Rc::clone(&self.connection));
        let mut serving = pipeline::serve(worker, connection, request, arrived);
        poll_fn(move |cx| {
            if let Poll::Ready(served) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(served));
            }
            // Nobody is left to be answered.
            self.link.borrow_mut().poll_gone(cx, AHEAD).map(|()| None)
        })
    }

    fn request(&self, head: RequestHead) -> Request<Body> {
        let framing = head.framing;
        let bodiless = matches!(framing, Framing::None | Framing::Length(0));
        self.link.borrow_mut().begin(framing, head.expect_continue, &self.limits);
        let body = if bodiless {
            body::empty()
        } else {
            Body::new(RequestBody::new(Rc::clone(&self.link), framing))
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.version_mut() = head.version.into();
        *request.uri_mut() = head.target.into_uri();
        *request.headers_mut() = head.headers;
        if head.upgrade {
            request.extensions_mut().insert(pipeline::OffersUpgrade);
        }
        request
    }

    /// Writes an answer to its last byte.
    async fn send(&mut self, ask: write::Ask, persistent: bool, response: Response<Body>) -> After {
        let stopping = self.worker.shared.stop.is_cancelled();
        let unread = self.link.borrow().unread();
        let persistent = persistent && !stopping && unread.is_bearable();
        let (parts, body) = response.into_parts();
        let begun =
            write::Answer::begin(&mut self.link.borrow_mut().wire, &ask, persistent, parts, body);
        let mut answer = match begun {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written");
                return After::Close;
            }
        };
        let sent = poll_fn(|cx| {
            let sent = answer.poll_send(cx, &self.link);
            // While the upstream is silent nothing is written that would tell that nobody is left.
            let is_gone =
                sent.is_pending() && self.link.borrow_mut().poll_gone(cx, AHEAD).is_ready();
            if is_gone { Poll::Ready(Err(write::Unsent)) } else { sent }
        })
        .await;
        let kept = match sent {
            Ok(persistent) => persistent,
            // The exchange has logged it, and there is nobody to tell.
            Err(write::Unsent) => return After::Gone,
        };
        drop(answer);
        let (unread, more) = {
            let link = self.link.borrow();
            (link.unread(), !link.wire.input.is_empty())
        };
        match (unread.is_nothing(), kept) {
            (true, true) => After::Again,
            (true, false) if !more => After::Close,
            (false, true) if self.discard().await => After::Again,
            (true | false, _) => After::Linger,
        }
    }

    /// Answers a client that speaks HTTP/2 where only HTTP/1.1 is spoken, in its own language: an
    /// answer in HTTP/1.1 would be nonsense to it.
    async fn decline_http2(&mut self) {
        let (fault, reason) = (Fault::Malformed(Kind::UnsupportedVersion), HTTP2_DECLINED);
        let told = pipeline::refuse(&self.worker, &self.connection, &fault, reason).await;
        // What it holds is for logs alone.
        drop(told.into_body().collect().await);
        // A server's first frame is SETTINGS (RFC 9113 §3.4); this one is empty.
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let goodbye = goaway(0, HTTP_1_1_REQUIRED, HTTP2_DECLINED);
        self.link.borrow_mut().wire.output().extend_from_slice(&[&settings[..], &goodbye].concat());
        let flushed = poll_fn(|cx| self.link.borrow_mut().wire.poll_flush(cx)).await;
        if flushed.is_ok() {
            self.linger().await;
        }
    }

    /// Answers something that is no request.
    async fn refuse(&mut self, fault: Fault, reason: &str) {
        let response = pipeline::refuse(&self.worker, &self.connection, &fault, reason).await;
        self.link.borrow_mut().begin(Framing::None, false, &self.limits);
        match self.send(write::Ask::of_nobody(), false, response).await {
            After::Gone => {}
            After::Again | After::Linger | After::Close | After::Tunnel(_) => self.linger().await,
        }
    }

    /// Reads the rest of a body that nobody wanted; tells whether it came to its end.
    async fn discard(&mut self) -> bool {
        let discarding = poll_fn(|cx| self.link.borrow_mut().poll_discard(cx, LINGER_BYTES));
        timeout(LINGER_TIME, discarding).await.unwrap_or(false)
    }

    /// Closes a connection on which the client may still be sending: were it closed at once, the
    /// system would reset it and the client might never read its answer.
    async fn linger(&mut self) {
        let lingering = async {
            self.close().await;
            let mut left = LINGER_BYTES;
            while left > 0 {
                let read = poll_fn(|cx| self.link.borrow_mut().wire.poll_discard(cx)).await;
                match read {
                    Ok(0) | Err(_) => return,
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
        };
        // Whoever has not read it by then never will.
        drop(timeout(LINGER_TIME, lingering).await);
    }

    async fn close(&mut self) {
        // A client that is gone already cannot be told.
        drop(poll_fn(|cx| self.link.borrow_mut().wire.poll_shutdown(cx)).await);
    }

    /// Passes bytes both ways until both sides are done.
    async fn tunnel(self, tunnel: Tunnel) {
        let Tunnel { response, upstream, pick, exchange } = tunnel;
        let passed = Rc::<Passed>::default();
        let tunnelled = exchange.tunnelled(Rc::clone(&passed));
        tunnelled.ended(pass(self.link, response, upstream, &passed).await);
        drop(pick);
    }
}

async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    link: Rc<RefCell<Link<S>>>,
    response: Response<()>,
    upstream: Switched,
    passed: &Passed,
) -> Result<(), TunnelError> {
    // A request that asks to leave HTTP has no body, so nobody else holds the connection.
    let link = Rc::try_unwrap(link).map_err(|_| TunnelError::Held)?;
    let mut wire = link.into_inner().wire;
    write::switching(&mut wire, response.into_parts().0)?;
    poll_fn(|cx| wire.poll_flush(cx)).await.map_err(TunnelError::Client)?;
    proxy::pass(Prefixed::of(wire), upstream, passed).await
}

fn refused(reject: Reject) -> Next {
    Next::Refused(Fault::Malformed(reject.kind), reject.to_string())
}
