//! Upstreams: targets of one scheme and how they are spoken to.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    Checked, Faulty, each,
    settings::duration_within,
    target::{self, Endpoint, Scheme},
};
use crate::{
    FieldPath, FindingCode, Findings, HostPattern, HostPort, Hostname, RemedyAction, Seconds,
    site::{
        HostHeader, Target, Timeouts, Upstream, UpstreamProtocol, UpstreamTls, defaults,
        spec::{DurationSpec, TimeoutsSpec, ToSpec, UpstreamSpec, UpstreamTlsSpec},
    },
};

const TIMEOUT: [Seconds; 2] = [Seconds(1), Seconds(86_400)];

/// Reads where requests go.
pub(super) fn read(spec: &ToSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Upstream> {
    let plain = UpstreamSpec::default();
    let (targets, (settings, targets_path)) = match spec {
        ToSpec::One(text) => {
            let endpoint = endpoint(text, path, findings)?;
            return complete(vec![endpoint], &plain, path, path, findings);
        }
        ToSpec::Many(list) => (endpoints(list, path, findings), (&plain, path.clone())),
        ToSpec::Upstream(spec) => {
            let path = path.key("targets");
            (endpoints(&spec.targets, &path, findings), (&**spec, path))
        }
    };
    let Ok(targets) = targets else {
        // What does not depend on the targets is still worth checking.
        settings_alone(settings, path, findings);
        return Err(Faulty);
    };
    complete(targets, settings, path, &targets_path, findings)
}

fn endpoints(list: &[String], path: &FieldPath, findings: &mut Findings) -> Checked<Vec<Endpoint>> {
    if list.is_empty() {
        findings
            .error(FindingCode::MissingField, path, "the upstream has no target")
            .remedy("write for example `127.0.0.1:5000`");
        return Err(Faulty);
    }
    let endpoints = each(list, path, |text, path| endpoint(text, path, findings))?;
    let mut sound = true;
    let mut seen = BTreeSet::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        if !seen.insert(&endpoint.target) {
            findings
                .error(
                    FindingCode::DuplicateField,
                    &path.index(index),
                    format!("`{}` stands here twice", endpoint.target),
                )
                .remedy("remove one of them");
            sound = false;
        }
    }
    if sound { Ok(endpoints) } else { Err(Faulty) }
}

fn endpoint(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<Endpoint> {
    target::parse(text).map_err(|refusal| {
        let finding = findings.error(FindingCode::InvalidTarget, path, refusal.text);
        match refusal.instead {
            Some(instead) => {
                finding.remedy_action(refusal.remedy, RemedyAction::ReplaceValue(instead));
            }
            None => finding.remedy(refusal.remedy),
        }
        Faulty
    })
}

fn complete(
    endpoints: Vec<Endpoint>,
    spec: &UpstreamSpec,
    path: &FieldPath,
    targets_path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Upstream> {
    let scheme = one_scheme(&endpoints, targets_path, findings);
    let tls = match scheme {
        Ok(scheme) => tls(spec.tls.as_ref(), scheme, &path.key("tls"), findings),
        Err(Faulty) => Err(Faulty),
    };
    let targets: Vec<Target> = endpoints.into_iter().map(|endpoint| endpoint.target).collect();
    let host = host_header(spec.host.as_deref(), &targets, &path.key("host"), findings);
    let timeouts = timeouts(spec.timeouts.as_ref(), &path.key("timeouts"), findings);
    let max_in_flight = max_in_flight(spec.max_in_flight, &path.key("max_in_flight"), findings);
    let protocol = match scheme? {
        Scheme::Http | Scheme::Https => UpstreamProtocol::Http1,
        Scheme::H2c => UpstreamProtocol::H2c,
    };
    Ok(Upstream {
        targets,
        protocol,
        tls: tls?,
        host: host?,
        timeouts: timeouts?,
        max_in_flight: max_in_flight?,
    })
}

fn settings_alone(spec: &UpstreamSpec, path: &FieldPath, findings: &mut Findings) {
    let read = (
        tls(spec.tls.as_ref(), Scheme::Https, &path.key("tls"), findings),
        host_header(spec.host.as_deref(), &[], &path.key("host"), findings),
        timeouts(spec.timeouts.as_ref(), &path.key("timeouts"), findings),
        max_in_flight(spec.max_in_flight, &path.key("max_in_flight"), findings),
    );
    // Only their findings count here.
    drop(read);
}

fn one_scheme(
    endpoints: &[Endpoint],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Scheme> {
    let first = endpoints.first().map_or(Scheme::Http, |endpoint| endpoint.scheme);
    let other = endpoints.iter().enumerate().find(|(_, endpoint)| endpoint.scheme != first);
    let Some((index, other)) = other else {
        return Ok(first);
    };
    findings
        .error(
            FindingCode::Conflict,
            &path.index(index),
            format!(
                "this target speaks {}, the first one {}; the targets of an upstream speak the same",
                other.scheme.as_str(),
                first.as_str()
            ),
        )
        .remedy("give them the same scheme, or a route of their own");
    Err(Faulty)
}

fn tls(
    spec: Option<&UpstreamTlsSpec>,
    scheme: Scheme,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<UpstreamTls>> {
    let plain = UpstreamTlsSpec::default();
    let spec = match (spec, scheme) {
        (None, Scheme::Http | Scheme::H2c) => return Ok(None),
        (Some(_), Scheme::Http | Scheme::H2c) => {
            findings
                .error(
                    FindingCode::Conflict,
                    path,
                    "`tls` is set, but the targets speak plain HTTP",
                )
                .remedy("write the targets as `https://…`, or remove `tls`");
            return Err(Faulty);
        }
        (spec, Scheme::Https) => spec.unwrap_or(&plain),
    };
    let verify = spec.verify.unwrap_or(true);
    if !verify {
        advise_on_verify(spec, path, findings);
    }
    let ca_pem = spec.ca.as_deref().map(|ca| pem(ca, &path.key("ca"), findings)).transpose();
    let name_path = path.key("server_name");
    let server_name =
        spec.server_name.as_deref().map(|name| server_name(name, &name_path, findings)).transpose();
    Ok(Some(UpstreamTls { verify, ca_pem: ca_pem?, server_name: server_name? }))
}

fn advise_on_verify(spec: &UpstreamTlsSpec, path: &FieldPath, findings: &mut Findings) {
    let mut text = "whoever sits between can read and change what goes to this upstream".to_owned();
    if spec.ca.is_some() {
        text.push_str(", and `ca` has no effect");
    }
    findings.warning(FindingCode::Advice, &path.key("verify"), text).remedy(
        "remove `verify: false`, and name the upstream's authority with `ca` if it has one",
    );
}

fn pem(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let begin = text.find("-----BEGIN CERTIFICATE-----");
    let end = text.rfind("-----END CERTIFICATE-----");
    if begin.zip(end).is_some_and(|(begin, end)| begin < end) {
        return Ok(text.to_owned());
    }
    findings
        .error(FindingCode::InvalidValue, path, "this is not a certificate in PEM")
        .remedy("give the text from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`");
    Err(Faulty)
}

fn server_name(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    text.parse::<Hostname>().map(|name| name.to_string()).map_err(|error| {
        findings
            .error(FindingCode::InvalidHost, path, error.to_string())
            .remedy("write the name that stands in the upstream's certificate");
        Faulty
    })
}

fn host_header(
    text: Option<&str>,
    targets: &[Target],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<HostHeader> {
    match text {
        None | Some("preserve") => Ok(HostHeader::Preserve),
        Some("target") if targets.iter().any(|target| matches!(target, Target::Unix(_))) => {
            findings
                .error(FindingCode::Conflict, path, "a unix socket has no host of its own")
                .remedy("write the name that the upstream expects, or `preserve`");
            Err(Faulty)
        }
        Some("target") => Ok(HostHeader::Target),
        Some(name) if is_host_header(name) => Ok(HostHeader::Set(name.to_owned())),
        Some(other) => {
            findings
                .error(FindingCode::InvalidHost, path, format!("`{other}` cannot be a Host header"))
                .remedy("write `preserve`, `target`, or a name like `app.example.org`");
            Err(Faulty)
        }
    }
}

fn is_host_header(text: &str) -> bool {
    match text.parse::<HostPattern>() {
        Ok(HostPattern::Exact(_)) => text.is_ascii(),
        Ok(HostPattern::Ip(IpAddr::V6(_))) => text.starts_with('['),
        Ok(HostPattern::Ip(IpAddr::V4(_))) => true,
        Ok(HostPattern::Wildcard(_) | HostPattern::Any) => false,
        Err(_) => text.is_ascii() && text.parse::<HostPort>().is_ok(),
    }
}

fn timeouts(
    spec: Option<&TimeoutsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Timeouts> {
    let Some(spec) = spec else {
        return Ok(Timeouts::default());
    };
    let mut read = |name: &str, value: &Option<DurationSpec>| {
        value.as_ref().map_or(Ok(defaults::TIMEOUT), |value| {
            duration_within(value, TIMEOUT, &path.key(name), findings)
        })
    };
    let connect = read("connect", &spec.connect);
    let first_byte = read("first_byte", &spec.first_byte);
    let silence = read("silence", &spec.silence);
    let send = read("send", &spec.send);
    Ok(Timeouts { connect: connect?, first_byte: first_byte?, silence: silence?, send: send? })
}

fn max_in_flight(
    limit: Option<u32>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<u32>> {
    if limit != Some(0) {
        return Ok(limit);
    }
    findings
        .error(FindingCode::InvalidValue, path, "with 0 every request would be answered 503")
        .remedy("write a number from 1, or remove the field for no limit");
    Err(Faulty)
}
