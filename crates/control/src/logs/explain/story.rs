//! The lines of a request as a story: numbered steps in plain words, each with its time where that is known.

mod words;

use portway_telemetry::access::{AccessRecord, ErrorKind, ErrorRecord, Failed, Stage, Way};
use portway_wire::explain::{ExplainedStep, Explanation};
use serde::Serialize;
use serde_json::Value;

use self::words::{at, by, not_kept, reason_of};
use super::super::find::{Found, time_of};

/// What the log has of a client that left before its answer.
const CLIENT_GONE: u16 = 499;
/// After it a connection leaves HTTP.
const SWITCHED: u16 = 101;
/// What stands in the place of a method where there is no request.
const NO_REQUEST: &str = "-";
/// What shorter times are not told of.
const LEAST_MS: f64 = 0.1;

/// Tells what is known of a request.
pub(super) fn tell(id: &str, found: Found) -> Explanation {
    let Found { site, access, errors } = found;
    let mut story = Story::default();
    match &access {
        Some(record) => story.of_record(site.as_deref(), record, &errors),
        None => story.of_errors(site.as_deref(), &errors),
    }
    let way = access.as_ref().and_then(|record| record.way.clone()).unwrap_or_default();
    let stage = way.stage.or(access.as_ref().and(Some(Stage::Upstream)));
    Explanation {
        request_id: Some(id.to_owned()),
        time: access.as_ref().map(|record| record.time).or_else(|| time_of(id)),
        node: None,
        site,
        route: access.as_ref().and_then(|record| record.route.as_deref().map(str::to_owned)),
        stage: stage.map(|stage| stage.name().to_owned()),
        code: way.code,
        status: access.as_ref().map(|record| record.status),
        steps: story.0,
        access: access.as_ref().map(json),
        errors: errors.iter().map(json).collect(),
    }
}

#[derive(Default)]
struct Story(Vec<ExplainedStep>);

impl Story {
    fn say(&mut self, stage: &str, text: impl Into<String>) {
        self.0.push(ExplainedStep { stage: stage.to_owned(), text: text.into(), ms: None });
    }

    fn say_timed(&mut self, stage: &str, text: impl Into<String>, ms: f64) {
        self.0.push(ExplainedStep { stage: stage.to_owned(), text: text.into(), ms: Some(ms) });
    }

    fn of_record(&mut self, site: Option<&str>, record: &AccessRecord<'_>, errors: &[ErrorRecord]) {
        let none = Way::default();
        let way = record.way.as_ref().unwrap_or(&none);
        self.arrival(record, way);
        self.place(site, record, way);
        self.access(record, way);
        let reason = self.refusal(way, errors);
        self.cache(record, way);
        self.files(way);
        self.upstream(record, way);
        let is_told = |error: &ErrorRecord| {
            Some(&error.message) == reason.as_ref()
                || way.failed.iter().any(|failed| failed.reason == error.message)
        };
        for error in errors.iter().filter(|error| !is_told(error)) {
            self.error(error);
        }
        self.passing(record, way);
        self.end(record);
    }

    /// All that is known where the request itself is not logged.
    fn of_errors(&mut self, site: Option<&str>, errors: &[ErrorRecord]) {
        if let Some(first) = errors.first() {
            let client = first.client.map_or_else(|| "somebody".to_owned(), |ip| ip.to_string());
            let host = first.host.as_deref().filter(|host| !host.is_empty()).unwrap_or("no host");
            self.say("read", format!("came from {client} for {host}"));
        }
        if let Some(site) = site {
            self.say("host", format!("site {site}"));
        }
        for error in errors {
            self.error(error);
        }
        self.say(
            "end",
            "its own line is not in the log: it has not ended, or the site logs no requests \
             (`log: {access: false}`) or logs them in the combined format, which has no ids",
        );
    }

    fn arrival(&mut self, record: &AccessRecord<'_>, way: &Way) {
        let client = record.client;
        let tls = record.tls.as_deref().map(|version| format!("{} and ", spaced(version)));
        let tls = tls.unwrap_or_default();
        if record.method == NO_REQUEST {
            return self.say("read", format!("something that is no request came from {client}"));
        }
        let query = record.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        let text = format!(
            "{} {}://{}{}{query} came from {client} over {tls}{}",
            record.method,
            record.scheme,
            record.host,
            record.path,
            record.protocol.trim_end_matches(".0"),
        );
        self.say("read", text);
        if let Some(ms) = way.head_ms {
            let text =
                format!("its head took {} to arrive, which the time in all leaves out", time(ms));
            self.say_timed("read", text, ms);
        }
        if let Some(ms) = way.load_ms {
            let text = format!("the sites of its host were loaded first, which took {}", time(ms));
            self.say_timed("host", text, ms);
        }
    }

    fn place(&mut self, site: Option<&str>, record: &AccessRecord<'_>, way: &Way) {
        let Some(site) = site else { return };
        match (&record.route, way.stage) {
            (Some(route), _) => self.say("route", format!("site {site}, route {route}")),
            (None, Some(Stage::Route)) => self.say("host", format!("site {site}")),
            (None, _) => self.say("host", format!("site {site}; no route was needed")),
        }
    }

    fn access(&mut self, record: &AccessRecord<'_>, way: &Way) {
        if let Some(network) = &way.network {
            self.say("access", format!("address allowed ({network})"));
        }
        if let Some(ms) = way.password_ms {
            let text = format!("checking the password took {}", time(ms));
            self.say_timed("access", text, ms);
        }
        if let Some(user) = &record.user {
            self.say("access", format!("logged in as {user}"));
        }
    }

    /// Says which stage refused the request, and returns the reason that the error log gives.
    fn refusal(&mut self, way: &Way, errors: &[ErrorRecord]) -> Option<String> {
        let stage = way.stage?;
        let Some(code) = &way.code else {
            self.say(stage.name(), by(stage));
            return None;
        };
        let is_it = |error: &&ErrorRecord| error.code == *code && error.kind == ErrorKind::Refused;
        let reason = errors.iter().find(is_it).map(|error| error.message.clone());
        if stage < Stage::Upstream {
            let why = reason.as_deref().unwrap_or("nothing more is known");
            self.say(stage.name(), format!("refused at {}: {why} ({code})", at(stage)));
        } else if stage > Stage::Upstream {
            let why = reason.as_deref().unwrap_or(reason_of(code));
            self.say(stage.name(), format!("{}: {why} ({code})", by(stage)));
        }
        reason
    }

    /// Says what a cache did, where that is more than to answer.
    fn cache(&mut self, record: &AccessRecord<'_>, way: &Way) {
        if let Some(ms) = way.cache_ms {
            let text = format!("waited {} for the answer to another request for it", time(ms));
            self.say_timed("cache", text, ms);
        }
        let Some(did) = record.cache.as_deref() else { return };
        let why = way.uncached.as_deref().map(not_kept);
        let text = match (did, why) {
            ("stale", _) => "what is kept was given although it is stale; a new answer is fetched",
            ("stale_if_error", _) => {
                "what is kept was given although it is stale, as the upstream failed"
            }
            ("revalidated", _) => "the upstream said that what is kept is still the one",
            ("bypass", Some(why)) => return self.say("cache", format!("passed by: {why}")),
            ("miss", Some(why)) => return self.say("cache", format!("not kept: {why}")),
            ("miss", None) => "nothing was kept that could be given; the answer is kept now",
            // A hit is told by the stage that answered.
            _ => return,
        };
        self.say("cache", text);
    }

    fn files(&mut self, way: &Way) {
        if let Some(ms) = way.files_ms {
            self.say_timed("files", format!("waited {} for the disk", time(ms)), ms);
        }
    }

    fn upstream(&mut self, record: &AccessRecord<'_>, way: &Way) {
        if let Some(ms) = way.body_ms {
            let text = format!("its body was read for {} before a target was taken", time(ms));
            self.say_timed("body", text, ms);
        }
        if let Some(side) = &record.side {
            self.say("upstream", format!("side {side} of the split"));
        }
        if let Some(ms) = way.queued_ms {
            self.say_timed("upstream", format!("waited {} in line for a target", time(ms)), ms);
        }
        for Failed { target, code, reason, ms } in &way.failed {
            let text = format!("{target} did not answer, after {}: {reason} ({code})", time(*ms));
            self.say_timed("upstream", text, *ms);
        }
        let Some((target, ms)) = record.upstream.as_deref().zip(record.upstream_ms) else { return };
        let connecting = match way.connect_ms {
            Some(ms) => format!(" over a new connection, which took {}", time(ms)),
            None => " over a kept connection".to_owned(),
        };
        let text = format!("{target} began its answer after {}{connecting}", time(ms));
        self.say_timed("upstream", text, ms);
    }

    /// Says how long an answer of a target was on its way: what is left when all steps before it are
    /// taken from the whole.
    fn passing(&mut self, record: &AccessRecord<'_>, way: &Way) {
        let Some(begun) = record.upstream_ms else { return };
        let before = [way.load_ms, way.password_ms, way.cache_ms, way.body_ms];
        let ms = record.duration_ms - begun - before.into_iter().flatten().sum::<f64>();
        if ms < LEAST_MS {
            return;
        }
        let text = match record.status {
            SWITCHED => format!("the connection stayed open for {}", time(ms)),
            _ => format!("the answer was on its way for {}", time(ms)),
        };
        self.say_timed("answer", text, ms);
    }

    fn error(&mut self, error: &ErrorRecord) {
        let stage = match error.kind {
            ErrorKind::Handshake => "handshake",
            ErrorKind::Refused => "refused",
            ErrorKind::ClientGone => "client",
            ErrorKind::Upstream => "upstream",
            ErrorKind::Edge => "edge",
        };
        self.say(stage, format!("{} ({})", error.message, error.code));
    }

    fn end(&mut self, record: &AccessRecord<'_>) {
        let ms = record.duration_ms;
        if record.status == CLIENT_GONE {
            let text = format!("499: the client did not wait for its answer; {} in all", time(ms));
            return self.say_timed("end", text, ms);
        }
        let taken = match record.bytes_in {
            0 => String::new(),
            bytes => format!(", {} bytes taken", grouped(bytes)),
        };
        let text = format!(
            "{}{taken}, {} bytes sent, {} in all",
            record.status,
            grouped(record.bytes_out),
            time(ms)
        );
        self.say_timed("end", text, ms);
    }
}

fn json<T: Serialize>(record: &T) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

/// `TLSv1.3` and `1.3` as people say it.
fn spaced(version: &str) -> String {
    format!("TLS {}", version.trim_start_matches("TLSv").trim_start_matches("TLS "))
}

fn time(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0193a7b0c0007000800000000000beef";

    #[test]
    fn a_retry_names_the_target_that_failed_and_the_one_that_answered() {
        let way = r#","upstream":"10.0.0.6:80","tries":2,"upstream_ms":12.3,"tls":"1.3","way":{
            "network":"10.0.0.0/8","connect_ms":0.4,"failed":[{"target":"10.0.0.5:80",
            "code":"upstream_refused","reason":"connection refused","ms":1.0}]}"#;
        assert_eq!(
            lines(&record(200, way), &[]),
            [
                "GET https://app.example/api?a=b came from 10.1.2.3 over TLS 1.3 and HTTP/2",
                "site app, route /api",
                "address allowed (10.0.0.0/8)",
                "10.0.0.5:80 did not answer, after 1.0 ms: connection refused (upstream_refused)",
                "10.0.0.6:80 began its answer after 12 ms over a new connection, which took 0.4 ms",
                "the answer was on its way for 1.9 ms",
                "200, 5,320 bytes sent, 14 ms in all",
            ]
        );
    }

    #[test]
    fn each_step_that_took_time_is_told_with_it() {
        let way = r#","user":"ada","upstream":"10.0.0.6:80","upstream_ms":2.0,"cache":"bypass","way":{
            "head_ms":3200.0,"load_ms":1.5,"password_ms":4.0,"cache_ms":0.5,"body_ms":1.2,
            "uncached":"method"}"#;
        let record = record(200, way);
        let told = |stage: &str| {
            let steps = steps(&record, &[]).into_iter().filter(|step| step.stage == stage);
            steps.map(|step| (step.text, step.ms)).collect::<Vec<_>>()
        };
        let timed = |text: &str, ms: f64| (text.to_owned(), Some(ms));
        assert_eq!(
            told("read")[1],
            timed("its head took 3.2 s to arrive, which the time in all leaves out", 3200.0)
        );
        assert_eq!(
            told("host")[0],
            timed("the sites of its host were loaded first, which took 1.5 ms", 1.5)
        );
        assert_eq!(told("access")[0], timed("checking the password took 4.0 ms", 4.0));
        assert_eq!(
            told("cache")[0],
            timed("waited 0.5 ms for the answer to another request for it", 0.5)
        );
        assert_eq!(
            told("body")[0],
            timed("its body was read for 1.2 ms before a target was taken", 1.2)
        );
        let (text, ms) = told("answer").remove(0);
        assert_eq!(text, "the answer was on its way for 5.0 ms", "of 14.2 ms, 9.2 were before it");
        assert!((ms.unwrap() - 5.0).abs() < 1e-9, "{ms:?}");
        let files = lines(&self::record(200, r#","way":{"stage":"files","files_ms":12.0}"#), &[]);
        assert_eq!(files[2..4], ["answered from files", "waited 12 ms for the disk"]);
    }

    #[test]
    fn of_a_connection_that_left_http_the_time_is_told_that_it_stayed_open() {
        let lines = lines(&record(101, r#","upstream":"10.0.0.6:80","upstream_ms":2.2"#), &[]);
        assert_eq!(lines[3], "the connection stayed open for 12 ms");
    }

    #[test]
    fn a_refusal_names_its_stage_and_its_reason_once() {
        let way = r#","way":{"stage":"access","code":"address_denied"}"#;
        let error = ErrorRecord {
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            level: portway_telemetry::access::ErrorLevel::Info,
            kind: ErrorKind::Refused,
            request_id: Some(ID.to_owned()),
            client: None,
            host: None,
            code: "address_denied".to_owned(),
            message: "the address is not allowed".to_owned(),
        };
        let lines = lines(&record(403, way), std::slice::from_ref(&error));
        assert_eq!(lines[2], "refused at access: the address is not allowed (address_denied)");
        assert_eq!(lines.len(), 4, "{lines:?}");
        let only = tell(ID, Found { site: None, access: None, errors: vec![error] });
        assert!(only.steps.last().unwrap().text.contains("access: false"));
    }

    #[test]
    fn actions_without_targets_and_clients_that_leave_are_told() {
        let files = lines(&record(200, r#","way":{"stage":"files"}"#), &[]);
        assert_eq!(files[2], "answered from files");
        let none = lines(&record(404, r#","way":{"stage":"files","code":"no_file"}"#), &[]);
        assert_eq!(none[2], "answered from files: there is no such file (no_file)");
        let gone = lines(&record(499, r#","way":{"stage":"upstream","code":"client_gone"}"#), &[]);
        assert!(gone.last().unwrap().starts_with("499: the client did not wait"), "{gone:?}");
    }

    #[test]
    fn numbers_are_grouped_and_times_are_short() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!([0.25, 12.3, 1500.0].map(time), ["0.2 ms", "12 ms", "1.5 s"]);
    }

    fn lines(record: &str, errors: &[ErrorRecord]) -> Vec<String> {
        steps(record, errors).into_iter().map(|step| step.text).collect()
    }

    fn steps(record: &str, errors: &[ErrorRecord]) -> Vec<ExplainedStep> {
        let access = Some(AccessRecord::read(record).unwrap());
        let found = Found { site: Some("app".to_owned()), access, errors: errors.to_vec() };
        tell(ID, found).steps
    }

    fn record(status: u16, rest: &str) -> String {
        format!(
            r#"{{"time":"2026-01-02T03:04:05.000Z","request_id":"{ID}","client":"10.1.2.3",
            "method":"GET","scheme":"https","host":"app.example","path":"/api","query":"a=b",
            "protocol":"HTTP/2.0","status":{status},"bytes_in":0,"bytes_out":5320,
            "duration_ms":14.2,"route":"/api"{rest}}}"#
        )
    }
}
