//! How the processes that serve tell what they do.

use portway_telemetry::{
    Color, LogFormat as Form, LogOptions, Service, TelemetryGuard, TraceSettings, init, stderr,
};

use crate::{args::LogFormat, exit::Failure, out::Out};

/// What is told where nobody asks for more.
const USUAL_FILTER: &str = "info,sea_orm_migration=warn";

/// Sets up messages and spans of this process. `PORTWAY_LOG` chooses which messages, the variables
/// of OpenTelemetry where spans go.
pub(crate) fn start(
    out: &Out,
    format: LogFormat,
    service: &'static str,
) -> Result<TelemetryGuard, Failure> {
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        Failure::usage("logging cannot be set up").because(error)
    };
    let traces = TraceSettings::from_environment(|name| std::env::var(name).ok())
        .map_err(|error| wrong(&error))?;
    let options = LogOptions {
        format: match format {
            LogFormat::Text => Form::Text,
            LogFormat::Json => Form::Json,
        },
        filter: std::env::var("PORTWAY_LOG").unwrap_or_else(|_| USUAL_FILTER.to_owned()),
        color: if out.paint_err.is_on() { Color::On } else { Color::Off },
        writer: stderr(),
        traces,
    };
    let service = Service { name: service, version: env!("CARGO_PKG_VERSION") };
    init(options, service).map_err(|error| wrong(&error))
}
