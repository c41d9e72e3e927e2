//! Places are judged by what the next server would hear, spans by what would be exported.

use opentelemetry::Value;

use super::*;

const INCOMING: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_trusted_callers_trace_is_continued_by_a_span_of_our_own() {
    let caller = incoming();
    let place = exporting(Continue::Trusted).place(Some(caller), Caller::Trusted, [7; 24]);
    let Onward::Continued(onward) = place.onward() else {
        panic!("{place:?}");
    };
    assert_eq!(onward.trace_id(), caller.trace_id());
    assert_ne!(onward.span_id(), caller.span_id());
    assert_eq!(onward.sampling(), Sampling::Sampled);
    let span = span(&place, &ended(&record()));
    assert_eq!(span.parent_span_id, caller.span_id().to_otel());
    assert_eq!(span.span_context.span_id(), onward.span_id().to_otel());
    assert_eq!(span.span_context.trace_state().header(), "vendor=1");
    assert!(span.links.is_empty());
}

#[test]
fn a_strangers_trace_is_not_continued_but_linked_to() {
    let caller = incoming();
    let place = exporting(Continue::Trusted).place(Some(caller), Caller::Stranger, [7; 24]);
    let Onward::Begun(onward) = place.onward() else {
        panic!("{place:?}");
    };
    assert_ne!(onward.trace_id(), caller.trace_id());
    let span = span(&place, &ended(&record()));
    assert_eq!(span.parent_span_id, opentelemetry::trace::SpanId::INVALID);
    assert_eq!(span.span_context.trace_state().header(), "");
    assert_eq!(span.links[0].span_context.trace_id().to_string(), caller.trace_id().to_string());
    let open = exporting(Continue::Anyone).place(Some(caller), Caller::Stranger, [7; 24]);
    assert_eq!(open.trace_id(), caller.trace_id());
}

#[test]
fn what_the_caller_does_not_want_is_neither_exported_nor_asked_of_the_next() {
    let caller: TraceContext = INCOMING.replace("-01", "-00").parse().unwrap();
    let place = exporting(Continue::Trusted).place(Some(caller), Caller::Trusted, [7; 24]);
    assert!(!place.is_exported());
    let Onward::Continued(onward) = place.onward() else {
        panic!("{place:?}");
    };
    assert_eq!(onward.sampling(), Sampling::NotSampled);
}

#[test]
fn without_export_a_continued_trace_passes_as_it_came() {
    let spans = RequestSpans::default();
    let place = spans.place(Some(incoming()), Caller::Trusted, [7; 24]);
    assert_eq!(place.onward(), Onward::AsItCame);
    assert_eq!(place.trace_id(), incoming().trace_id());
    for begun in [
        spans.place(Some(incoming()), Caller::Stranger, [7; 24]),
        spans.place(None, Caller::Trusted, [7; 24]),
    ] {
        assert!(matches!(begun.onward(), Onward::Begun(_)));
        assert!(!begun.is_exported());
    }
}

#[test]
fn a_span_is_named_and_described_as_the_conventions_have_it() {
    let span = span(&place(), &ended(&record()));
    assert_eq!(span.name, "GET /api");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.status, Status::Unset);
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), Duration::from_millis(5));
    for (name, value) in [
        ("http.request.method", Value::from("GET")),
        ("http.route", "/api".into()),
        ("http.response.status_code", 200.into()),
        ("url.scheme", "https".into()),
        ("url.path", "/api/x".into()),
        ("server.address", "a.example".into()),
        ("server.port", 8443.into()),
        ("client.address", "192.0.2.7".into()),
        ("network.protocol.version", "2".into()),
        ("user_agent.original", "agent".into()),
        ("http.request.body.size", 3.into()),
        ("http.response.body.size", 99.into()),
        ("portway.site", "shop".into()),
        ("portway.upstream.target", "127.0.0.1:5000".into()),
        ("portway.upstream.wait", 0.004.into()),
        ("request.id", "0193a7".into()),
    ] {
        assert_eq!(attribute(&span, name), Some(value), "{name}");
    }
    let whole = format!("{span:?}");
    assert!(!whole.contains("secret"), "the query stays on this machine: {whole}");
}

#[test]
fn only_what_the_server_did_wrong_is_its_error() {
    let judge = |status, fault, answer| {
        let record = AccessRecord { status, ..record() };
        let span = span(&place(), &Ended { fault, answer, ..ended(&record) });
        let kind = attribute(&span, "error.type").map(|kind| kind.to_string());
        let answered = attribute(&span, "http.response.status_code").is_some();
        (kind, answered, matches!(span.status, Status::Error { .. }))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(judge(200, None, Answer::Sent), (None, true, false));
    assert_eq!(judge(403, Some("denied"), Answer::Sent), (None, true, false));
    let refused = judge(502, Some("upstream_refused"), Answer::Sent);
    assert_eq!(refused, (text("upstream_refused"), true, true));
    assert_eq!(judge(500, None, Answer::Sent), (text("500"), true, true));
    let left = judge(200, Some("client_gone"), Answer::Sent);
    assert_eq!(left, (text("client_gone"), true, false));
    let gone = judge(499, Some("client_gone"), Answer::None);
    assert_eq!(gone, (text("client_gone"), false, false));
}

#[test]
fn a_strangers_method_and_path_make_no_names() {
    let odd = AccessRecord { method: "BREW".into(), route: None, ..record() };
    let span = span(&place(), &ended(&odd));
    assert_eq!(span.name, "HTTP");
    assert_eq!(attribute(&span, "http.request.method"), Some("_OTHER".into()));
    assert_eq!(attribute(&span, "http.request.method_original"), Some("BREW".into()));
}

#[test]
fn hosts_are_split_from_their_ports() {
    assert_eq!(split_port("a.example"), ("a.example", None));
    assert_eq!(split_port("a.example:80"), ("a.example", Some(80)));
    assert_eq!(split_port("[::1]"), ("::1", None));
    assert_eq!(split_port("[::1]:80"), ("::1", Some(80)));
    assert_eq!(split_port(""), ("", None));
    assert_eq!(protocol_version("HTTP/1.0"), "1.0");
    assert_eq!(protocol_version("HTTP/1.1"), "1.1");
    assert_eq!(protocol_version("HTTP/3.0"), "3");
}

fn incoming() -> TraceContext {
    INCOMING.parse().unwrap()
}

#[derive(Debug)]
struct Nowhere;

impl opentelemetry_sdk::trace::SpanExporter for Nowhere {
    async fn export(&self, _spans: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }
}

/// Spans that are exported to where nobody looks.
fn exporting(continues: Continue) -> RequestSpans {
    let exporter = BatchSpanProcessor::builder(Nowhere).build();
    RequestSpans::new(Sampler::default(), continues, Some(Arc::new(exporter)))
}

fn place() -> Place {
    exporting(Continue::Trusted).place(None, Caller::Stranger, [7; 24])
}

fn ended<'a>(record: &'a AccessRecord<'a>) -> Ended<'a> {
    Ended {
        record,
        duration: Duration::from_millis(5),
        site: Some("shop"),
        tracestate: Some("vendor=1"),
        fault: None,
        answer: Answer::Sent,
    }
}

fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.clone())
}

fn record() -> AccessRecord<'static> {
    AccessRecord {
        time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
        request_id: "0193a7".into(),
        client: "192.0.2.7".parse().unwrap(),
        method: "GET".into(),
        scheme: "https".into(),
        host: "a.example:8443".into(),
        path: "/api/x".into(),
        query: Some("token=secret".into()),
        protocol: "HTTP/2.0".into(),
        status: 200,
        bytes_in: 3,
        bytes_out: 99,
        duration_ms: 5.0,
        user: None,
        referer: None,
        user_agent: Some("agent".into()),
        route: Some("/api".into()),
        upstream: Some("127.0.0.1:5000".into()),
        tries: None,
        side: None,
        cache: None,
        upstream_ms: Some(4.0),
        tls: Some("1.3".into()),
        trace_id: None,
        way: None,
    }
}
