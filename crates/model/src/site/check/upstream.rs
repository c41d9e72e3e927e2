//! Upstreams: targets of one scheme, how one is chosen and how they are spoken to.

mod balance;
mod capacity;
pub(super) mod health;
mod resilience;
mod tls;

use std::{collections::BTreeSet, net::IpAddr};

pub(super) use self::balance::{cookie_name, sticky};
use super::{
    Checked, Faulty, each,
    settings::{duration_within, unknown_word},
    target::{self, Endpoint, Scheme},
    values,
};
use crate::{
    FieldPath, FindingCode, Findings, HostPattern, HostPort, RemedyAction, Seconds,
    site::{
        HostHeader, ProxyProtocol, Target, Timeouts, Upstream, UpstreamProtocol, WeightedTarget,
        defaults,
        spec::{DurationSpec, TargetSettingsSpec, TargetSpec, TimeoutsSpec, ToSpec, UpstreamSpec},
    },
};

const TIMEOUT: [Seconds; 2] = [Seconds(1), Seconds(86_400)];
const WEIGHT: [u32; 2] = [1, 1000];
/// Targets are compared with each other when one is chosen.
const MOST_TARGETS: usize = 1000;

/// A target with its scheme.
struct Reached {
    scheme: Scheme,
    target: WeightedTarget,
}

/// Reads where requests go.
pub(super) fn read(spec: &ToSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Upstream> {
    let plain = UpstreamSpec::default();
    let (targets, spec, targets_path) = match spec {
        ToSpec::One(text) => {
            let only = endpoint(text, path, findings)?;
            (Ok(vec![only.into()]), &plain, path.clone())
        }
        ToSpec::Many(list) => (targets(list, path, findings), &plain, path.clone()),
        ToSpec::Upstream(spec) => {
            let path = path.key("targets");
            (targets(&spec.targets, &path, findings), &**spec, path)
        }
    };
    let Ok(targets) = targets else {
        // What does not depend on the targets is still worth checking.
        let probable = if spec.tls.is_some() { Scheme::Https } else { Scheme::Http };
        drop(settings(spec, &[], probable, path, findings));
        return Err(Faulty);
    };
    let scheme = one_scheme(&targets, &targets_path, findings);
    let targets: Vec<WeightedTarget> = targets.into_iter().map(|reached| reached.target).collect();
    match scheme {
        Ok(scheme) => settings(spec, &targets, scheme, path, findings),
        Err(Faulty) => {
            drop(settings(spec, &targets, Scheme::Https, path, findings));
            Err(Faulty)
        }
    }
}

fn targets(
    list: &[TargetSpec],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<Reached>> {
    if list.is_empty() {
        findings
            .error(FindingCode::MissingField, path, "the upstream has no target")
            .remedy("write for example `127.0.0.1:5000`");
        return Err(Faulty);
    }
    if list.len() > MOST_TARGETS {
        findings
            .error(
                FindingCode::InvalidValue,
                path,
                format!("the upstream has more than {MOST_TARGETS} targets"),
            )
            .remedy("put a balancer of its own before them");
        return Err(Faulty);
    }
    let targets = each(list, path, |spec, path| weighted(spec, path, findings))?;
    refuse_repetition(&targets, path, findings)?;
    if targets.iter().all(|reached| reached.target.backup) {
        findings
            .error(FindingCode::Conflict, path, "all targets are backups, and none is the first")
            .remedy("remove `backup: true` from those that are used first");
        return Err(Faulty);
    }
    Ok(targets)
}

fn refuse_repetition(
    targets: &[Reached],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<()> {
    let mut sound = true;
    let mut seen = BTreeSet::new();
    for (index, reached) in targets.iter().enumerate() {
        if !seen.insert(&reached.target.to) {
            let text = format!("`{}` stands here twice", reached.target);
            findings
                .error(FindingCode::DuplicateField, &path.index(index), text)
                .remedy("remove one of them");
            sound = false;
        }
    }
    if sound { Ok(()) } else { Err(Faulty) }
}

fn weighted(spec: &TargetSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Reached> {
    let spec = match spec {
        TargetSpec::To(text) => return endpoint(text, path, findings).map(Reached::from),
        TargetSpec::Settings(spec) => spec,
    };
    let TargetSettingsSpec { to, weight, backup } = spec;
    let endpoint = endpoint(to, &path.key("to"), findings);
    let weight = values::count_or(*weight, 1, WEIGHT, &path.key("weight"), findings);
    let mut reached = Reached::from(endpoint?);
    reached.target.weight = weight?;
    reached.target.backup = backup.unwrap_or(false);
    Ok(reached)
}

impl From<Endpoint> for Reached {
    fn from(endpoint: Endpoint) -> Self {
        Self { scheme: endpoint.scheme, target: endpoint.target.into() }
    }
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

fn one_scheme(targets: &[Reached], path: &FieldPath, findings: &mut Findings) -> Checked<Scheme> {
    let first = targets.first().map_or(Scheme::Http, |reached| reached.scheme);
    let other = targets.iter().enumerate().find(|(_, reached)| reached.scheme != first);
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

/// Reads everything but the targets. Every setting is read before the first fault ends it.
fn settings(
    spec: &UpstreamSpec,
    targets: &[WeightedTarget],
    scheme: Scheme,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Upstream> {
    let protocol = protocol(spec.protocol.as_deref(), scheme, &path.key("protocol"), findings);
    let tls_path = path.key("tls");
    let tls = tls::read(spec.tls.as_ref(), scheme, &tls_path, findings);
    let client = tls::client(spec.tls.as_ref(), &tls_path, findings);
    let host = host_header(spec.host.as_deref(), targets, &path.key("host"), findings);
    let timeouts = timeouts(spec.timeouts.as_ref(), &path.key("timeouts"), findings);
    let balance = balance::read(spec.balance.as_ref(), &path.key("balance"), findings);
    let sticky_path = path.key("sticky");
    let sticky = sticky(spec.sticky.as_ref(), defaults::STICKY_COOKIE, &sticky_path, findings);
    let health = health::read(spec.health.as_ref(), targets, &path.key("health"), findings);
    let eject = resilience::eject(spec.eject.as_ref(), targets.len(), &path.key("eject"), findings);
    let slow_start = resilience::slow_start(spec.slow_start.as_ref(), path, findings);
    let retries =
        resilience::retries(spec.retries.as_ref(), targets.len(), &path.key("retries"), findings);
    let capacity = capacity::read(spec, path, findings);
    let pool = capacity::pool(spec.pool.as_ref(), &path.key("pool"), findings);
    let proxy_protocol =
        proxy_protocol(spec.proxy_protocol.as_deref(), &path.key("proxy_protocol"), findings);
    let protocol = protocol?;
    let buffer = capacity::buffer(spec.buffer.as_ref(), protocol, &path.key("buffer"), findings);
    let capacity = capacity?;
    Ok(Upstream {
        targets: targets.to_vec(),
        protocol,
        tls: tls?,
        client: client?,
        host: host?,
        timeouts: timeouts?,
        balance: balance?,
        sticky: sticky?,
        health: health?,
        eject: eject?,
        slow_start: slow_start?,
        retries: retries?,
        max_in_flight: capacity.max_in_flight,
        max_in_flight_per_target: capacity.per_target,
        queue: capacity.queue,
        buffer: buffer?,
        pool: pool?,
        proxy_protocol: proxy_protocol?,
    })
}

fn protocol(
    word: Option<&str>,
    scheme: Scheme,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<UpstreamProtocol> {
    match (word, scheme) {
        (None | Some("http1"), Scheme::Http | Scheme::Https) => Ok(UpstreamProtocol::Http1),
        (None, Scheme::H2c | Scheme::H2) | (Some("http2"), _) => Ok(UpstreamProtocol::H2c),
        (Some("http1"), Scheme::H2c | Scheme::H2) => {
            let text =
                format!("the targets are written `{}://…`, which is HTTP/2", scheme.as_str());
            findings
                .error(FindingCode::Conflict, path, text)
                .remedy("remove `protocol`, or write the targets as `http://…` or `https://…`");
            Err(Faulty)
        }
        (Some(other), _) => {
            let text = format!("`{}` is not spoken with upstreams", other.escape_debug());
            unknown_word(other, &["http1", "http2"], text, path, findings);
            Err(Faulty)
        }
    }
}

fn proxy_protocol(
    word: Option<&str>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<ProxyProtocol>> {
    match word {
        None => Ok(None),
        Some("v1") => Ok(Some(ProxyProtocol::V1)),
        Some("v2") => Ok(Some(ProxyProtocol::V2)),
        Some(other) => {
            let text = format!("`{}` is no version of the PROXY protocol", other.escape_debug());
            unknown_word(other, &["v1", "v2"], text, path, findings);
            Err(Faulty)
        }
    }
}

fn host_header(
    text: Option<&str>,
    targets: &[WeightedTarget],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<HostHeader> {
    match text {
        None | Some("preserve") => Ok(HostHeader::Preserve),
        Some("target") if targets.iter().any(|target| matches!(target.to, Target::Unix(_))) => {
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
