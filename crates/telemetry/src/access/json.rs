//! Records as lines of JSON.

use std::{
    cell::Cell,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, Serializer as JsonSerializer};

use super::AccessRecord;

/// What most lines are shorter than.
const USUAL: usize = 640;

/// Appends a record as one line.
pub(super) fn write<T: Serialize>(record: &T, line: &mut Vec<u8>) {
    let start = line.len();
    if record.serialize(&mut JsonSerializer::with_formatter(&mut *line, Escaping)).is_err() {
        // Records hold text and numbers only; half a line must not stay all the same.
        line.truncate(start);
        return;
    }
    line.push(b'\n');
}

/// Appends a request as one line: the same as [`write()`], but every request has one, so it is written
/// field by field in a third of the time.
pub(super) fn write_access(record: &AccessRecord<'_>, line: &mut Vec<u8>) {
    line.reserve(USUAL);
    line.push(b'{');
    time(line, record.time);
    text(line, ",\"request_id\":", &record.request_id);
    address(line, record.client);
    text(line, ",\"method\":", &record.method);
    text(line, ",\"scheme\":", &record.scheme);
    text(line, ",\"host\":", &record.host);
    text(line, ",\"path\":", &record.path);
    known(line, ",\"query\":", record.query.as_deref());
    text(line, ",\"protocol\":", &record.protocol);
    whole(line, ",\"status\":", u64::from(record.status));
    whole(line, ",\"bytes_in\":", record.bytes_in);
    whole(line, ",\"bytes_out\":", record.bytes_out);
    number(line, ",\"duration_ms\":", record.duration_ms);
    known(line, ",\"user\":", record.user.as_deref());
    known(line, ",\"referer\":", record.referer.as_deref());
    known(line, ",\"user_agent\":", record.user_agent.as_deref());
    known(line, ",\"route\":", record.route.as_deref());
    known(line, ",\"upstream\":", record.upstream.as_deref());
    if let Some(tries) = record.tries {
        whole(line, ",\"tries\":", u64::from(tries));
    }
    known(line, ",\"side\":", record.side.as_deref());
    known(line, ",\"cache\":", record.cache.as_deref());
    if let Some(waited) = record.upstream_ms {
        number(line, ",\"upstream_ms\":", waited);
    }
    known(line, ",\"tls\":", record.tls.as_deref());
    known(line, ",\"trace_id\":", record.trace_id.as_deref());
    if let Some(way) = &record.way {
        line.extend_from_slice(b",\"way\":");
        let written = way.serialize(&mut JsonSerializer::with_formatter(&mut *line, Escaping));
        debug_assert!(written.is_ok(), "a vector takes everything");
    }
    line.extend_from_slice(b"}\n");
}

/// Serializes a time as RFC 3339 in UTC with milliseconds.
pub(super) fn milliseconds<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

fn time(line: &mut Vec<u8>, time: Timestamp) {
    line.extend_from_slice(b"\"time\":\"");
    line.extend_from_slice(&to_the_second(time));
    let millisecond = u64::try_from(time.subsec_millisecond()).unwrap_or_default();
    line.extend([b'.', digit(millisecond / 100), digit(millisecond / 10), digit(millisecond)]);
    line.extend_from_slice(b"Z\"");
}

/// Returns a time without its fraction, written once a second.
fn to_the_second(time: Timestamp) -> [u8; 19] {
    thread_local! {
        static WRITTEN: Cell<(i64, [u8; 19])> = const { Cell::new((i64::MIN, [0; 19])) };
    }
    let second = time.as_second();
    let (at, written) = WRITTEN.get();
    if at == second {
        return written;
    }
    let mut text = [b' '; 19];
    let whole = format!("{time:.0}");
    text.iter_mut().zip(whole.bytes()).for_each(|(to, from)| *to = from);
    WRITTEN.set((second, text));
    text
}

fn address(line: &mut Vec<u8>, address: IpAddr) {
    line.extend_from_slice(b",\"client\":\"");
    match address {
        IpAddr::V4(address) => address_v4(line, address),
        IpAddr::V6(address) => append(line, &format_args!("{address}")),
    }
    line.push(b'"');
}

fn address_v4(line: &mut Vec<u8>, address: Ipv4Addr) {
    let [first, rest @ ..] = address.octets();
    decimal(line, u64::from(first));
    for octet in rest {
        line.push(b'.');
        decimal(line, u64::from(octet));
    }
}

fn known(line: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(line, key, value);
    }
}

fn text(line: &mut Vec<u8>, key: &str, value: &str) {
    line.extend_from_slice(key.as_bytes());
    if is_plain(value) {
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    } else {
        let written = value.serialize(&mut JsonSerializer::with_formatter(&mut *line, Escaping));
        debug_assert!(written.is_ok(), "a vector takes everything");
    }
}

fn whole(line: &mut Vec<u8>, key: &str, number: u64) {
    line.extend_from_slice(key.as_bytes());
    decimal(line, number);
}

fn number(line: &mut Vec<u8>, key: &str, number: f64) {
    line.extend_from_slice(key.as_bytes());
    let written = if number.is_finite() {
        CompactFormatter.write_f64(line, number)
    } else {
        CompactFormatter.write_null(line)
    };
    debug_assert!(written.is_ok(), "a vector takes everything");
}

fn decimal(line: &mut Vec<u8>, number: u64) {
    let written = CompactFormatter.write_u64(line, number);
    debug_assert!(written.is_ok(), "a vector takes everything");
}

fn append(line: &mut Vec<u8>, text: &std::fmt::Arguments<'_>) {
    let written = line.write_fmt(*text);
    debug_assert!(written.is_ok(), "a vector takes everything");
}

/// Returns the last decimal digit.
fn digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or_default()
}

/// Tells whether a text is ASCII that needs no escape. Looks at all of it, so that the processor
/// can look at many bytes at once.
fn is_plain(text: &str) -> bool {
    let odd = |byte: u8| !matches!(byte, b' '..0x7f) || matches!(byte, b'"' | b'\\');
    text.bytes().fold(0, |found, byte| found | u8::from(odd(byte))) == 0
}

/// JSON demands escapes up to U+001F only; terminals and viewers act on more.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // The formatter is given no control character below U+0020, and nearly all text is plain.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(found) = rest.find(needs_escape) {
            let (plain, tail) = rest.split_at(found);
            writer.write_all(plain.as_bytes())?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// All of these lie in the basic plane, so each is one escape.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::Way;

    proptest! {
        #[test]
        fn a_request_is_written_as_any_record_would_be(
            nanoseconds in 0_i128..4_000_000_000_000_000_000,
            client: IpAddr,
            texts in proptest::array::uniform4("\\PC*|[ -~]*|[\\x00-\\x7f]*"),
            numbers: (u16, u64, u64),
            waited in proptest::option::of(0.0..1e9_f64),
        ) {
            let [path, query, agent, host] = &texts;
            let record = AccessRecord {
                time: Timestamp::from_nanosecond(nanoseconds).unwrap(),
                request_id: "0193a7".into(),
                client,
                method: "GET".into(),
                scheme: "https".into(),
                host: host.into(),
                path: path.into(),
                query: Some(query.into()),
                protocol: "HTTP/2.0".into(),
                status: numbers.0,
                bytes_in: numbers.1,
                bytes_out: numbers.2,
                duration_ms: waited.unwrap_or(f64::NAN),
                user: None,
                referer: None,
                user_agent: Some(agent.into()),
                route: Some("/".into()),
                upstream: None,
                tries: Some(numbers.0.into()),
                side: Some("canary".into()),
                cache: Some("hit".into()),
                upstream_ms: waited,
                tls: Some("1.3".into()),
                trace_id: None,
                way: waited.map(|_| Way { code: Some(agent.clone()), ..Way::default() }),
            };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            write_access(&record, &mut ours);
            write(&record, &mut theirs);
            prop_assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
        }
    }
}
