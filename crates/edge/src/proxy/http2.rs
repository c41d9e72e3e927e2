//! Requests over HTTP/2, which hyper speaks for us.

use http::{HeaderMap, Request, Response, Uri, Version, header, uri::Scheme};
use hyper::{body::Incoming, client::conn::http2::SendRequest};

use super::{
    Observer, Outgoing, Peer, ProxyError,
    attempt::{Answer, Attempt, Sent, no_answer},
    pool::SharedStream,
    progress::Progress,
};
use crate::body::{self, Body, Side};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request that got no answer.
struct Unanswered {
    error: hyper::Error,
    /// The request, when not a byte of it was sent.
    unsent: Option<Request<Body>>,
}

impl<O: Observer> Attempt<'_, O> {
    /// Sends a request over a connection that is shared with others.
    pub(super) async fn send_http2(
        &self,
        mut sender: SendRequest<Body>,
        stream: SharedStream,
        peer: &Peer,
        mut outgoing: Box<Outgoing>,
    ) -> Result<Sent, ProxyError> {
        let host = self.host(peer, outgoing.host.as_ref())?;
        let body = outgoing.body.again().filter(|_| self.repeatable);
        let spare = body.map(|body| (outgoing.headers.clone(), body));
        let (progress, watched) =
            Progress::watch(std::mem::replace(&mut outgoing.body, body::empty()));
        let headers = std::mem::take(&mut outgoing.headers);
        let request = write(&outgoing, headers, host.as_bytes(), peer, watched)?;
        let timeouts = &self.settings().timeouts;
        // Both are only polled here, and dropping the send resets its stream.
        let sent = tokio::select! {
            biased;
            sent = try_send(&mut sender, request) => sent,
            what = progress.expired(timeouts) => return Err(self.timed_out(peer, what)),
        };
        let unanswered = match sent {
            Ok(response) => {
                let silence = timeouts.silence.duration();
                let response = response.map(|incoming| {
                    let body = body::incoming(incoming, Side::Upstream);
                    let body = body::silence_limited(body, silence, Side::Upstream);
                    body::observe(body, move |_| drop(stream))
                });
                return Ok(Sent::Answered(Answer::Http2(response)));
            }
            Err(unanswered) => unanswered,
        };
        if let Some(fault) = progress.fault() {
            return Err(ProxyError::Body(fault));
        }
        match unanswered.revive(outgoing, spare) {
            Ok((outgoing, error)) => Ok(Sent::Again(outgoing, error)),
            Err(error) => Err(no_answer(peer, error)),
        }
    }
}

async fn try_send(
    sender: &mut SendRequest<Body>,
    request: Request<Body>,
) -> Result<Response<Incoming>, Unanswered> {
    sender.try_send_request(request).await.map_err(|mut failed| Unanswered {
        unsent: failed.take_message(),
        error: failed.into_error(),
    })
}

impl Unanswered {
    /// Returns the request for another attempt, with the reason for it.
    fn revive(
        self,
        mut outgoing: Box<Outgoing>,
        spare: Option<(HeaderMap, Body)>,
    ) -> Result<(Box<Outgoing>, BoxError), BoxError> {
        (outgoing.headers, outgoing.body) = match (self.unsent, spare) {
            (Some(request), _) => {
                let (parts, body) = request.into_parts();
                (parts.headers, body)
            }
            (None, Some(spare)) => spare,
            (None, None) => return Err(Box::new(self.error)),
        };
        Ok((outgoing, Box::new(self.error)))
    }
}

fn write(
    outgoing: &Outgoing,
    headers: HeaderMap,
    host: &[u8],
    peer: &Peer,
    body: Body,
) -> Result<Request<Body>, ProxyError> {
    let scheme = if peer.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(outgoing.path_and_query.clone())
        .build()
        .map_err(|error| ProxyError::Unwritable(Box::new(error)))?;
    let mut request = Request::new(body);
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    request.headers_mut().remove(header::UPGRADE);
    Ok(request)
}
