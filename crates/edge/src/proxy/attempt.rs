//! The way of one request through an upstream's targets.
//!
//! A request is sent again only where that is safe: not a byte of it had left, or it may be repeated by
//! its method, all of its body is there, and the connection broke before the first byte of an answer.
//! So a POST never arrives twice. A connection that was kept and turns out to be dead says nothing about its
//! target, which is asked once more over a fresh one; any other failure is the target's, and leads to
//! another one as far as the upstream's rules allow. An answer that took too long is not asked for
//! again: the next target would most likely take as long.

use http::{HeaderValue, Method, Response, header};
use http_body::Body as _;
use portway_http1::{Framing, Target, Version, request::RequestHead};
use portway_model::site::{HostHeader, Upstream};
use tokio::time::{Instant, timeout_at};

use super::{
    Arc, DialError, Expired, Forwarding, Observer, Outgoing, Peer, ProxyError, pool::Connection,
};
use crate::{
    balance::{Change, Moment, Pick, QueueFull, Refusal, Tried},
    body::Body,
    http1::client::{Answered, Conn, SendError, Unanswered},
};

/// The way of one request through the targets.
pub(super) struct Attempt<'a, O> {
    /// What it is forwarded with.
    pub(super) with: &'a Forwarding<'a, O>,
    /// Whether it may be sent again although it was sent.
    pub(super) repeatable: bool,
}

/// An answer that has begun.
pub(super) enum Answer {
    /// Over HTTP/1.1.
    Http1(Answered),
    /// Over HTTP/2.
    Http2(Response<Body>),
}

/// What became of a request on a connection.
pub(super) enum Sent {
    /// There is an answer.
    Answered(Answer),
    /// It can be sent again, whatever it is; the reason for that.
    Again(Box<Outgoing>, Box<dyn std::error::Error + Send + Sync>),
}

/// A request that a target did not answer.
struct Lost {
    error: ProxyError,
    /// The request, where it can be sent again.
    again: Option<Box<Outgoing>>,
}

/// Methods that RFC 9110 §9.2.2 calls idempotent, without a body that would be spent.
pub(super) fn is_repeatable(outgoing: &Outgoing) -> bool {
    !outgoing.upgrade
        && outgoing.body.again().is_some()
        && matches!(
            outgoing.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        )
}

impl<O: Observer> Attempt<'_, O> {
    /// Asks targets until one answers, or the request may go to no other.
    pub(super) async fn run(
        &self,
        mut outgoing: Box<Outgoing>,
        begun: Instant,
    ) -> Result<(Answer, &Arc<Peer>, Pick), ProxyError> {
        let mut tried = Tried::default();
        let mut now = self.with.clock.moment(begun);
        let mut earlier = None;
        let mut asked = begun;
        loop {
            let pick = match self.pick(now, &tried).await {
                Ok(pick) => pick,
                // That there is no other place is no news to who has had one.
                Err(refused) => return Err(earlier.unwrap_or(refused)),
            };
            let peer = self.peer(&pick)?;
            let lost = match self.ask(peer, outgoing).await {
                Ok(answer) => {
                    self.answered(&pick, &answer);
                    return Ok((answer, peer, pick));
                }
                Err(lost) => *lost,
            };
            let at = Instant::now();
            self.with.observer.lost(peer, &lost.error, at - asked);
            now = self.with.clock.moment(at);
            asked = at;
            self.failed(&pick, &lost.error, now);
            let Some(again) = lost.again else { return Err(lost.error) };
            if !self.may_go_on(&pick, &lost.error, &mut tried, now) {
                return Err(lost.error);
            }
            outgoing = again;
            earlier = Some(lost.error);
        }
    }

    /// Takes a place at a target, at once or when there is one.
    async fn pick(&self, now: Moment, tried: &Tried) -> Result<Pick, ProxyError> {
        let pick = match self.with.upstream.balancer.pick(now, &self.with.facts, tried) {
            Ok(pick) => pick,
            Err(Refusal::Full) => self.wait(tried).await?,
            Err(Refusal::Nobody) => return Err(nobody()),
        };
        if let Some(notice) = pick.notice() {
            self.with.observer.noticed(notice);
        }
        Ok(pick)
    }

    /// Waits in line for a place.
    async fn wait(&self, tried: &Tried) -> Result<Pick, ProxyError> {
        let (balancer, clock) = (&self.with.upstream.balancer, self.with.clock);
        let begun = clock.now();
        let ticket = balancer
            .wait(begun)
            .map_err(|QueueFull| ProxyError::Full { waiting: balancer.waiting() })?;
        let deadline = clock.instant(ticket.deadline());
        loop {
            let in_time = timeout_at(deadline, ticket.turn()).await.is_ok();
            self.with.observer.waited(clock.now().since(begun));
            if !in_time {
                return Err(ProxyError::Late { after: ticket.deadline().since(begun) });
            }
            match balancer.pick_in_turn(&ticket, clock.now(), &self.with.facts, tried) {
                Ok(pick) => return Ok(pick),
                Err(Refusal::Full) => {}
                Err(Refusal::Nobody) => return Err(nobody()),
            }
        }
    }

    fn peer(&self, pick: &Pick) -> Result<&Arc<Peer>, ProxyError> {
        let index = usize::try_from(pick.target().index()).unwrap_or(usize::MAX);
        self.with.upstream.peers.get(index).ok_or_else(nobody)
    }

    fn answered(&self, pick: &Pick, answer: &Answer) {
        let status = match answer {
            Answer::Http1(Answered::Response(response)) => response.status(),
            Answer::Http1(Answered::Tunnel(response, _)) => response.status(),
            Answer::Http2(response) => response.status(),
        };
        self.tell(pick, pick.answered(|| self.with.clock.now(), status.as_u16()));
    }

    fn failed(&self, pick: &Pick, error: &ProxyError, now: Moment) {
        if let Some(failure) = error.failure() {
            self.tell(pick, pick.failed(now, failure));
        }
    }

    /// Tells whether another target may be asked after one that failed a request which can be sent
    /// again.
    fn may_go_on(&self, pick: &Pick, error: &ProxyError, tried: &mut Tried, now: Moment) -> bool {
        let balancer = &self.with.upstream.balancer;
        if matches!(error, ProxyError::Dial { .. }) {
            tried.add_unreached(pick);
            return balancer.may_go_on(tried);
        }
        tried.add(pick);
        balancer.may_retry(now, tried)
    }

    fn tell(&self, pick: &Pick, change: Option<Change>) {
        if let Some(change) = change {
            self.with.observer.changed(pick.target(), change);
        }
    }

    /// Asks a target: over a kept connection, or if that is dead or there is none over a fresh one.
    async fn ask(
        &self,
        peer: &Arc<Peer>,
        mut outgoing: Box<Outgoing>,
    ) -> Result<Answer, Box<Lost>> {
        self.with.observer.asked(peer);
        let passage = peer.passage(&outgoing.passage);
        if let Some(connection) = self.with.pool.take(peer, passage.as_ref()) {
            outgoing = match self.send(connection, peer, outgoing).await? {
                Sent::Answered(answer) => return Ok(answer),
                Sent::Again(outgoing, _) => outgoing,
            };
        }
        let limit = self.settings().timeouts.connect();
        let begun = Instant::now();
        // Boxed, so that requests over kept connections do not pay for it.
        let connecting = Box::pin(self.with.pool.connect(peer, passage.as_ref(), limit));
        let connection = match connecting.await {
            Ok(connection) => connection,
            Err(source) => {
                if !matches!(source, DialError::NoPlace { .. }) {
                    self.with.observer.reached(peer, false);
                }
                let error = ProxyError::Dial { peer: peer.target.to_string(), source };
                return Err(Box::new(Lost { error, again: Some(outgoing) }));
            }
        };
        self.with.observer.reached(peer, true);
        self.with.observer.connected(begun.elapsed());
        match self.send(connection, peer, outgoing).await? {
            Sent::Answered(answer) => Ok(answer),
            Sent::Again(outgoing, source) => {
                let error = no_answer(peer, source);
                Err(Box::new(Lost { error, again: Some(outgoing) }))
            }
        }
    }

    async fn send(
        &self,
        connection: Connection,
        peer: &Peer,
        outgoing: Box<Outgoing>,
    ) -> Result<Sent, Box<Lost>> {
        let sent = match connection {
            Connection::Http1(conn) => self.send_http1(conn, peer, outgoing).await,
            Connection::Http2(sender, stream) => {
                self.send_http2(sender, stream, peer, outgoing).await
            }
        };
        sent.map_err(|error| Box::new(Lost { error, again: None }))
    }

    async fn send_http1(
        &self,
        conn: Conn,
        peer: &Peer,
        outgoing: Box<Outgoing>,
    ) -> Result<Sent, ProxyError> {
        let Outgoing { method, path_and_query, mut headers, host, body, upgrade, passage } =
            *outgoing;
        headers.insert(header::HOST, self.host(peer, host.as_ref())?);
        let framing = framing(&method, &body);
        let spare = body.again().filter(|_| self.repeatable);
        let mut head = RequestHead {
            method,
            target: Target::Origin(path_and_query),
            version: Version::Http11,
            headers,
            framing,
            persistent: true,
            expect_continue: false,
            upgrade,
        };
        let timeouts = &self.settings().timeouts;
        let unanswered = match conn.send(&head, body, timeouts).await {
            Ok(answered) => {
                portway_http1::recycle(head.headers);
                return Ok(Sent::Answered(Answer::Http1(answered)));
            }
            Err(unanswered) => *unanswered,
        };
        let Unanswered { error, unsent, silent } = unanswered;
        let lost = matches!(error, SendError::Broken(_) | SendError::Closed);
        let body = match unsent.or_else(|| spare.filter(|_| silent)) {
            Some(body) if lost => body,
            _ => return Err(self.fault(peer, error)),
        };
        head.headers.remove(header::HOST);
        let Target::Origin(path_and_query) = head.target else {
            return Err(self.fault(peer, error));
        };
        let (method, headers) = (head.method, head.headers);
        let again = Outgoing { method, path_and_query, headers, host, body, upgrade, passage };
        Ok(Sent::Again(Box::new(again), Box::new(error)))
    }

    pub(super) fn host(
        &self,
        peer: &Peer,
        host: Option<&HeaderValue>,
    ) -> Result<HeaderValue, ProxyError> {
        match &self.settings().host {
            HostHeader::Preserve => Ok(host.unwrap_or(&peer.authority).clone()),
            HostHeader::Target => Ok(peer.authority.clone()),
            HostHeader::Set(host) => {
                HeaderValue::from_str(host).map_err(|error| ProxyError::Unwritable(Box::new(error)))
            }
        }
    }

    pub(super) fn settings(&self) -> &Upstream {
        self.with.upstream.balancer.settings()
    }

    fn fault(&self, peer: &Peer, error: SendError) -> ProxyError {
        match error {
            SendError::Body(fault) => ProxyError::Body(fault),
            SendError::TimedOut(what) => self.timed_out(peer, what),
            SendError::Unwritable(error) => ProxyError::Unwritable(Box::new(error)),
            error @ (SendError::Broken(_) | SendError::Closed | SendError::Refused(_)) => {
                no_answer(peer, Box::new(error))
            }
        }
    }

    pub(super) fn timed_out(&self, peer: &Peer, what: Expired) -> ProxyError {
        let timeouts = &self.settings().timeouts;
        let after = match what {
            Expired::Send => timeouts.send,
            Expired::FirstByte => timeouts.first_byte,
        };
        ProxyError::TimedOut { peer: peer.target.to_string(), what, after: after.duration() }
    }
}

pub(super) fn no_answer(
    peer: &Peer,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> ProxyError {
    ProxyError::NoAnswer { peer: peer.target.to_string(), source }
}

/// Returns how a request's body is framed. Some servers want to read of a method that usually has a
/// body that it has none (RFC 9110 §8.6).
fn framing(method: &Method, body: &Body) -> Framing {
    if body.is_end_stream() {
        let usual = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        return if usual { Framing::Length(0) } else { Framing::None };
    }
    body.size_hint().exact().map_or(Framing::Chunked, Framing::Length)
}

/// Sites are compiled with at least one target, and a peer for each.
fn nobody() -> ProxyError {
    let peer = "an upstream without targets".to_owned();
    ProxyError::Dial { peer, source: DialError::NoAddress }
}
