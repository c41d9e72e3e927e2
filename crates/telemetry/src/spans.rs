//! The spans of requests that pass through the edge: where a request stands in its trace, what the
//! next server is told of that, and the span that is exported when the request has ended.
//!
//! These spans do not go through `tracing`: they are made of the access record, once, at the end of
//! a request that is sampled and exported. Any other request costs a few random bytes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};

use crate::{Sampler, Sampling, SpanId, TraceContext, TraceId, access::AccessRecord};

/// Whose traces are continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Continue {
    /// Those of trusted proxies. For anyone else a new trace begins, as W3C Trace Context advises
    /// where a request enters from outside (§3.4, "restart trace").
    #[default]
    Trusted,
    /// Everyone's.
    Anyone,
}

/// Who sent a request, as far as its trace goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A trusted proxy.
    Trusted,
    /// Anyone else.
    Stranger,
}

/// Places requests in traces and exports their spans; a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct RequestSpans {
    sampler: Sampler,
    continues: Continue,
    exporter: Option<Arc<BatchSpanProcessor>>,
}

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Our span; where the request only passes through, the caller's.
    here: TraceContext,
    origin: Origin,
    exported: Exported,
}

/// Where the trace of a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It began here; a stranger may have named a trace of its own.
    Begun(Option<TraceContext>),
    /// It is the caller's.
    Continued(TraceContext),
}

/// Whether a span of ours will be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exported {
    Yes,
    No,
}

/// What the next server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// What the caller said, untouched: the edge takes no part in the trace.
    AsItCame,
    /// This instead of the caller's `traceparent`; its `tracestate` stays.
    Continued(TraceContext),
    /// This; a `tracestate` belongs to another trace and goes.
    Begun(TraceContext),
}

/// How a request ended that has a span.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its access record.
    pub record: &'a AccessRecord<'a>,
    /// How long it took.
    pub duration: Duration,
    /// The site that it meant.
    pub site: Option<&'a str>,
    /// The `tracestate` that came with the trace that is continued.
    pub tracestate: Option<&'a str>,
    /// The code of what went wrong.
    pub fault: Option<&'a str>,
    /// Whether the client got the head of an answer.
    pub answer: Answer,
}

/// Whether a client got an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its head, at least.
    Sent,
    /// The client went away before.
    None,
}

impl RequestSpans {
    /// Returns spans that are handed to a processor.
    pub(crate) fn new(
        sampler: Sampler,
        continues: Continue,
        exporter: Option<Arc<BatchSpanProcessor>>,
    ) -> Self {
        Self { sampler, continues, exporter }
    }

    /// Finds the place of a request in a trace. The trace of a caller who is not believed is not
    /// continued; ours links to it.
    pub fn place(&self, incoming: Option<TraceContext>, caller: Caller, random: [u8; 24]) -> Place {
        let believed = match self.continues {
            Continue::Trusted => caller == Caller::Trusted,
            Continue::Anyone => true,
        };
        match incoming {
            Some(context) if believed => self.join(context, random),
            link => {
                let new = TraceContext::begin(random, Sampling::NotSampled);
                let here = new.sampled(self.sampler.judge_new(new.trace_id()));
                Place { here, origin: Origin::Begun(link), exported: self.exported(&here) }
            }
        }
    }

    fn join(&self, caller: TraceContext, random: [u8; 24]) -> Place {
        if self.exporter.is_none() {
            // A parent that nobody exports would tear the trace apart.
            return Place {
                here: caller,
                origin: Origin::Continued(caller),
                exported: Exported::No,
            };
        }
        let mut span = [0; 8];
        span.iter_mut().zip(random).for_each(|(to, from)| *to = from);
        let here = caller.child(span).sampled(self.sampler.judge(&caller));
        Place { here, origin: Origin::Continued(caller), exported: self.exported(&here) }
    }

    fn exported(&self, here: &TraceContext) -> Exported {
        match (&self.exporter, here.sampling()) {
            (Some(_), Sampling::Sampled) => Exported::Yes,
            (Some(_), Sampling::NotSampled) | (None, _) => Exported::No,
        }
    }

    /// Hands over the span of a request that has ended. It never waits: when the collector is slow,
    /// spans are dropped.
    pub fn finish(&self, place: &Place, ended: &Ended<'_>) {
        if let (Some(exporter), Exported::Yes) = (&self.exporter, place.exported) {
            exporter.on_end(span(place, ended));
        }
    }
}

impl Place {
    /// Returns the trace.
    pub const fn trace_id(&self) -> TraceId {
        self.here.trace_id()
    }

    /// Tells whether a span of ours will be exported.
    pub fn is_exported(&self) -> bool {
        self.exported == Exported::Yes
    }

    /// Returns what the next server is told.
    pub fn onward(&self) -> Onward {
        match self.origin {
            Origin::Continued(caller) if caller == self.here => Onward::AsItCame,
            Origin::Continued(_) => Onward::Continued(self.here),
            Origin::Begun(_) => Onward::Begun(self.here),
        }
    }
}

/// Names are those of OpenTelemetry's semantic conventions for HTTP servers; what they do not know
/// begins with `portway.`. The query is left out: it may hold secrets, and a span leaves the machine.
fn span(place: &Place, ended: &Ended<'_>) -> SpanData {
    let start_time = SystemTime::from(ended.record.time);
    let tracestate = ended.tracestate.and_then(|text| text.parse().ok()).unwrap_or_default();
    let (parent, links, tracestate) = match place.origin {
        Origin::Continued(caller) => (Some(caller.span_id()), None, tracestate),
        Origin::Begun(stranger) => (None, stranger, TraceState::NONE),
    };
    let invalid = opentelemetry::trace::SpanId::INVALID;
    SpanData {
        span_context: place.here.to_span_context(false, tracestate),
        parent_span_id: parent.map_or(invalid, SpanId::to_otel),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Server,
        name: name(ended.record).into(),
        start_time,
        end_time: start_time + ended.duration,
        attributes: attributes(ended),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: links_to(links),
        status: status(ended),
        instrumentation_scope: InstrumentationScope::builder("portway_edge").build(),
    }
}

fn links_to(stranger: Option<TraceContext>) -> SpanLinks {
    let mut links = SpanLinks::default();
    let context = |context: TraceContext| context.to_span_context(true, TraceState::NONE);
    links.links.extend(stranger.map(|stranger| Link::new(context(stranger), Vec::new(), 0)));
    links
}

/// A span's name has few values: never the path.
fn name(record: &AccessRecord<'_>) -> String {
    let method = known_method(&record.method).unwrap_or("HTTP");
    match &record.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

fn attributes(ended: &Ended<'_>) -> Vec<KeyValue> {
    let record = ended.record;
    let text = |name: &'static str, value: &str| KeyValue::new(name, value.to_owned());
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (host, port) = split_port(&record.host);
    let mut all = vec![
        text("http.request.method", known_method(&record.method).unwrap_or("_OTHER")),
        text("url.scheme", &record.scheme),
        text("url.path", &record.path),
        KeyValue::new("client.address", record.client.to_string()),
        KeyValue::new("http.request.body.size", bytes(record.bytes_in)),
        KeyValue::new("http.response.body.size", bytes(record.bytes_out)),
        KeyValue::new("network.protocol.name", "http"),
        text("network.protocol.version", protocol_version(&record.protocol)),
        text("request.id", &record.request_id),
    ];
    if known_method(&record.method).is_none() {
        all.push(text("http.request.method_original", &record.method));
    }
    if ended.answer == Answer::Sent {
        all.push(KeyValue::new("http.response.status_code", i64::from(record.status)));
    }
    all.extend((!host.is_empty()).then(|| text("server.address", host)));
    all.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    all.extend(record.route.as_deref().map(|route| text("http.route", route)));
    all.extend(record.user_agent.as_deref().map(|agent| text("user_agent.original", agent)));
    all.extend(record.tls.as_deref().map(|version| text("tls.protocol.version", version)));
    all.extend(ended.site.map(|site| text("portway.site", site)));
    all.extend(record.upstream.as_deref().map(|target| text("portway.upstream.target", target)));
    let wait = record.upstream_ms.map(|ms| KeyValue::new("portway.upstream.wait", ms / 1e3));
    all.extend(wait);
    all.extend(error_type(ended).map(|kind| KeyValue::new("error.type", kind)));
    all
}

/// What a server did wrong; a refusal of what a client asked is no error of the server.
fn error_type(ended: &Ended<'_>) -> Option<String> {
    match (ended.answer, ended.fault) {
        (Answer::None, _) => Some(ended.fault.unwrap_or("client_gone").to_owned()),
        (Answer::Sent, Some(fault)) if ended.record.status < 400 || ended.record.status >= 500 => {
            Some(fault.to_owned())
        }
        (Answer::Sent, None) if ended.record.status >= 500 => Some(ended.record.status.to_string()),
        (Answer::Sent, Some(_) | None) => None,
    }
}

/// For a server, only its own failures are errors (HTTP spans, "Status").
fn status(ended: &Ended<'_>) -> Status {
    if ended.answer == Answer::Sent && ended.record.status >= 500 {
        return Status::error(ended.fault.unwrap_or_default().to_owned());
    }
    Status::Unset
}

fn known_method(method: &str) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"]
        .into_iter()
        .find(|known| *known == method)
}

fn protocol_version(protocol: &str) -> &str {
    let version = protocol.strip_prefix("HTTP/").unwrap_or(protocol);
    version.strip_suffix(".0").filter(|major| *major != "1").unwrap_or(version)
}

/// Splits a host as it stands in logs; the brackets of an IPv6 address go.
fn split_port(host: &str) -> (&str, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        Some(_) | None => (host, None),
    };
    (name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), port)
}

#[cfg(test)]
mod tests;
