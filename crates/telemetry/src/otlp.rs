//! Spans exported by OTLP over HTTP, when the environment asks for it.
//!
//! The variables are those of the OpenTelemetry specification. Exporting runs on a thread of its
//! own with a bounded queue: a collector that is slow or gone costs spans, never requests.

use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

use crate::Service;

/// Where spans are sent, as the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpTarget {
    endpoint: String,
    service_name: Option<String>,
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
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// The path of traces below a common endpoint (OTLP §Endpoint URLs for OTLP/HTTP).
const TRACES_PATH: &str = "v1/traces";

impl OtlpTarget {
    /// Reads the environment. Without an endpoint nothing is exported. Empty variables count as
    /// not set, as the specification says.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, OtlpError> {
        let variable = |name: &'static str| variable(name).filter(|value| !value.is_empty());
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
        for name in [TRACES_PROTOCOL, PROTOCOL] {
            match variable(name) {
                Some(value) if value != "http/protobuf" => {
                    return Err(OtlpError::Protocol { variable: name, value });
                }
                Some(_) => break,
                None => {}
            }
        }
        Ok(Some(Self { endpoint, service_name: variable(SERVICE_NAME) }))
    }

    pub(crate) fn provider(&self, service: Service) -> Result<SdkTracerProvider, OtlpError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(&self.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .build()
            .map_err(|source| OtlpError::Build { endpoint: self.endpoint.clone(), source })?;
        let name = self.service_name.clone().unwrap_or_else(|| service.name.to_owned());
        let resource = Resource::builder()
            .with_service_name(name)
            .with_attribute(opentelemetry::KeyValue::new("service.version", service.version))
            .build();
        let builder = SdkTracerProvider::builder().with_resource(resource);
        Ok(builder.with_batch_exporter(exporter).build())
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
        Ok(OtlpTarget::from_environment(variable)?.map(|target| target.endpoint))
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
}
