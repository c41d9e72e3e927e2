//! W3C Trace Context: the `traceparent` header, read strictly and written canonically.
//!
//! The header is <https://www.w3.org/TR/trace-context/>, level 1. A trace that came in is kept, and
//! every span gets an id of its own; one that is not valid counts as none, and a new one begins.
//! `tracestate` is not read here: whoever continues a trace passes it on as it came, whoever begins
//! one drops it (§3.3). Whose traces the edge continues is decided in [`crate::spans`].

use std::{fmt, str::FromStr};

use opentelemetry::trace::{
    SpanContext, SpanId as OtelSpanId, TraceContextExt, TraceFlags, TraceId as OtelTraceId,
    TraceState,
};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The name of the header.
pub const TRACEPARENT: &str = "traceparent";
/// The name of the header that goes with it.
pub const TRACESTATE: &str = "tracestate";

/// Names a trace; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// Names a span within a trace; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// Whether the spans of a trace are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// They may be.
    Sampled,
    /// Nobody wants them.
    NotSampled,
}

/// Where in which trace a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: TraceId,
    span: SpanId,
    sampling: Sampling,
}

/// Why a text is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// Fields of wrong length, number or characters.
    #[error("a traceparent is `version-trace-parent-flags` in lower-case hexadecimal digits")]
    Syntax,
    /// Version `ff` is forbidden.
    #[error("the version of a traceparent is not `ff`")]
    Version,
    /// An id of zeros means none.
    #[error("the ids of a traceparent are not all zero")]
    ZeroId,
}

/// `00-` 32 digits `-` 16 digits `-` 2 digits.
const LEN: usize = 55;
const SAMPLED: u8 = 1;

impl TraceContext {
    /// Begins a trace from random bytes.
    pub fn begin(random: [u8; 24], sampling: Sampling) -> Self {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        if let Some((first, rest)) = random.split_first_chunk() {
            trace = *first;
            span.copy_from_slice(rest);
        }
        Self { trace: TraceId::from_random(trace), span: SpanId::from_random(span), sampling }
    }

    /// Returns the same trace at a span of its own, named by random bytes.
    pub fn child(&self, random: [u8; 8]) -> Self {
        Self { span: SpanId::from_random(random), ..*self }
    }

    /// Returns the same place with another decision about recording.
    pub(crate) fn sampled(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// Reads the values of all `traceparent` headers of a message: there must be exactly one, and
    /// it must be valid; otherwise the message carries no trace.
    pub fn from_headers(values: impl IntoIterator<Item: AsRef<[u8]>>) -> Option<Self> {
        let mut values = values.into_iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        std::str::from_utf8(value.as_ref()).ok()?.parse().ok()
    }

    /// Returns the trace.
    pub const fn trace_id(&self) -> TraceId {
        self.trace
    }

    /// Returns the span.
    pub const fn span_id(&self) -> SpanId {
        self.span
    }

    /// Tells whether spans may be recorded.
    pub const fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// Returns the value of the header.
    pub fn header(&self) -> [u8; LEN] {
        let flags: &[u8; 2] = match self.sampling {
            Sampling::Sampled => b"01",
            Sampling::NotSampled => b"00",
        };
        let (trace, span) = (self.trace.digits(), self.span.digits());
        let parts: [&[u8]; 7] = [b"00", b"-", &trace, b"-", &span, b"-", flags];
        let mut header = [b'-'; LEN];
        let mut rest = header.as_mut_slice();
        for part in parts {
            let Some((here, after)) = rest.split_at_mut_checked(part.len()) else { break };
            here.copy_from_slice(part);
            rest = after;
        }
        header
    }

    /// Makes a span a child of this one in what is exported. It must be called before anything
    /// else asks for the span's place in the trace. Without export it does nothing.
    pub fn adopt(&self, span: &tracing::Span) {
        let context = self.to_span_context(true, TraceState::NONE);
        let parent = opentelemetry::Context::new().with_remote_span_context(context);
        if let Err(error) = span.set_parent(parent) {
            // The usual case: no exporter, or a span that the filter left out.
            tracing::trace!(%error, "span stays without its parent");
        }
    }

    /// Returns what to tell the next server: the place of an exported span, or a child of this
    /// context where spans are not exported.
    pub fn onward(&self, span: &tracing::Span, random: [u8; 8]) -> Self {
        Self::of_span(span).unwrap_or_else(|| self.child(random))
    }

    /// Returns the place of an exported span.
    pub fn of_span(span: &tracing::Span) -> Option<Self> {
        let context = span.context();
        let context = context.span().span_context().clone();
        let sampling = if context.is_sampled() { Sampling::Sampled } else { Sampling::NotSampled };
        context.is_valid().then(|| Self {
            trace: TraceId(context.trace_id().to_bytes()),
            span: SpanId(context.span_id().to_bytes()),
            sampling,
        })
    }

    pub(crate) fn to_span_context(self, is_remote: bool, state: TraceState) -> SpanContext {
        let flags = match self.sampling {
            Sampling::Sampled => TraceFlags::SAMPLED,
            Sampling::NotSampled => TraceFlags::NOT_SAMPLED,
        };
        let trace = OtelTraceId::from_bytes(self.trace.0);
        SpanContext::new(trace, self.span.to_otel(), flags, is_remote, state)
    }
}

impl FromStr for TraceContext {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        use TraceParentError::{Syntax, Version, ZeroId};
        // A later version may append fields, after one more dash (§4.3.1).
        let (head, tail) = text.split_at_checked(LEN).ok_or(Syntax)?;
        let mut fields = head.split('-');
        let [version] = digits(fields.next()).ok_or(Syntax)?;
        let trace = digits(fields.next()).ok_or(Syntax)?;
        let span = digits(fields.next()).ok_or(Syntax)?;
        let [flags] = digits(fields.next()).ok_or(Syntax)?;
        if fields.next().is_some() {
            return Err(Syntax);
        }
        match version {
            0xff => return Err(Version),
            0 if !tail.is_empty() => return Err(Syntax),
            _ if !tail.is_empty() && !tail.starts_with('-') => return Err(Syntax),
            _ => {}
        }
        if trace == [0; 16] || span == [0; 8] {
            return Err(ZeroId);
        }
        let sampling = if flags & SAMPLED == 0 { Sampling::NotSampled } else { Sampling::Sampled };
        Ok(Self { trace: TraceId(trace), span: SpanId(span), sampling })
    }
}

/// Reads exactly `N` bytes in lower-case hexadecimal digits.
fn digits<const N: usize>(field: Option<&str>) -> Option<[u8; N]> {
    let field = field?.as_bytes();
    if field.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(field.chunks_exact(2)) {
        let [high, low] = pair else {
            return None;
        };
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.header()))
    }
}

/// Makes an id of random bytes; zeros, which mean no id, come once in 2^64 times.
fn non_zero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if bytes == [0; N]
        && let Some(last) = bytes.last_mut()
    {
        *last = 1;
    }
    bytes
}

/// Writes bytes in lower-case hexadecimal digits. Every request has some of these written, so the
/// formatter, which writes digit by digit, is not asked.
pub(crate) fn hexadecimal<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut digits = [b'0'; N];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[hexadecimal_digit(byte >> 4), hexadecimal_digit(byte & 15)]);
    }
    digits
}

const fn hexadecimal_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + (value - 10) }
}

/// Returns digits as text.
pub(crate) fn text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

impl TraceId {
    fn from_random(bytes: [u8; 16]) -> Self {
        Self(non_zero(bytes))
    }

    pub(crate) const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns it in hexadecimal digits.
    pub fn digits(self) -> [u8; 32] {
        hexadecimal(&self.0)
    }
}

impl SpanId {
    fn from_random(bytes: [u8; 8]) -> Self {
        Self(non_zero(bytes))
    }

    pub(crate) fn to_otel(self) -> OtelSpanId {
        OtelSpanId::from_bytes(self.0)
    }

    fn digits(self) -> [u8; 16] {
        hexadecimal(&self.0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits()))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits()))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits()))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification (§3.2.3.1).
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(context.sampling(), Sampling::Sampled);
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        use TraceParentError::{Syntax, Version, ZeroId};
        let swap = |from: &str, to: &str| EXAMPLE.replacen(from, to, 1);
        for (text, expected) in [
            (String::new(), Syntax),
            (swap("00-", "ff-"), Version),
            (swap("00-", "0-"), Syntax),
            (swap("4bf9", "4BF9"), Syntax),
            (swap("4bf9", "4bg9"), Syntax),
            (swap("4bf9", "+bf9"), Syntax),
            (swap("-01", "-1"), Syntax),
            (swap("-01", "_01"), Syntax),
            (format!("{EXAMPLE}-"), Syntax),
            (format!("{EXAMPLE}-00"), Syntax),
            (format!(" {EXAMPLE}"), Syntax),
            (swap("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), ZeroId),
            (swap("00f067aa0ba902b7", &"0".repeat(16)), ZeroId),
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = EXAMPLE.replacen("00-", "cc-", 1);
        for text in [later.clone(), format!("{later}-what-ever")] {
            assert_eq!(text.parse::<TraceContext>().unwrap().to_string(), EXAMPLE);
        }
        assert!(format!("{later}.what").parse::<TraceContext>().is_err());
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        let context: TraceContext = EXAMPLE.replacen("-01", "-fe", 1).parse().unwrap();
        assert!(context.to_string().ends_with("-00"));
    }

    #[test]
    fn a_message_with_two_headers_carries_no_trace() {
        let headers = |values: &[&str]| {
            TraceContext::from_headers(values.iter().map(|value| value.as_bytes()))
        };
        assert!(headers(&[EXAMPLE]).is_some());
        assert_eq!(headers(&[]), None);
        assert_eq!(headers(&[EXAMPLE, EXAMPLE]), None);
        assert_eq!(TraceContext::from_headers([&b"\xff"[..]]), None);
    }

    #[test]
    fn without_export_the_next_server_hears_of_a_child() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        let span = tracing::Span::none();
        context.adopt(&span);
        assert_eq!(context.onward(&span, [7; 8]), context.child([7; 8]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(random: [u8; 24], child: [u8; 8], sampled: bool) {
            let sampling = if sampled { Sampling::Sampled } else { Sampling::NotSampled };
            let context = TraceContext::begin(random, sampling);
            prop_assert_eq!(context.to_string().parse(), Ok(context));
            let child = context.child(child);
            prop_assert_eq!(child.trace_id(), context.trace_id());
            prop_assert_eq!(child.to_string().parse(), Ok(child));
        }

        #[test]
        fn only_what_the_grammar_allows_is_read(text in "[0-9a-f-]{50,60}|\\PC*") {
            let naive = naive(&text);
            prop_assert_eq!(text.parse::<TraceContext>().is_ok(), naive, "{}", text);
        }

        #[test]
        fn near_misses_are_judged_as_the_grammar_does(
            at in 0..55_usize, with in "[0-9a-gA-F_ -]", tail in "|-|-0|x",
        ) {
            let mut text = EXAMPLE.to_owned();
            text.replace_range(at..=at, &with);
            text.push_str(&tail);
            prop_assert_eq!(text.parse::<TraceContext>().is_ok(), naive(&text), "{}", text);
        }
    }

    /// The grammar of the specification, word by word.
    fn naive(text: &str) -> bool {
        let parts: Vec<_> = text.splitn(5, '-').collect();
        let hex = |part: &str, len| {
            part.len() == len && part.chars().all(|c| "0123456789abcdef".contains(c))
        };
        let [version, trace, span, flags, ref rest @ ..] = parts[..] else {
            return false;
        };
        hex(version, 2)
            && version != "ff"
            && hex(trace, 32)
            && trace.chars().any(|c| c != '0')
            && hex(span, 16)
            && span.chars().any(|c| c != '0')
            && hex(flags, 2)
            && (rest.is_empty() || version != "00")
    }
}
