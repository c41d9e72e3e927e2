//! Lines that other engines wrote, as records of Portway: the filters and readers of logs know one form.
//! What is in no such form stays as it is.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use portway_telemetry::access::{AccessRecord, ErrorKind, ErrorLevel, ErrorRecord};
use serde::Deserialize;

/// A request as Caddy logs it.
#[derive(Deserialize)]
struct CaddyLine {
    ts: f64,
    request: CaddyRequest,
    #[serde(default)]
    bytes_read: u64,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    size: u64,
    status: u16,
}

#[derive(Deserialize)]
struct CaddyRequest {
    #[serde(default)]
    client_ip: String,
    #[serde(default)]
    remote_ip: String,
    proto: String,
    method: String,
    host: String,
    uri: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, Vec<String>>,
    #[serde(default)]
    tls: Option<CaddyTls>,
}

#[derive(Deserialize)]
struct CaddyTls {
    #[serde(default)]
    version: u16,
}

/// Returns a request that Caddy logged as a record; nothing for another line.
pub(super) fn caddy_access(line: &str) -> Option<String> {
    let CaddyLine { ts, request, bytes_read, user_id, duration, size, status } =
        serde_json::from_str(line).ok()?;
    let header = |name: &str| request.headers.get(name)?.first().cloned();
    let client =
        [&request.client_ip, &request.remote_ip].into_iter().find_map(|ip| ip.parse().ok());
    let (path, query) = match request.uri.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (request.uri.as_str(), None),
    };
    let tls = request.tls.as_ref().and_then(|tls| match tls.version {
        0x0303 => Some("TLSv1.2"),
        0x0304 => Some("TLSv1.3"),
        _ => None,
    });
    let duration = duration.max(0.0);
    let ended = jiff::SignedDuration::try_from_secs_f64(ts).ok()?;
    let ended = Timestamp::UNIX_EPOCH.checked_add(ended).ok()?;
    let record = AccessRecord {
        // Caddy tells when a request ended; records tell when it began.
        time: ended.checked_sub(jiff::SignedDuration::try_from_secs_f64(duration).ok()?).ok()?,
        request_id: header("X-Request-Id").unwrap_or_default().into(),
        client: client?,
        method: request.method.clone().into(),
        scheme: if request.tls.is_some() { "https" } else { "http" }.into(),
        host: request.host.clone().into(),
        path: path.to_owned().into(),
        query: query.map(Into::into),
        protocol: request.proto.clone().into(),
        status,
        bytes_in: bytes_read,
        bytes_out: size,
        duration_ms: (duration * 1e6).round() / 1e3,
        user: (!user_id.is_empty()).then(|| user_id.into()),
        referer: header("Referer").map(Into::into),
        user_agent: header("User-Agent").map(Into::into),
        route: None,
        upstream: None,
        tries: None,
        side: None,
        cache: None,
        upstream_ms: None,
        tls: tls.map(Into::into),
        trace_id: None,
        way: None,
    };
    line_of(|line| record.write_json(line))
}

/// A request as Traefik logs it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TraefikLine {
    #[serde(rename = "StartUTC")]
    start: Timestamp,
    client_host: String,
    #[serde(default)]
    client_username: String,
    request_method: String,
    request_scheme: String,
    request_host: String,
    request_path: String,
    request_protocol: String,
    downstream_status: u16,
    #[serde(default)]
    downstream_content_size: u64,
    #[serde(default)]
    request_content_size: u64,
    /// In nanoseconds.
    #[serde(default)]
    duration: u64,
    #[serde(default)]
    service_addr: Option<String>,
    #[serde(rename = "TLSVersion", default)]
    tls_version: Option<String>,
    #[serde(rename = "request_X-Request-Id", default)]
    request_id: Option<String>,
    #[serde(rename = "request_User-Agent", default)]
    user_agent: Option<String>,
    #[serde(rename = "request_Referer", default)]
    referer: Option<String>,
    router_name: String,
}

/// Returns a request of a site that Traefik logged as a record; nothing for another line, and for one of
/// another site. `folder` is that of the site's logs, after which its routers are named.
pub(super) fn traefik_access(line: &str, folder: &str) -> Option<String> {
    let line: TraefikLine = serde_json::from_str(line).ok()?;
    if !is_router_of(&line.router_name, folder) {
        return None;
    }
    let (path, query) = match line.request_path.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (line.request_path, None),
    };
    let user = line.client_username;
    let tls = line.tls_version.map(|version| format!("TLSv{version}"));
    let record = AccessRecord {
        time: line.start,
        request_id: line.request_id.unwrap_or_default().into(),
        client: line.client_host.parse().ok()?,
        method: line.request_method.into(),
        scheme: line.request_scheme.into(),
        host: line.request_host.into(),
        path: path.into(),
        query: query.map(Into::into),
        protocol: line.request_protocol.into(),
        status: line.downstream_status,
        bytes_in: line.request_content_size,
        bytes_out: line.downstream_content_size,
        duration_ms: std::time::Duration::from_nanos(line.duration).as_secs_f64() * 1e3,
        user: (!user.is_empty() && user != "-").then(|| user.into()),
        referer: line.referer.map(Into::into),
        user_agent: line.user_agent.map(Into::into),
        route: None,
        upstream: line.service_addr.map(Into::into),
        tries: None,
        side: None,
        cache: None,
        upstream_ms: None,
        tls: tls.map(Into::into),
        trace_id: None,
        way: None,
    };
    line_of(|line| record.write_json(line))
}

/// Tells whether a router is one of a site. A site whose name begins with the folder of this one has an
/// end of its own id in the names of its routers, which no part of a site's routers looks like.
fn is_router_of(router: &str, folder: &str) -> bool {
    let name = router.strip_suffix("@file").unwrap_or(router);
    let part = name.strip_prefix("portway-").and_then(|name| name.strip_prefix(folder));
    let is_id = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    part.and_then(|part| part.strip_prefix('-')).is_some_and(|part| !part.split('-').any(is_id))
}

/// Returns a line of nginx's error log as a record: `2026/01/31 12:00:00 [error] 7#7: *3 text, client:
/// 192.0.2.7, server: _, request: "…", host: "a.example"`. `zone` is how far the node's clock is shown
/// from UTC: `+0100`.
pub(super) fn nginx_error(line: &str, zone: &str) -> Option<String> {
    let (time, rest) = line.split_once(" [")?;
    let (level, rest) = rest.split_once("] ")?;
    let local = DateTime::strptime("%Y/%m/%d %H:%M:%S", time).ok()?;
    let time = local.to_zoned(TimeZone::fixed(offset(zone)?)).ok()?.timestamp();
    let said = rest.split_once(": ").map_or(rest, |(_, said)| said);
    let said = match said.strip_prefix('*').and_then(|said| said.split_once(' ')) {
        Some((number, said)) if number.bytes().all(|byte| byte.is_ascii_digit()) => said,
        Some(_) | None => said,
    };
    let field = |name: &str| {
        let value = said.split(&format!(", {name}: ")).nth(1)?.split(", ").next()?;
        Some(value.trim_matches('"').to_owned())
    };
    let record = ErrorRecord {
        time,
        level: match level {
            "warn" => ErrorLevel::Warn,
            "error" | "crit" | "alert" | "emerg" => ErrorLevel::Error,
            _ => ErrorLevel::Info,
        },
        kind: match said {
            said if said.contains("upstream") => ErrorKind::Upstream,
            said if said.contains("SSL_do_handshake") => ErrorKind::Handshake,
            said if said.contains("forbidden") || said.contains("denied") => ErrorKind::Refused,
            _ => ErrorKind::Edge,
        },
        request_id: None,
        client: field("client").and_then(|client| client.parse().ok()),
        host: field("host"),
        code: "nginx".to_owned(),
        message: said.to_owned(),
    };
    line_of(|line| record.write_json(line))
}

/// Returns a line as the edge would write it: whatever stands in it, it is one, and moves no terminal.
fn line_of(write: impl FnOnce(&mut Vec<u8>)) -> Option<String> {
    let mut line = Vec::new();
    write(&mut line);
    let text = String::from_utf8(line).ok()?;
    text.strip_suffix('\n').map(str::to_owned)
}

/// Reads `+0100`.
fn offset(zone: &str) -> Option<jiff::tz::Offset> {
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let hours: i32 = zone.get(1..3)?.parse().ok()?;
    let minutes: i32 = zone.get(3..5)?.parse().ok()?;
    jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;

    const CADDY: &str = r#"{"level":"info","ts":1781524800.5,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"192.0.2.7","remote_port":"5000","client_ip":"192.0.2.8","proto":"HTTP/2.0","method":"GET","host":"a.example","uri":"/x?y=1","headers":{"User-Agent":["curl/8"]},"tls":{"resumed":false,"version":772,"cipher_suite":4865,"proto":"h2","server_name":"a.example"}},"bytes_read":3,"user_id":"ann","duration":0.25,"size":12,"status":404,"resp_headers":{}}"#;
    const TRAEFIK: &str = r#"{"ClientAddr":"192.0.2.7:5000","ClientHost":"192.0.2.7","ClientUsername":"-","DownstreamContentSize":12,"DownstreamStatus":404,"Duration":2500000,"RequestContentSize":3,"RequestHost":"a.example","RequestMethod":"GET","RequestPath":"/x?y=1","RequestProtocol":"HTTP/2.0","RequestScheme":"https","RouterName":"portway-app-0011aaff-r0-p-websecure@file","ServiceAddr":"127.0.0.1:5001","StartUTC":"2026-06-15T12:00:00.25Z","TLSVersion":"1.3","request_X-Request-Id":"abcdefgh","level":"info","msg":"","time":"2026-06-15T12:00:00Z"}"#;
    const NGINX: &str = "2026/01/31 12:00:00 [error] 7#7: *3 connect() failed (111: Connection refused) while connecting to upstream, client: 192.0.2.7, server: , request: \"GET / HTTP/1.1\", upstream: \"http://127.0.0.1:5000/\", host: \"a.example\"";

    #[test]
    fn a_request_of_caddy_is_a_record() {
        let line = CADDY;

        let told = caddy_access(line).unwrap();

        let record = AccessRecord::read(&told).unwrap();
        assert_eq!(record.time.to_string(), "2026-06-15T12:00:00.25Z");
        assert_eq!((record.status, record.bytes_in, record.bytes_out), (404, 3, 12));
        assert_eq!((&*record.path, record.query.as_deref()), ("/x", Some("y=1")));
        assert_eq!((&*record.scheme, record.tls.as_deref()), ("https", Some("TLSv1.3")));
        assert_eq!(
            (record.user.as_deref(), record.user_agent.as_deref()),
            (Some("ann"), Some("curl/8"))
        );
        assert_eq!(record.client.to_string(), "192.0.2.8");
        assert!((record.duration_ms - 250.0).abs() < 1e-9);
        assert_eq!(caddy_access("{\"level\":\"info\",\"msg\":\"started\"}"), None);
    }

    #[test]
    fn a_request_of_traefik_is_a_record_of_its_site_alone() {
        let line = TRAEFIK;

        let told = traefik_access(line, "app-0011aaff").unwrap();

        let record = AccessRecord::read(&told).unwrap();
        assert_eq!(record.time.to_string(), "2026-06-15T12:00:00.25Z");
        assert_eq!((record.status, record.bytes_in, record.bytes_out), (404, 3, 12));
        assert_eq!((&*record.path, record.query.as_deref()), ("/x", Some("y=1")));
        assert_eq!((&*record.scheme, record.tls.as_deref()), ("https", Some("TLSv1.3")));
        assert_eq!((&*record.request_id, record.user.as_deref()), ("abcdefgh", None));
        assert!((record.duration_ms - 2.5).abs() < 1e-9);
        for other in ["app-0011aafe", "app", "pp-0011aaff"] {
            assert_eq!(traefik_access(line, other), None, "{other}");
        }
        let longer = line.replace("app-0011aaff-", "app-0011aaff-more-22334455-");
        assert_eq!(traefik_access(&longer, "app-0011aaff"), None, "it is a site of another name");
        assert!(traefik_access(&longer, "app-0011aaff-more-22334455").is_some());
    }

    #[test]
    fn an_error_of_nginx_is_a_record_in_utc() {
        let line = NGINX;

        let told = nginx_error(line, "+0130").unwrap();

        let record = ErrorRecord::read(&told).unwrap();
        assert_eq!(record.time.to_string(), "2026-01-31T10:30:00Z");
        assert_eq!((record.level, record.kind), (ErrorLevel::Error, ErrorKind::Upstream));
        assert_eq!(record.client.unwrap().to_string(), "192.0.2.7");
        assert_eq!(record.host.as_deref(), Some("a.example"));
        assert!(record.message.starts_with("connect() failed"), "{}", record.message);
        assert_eq!(nginx_error("nonsense", "+0000"), None);
        assert_eq!(nginx_error(line, ""), None, "a zone that is not known is not guessed");
    }

    proptest! {
        /// What an engine writes holds what strangers sent it.
        #[test]
        fn whatever_stands_in_a_line_it_is_one_record_or_none(
            at in any::<Index>(), cut in 0_usize..4,
            with in r"[ -~]{0,6}|[\x00-\x7f]{0,3}|\PC{0,3}|-?[0-9]{1,25}|\\\\u000a", zone in "[+-]?[0-9]{0,5}",
        ) {
            for line in [CADDY, TRAEFIK, NGINX] {
                let at = at.index(line.len());
                let mut line = line.to_owned();
                line.replace_range(at..(at + cut).min(line.len()), &with);
                for told in [caddy_access(&line), traefik_access(&line, "app-0011aaff")].into_iter().flatten() {
                    prop_assert!(!told.trim_end_matches('\n').contains(char::is_control), "{}", told);
                    prop_assert!(AccessRecord::read(told.trim_end()).is_ok(), "{}", told);
                }
                for told in [nginx_error(&line, "+0130"), nginx_error(NGINX, &zone)].into_iter().flatten() {
                    prop_assert!(!told.trim_end_matches('\n').contains(char::is_control), "{}", told);
                    prop_assert!(ErrorRecord::read(told.trim_end()).is_ok(), "{}", told);
                }
            }
        }
    }
}
