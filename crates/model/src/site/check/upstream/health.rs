//! How targets are asked whether they are well.

use super::{Checked, Faulty, is_host_header, unknown_word, values};
use crate::{
    FieldPath, FindingCode, Findings, Seconds,
    site::{
        BodyMatch, Health, HttpProbe, Probe, Target, WeightedTarget, defaults,
        spec::{HealthSettingsSpec, HealthSpec},
    },
};

const INTERVAL: [Seconds; 2] = [Seconds(1), Seconds(3_600)];
const TIMES: [u32; 2] = [1, 100];
/// The compiled form of a larger expression is no check but a program.
const REGEX_SIZE: usize = 1 << 20;

/// Reads how targets are asked.
pub(super) fn read(
    spec: Option<&HealthSpec>,
    targets: &[WeightedTarget],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Health>> {
    match spec {
        None | Some(HealthSpec::Enabled(false)) => Ok(None),
        Some(HealthSpec::Enabled(true)) => {
            findings
                .error(FindingCode::WrongType, path, "`health` must say what is asked")
                .remedy("write a path, for example `health: /health`, or `health: {tcp: true}`");
            Err(Faulty)
        }
        Some(HealthSpec::Path(text)) => {
            probe_path(text, path, findings).map(Health::http).map(Some)
        }
        Some(HealthSpec::Settings(spec)) => settings(spec, targets, path, findings).map(Some),
    }
}

fn settings(
    spec: &HealthSettingsSpec,
    targets: &[WeightedTarget],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Health> {
    let probe = probe(spec, path, findings);
    let mut time = |spec, usual, name: &str| {
        values::duration_or(spec, usual, INTERVAL, &path.key(name), findings)
    };
    let interval = time(spec.interval.as_ref(), defaults::HEALTH_INTERVAL, "interval");
    let timeout = time(spec.timeout.as_ref(), defaults::HEALTH_TIMEOUT, "timeout");
    let mut times =
        |count, usual, name: &str| values::count_or(count, usual, TIMES, &path.key(name), findings);
    let rise = times(spec.rise, defaults::HEALTH_RISE, "rise");
    let fall = times(spec.fall, defaults::HEALTH_FALL, "fall");
    let port = port(spec.port, targets, &path.key("port"), findings);
    let (interval, timeout) = (interval?, timeout?);
    // The usual timeout gives way to a short interval; a written one must fit.
    let timeout = if spec.timeout.is_none() { timeout.min(interval) } else { timeout };
    if timeout > interval {
        findings
            .error(
                FindingCode::Conflict,
                &path.key("timeout"),
                format!("an answer may take {timeout}, but is asked for every {interval}"),
            )
            .remedy("write a `timeout` of at most the `interval`");
        return Err(Faulty);
    }
    Ok(Health { probe: probe?, interval, timeout, rise: rise?, fall: fall?, port: port? })
}

fn probe(spec: &HealthSettingsSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Probe> {
    let ways = [
        ("path", spec.path.is_some()),
        ("tcp", spec.tcp == Some(true)),
        ("tls", spec.tls == Some(true)),
    ];
    let mut chosen = ways.into_iter().filter(|(_, is_chosen)| *is_chosen).map(|(name, _)| name);
    match (chosen.next(), chosen.next()) {
        (None, _) => {
            findings
                .error(FindingCode::MissingField, path, "nothing says what is asked")
                .remedy("add `path: /health`, `tcp: true` or `tls: true`");
            Err(Faulty)
        }
        (Some(first), Some(second)) => {
            findings
                .error(
                    FindingCode::Conflict,
                    &path.key(second),
                    format!("`{first}` and `{second}` exclude each other"),
                )
                .remedy("keep one of them");
            Err(Faulty)
        }
        (Some("path"), None) => http(spec, path, findings).map(Probe::Http),
        (Some(way), None) => {
            refuse_http_settings(spec, way, path, findings)?;
            Ok(if way == "tcp" { Probe::Tcp } else { Probe::Tls })
        }
    }
}

fn refuse_http_settings(
    spec: &HealthSettingsSpec,
    way: &str,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<()> {
    let written = [
        ("status", spec.status.is_some()),
        ("body", spec.body.is_some()),
        ("host", spec.host.is_some()),
        ("scheme", spec.scheme.is_some()),
    ];
    let Some((name, _)) = written.into_iter().find(|(_, is_written)| *is_written) else {
        return Ok(());
    };
    findings
        .error(
            FindingCode::Conflict,
            &path.key(name),
            format!("`{name}` belongs to a request, and `{way}` sends none"),
        )
        .remedy(format!("remove `{name}`, or ask with `path`"));
    Err(Faulty)
}

fn http(
    spec: &HealthSettingsSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<HttpProbe> {
    let asked = probe_path(spec.path.as_deref().unwrap_or("/"), &path.key("path"), findings);
    let statuses = match &spec.status {
        None => Ok(vec![defaults::HEALTHY]),
        Some(status) => values::statuses(status, &path.key("status"), findings),
    };
    let body = spec.body.as_deref().map(|text| body(text, &path.key("body"), findings)).transpose();
    let host = spec.host.as_deref().map(|text| host(text, &path.key("host"), findings)).transpose();
    let over_tls = over_tls(spec.scheme.as_deref(), &path.key("scheme"), findings);
    Ok(HttpProbe {
        path: asked?,
        statuses: statuses?,
        body: body?,
        host: host?,
        over_tls: over_tls?,
    })
}

pub(in crate::site::check) fn probe_path(
    text: &str,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<String> {
    let is_path = text.starts_with('/')
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&b));
    if is_path {
        return Ok(text.to_owned());
    }
    findings
        .error(
            FindingCode::InvalidPath,
            path,
            format!("`{}` is not a path that can be asked for", text.escape_debug()),
        )
        .remedy("write a path from `/`, percent-encoded where needed, for example `/health`");
    Err(Faulty)
}

pub(in crate::site::check) fn body(
    text: &str,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<BodyMatch> {
    let problem = match text.strip_prefix('~') {
        None if text.is_empty() => "every body has the empty text".to_owned(),
        None => return Ok(BodyMatch::Contains(text.to_owned())),
        Some(pattern) => match regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE).build() {
            Ok(_) => return Ok(BodyMatch::Regex(pattern.to_owned())),
            Err(_) => "the expression behind `~` is not valid".to_owned(),
        },
    };
    findings
        .error(FindingCode::InvalidValue, path, problem)
        .remedy("write a text that the body has, or an expression like `~\"status\": *\"ok\"`");
    Err(Faulty)
}

fn host(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    if is_host_header(text) {
        return Ok(text.to_owned());
    }
    findings
        .error(
            FindingCode::InvalidHost,
            path,
            format!("`{}` cannot be a Host header", text.escape_debug()),
        )
        .remedy("write a name like `app.example.org`");
    Err(Faulty)
}

fn port(
    port: Option<u16>,
    targets: &[WeightedTarget],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<u16>> {
    let on_socket = targets.iter().any(|target| matches!(target.to, Target::Unix(_)));
    let (code, text, remedy) = match port {
        Some(0) => {
            (FindingCode::InvalidValue, "0 is not a port", "a port is a number from 1 to 65535")
        }
        Some(_) if on_socket => (
            FindingCode::Conflict,
            "a unix socket has no port",
            "remove `port`; the socket itself is asked",
        ),
        port => return Ok(port),
    };
    findings.error(code, path, text).remedy(remedy);
    Err(Faulty)
}

fn over_tls(
    word: Option<&str>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<bool>> {
    match word {
        None => Ok(None),
        Some("http") => Ok(Some(false)),
        Some("https") => Ok(Some(true)),
        Some(other) => {
            let text = format!("`{}` is no scheme of a check", other.escape_debug());
            unknown_word(other, &["http", "https"], text, path, findings);
            Err(Faulty)
        }
    }
}
