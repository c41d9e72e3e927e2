//! The records of access and error logs and their lines: written by the edge, read by whoever shows
//! logs. One record is one line whatever it holds: every control character is escaped, so nothing a
//! client sends can forge a line or move a terminal's cursor.

mod combined;
mod json;
mod way;

use std::{borrow::Cow, net::IpAddr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::way::{Failed, Stage, Way};

/// One request. It borrows its words from whoever writes it, and owns them when it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessRecord<'a> {
    /// When it began.
    #[serde(serialize_with = "json::milliseconds")]
    pub time: Timestamp,
    /// Its id.
    pub request_id: Cow<'a, str>,
    /// Whose it was.
    pub client: IpAddr,
    /// The method.
    pub method: Cow<'a, str>,
    /// `http` or `https`.
    pub scheme: Cow<'a, str>,
    /// The host it meant.
    pub host: Cow<'a, str>,
    /// The path.
    pub path: Cow<'a, str>,
    /// The query, without its question mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Cow<'a, str>>,
    /// The protocol, such as `HTTP/2.0`.
    pub protocol: Cow<'a, str>,
    /// The status of the answer; 499 when the client went away before it.
    pub status: u16,
    /// The bytes of the request's body.
    pub bytes_in: u64,
    /// The bytes of the answer's body.
    pub bytes_out: u64,
    /// How long it took.
    pub duration_ms: f64,
    /// The user who logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    /// Where the client came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referer: Option<Cow<'a, str>>,
    /// What the client says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Cow<'a, str>>,
    /// The match of the route that took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Cow<'a, str>>,
    /// The target that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Cow<'a, str>>,
    /// How many targets were tried, where it was more than one; one may count more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// The side of a split to which it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Cow<'a, str>>,
    /// What a cache did for it: `hit`, `stale`, `stale_if_error`, `revalidated`, `miss`, `bypass` or
    /// `only_if_cached`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cow<'a, str>>,
    /// How long the target took to begin its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
    /// The TLS version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Cow<'a, str>>,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Cow<'a, str>>,
    /// Its way through the edge, where that was not the plain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Way>,
}

/// Something that went wrong with a connection or request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// When.
    #[serde(serialize_with = "json::milliseconds")]
    pub time: Timestamp,
    /// How bad it is for the operator.
    pub level: ErrorLevel,
    /// What kind of thing it is.
    pub kind: ErrorKind,
    /// The request, once there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whose it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The host it meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The stable name of the fault.
    pub code: String,
    /// What happened, for the operator; internals may be named here.
    pub message: String,
}

/// How bad an error is for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorLevel {
    /// The client's own doing.
    Info,
    /// One request suffered.
    Warn,
    /// Someone must act.
    Error,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A TLS handshake failed.
    Handshake,
    /// A request was refused.
    Refused,
    /// The client went away before its answer was complete.
    ClientGone,
    /// An upstream failed.
    Upstream,
    /// The edge or its machine failed.
    Edge,
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// JSON, but not of a record.
    #[error("the line is no log record in JSON")]
    Json(#[source] serde_json::Error),
    /// Neither JSON nor the combined format.
    #[error("the line is neither JSON nor in the combined format")]
    Unknown,
}

impl AccessRecord<'_> {
    /// Appends the record as a line of JSON.
    pub fn write_json(&self, line: &mut Vec<u8>) {
        json::write_access(self, line);
    }

    /// Appends the record as a line of nginx's `combined` format, in UTC.
    pub fn write_combined(&self, line: &mut Vec<u8>) {
        combined::write(self, line);
    }

    /// Reads a line of either format. What the combined format does not hold stays empty.
    pub fn read(line: &str) -> Result<AccessRecord<'static>, LineError> {
        if line.starts_with('{') {
            return serde_json::from_str(line).map_err(LineError::Json);
        }
        combined::read(line).ok_or(LineError::Unknown)
    }
}

impl ErrorRecord {
    /// Appends the record as a line of JSON.
    pub fn write_json(&self, line: &mut Vec<u8>) {
        json::write(self, line);
    }

    /// Reads a line.
    pub fn read(line: &str) -> Result<Self, LineError> {
        serde_json::from_str(line).map_err(LineError::Json)
    }
}

/// Returns a duration as logs hold it: milliseconds, to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_json_line_is_read_back() {
        let record = record();
        let line = json_line(&record);
        assert!(line.starts_with(r#"{"time":"2026-01-02T03:04:05.678Z","request_id":"#), "{line}");
        assert_eq!(AccessRecord::read(line.trim_end()).unwrap(), record);
    }

    #[test]
    fn a_combined_line_is_read_back_as_far_as_it_goes() {
        let mut record = record();
        record.user = Some("ann b".into());
        let mut line = Vec::new();
        record.write_combined(&mut line);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(
            line,
            "192.0.2.7 - ann\\x20b [02/Jan/2026:03:04:05 +0000] \"GET /a?b=c HTTP/2.0\" 200 99 \
             \"-\" \"agent \\x22x\\x22\"\n"
        );
        let read = AccessRecord::read(line.trim_end()).unwrap();
        assert_eq!(read.client, record.client);
        assert_eq!(read.time.as_second(), record.time.as_second());
        assert_eq!(
            (read.method, read.path, read.query),
            (record.method, record.path, record.query)
        );
        assert_eq!((read.status, read.bytes_out), (record.status, record.bytes_out));
        assert_eq!((read.user, read.user_agent), (record.user, record.user_agent));
        assert_eq!(read.referer, None);
    }

    #[test]
    fn nothing_a_client_sends_makes_a_second_line_or_a_control_character() {
        let evil = "x\n{\"status\":200}\r\n\u{1b}[2J\u{9b}2J\u{7f}\u{2028}\u{202e}\0\"\\";
        let mut record = record();
        record.path = evil.into();
        record.user = Some(evil.into());
        record.user_agent = Some(evil.into());
        let json = json_line(&record);
        let mut combined = Vec::new();
        record.write_combined(&mut combined);
        let combined = String::from_utf8(combined).unwrap();
        for line in [&json, &combined] {
            let text = line.strip_suffix('\n').unwrap();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(!text.contains('\u{202e}') && !text.contains('\u{2028}'), "{text:?}");
        }
        assert_eq!(AccessRecord::read(json.trim_end()).unwrap(), record);
        let read = AccessRecord::read(combined.trim_end()).unwrap();
        assert_eq!(read.user_agent, record.user_agent);
        assert_eq!(read.user, record.user);
    }

    #[test]
    fn an_error_line_is_read_back() {
        let record = ErrorRecord {
            time: "2026-01-02T03:04:05.006Z".parse().unwrap(),
            level: ErrorLevel::Warn,
            kind: ErrorKind::ClientGone,
            request_id: None,
            client: Some("::1".parse().unwrap()),
            host: Some("a.example".to_owned()),
            code: "client_gone".to_owned(),
            message: "the client went away".to_owned(),
        };
        let mut line = Vec::new();
        record.write_json(&mut line);
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains(r#""kind":"client_gone""#), "{line}");
        assert_eq!(ErrorRecord::read(line.trim_end()).unwrap(), record);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for line in ["", "{}", "nonsense", "1.2.3.4 - - [x] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\""] {
            assert!(AccessRecord::read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn durations_keep_their_microseconds() {
        assert_eq!(milliseconds(Duration::from_nanos(1_234_567)).to_string(), "1.235");
    }

    fn json_line(record: &AccessRecord<'_>) -> String {
        let mut line = Vec::new();
        record.write_json(&mut line);
        String::from_utf8(line).unwrap()
    }

    fn way() -> Way {
        let failed = Failed {
            target: "10.0.0.5:80".to_owned(),
            code: "upstream_refused".to_owned(),
            reason: "connection \"refused\"\n".to_owned(),
            ms: 1.5,
        };
        Way { stage: Some(Stage::Upstream), failed: vec![failed], ..Way::default() }
    }

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
            request_id: "0193a7".into(),
            client: "192.0.2.7".parse().unwrap(),
            method: "GET".into(),
            scheme: "https".into(),
            host: "a.example".into(),
            path: "/a".into(),
            query: Some("b=c".into()),
            protocol: "HTTP/2.0".into(),
            status: 200,
            bytes_in: 0,
            bytes_out: 99,
            duration_ms: 1.235,
            user: None,
            referer: None,
            user_agent: Some("agent \"x\"".into()),
            route: Some("/".into()),
            upstream: None,
            tries: None,
            side: None,
            cache: Some("miss".into()),
            upstream_ms: None,
            tls: Some("1.3".into()),
            trace_id: None,
            way: Some(way()),
        }
    }

    proptest! {
        /// Lines are read from files that others may have written to.
        #[test]
        fn any_line_is_a_record_or_none(line in "\\PC{0,80}|[ -~]{0,80}") {
            drop(AccessRecord::read(&line));
            drop(ErrorRecord::read(&line));
        }

        #[test]
        fn whatever_a_client_sends_is_read_back_from_either_format(
            path in "/([^?]|\\PC){0,20}".prop_filter("the query is apart", |path| !path.contains('?')),
            sent in proptest::array::uniform3("[\\x00-\\x7f]{1,12}|\\PC{1,12}"),
        ) {
            let [query, user, agent] = &sent;
            let mut record = record();
            record.path = path.as_str().into();
            record.query = Some(query.into());
            record.user = Some(user.into());
            record.user_agent = Some(agent.into());
            let json = json_line(&record);
            let mut combined = Vec::new();
            record.write_combined(&mut combined);
            let combined = String::from_utf8(combined).unwrap();
            prop_assert_eq!((json.lines().count(), combined.lines().count()), (1, 1));
            prop_assert_eq!(AccessRecord::read(json.trim_end()).unwrap(), record.clone());
            let read = AccessRecord::read(combined.trim_end_matches('\n')).unwrap();
            let known = |text: &String| Some(text.as_str()).filter(|text| *text != "-").map(str::to_owned);
            prop_assert_eq!(read.path, record.path);
            prop_assert_eq!(read.query, record.query);
            prop_assert_eq!(read.user.map(Cow::into_owned), known(user));
            prop_assert_eq!(read.user_agent.map(Cow::into_owned), known(agent));
        }
    }
}
