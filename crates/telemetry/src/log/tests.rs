//! Messages are read back from a buffer, spans from a collector of our own.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tracing::{info, info_span, subscriber::with_default};

use super::*;
use crate::TraceContext;

const SERVICE: Service = Service { name: "portway-test", version: "1.2.3" };
const INCOMING: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn json_messages_carry_time_fields_and_span() {
    let buffer = Buffer::default();
    let (subscriber, _guard) = build(options(LogFormat::Json, "info", &buffer), SERVICE).unwrap();
    with_default(subscriber, || {
        info_span!("deploy", site = "shop").in_scope(|| info!(revision = 7, "deployed"));
    });
    let line: serde_json::Value = serde_json::from_str(&buffer.text()).unwrap();
    assert_eq!((&line["message"], &line["revision"]), (&"deployed".into(), &7.into()));
    assert_eq!((&line["level"], &line["span"]["site"]), (&"INFO".into(), &"shop".into()));
    let time: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{time}");
}

#[test]
fn text_is_plain_unless_a_person_looks_on_and_escapes_what_comes_from_outside() {
    let buffer = Buffer::default();
    let (subscriber, _guard) = build(options(LogFormat::Text, "info", &buffer), SERVICE).unwrap();
    with_default(subscriber, || info!(host = "\u{1b}[31mevil", "request refused"));
    let text = buffer.text();
    assert!(text.contains("request refused"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_filter_decides_by_target_and_level() {
    let buffer = Buffer::default();
    let filter = "warn,portway_edge=debug";
    let (subscriber, _guard) = build(options(LogFormat::Text, filter, &buffer), SERVICE).unwrap();
    with_default(subscriber, || {
        info!(target: "portway_api", "hidden");
        tracing::debug!(target: "portway_edge", "shown");
    });
    assert!(buffer.text().contains("shown") && !buffer.text().contains("hidden"));
}

#[test]
fn a_wrong_filter_is_named() {
    let options = options(LogFormat::Text, "info,portway=loud", &Buffer::default());
    let Err(error) = build(options, SERVICE) else {
        panic!("the filter was taken");
    };
    assert!(error.to_string().contains("portway=loud"), "{error}");
}

#[test]
fn formats_are_read_as_written() {
    for format in [LogFormat::Text, LogFormat::Json] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("xml".parse::<LogFormat>().is_err());
}

#[test]
fn spans_reach_the_collector_as_children_of_the_trace_that_came_in() {
    let (endpoint, bodies) = collector();
    let incoming: TraceContext = INCOMING.parse().unwrap();
    let (subscriber, guard) = build(exporting(&endpoint, "off"), SERVICE).unwrap();

    let onward = with_default(subscriber, || {
        let span = info_span!("handle request");
        incoming.adopt(&span);
        info_span!(target: "hyper", parent: &span, "of a library").in_scope(|| {});
        incoming.onward(&span, [0; 8])
    });
    guard.shutdown();

    let body = bodies.recv_timeout(Duration::from_secs(10)).unwrap();
    let text = String::from_utf8_lossy(&body);
    for part in ["handle request", "portway-test", "1.2.3"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("of a library"), "{text}");
    // In protobuf ids are plain bytes: the trace, our span, and its parent from outside.
    assert_eq!(onward.trace_id(), incoming.trace_id());
    assert_ne!(onward.span_id(), incoming.span_id());
    let ids = [incoming.trace_id().to_string(), onward.span_id().to_string()];
    for id in ids.into_iter().chain([incoming.span_id().to_string()]) {
        assert!(hex::encode(&body).contains(&id), "{id} is missing");
    }
}

/// The exporter's client blocks; begun and ended inside a runtime it must not notice.
#[tokio::test]
async fn export_begins_and_ends_inside_an_async_runtime() {
    let (endpoint, bodies) = collector();
    let (subscriber, guard) = build(exporting(&endpoint, "off"), SERVICE).unwrap();
    with_default(subscriber, || info_span!("in a runtime").in_scope(|| {}));
    drop(guard);
    let body = bodies.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(String::from_utf8_lossy(&body).contains("in a runtime"));
}

#[test]
fn a_trace_that_nobody_samples_is_not_exported() {
    let (endpoint, bodies) = collector();
    let incoming: TraceContext = INCOMING.replace("-01", "-00").parse().unwrap();
    let (subscriber, guard) = build(exporting(&endpoint, "off"), SERVICE).unwrap();
    let onward = with_default(subscriber, || {
        let span = info_span!("quiet");
        incoming.adopt(&span);
        incoming.onward(&span, [0; 8])
    });
    guard.shutdown();
    assert_eq!(onward.sampling(), incoming.sampling());
    assert!(bodies.try_recv().is_err());
}

/// The one test that sets up the whole process: the exporter speaks on a thread of its own.
#[test]
fn a_collector_that_is_gone_costs_a_message_and_no_more() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let buffer = Buffer::default();
    let mut options = exporting(&format!("http://{free}"), "warn");
    options.writer = BoxMakeWriter::new(buffer.clone());
    let guard = init(options, SERVICE).unwrap();
    info_span!("lost").in_scope(|| {});
    guard.shutdown();
    let text = buffer.text();
    assert!(text.contains("BatchSpanProcessor"), "{text}");

    let again = init(self::options(LogFormat::Text, "warn", &buffer), SERVICE);
    assert!(matches!(again, Err(InitError::Twice(_))));
}

fn options(format: LogFormat, filter: &str, buffer: &Buffer) -> LogOptions {
    LogOptions {
        format,
        filter: filter.to_owned(),
        color: Color::Off,
        writer: BoxMakeWriter::new(buffer.clone()),
        traces: TraceSettings::default(),
    }
}

fn exporting(endpoint: &str, filter: &str) -> LogOptions {
    let variable =
        |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| endpoint.to_owned());
    let traces = TraceSettings::from_environment(variable).unwrap();
    LogOptions { traces, ..options(LogFormat::Text, filter, &Buffer::default()) }
}

/// Where messages of a test go.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Buffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Starts a collector that takes posts to `/v1/traces` and hands on their bodies. It ends with the
/// test's process.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if sender.send(take_post(&stream)).is_err() {
                break;
            }
        }
    });
    (endpoint, receiver)
}

fn take_post(mut stream: &TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut request).unwrap(), 0, "{request}");
    }
    let request = request.to_ascii_lowercase();
    assert!(request.starts_with("post /v1/traces http/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/x-protobuf\r\n"), "{request}");
    let length = request.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    body
}
