//! What the environment says of traces: whether spans are exported by OTLP over HTTP and where to,
//! which traces are recorded, and whose are continued.
//!
//! The variables are those of the OpenTelemetry specification, and one of our own. Exporting runs on
//! a thread of its own with a bounded queue: a collector that is slow or gone costs spans, never
//! requests.

mod client;

use std::{sync::Arc, time::Duration};

use opentelemetry::Context;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor},
};

pub use self::client::CertificateError;
use self::client::Certificates;
use crate::{
    Continue, RequestSpans, Sampler, Service,
    sampler::{SAMPLER, SAMPLER_ARG, SAMPLERS},
};

/// What the environment says of traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceSettings {
    target: Option<OtlpTarget>,
    sampler: Sampler,
    continues: Continue,
}

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OtlpTarget {
    endpoint: String,
    service_name: Option<String>,
    timeout: Duration,
    certificates: Certificates,
}

/// Why the environment's wish cannot be fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Not an address of a collector.
    #[error("{variable} is `{value}`; an http:// or https:// address is wanted")]
    Endpoint {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// Another protocol than the one that is built in.
    #[error("{variable} is `{value}`; only `http/protobuf` is supported (port 4318 as a rule)")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// Not a number of milliseconds.
    #[error("{variable} is `{value}`; a number of milliseconds is wanted")]
    Timeout {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// A sampler that does not exist here.
    #[error("{SAMPLER} is `{value}`; there are {SAMPLERS}")]
    Sampler {
        /// What it holds.
        value: String,
    },
    /// Not a share of all traces.
    #[error("{SAMPLER_ARG} is `{value}`; a number from 0 to 1 is wanted")]
    Ratio {
        /// What it holds.
        value: String,
    },
    /// Neither of two words.
    #[error("{CONTINUE} is `{value}`; it can be `trusted` or `anyone`")]
    Continue {
        /// What it holds.
        value: String,
    },
    /// The certificates for the collector cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The exporter cannot be built.
    #[error("cannot export spans to {endpoint}")]
    Build {
        /// Where to.
        endpoint: String,
        /// Why.
        #[source]
        source: ExporterBuildError,
    },
}

const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const TRACES_TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const CONTINUE: &str = "PORTWAY_CONTINUE_TRACES";
/// The path of traces below a common endpoint (OTLP §Endpoint URLs for OTLP/HTTP).
const TRACES_PATH: &str = "v1/traces";
/// What the specification takes without a setting.
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What exports spans, and where spans come from.
#[derive(Debug)]
pub(crate) struct Exporting {
    /// For spans of `tracing`; nothing where nothing is exported.
    pub(crate) provider: Option<SdkTracerProvider>,
    /// For requests through the edge.
    pub(crate) requests: RequestSpans,
}

impl TraceSettings {
    /// Reads the environment. Without an endpoint nothing is exported. Empty variables count as
    /// not set, as the specification says.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, OtlpError> {
        let variable = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        Ok(Self {
            target: OtlpTarget::from_environment(variable)?,
            sampler: Sampler::from_environment(variable)?,
            continues: continues(variable)?,
        })
    }

    /// Begins to export, where that is wanted.
    pub(crate) fn start(&self, service: Service) -> Result<Exporting, OtlpError> {
        let processor = self.target.as_ref().map(|target| target.processor(service)).transpose()?;
        let provider = processor.as_ref().map(|processor| {
            SdkTracerProvider::builder()
                .with_sampler(self.sampler.for_sdk())
                .with_span_processor(Shared(Arc::clone(processor)))
                .build()
        });
        let requests = RequestSpans::new(self.sampler, self.continues, processor);
        Ok(Exporting { provider, requests })
    }
}

fn continues(variable: impl Fn(&'static str) -> Option<String>) -> Result<Continue, OtlpError> {
    match variable(CONTINUE).as_deref() {
        None | Some("trusted") => Ok(Continue::Trusted),
        Some("anyone") => Ok(Continue::Anyone),
        Some(value) => Err(OtlpError::Continue { value: value.to_owned() }),
    }
}

impl OtlpTarget {
    fn from_environment(
        variable: impl Fn(&'static str) -> Option<String> + Copy,
    ) -> Result<Option<Self>, OtlpError> {
        let says = |name, word: &str| {
            variable(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(word))
        };
        if says(DISABLED, "true") || says(EXPORTER, "none") {
            return Ok(None);
        }
        let (name, given, endpoint) = match (variable(TRACES_ENDPOINT), variable(ENDPOINT)) {
            (Some(own), _) => (TRACES_ENDPOINT, own.clone(), own),
            (None, Some(base)) => {
                let endpoint = format!("{}/{TRACES_PATH}", base.trim_end_matches('/'));
                (ENDPOINT, base, endpoint)
            }
            (None, None) => return Ok(None),
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(OtlpError::Endpoint { variable: name, value: given });
        }
        let either = |own: &'static str, common: &'static str| {
            [own, common].into_iter().find_map(|name| Some((name, variable(name)?)))
        };
        match either(TRACES_PROTOCOL, PROTOCOL) {
            Some((variable, value)) if value != "http/protobuf" => {
                return Err(OtlpError::Protocol { variable, value });
            }
            Some(_) | None => {}
        }
        Ok(Some(Self {
            endpoint,
            service_name: variable(SERVICE_NAME),
            timeout: either(TRACES_TIMEOUT, TIMEOUT)
                .map_or(Ok(USUAL_TIMEOUT), |(name, value)| milliseconds(name, value))?,
            certificates: Certificates::from_environment(|own, common| {
                either(own, common).map(|(_, value)| value)
            })?,
        }))
    }

    fn processor(&self, service: Service) -> Result<Arc<BatchSpanProcessor>, OtlpError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client::build(&self.certificates, self.timeout)?)
            .with_endpoint(&self.endpoint)
            .with_timeout(self.timeout)
            .with_protocol(Protocol::HttpBinary)
            .build()
            .map_err(|source| OtlpError::Build { endpoint: self.endpoint.clone(), source })?;
        let name = self.service_name.clone().unwrap_or_else(|| service.name.to_owned());
        let resource = Resource::builder()
            .with_service_name(name)
            .with_attribute(opentelemetry::KeyValue::new("service.version", service.version))
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource);
        Ok(Arc::new(processor))
    }
}

fn milliseconds(variable: &'static str, value: String) -> Result<Duration, OtlpError> {
    let number = value.parse().map(Duration::from_millis);
    number.map_err(|_| OtlpError::Timeout { variable, value })
}

/// One queue for the spans of `tracing` and those of requests. It has its resource already.
#[derive(Debug)]
struct Shared(Arc<BatchSpanProcessor>);

impl SpanProcessor for Shared {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(variables: &[(&str, &str)]) -> Result<Option<String>, OtlpError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Ok(TraceSettings::from_environment(variable)?.target.map(|target| target.endpoint))
    }

    #[test]
    fn nothing_is_exported_unless_asked_for() {
        assert_eq!(target(&[]).unwrap(), None);
        assert_eq!(target(&[(ENDPOINT, "")]).unwrap(), None);
        let endpoint = (ENDPOINT, "http://collector:4318");
        assert_eq!(target(&[endpoint, (DISABLED, "TRUE")]).unwrap(), None);
        assert_eq!(target(&[endpoint, (EXPORTER, "none")]).unwrap(), None);
    }

    #[test]
    fn the_path_is_appended_to_the_common_endpoint_only() {
        for base in ["http://collector:4318", "http://collector:4318/"] {
            let endpoint = target(&[(ENDPOINT, base)]).unwrap();
            assert_eq!(endpoint.as_deref(), Some("http://collector:4318/v1/traces"));
        }
        let own = (TRACES_ENDPOINT, "https://collector/in");
        let endpoint = target(&[(ENDPOINT, "http://other"), own]).unwrap();
        assert_eq!(endpoint.as_deref(), Some("https://collector/in"));
    }

    #[test]
    fn what_cannot_be_done_is_said_with_the_variable() {
        let message = |variables: &[(&str, &str)]| target(variables).unwrap_err().to_string();
        assert!(message(&[(ENDPOINT, "collector:4318")]).contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let endpoint = (ENDPOINT, "http://collector:4317");
        assert!(message(&[endpoint, (PROTOCOL, "grpc")]).contains("http/protobuf"));
        let own = (TRACES_PROTOCOL, "http/protobuf");
        target(&[endpoint, (PROTOCOL, "grpc"), own]).unwrap();
    }

    #[test]
    fn what_is_wrong_beside_the_endpoint_is_said_with_the_variable() {
        let message = |name, value| {
            target(&[(ENDPOINT, "http://collector:4318"), (name, value)]).unwrap_err().to_string()
        };
        assert!(message(TIMEOUT, "10s").contains("OTEL_EXPORTER_OTLP_TIMEOUT"));
        assert!(message(SAMPLER, "most").contains("OTEL_TRACES_SAMPLER is `most`"));
        assert!(message(CONTINUE, "everyone").contains("`anyone`"));
        let missing = message("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem");
        assert!(missing.contains("/nowhere/ca.pem"), "{missing}");
        let key = message("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere/key.pem");
        assert!(key.contains("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"), "{key}");
    }

    #[test]
    fn the_sampler_counts_where_nothing_is_exported_too() {
        let settings = TraceSettings::from_environment(|name| {
            (name == "OTEL_TRACES_SAMPLER").then(|| "always_off".to_owned())
        });
        let spans = settings.unwrap().start(Service { name: "x", version: "1" }).unwrap().requests;
        let place = spans.place(None, crate::Caller::Stranger, [1; 24]);
        let crate::Onward::Begun(context) = place.onward() else {
            panic!("{place:?}");
        };
        assert_eq!(context.sampling(), crate::Sampling::NotSampled);
    }
}
