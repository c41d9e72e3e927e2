//! A request from its arrival to the last byte of its answer, and what the logs and counters say
//! of it. However it ends, it ends in exactly one record.

mod tunnelled;

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version, header};
use ipnet::IpNet;
use jiff::Timestamp;
use portway_telemetry::{
    Answer, Ended, Place,
    access::{AccessRecord, ErrorKind, ErrorLevel, ErrorRecord, Stage, Way, milliseconds},
};

use crate::{
    admission::{Flight, Kind},
    body::{self, Body, BodyEnd, BodyOutcome, Side},
    cache::Verdict,
    canonical::RequestPath,
    content::{CompiledRoute, CompiledSite},
    headers::{Origin, TRACESTATE},
    log::SiteLog,
    metrics::Limited,
    pages::Fault,
    pipeline::Witness,
    proxy::Peer,
    request_id::RequestId,
    stall::Patience,
    waited::Step,
    worker::{Connection, Shared},
};

/// What nginx and others after it log when the client went away before its answer.
const CLIENT_GONE: u16 = 499;

/// What stands in the log for what is not known.
const NOTHING: &str = "-";

/// The code of a client that went away.
const GONE: &str = "client_gone";

/// The code of a client that stays and takes nothing.
const STALLED: &str = "client_stalled";

/// A request on its way. What it holds is shared with the request, not copied, until it is written.
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    begun: Instant,
    asked: Asked,
    log: Arc<SiteLog>,
    site: Option<Arc<CompiledSite>>,
    route: Option<Arc<str>>,
    user: Option<String>,
    upstream: Option<(Arc<Peer>, Duration)>,
    tries: u32,
    side: Option<Box<str>>,
    cache: Option<Verdict>,
    /// The stage that it is in.
    stage: Stage,
    /// What is not plain about its way; written down only then.
    way: RefCell<Option<Box<Way>>>,
    received: Option<Rc<Cell<u64>>>,
    /// How long a disk was waited for while the answer was sent.
    disk: Option<Rc<Cell<Duration>>>,
    patience: Option<Rc<Patience>>,
    /// Counts it while it is answered.
    flight: Option<Flight>,
    place: Place,
    status: u16,
    sent: u64,
    /// The code of what went wrong last.
    fault: Option<&'static str>,
    answer: Answer,
    ended: bool,
}

/// What was asked, and by whom.
struct Asked {
    time: Timestamp,
    request_id: RequestId,
    client: IpAddr,
    https: bool,
    tls: Option<&'static str>,
    /// Nothing for what is no request.
    request: Option<Request>,
}

/// A request, as it came until it is understood.
struct Request {
    method: Method,
    version: Version,
    host: Option<HeaderValue>,
    target: Target,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    tracestate: Option<HeaderValue>,
}

/// What a request is for.
enum Target {
    /// As it came.
    Sent(Uri),
    /// In its one form.
    Understood(RequestPath),
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
    ) -> Box<Self> {
        let header = |name| parts.headers.get(name).cloned();
        let exported = origin.place.is_exported();
        let request = Request {
            method: parts.method.clone(),
            version: parts.version,
            host: header(header::HOST),
            target: Target::Sent(parts.uri.clone()),
            referer: header(header::REFERER),
            user_agent: header(header::USER_AGENT),
            tracestate: exported.then(|| header(TRACESTATE)).flatten(),
        };
        Self::of(shared, connection, origin, Some(request))
    }

    /// Begins with what is no request.
    pub(crate) fn of_nothing(
        shared: &Arc<Shared>,
        connection: &Connection,
        origin: &Origin,
    ) -> Box<Self> {
        Self::of(shared, connection, origin, None)
    }

    fn of(
        shared: &Arc<Shared>,
        connection: &Connection,
        origin: &Origin,
        request: Option<Request>,
    ) -> Box<Self> {
        let asked = Asked {
            time: origin.time,
            request_id: origin.request_id.clone(),
            client: origin.client,
            https: origin.https,
            tls: connection.tls.as_ref().map(|tls| tls.version),
            request,
        };
        Box::new(Self {
            shared: Arc::clone(shared),
            begun: Instant::now(),
            asked,
            log: Arc::clone(shared.logs.edge()),
            site: None,
            route: None,
            user: None,
            upstream: None,
            tries: 0,
            side: None,
            cache: None,
            stage: Stage::Read,
            way: RefCell::default(),
            received: None,
            disk: None,
            patience: None,
            flight: None,
            place: origin.place,
            status: CLIENT_GONE,
            sent: 0,
            fault: None,
            answer: Answer::None,
            ended: false,
        })
    }

    /// The client is watched while it takes the answer.
    pub(crate) fn answers_to(&mut self, patience: &Rc<Patience>) {
        self.patience = Some(Rc::clone(patience));
    }

    /// It is counted until the last byte of its answer.
    pub(crate) fn counts_in(&mut self, flight: Option<Flight>) {
        self.flight = flight;
    }

    /// A target answered.
    pub(crate) fn answered(&mut self, peer: Arc<Peer>, waited: Duration) {
        self.upstream = Some((peer, waited));
    }

    /// So many targets were tried.
    pub(crate) fn tried(&mut self, count: u32) {
        self.tries = count;
    }

    /// The side of a split is known.
    pub(crate) fn found_side(&mut self, side: &str) {
        self.side = Some(side.into());
    }

    /// A cache did something for it, and why not more.
    pub(crate) fn cached(&mut self, verdict: Verdict, why: Option<&'static str>) {
        self.cache = Some(verdict);
        if let Some(why) = why {
            self.went(|way| way.uncached = Some(why.to_owned()));
        }
    }

    /// Tells what is not plain about its way.
    pub(crate) fn went(&self, tell: impl FnOnce(&mut Way)) {
        tell(self.way.borrow_mut().get_or_insert_default());
    }

    /// A step took so long.
    pub(crate) fn took(&self, step: Step, time: Duration) {
        if Step::is_told(time) {
            self.went(|way| step.tell(time, way));
        }
    }

    /// The answer is read from a disk, or may have to be.
    pub(crate) fn reads(&mut self, answer: &Body) {
        self.disk = answer.disk();
    }

    /// Writes what the request brought to light of its upstream.
    pub(crate) fn note(&self, level: ErrorLevel, code: &'static str, message: String) {
        self.write_error(ErrorKind::Upstream, level, code, message);
    }

    /// Counts the bytes of the request's body.
    pub(crate) fn count_received(&mut self, body: Body) -> Body {
        let received = Rc::clone(self.received.get_or_insert_default());
        body::observe(body, move |end| received.set(end.bytes))
    }

    /// Writes why a request is refused.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.went(|way| way.code = Some(refusal.fault.code().to_owned()));
        if let Some((kind, level, message)) = &refusal.report {
            let code = if *kind == ErrorKind::ClientGone { GONE } else { refusal.fault.code() };
            self.error(*kind, *level, code, message.clone());
        }
    }

    /// Follows an answer to its last byte.
    pub(crate) fn finish(mut self: Box<Self>, response: Response<Body>) -> Response<Body> {
        // Where the client broke off its request, nobody reads the answer.
        if self.fault != Some(GONE) {
            self.status = response.status().as_u16();
            self.answer = Answer::Sent;
        }
        response.map(|body| body::observe(body, move |end| self.sent(end)))
    }

    fn sent(&mut self, end: BodyEnd) {
        self.sent = end.bytes;
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
        let host = self.asked.request.as_ref().map(Request::host);
        let record = ErrorRecord {
            time: Timestamp::now(),
            level,
            kind,
            request_id: Some(self.asked.request_id.as_str().to_owned()),
            client: Some(self.asked.client),
            host: Some(host.unwrap_or_default().into_owned()),
            code: code.to_owned(),
            message,
        };
        self.shared.logs.error(&self.log, &record);
    }

    /// Writes the record and counts.
    fn end(&mut self) {
        self.ended = true;
        self.flight = None;
        let duration = self.begun.elapsed();
        let received = self.received.as_ref().map_or(0, |received| received.get());
        if let Some(site) = &self.site {
            let metrics =
                site.runtime.metrics.get_or_init(|| self.shared.metrics.site(site.name.as_str()));
            // 499 is no status of HTTP, but a valid number of the same class.
            let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
            metrics.request(status, duration, received, self.sent);
            if let Some(verdict) = self.cache {
                metrics.cached(verdict);
            }
        }
        if self.log.takes_access() || self.place.is_exported() {
            if let Some(disk) = self.disk.take() {
                self.took(Step::Files, disk.get());
            }
            let trace = self.place.trace_id().digits();
            let record = self.record(duration, received, &trace);
            self.shared.logs.access(&self.log, &record);
            self.end_span(duration, &record);
        }
    }

    fn record<'a>(
        &'a self,
        duration: Duration,
        received: u64,
        trace: &'a [u8],
    ) -> AccessRecord<'a> {
        let request = self.asked.request.as_ref();
        let upstream = self.upstream.as_ref();
        AccessRecord {
            time: self.asked.time,
            request_id: self.asked.request_id.as_str().into(),
            client: self.asked.client,
            method: request.map_or(NOTHING, |request| request.method.as_str()).into(),
            scheme: if self.asked.https { "https" } else { "http" }.into(),
            host: request.map(Request::host).unwrap_or_default(),
            path: request.map_or(NOTHING, |request| request.target.path()).into(),
            query: request.and_then(|request| request.target.query()).map(Cow::from),
            protocol: request.map_or(NOTHING, |request| protocol(request.version)).into(),
            status: self.status,
            bytes_in: received,
            bytes_out: self.sent,
            duration_ms: milliseconds(duration),
            user: self.user.as_deref().map(Cow::from),
            referer: request.and_then(|request| request.referer.as_ref()).map(lossy),
            user_agent: request.and_then(|request| request.user_agent.as_ref()).map(lossy),
            route: self.route.as_deref().map(Cow::from),
            upstream: upstream.map(|(peer, _)| Cow::from(&*peer.label)),
            tries: Some(self.tries).filter(|tries| *tries > 1),
            side: self.side.as_deref().map(Cow::from),
            cache: self.cache.map(|verdict| verdict.word().into()),
            upstream_ms: upstream.map(|(_, waited)| milliseconds(*waited)),
            tls: self.asked.tls.map(Cow::from),
            trace_id: std::str::from_utf8(trace).ok().map(Cow::from),
            way: self.way(),
        }
    }

    /// Returns its way, unless a target answered and there is nothing to tell.
    fn way(&self) -> Option<Way> {
        let told = self.way.take();
        let stage = Some(self.stage).filter(|_| self.upstream.is_none());
        let code = self.fault.filter(|_| told.as_ref().is_none_or(|way| way.code.is_none()));
        if told.is_none() && stage.is_none() && code.is_none() {
            return None;
        }
        let mut way = told.map(|way| *way).unwrap_or_default();
        way.stage = stage;
        if let Some(code) = code {
            way.code = Some(code.to_owned());
        }
        Some(way)
    }

    fn end_span(&self, duration: Duration, record: &AccessRecord<'_>) {
        if !self.place.is_exported() {
            return;
        }
        let tracestate = self.asked.request.as_ref().and_then(|it| it.tracestate.as_ref());
        let tracestate = tracestate.map(lossy);
        let ended = Ended {
            record,
            duration,
            site: self.site.as_ref().map(|site| site.name.as_str()),
            tracestate: tracestate.as_deref(),
            fault: self.fault,
            answer: self.answer,
        };
        self.shared.spans.finish(&self.place, &ended);
    }
}

impl Witness for Exchange {
    fn enters(&mut self, stage: Stage) {
        self.stage = stage;
    }

    fn understood(&mut self, host: Option<&HeaderValue>, path: &RequestPath) {
        if let Some(request) = &mut self.asked.request {
            request.host = host.cloned();
            request.target = Target::Understood(path.clone());
        }
    }

    fn found_site(&mut self, site: &Arc<CompiledSite>) {
        self.log = Arc::clone(&site.log);
        self.site = Some(Arc::clone(site));
    }

    fn found_route(&mut self, route: &CompiledRoute) {
        self.log = Arc::clone(&route.log);
        self.route = Some(Arc::clone(&route.label));
    }

    fn found_user(&mut self, user: String) {
        self.user = Some(user);
    }

    fn found_network(&mut self, network: IpNet) {
        self.went(|way| way.network = Some(network.to_string()));
    }

    fn waits(&mut self, step: Step, time: Duration) {
        self.took(step, time);
    }

    fn is_counted(&self) -> bool {
        true
    }

    fn within(&mut self, _: String) {}

    fn exceeds(&mut self, kind: Kind, limit: &str, outcome: Limited) {
        self.went(|way| way.limit = Some(limit.to_owned()));
        if let Some(site) = &self.site {
            let metrics =
                site.runtime.metrics.get_or_init(|| self.shared.metrics.site(site.name.as_str()));
            metrics.limited(kind, outcome);
        }
    }
}

impl Request {
    fn host(&self) -> Cow<'_, str> {
        self.host.as_ref().map(lossy).unwrap_or_default()
    }
}

impl Target {
    fn path(&self) -> &str {
        match self {
            Self::Sent(uri) => uri.path(),
            Self::Understood(path) => path.as_str(),
        }
    }

    fn query(&self) -> Option<&str> {
        match self {
            Self::Sent(uri) => uri.query(),
            Self::Understood(path) => path.query(),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            self.status = CLIENT_GONE;
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

/// Returns a header as text; what is not UTF-8 is shown as such.
fn lossy(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// Returns the name of a version, as logs have it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => NOTHING,
    }
}

/// Returns the length that a message says its body has.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
