//! A collector of spans: it takes what is exported to it by OTLP over HTTP, plain or over TLS, and
//! keeps it to be asked for.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1 as otlp,
};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    task: JoinHandle<()>,
}

/// A span that was exported. Ids are hexadecimal digits; no digits where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The service that made it.
    pub service: String,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The span above it.
    pub parent: String,
    /// The `tracestate` of its trace.
    pub tracestate: String,
    /// Its name.
    pub name: String,
    /// Whether it is of a server.
    pub is_server: bool,
    /// Whether it tells of an error.
    pub is_error: bool,
    /// The traces that it links to.
    pub links: Vec<String>,
    /// When it began and ended, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    /// Starts a collector on a free port of 127.0.0.1.
    pub async fn start() -> anyhow::Result<Self> {
        Self::listen(None).await
    }

    /// Starts a collector that speaks TLS.
    pub async fn start_tls(config: Arc<rustls::ServerConfig>) -> anyhow::Result<Self> {
        Self::listen(Some(TlsAcceptor::from(config))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let shared = Arc::clone(&spans);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, tls.clone(), Arc::clone(&shared)));
            }
        });
        Ok(Self { address, spans, task })
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the spans that arrived, in their order.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, spans: Arc<Mutex<Vec<Span>>>) {
    match tls {
        None => speak(stream, spans).await,
        Some(acceptor) => {
            // A client that is refused is the test's business.
            if let Ok(stream) = acceptor.accept(stream).await {
                speak(stream, spans).await;
            }
        }
    }
}

async fn speak<S>(stream: S, spans: Arc<Mutex<Vec<Span>>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let spans = Arc::clone(&spans);
        async move {
            let status = match take(request).await {
                Ok(found) => {
                    spans.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                    StatusCode::OK
                }
                Err(_) => StatusCode::BAD_REQUEST,
            };
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn take(request: Request<Incoming>) -> anyhow::Result<Vec<Span>> {
    let kind = request.headers().get(header::CONTENT_TYPE).context("no content type")?;
    anyhow::ensure!(kind == "application/x-protobuf", "not protobuf");
    anyhow::ensure!(request.method() == Method::POST && request.uri().path() == "/v1/traces");
    let body = request.into_body().collect().await?.to_bytes();
    let exported = ExportTraceServiceRequest::decode(body)?;
    let mut spans = Vec::new();
    for group in exported.resource_spans {
        let resource = group.resource.map(|resource| texts(resource.attributes));
        let service = resource.and_then(|mut all| all.remove("service.name")).unwrap_or_default();
        let found = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(found.map(|span| Span::of(&service, span)));
    }
    Ok(spans)
}

impl Span {
    fn of(service: &str, span: otlp::Span) -> Self {
        Self {
            service: service.to_owned(),
            trace: hex::encode(&span.trace_id),
            id: hex::encode(&span.span_id),
            parent: hex::encode(&span.parent_span_id),
            is_server: span.kind() == otlp::span::SpanKind::Server,
            is_error: span.status.is_some_and(|s| s.code() == otlp::status::StatusCode::Error),
            tracestate: span.trace_state,
            name: span.name,
            links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
            time: (span.start_time_unix_nano, span.end_time_unix_nano),
            attributes: texts(span.attributes),
        }
    }

    /// Returns an attribute, or nothing.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().filter_map(|pair| Some((pair.key, text(pair.value?.value?)))).collect()
}

fn text(value: Value) -> String {
    match value {
        Value::StringValue(text) => text,
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        other @ (Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_)) => format!("{other:?}"),
    }
}
