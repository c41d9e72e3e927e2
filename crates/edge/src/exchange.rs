//! A request from its arrival to the last byte of its answer, and what the logs and counters say
//! of it. However it ends, it ends in exactly one record.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, Response, StatusCode, header};
use jiff::Timestamp;
use portway_telemetry::{
    Answer, Ended, Place,
    access::{AccessRecord, ErrorKind, ErrorLevel, ErrorRecord, milliseconds},
};

use crate::{
    body::{self, Body, BodyEnd, BodyOutcome, Side},
    content::{CompiledRoute, CompiledSite},
    headers::{Origin, TRACESTATE},
    log::SiteLog,
    pages::Fault,
    proxy::{Passed, TunnelError},
    stall::Patience,
    worker::{Connection, Shared},
};

/// What nginx and others after it log when the client went away before its answer.
const CLIENT_GONE: u16 = 499;

/// The code of a client that went away.
const GONE: &str = "client_gone";

/// The code of a client that stays and takes nothing.
const STALLED: &str = "client_stalled";

/// A request on its way.
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    begun: Instant,
    record: AccessRecord,
    log: Arc<SiteLog>,
    site: Option<Arc<CompiledSite>>,
    received: Arc<AtomicU64>,
    patience: Option<Rc<Patience>>,
    place: Place,
    tracestate: Option<String>,
    /// The code of what went wrong last.
    fault: Option<&'static str>,
    answer: Answer,
    ended: bool,
}

/// Why a request is not answered by its site.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What the client is told.
    pub(crate) fault: Fault,
    /// What the operator is told: kind, weight, and the whole reason. Nothing for what is
    /// everyday, such as a file that is not there.
    pub(crate) report: Option<(ErrorKind, ErrorLevel, String)>,
}

impl Exchange {
    /// Begins with what is known before the request is understood.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        connection: &Connection,
        origin: &Origin,
        parts: &http::request::Parts,
    ) -> Self {
        let text = |name| parts.headers.get(name).map(|value| lossy(value.as_bytes()));
        let record = AccessRecord {
            time: Timestamp::now(),
            request_id: origin.request_id.clone(),
            client: origin.client,
            method: parts.method.to_string(),
            scheme: if origin.https { "https" } else { "http" }.to_owned(),
            host: text(header::HOST).unwrap_or_default(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            protocol: format!("{:?}", parts.version),
            status: CLIENT_GONE,
            bytes_in: 0,
            bytes_out: 0,
            duration_ms: 0.0,
            user: None,
            referer: text(header::REFERER),
            user_agent: text(header::USER_AGENT),
            route: None,
            upstream: None,
            tries: None,
            side: None,
            upstream_ms: None,
            tls: connection.tls.as_ref().map(|tls| tls.version.to_owned()),
            trace_id: Some(origin.place.trace_id().to_string()),
        };
        let exported = origin.place.is_exported();
        Self {
            shared: Arc::clone(shared),
            begun: Instant::now(),
            record,
            log: Arc::clone(shared.logs.edge()),
            site: None,
            received: Arc::default(),
            patience: None,
            place: origin.place,
            tracestate: exported.then(|| text(TRACESTATE)).flatten(),
            fault: None,
            answer: Answer::None,
            ended: false,
        }
    }

    /// Begins with what is no request.
    pub(crate) fn of_nothing(
        shared: &Arc<Shared>,
        connection: &Connection,
        origin: &Origin,
    ) -> Self {
        let (parts, ()) = http::Request::new(()).into_parts();
        let mut exchange = Self::begin(shared, connection, origin, &parts);
        for field in
            [&mut exchange.record.method, &mut exchange.record.path, &mut exchange.record.protocol]
        {
            "-".clone_into(field);
        }
        exchange
    }

    /// The client is watched while it takes the answer.
    pub(crate) fn answers_to(&mut self, patience: &Rc<Patience>) {
        self.patience = Some(Rc::clone(patience));
    }

    /// The canonical host and path are known.
    pub(crate) fn understood(&mut self, host: &str, path: &str) {
        host.clone_into(&mut self.record.host);
        path.clone_into(&mut self.record.path);
    }

    /// The site is known.
    pub(crate) fn found_site(&mut self, site: &Arc<CompiledSite>) {
        self.log = Arc::clone(&site.log);
        self.site = Some(Arc::clone(site));
    }

    /// The route is known.
    pub(crate) fn found_route(&mut self, route: &CompiledRoute) {
        self.log = Arc::clone(&route.log);
        self.record.route = Some(route.label.to_string());
    }

    /// The user is known.
    pub(crate) fn found_user(&mut self, user: String) {
        self.record.user = Some(user);
    }

    /// A target answered.
    pub(crate) fn answered(&mut self, target: String, waited: Duration) {
        self.record.upstream = Some(target);
        self.record.upstream_ms = Some(milliseconds(waited));
    }

    /// So many targets were tried.
    pub(crate) fn tried(&mut self, count: u32) {
        self.record.tries = (count > 1).then_some(count);
    }

    /// The side of a split is known.
    pub(crate) fn found_side(&mut self, side: &str) {
        self.record.side = Some(side.to_owned());
    }

    /// Writes what the request brought to light of its upstream.
    pub(crate) fn note(&self, level: ErrorLevel, code: &'static str, message: String) {
        self.write_error(ErrorKind::Upstream, level, code, message);
    }

    /// Counts the bytes of the request's body.
    pub(crate) fn count_received(&self, body: Body) -> Body {
        let received = Arc::clone(&self.received);
        body::observe(body, move |end| received.store(end.bytes, Ordering::Relaxed))
    }

    /// Writes why a request is refused.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        if let Some((kind, level, message)) = &refusal.report {
            let code = if *kind == ErrorKind::ClientGone { GONE } else { refusal.fault.code() };
            self.error(*kind, *level, code, message.clone());
        }
    }

    /// Follows an answer to its last byte.
    pub(crate) fn finish(mut self, response: Response<Body>) -> Response<Body> {
        // Where the client broke off its request, nobody reads the answer.
        if self.fault != Some(GONE) {
            self.record.status = response.status().as_u16();
            self.answer = Answer::Sent;
        }
        response.map(|body| body::observe(body, move |end| self.sent(end)))
    }

    /// Follows a tunnel: what passed through it counts as its bodies.
    pub(crate) fn tunnel_ended(mut self, ended: Result<Passed, TunnelError>) {
        self.record.status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
        self.answer = Answer::Sent;
        match ended {
            Ok(passed) => {
                self.received.store(passed.up, Ordering::Relaxed);
                self.record.bytes_out = passed.down;
            }
            Err(error) => {
                let message = body::chain(&error);
                self.error(ErrorKind::ClientGone, ErrorLevel::Info, "tunnel_broken", message);
            }
        }
        self.end();
    }

    fn sent(&mut self, end: BodyEnd) {
        self.record.bytes_out = end.bytes;
        match end.outcome {
            BodyOutcome::Complete => {}
            BodyOutcome::Abandoned if self.fault == Some(GONE) => {}
            BodyOutcome::Abandoned => match self.patience.take().filter(|p| p.is_ended()) {
                Some(patience) => {
                    let seconds = patience.limit().as_secs();
                    let message =
                        format!("the client took nothing of the answer for {seconds} seconds");
                    self.error(ErrorKind::ClientGone, ErrorLevel::Info, STALLED, message);
                }
                None => self.client_gone("the client left during the answer"),
            },
            BodyOutcome::Broken(side, reason) => {
                let (kind, level) = match side {
                    Side::Client => (ErrorKind::ClientGone, ErrorLevel::Info),
                    Side::Upstream => (ErrorKind::Upstream, ErrorLevel::Warn),
                    Side::Edge => (ErrorKind::Edge, ErrorLevel::Error),
                };
                self.error(kind, level, "answer_broke_off", reason);
            }
        }
        self.end();
    }

    fn client_gone(&mut self, message: &str) {
        let message = message.to_owned();
        self.error(ErrorKind::ClientGone, ErrorLevel::Info, GONE, message);
    }

    fn error(&mut self, kind: ErrorKind, level: ErrorLevel, code: &'static str, message: String) {
        self.fault = Some(code);
        self.write_error(kind, level, code, message);
    }

    fn write_error(&self, kind: ErrorKind, level: ErrorLevel, code: &'static str, message: String) {
        let record = ErrorRecord {
            time: Timestamp::now(),
            level,
            kind,
            request_id: Some(self.record.request_id.clone()),
            client: Some(self.record.client),
            host: Some(self.record.host.clone()),
            code: code.to_owned(),
            message,
        };
        self.shared.logs.error(&self.log, &record);
    }

    /// Writes the record and counts.
    fn end(&mut self) {
        self.ended = true;
        let duration = self.begun.elapsed();
        self.record.bytes_in = self.received.load(Ordering::Relaxed);
        self.record.duration_ms = milliseconds(duration);
        if let Some(site) = &self.site {
            let metrics =
                site.runtime.metrics.get_or_init(|| self.shared.metrics.site(site.name.as_str()));
            // 499 is no status of HTTP, but a valid number of the same class.
            let status =
                StatusCode::from_u16(self.record.status).unwrap_or(StatusCode::BAD_REQUEST);
            metrics.request(status, duration, self.record.bytes_in, self.record.bytes_out);
        }
        self.shared.logs.access(&self.log, &self.record);
        self.end_span(duration);
    }

    fn end_span(&self, duration: Duration) {
        if !self.place.is_exported() {
            return;
        }
        let ended = Ended {
            record: &self.record,
            duration,
            site: self.site.as_ref().map(|site| site.name.as_str()),
            tracestate: self.tracestate.as_deref(),
            fault: self.fault,
            answer: self.answer,
        };
        self.shared.spans.finish(&self.place, &ended);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            self.record.status = CLIENT_GONE;
            self.client_gone("the client left before the answer");
            self.end();
        }
    }
}

impl Refusal {
    /// A refusal that needs no words to the operator.
    pub(crate) fn quiet(fault: Fault) -> Self {
        Self { fault, report: None }
    }

    /// A refusal for a reason in the request.
    pub(crate) fn of_request(fault: Fault, reason: impl Into<String>) -> Self {
        Self { fault, report: Some((ErrorKind::Refused, ErrorLevel::Info, reason.into())) }
    }

    /// A refusal for a reason in the upstream.
    pub(crate) fn of_upstream(fault: Fault, reason: String) -> Self {
        Self { fault, report: Some((ErrorKind::Upstream, ErrorLevel::Warn, reason)) }
    }

    /// A refusal for a reason of our own.
    pub(crate) fn of_edge(fault: Fault, reason: String) -> Self {
        Self { fault, report: Some((ErrorKind::Edge, ErrorLevel::Error, reason)) }
    }
}

/// Returns the bytes of a header as text; what is not UTF-8 is shown as such.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the length that a message says its body has.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
