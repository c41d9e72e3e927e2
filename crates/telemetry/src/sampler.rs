//! Which traces are recorded: the samplers of the OpenTelemetry specification, as the environment
//! names them.

use opentelemetry::trace::{SpanKind, TraceId as OtelTraceId};
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SamplingDecision, ShouldSample};

use crate::{OtlpError, Sampling, TraceContext, TraceId};

/// The variable that names the sampler.
pub(crate) const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
/// The variable with its ratio.
pub(crate) const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// What can stand in [`SAMPLER`].
pub(crate) const SAMPLERS: &str = "always_on, always_off, traceidratio, parentbased_always_on, \
                                   parentbased_always_off, parentbased_traceidratio";

/// Decides which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The share of traces that begin here, from 0 to 1.
    ratio: f64,
    /// Whose decision counts for a trace that came in.
    callers: Callers,
}

/// What the decision of a caller counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callers {
    /// It is followed.
    Followed,
    /// The ratio decides for every trace.
    Ignored,
}

impl Default for Sampler {
    /// The caller's decision, and otherwise all: what the specification takes without a setting.
    fn default() -> Self {
        Self { ratio: 1.0, callers: Callers::Followed }
    }
}

impl Sampler {
    /// Reads the sampler that the environment names. As the specification has it, the argument
    /// counts only for samplers that take one.
    pub(crate) fn from_environment(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, OtlpError> {
        let Some(name) = variable(SAMPLER) else { return Ok(Self::default()) };
        let (kind, callers) = match name.strip_prefix("parentbased_") {
            Some(root) => (root, Callers::Followed),
            None => (name.as_str(), Callers::Ignored),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio(variable(SAMPLER_ARG))?,
            _ => return Err(OtlpError::Sampler { value: name }),
        };
        Ok(Self { ratio, callers })
    }

    /// Decides for a trace that came in from a caller who is believed.
    pub fn judge(&self, caller: &TraceContext) -> Sampling {
        match self.callers {
            Callers::Followed => caller.sampling(),
            Callers::Ignored => self.judge_new(caller.trace_id()),
        }
    }

    /// Decides for a trace that begins here. It is the trace's id that decides, so that everyone
    /// with the same ratio comes to the same result.
    pub fn judge_new(&self, trace: TraceId) -> Sampling {
        let id = OtelTraceId::from_bytes(trace.bytes());
        let sampler = SdkSampler::TraceIdRatioBased(self.ratio);
        match sampler.should_sample(None, id, "", &SpanKind::Server, &[], &[]).decision {
            SamplingDecision::RecordAndSample => Sampling::Sampled,
            SamplingDecision::Drop | SamplingDecision::RecordOnly => Sampling::NotSampled,
        }
    }

    /// Returns the same sampler for spans that the SDK makes.
    pub(crate) fn for_sdk(self) -> SdkSampler {
        let root = SdkSampler::TraceIdRatioBased(self.ratio);
        match self.callers {
            Callers::Followed => SdkSampler::ParentBased(Box::new(root)),
            Callers::Ignored => root,
        }
    }
}

fn ratio(argument: Option<String>) -> Result<f64, OtlpError> {
    // The specification takes 1 where no argument is given.
    let Some(value) = argument else { return Ok(1.0) };
    let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or(OtlpError::Ratio { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: &str, argument: Option<&str>) -> Result<Sampler, OtlpError> {
        Sampler::from_environment(|variable| match variable {
            SAMPLER => Some(name.to_owned()),
            SAMPLER_ARG => argument.map(str::to_owned),
            _ => None,
        })
    }

    fn context(number: u8, sampling: Sampling) -> TraceContext {
        let mut random = [number; 24];
        // The SDK looks at the second half of a trace's id.
        random[8] = number.wrapping_mul(41);
        TraceContext::begin(random, sampling)
    }

    #[test]
    fn a_caller_is_followed_or_not_as_the_name_says() {
        use Sampling::{NotSampled, Sampled};
        for (name, new, of_sampled, of_other) in [
            ("always_on", Sampled, Sampled, Sampled),
            ("always_off", NotSampled, NotSampled, NotSampled),
            ("parentbased_always_on", Sampled, Sampled, NotSampled),
            ("parentbased_always_off", NotSampled, Sampled, NotSampled),
            ("parentbased_traceidratio", Sampled, Sampled, NotSampled),
        ] {
            let sampler = sampler(name, None).unwrap();
            assert_eq!(sampler.judge_new(context(1, Sampled).trace_id()), new, "{name}");
            assert_eq!(sampler.judge(&context(1, Sampled)), of_sampled, "{name}");
            assert_eq!(sampler.judge(&context(1, NotSampled)), of_other, "{name}");
        }
        assert_eq!(Sampler::from_environment(|_| None).unwrap(), Sampler::default());
        assert_eq!(Sampler::default(), sampler("parentbased_always_on", None).unwrap());
    }

    #[test]
    fn a_ratio_is_kept_to() {
        let sampler = sampler("traceidratio", Some("0.25")).unwrap();
        let count = (0..=255_u8)
            .map(|number| context(number, Sampling::Sampled).trace_id())
            .filter(|trace| sampler.judge_new(*trace) == Sampling::Sampled)
            .count();
        assert!((48..=80).contains(&count), "{count} of 256");
    }

    #[test]
    fn what_is_no_sampler_or_no_ratio_is_named() {
        let message = sampler("xray", None).unwrap_err().to_string();
        assert!(message.contains("OTEL_TRACES_SAMPLER") && message.contains("traceidratio"));
        for wrong in ["", "10%", "1.5", "-0.1", "NaN", "inf"] {
            let message = sampler("parentbased_traceidratio", Some(wrong)).unwrap_err().to_string();
            assert!(message.contains("OTEL_TRACES_SAMPLER_ARG"), "{message}");
        }
    }
}
