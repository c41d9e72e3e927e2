//! Records as lines of nginx's `combined` format.

use std::borrow::Cow;

use jiff::{Timestamp, fmt::strtime};

use super::AccessRecord;

const TIME: &str = "%d/%b/%Y:%H:%M:%S +0000";
const TIME_WITH_OFFSET: &str = "%d/%b/%Y:%H:%M:%S %z";

/// Appends a record as one line.
pub(super) fn write(record: &AccessRecord<'_>, line: &mut Vec<u8>) {
    let query = record.query.as_ref().map(|query| format!("?{}", quoted(query)));
    let formatted = format!(
        "{client} - {user} [{time}] \"{method} {path}{query} {protocol}\" {status} {bytes} \
         \"{referer}\" \"{agent}\"\n",
        client = record.client,
        user = or_dash(record.user.as_deref()).replace(' ', "\\x20"),
        time = record.time.strftime(TIME),
        method = quoted(&record.method),
        path = quoted(&record.path),
        query = query.as_deref().unwrap_or_default(),
        protocol = quoted(&record.protocol),
        status = record.status,
        bytes = record.bytes_out,
        referer = or_dash(record.referer.as_deref()),
        agent = or_dash(record.user_agent.as_deref()),
    );
    line.extend_from_slice(formatted.as_bytes());
}

/// Escapes as nginx does: what is not printable ASCII, quotes and backslashes become `\xHH`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => out.extend(format!("\\x{byte:02X}").chars()),
            byte => out.push(char::from(byte)),
        }
    }
    out
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), quoted)
}

/// Reads a line; nothing when it is none.
pub(super) fn read(line: &str) -> Option<AccessRecord<'static>> {
    let (client, rest) = line.split_once(" - ")?;
    let (user, rest) = rest.split_once(" [")?;
    let (time, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let (status, rest) = rest.split_once(' ')?;
    let (bytes, rest) = rest.split_once(" \"")?;
    let (referer, rest) = rest.split_once("\" \"")?;
    let agent = rest.strip_suffix('"')?;
    let (method, rest) = request.split_once(' ')?;
    let (target, protocol) = rest.rsplit_once(' ')?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(unescape(query).into())),
        None => (target, None),
    };
    Some(AccessRecord {
        time: read_time(time)?,
        request_id: Cow::default(),
        client: client.parse().ok()?,
        method: unescape(method).into(),
        scheme: Cow::default(),
        host: Cow::default(),
        path: unescape(path).into(),
        query,
        protocol: unescape(protocol).into(),
        status: status.parse().ok()?,
        bytes_in: 0,
        bytes_out: bytes.parse().ok()?,
        duration_ms: 0.0,
        user: present(user),
        referer: present(referer),
        user_agent: present(agent),
        route: None,
        upstream: None,
        tries: None,
        side: None,
        cache: None,
        upstream_ms: None,
        tls: None,
        trace_id: None,
        way: None,
    })
}

fn read_time(text: &str) -> Option<Timestamp> {
    strtime::parse(TIME_WITH_OFFSET, text).ok()?.to_timestamp().ok()
}

fn present(text: &str) -> Option<Cow<'static, str>> {
    (text != "-").then(|| unescape(text).into())
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, tail)) = rest.split_once("\\x") {
        bytes.extend_from_slice(plain.as_bytes());
        let code = tail.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let (Some(byte), Some(after)) = (code, tail.get(2..)) {
            bytes.push(byte);
            rest = after;
        } else {
            bytes.extend_from_slice(b"\\x");
            rest = tail;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}
