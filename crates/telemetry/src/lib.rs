//! Logging and tracing set-up, metric names, the access-log record.
//!
//! Three kinds of telling, kept apart: messages and spans of the process ([`init`], exported by
//! OTLP when asked for; those of requests through the edge are [`RequestSpans`]), metrics ([`metrics`] of the edge, [`ControlMetrics`]), and the access log
//! ([`access`]), which belongs to sites and not to the process.

pub mod access;
mod control_metrics;
mod log;
pub mod metrics;
mod node_metrics;
mod otlp;
mod sampler;
pub mod spans;
pub mod trace;

pub use control_metrics::{ControlMetric, ControlMetrics, DeploymentOutcome, TaskOutcome};
pub use log::{
    Color, InitError, LogFormat, LogFormatError, LogOptions, Service, TelemetryGuard, init, stderr,
};
pub use node_metrics::{NodeMetric, NodeSamples};
pub use otlp::{CertificateError, OtlpError, TraceSettings};
pub use sampler::Sampler;
pub use spans::{Answer, Caller, Continue, Ended, Onward, Place, RequestSpans};
pub use trace::{Sampling, SpanId, TraceContext, TraceId, TraceParentError};
