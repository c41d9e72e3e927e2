//! Where the process' own messages and spans go. Access logs are not among them.

use std::{fmt, str::FromStr, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Subscriber, level_filters::LevelFilter, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{ParseError, Targets},
    fmt::writer::BoxMakeWriter,
    layer::SubscriberExt as _,
};

use crate::{OtlpError, RequestSpans, TraceSettings, otlp::Exporting};

/// How messages are written.
#[derive(Debug)]
pub struct LogOptions {
    /// For people or for programs.
    pub format: LogFormat,
    /// Which messages: `info`, or finer `info,portway_edge=debug`.
    pub filter: String,
    /// Whether text is coloured.
    pub color: Color,
    /// Where to; [`stderr`] as a rule.
    pub writer: BoxMakeWriter,
    /// What becomes of spans.
    pub traces: TraceSettings,
}

/// The form of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// It is: a person looks on.
    On,
    /// It is not: it goes to a file, or somebody asked for none.
    #[default]
    Off,
}

/// Which process speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, as `portway` or `portway-edge`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// Why messages cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one.
    #[error(
        "`{filter}` is not a log filter; write for example `info` or `info,portway_edge=debug`"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Spans cannot be exported.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// It was done before.
    #[error("logging is set up already")]
    Twice(#[from] SetGlobalDefaultError),
}

/// A format that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log format; there are `text` and `json`")]
pub struct LogFormatError(String);

/// Keeps what is behind the messages alive; whoever holds it shuts it down at the end, or drops it.
#[derive(Debug)]
#[must_use = "spans that are not exported yet are lost without it"]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
    requests: RequestSpans,
}

/// How long the last spans may take on their way out.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Exported are our spans only: a library's would tell of the exporter itself, too.
const EXPORTED: (&str, LevelFilter) = ("portway", LevelFilter::INFO);

/// Sets up messages and spans for the whole process.
pub fn init(options: LogOptions, service: Service) -> Result<TelemetryGuard, InitError> {
    let (subscriber, guard) = build(options, service)?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(guard)
}

/// Returns a writer to the process' standard error.
pub fn stderr() -> BoxMakeWriter {
    BoxMakeWriter::new(std::io::stderr)
}

fn build(
    options: LogOptions,
    service: Service,
) -> Result<(impl Subscriber + Send + Sync, TelemetryGuard), InitError> {
    let filter = EnvFilter::builder()
        .parse(&options.filter)
        .map_err(|source| InitError::Filter { filter: options.filter.clone(), source })?;
    let Exporting { provider, requests } = options.traces.start(service)?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service.name))
            .with_filter(Targets::new().with_target(EXPORTED.0, EXPORTED.1))
    });
    let messages = messages(options.format, options.color, options.writer).with_filter(filter);
    // The layer of spans comes first, so that no box of another hides it from its users.
    let subscriber = Registry::default().with(spans).with(messages);
    Ok((subscriber, TelemetryGuard { provider, requests }))
}

type Messages<S> = Box<dyn Layer<S> + Send + Sync>;

/// Times are UTC in both formats.
fn messages<S>(format: LogFormat, color: Color, writer: BoxMakeWriter) -> Messages<S>
where
    S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(color == Color::On).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

impl TelemetryGuard {
    /// Returns what makes the spans of requests through the edge. They end with the guard.
    pub fn request_spans(&self) -> RequestSpans {
        self.requests.clone()
    }

    /// Sends the last spans and stops. It blocks for at most five seconds.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(provider) = self.provider.take() else {
            return;
        };
        if let Err(error) = provider.shutdown_with_timeout(SHUTDOWN) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        self.stop();
    }
}

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogFormatError(text.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests;
