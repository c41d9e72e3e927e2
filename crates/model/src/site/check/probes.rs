//! What a site's deployments are proven by.

use super::{Checked, Faulty, each, upstream::health, values};
use crate::{
    FieldPath, FindingCode, Findings, HostPattern, Seconds,
    site::{
        Https, SiteProbe, defaults,
        spec::{ProbeSettingsSpec, ProbeSpec},
    },
};

/// More would make each deployment long.
const MOST: usize = 10;
const TIMEOUT: [Seconds; 2] = [Seconds(1), Seconds(30)];
const TRIES: [u32; 2] = [1, 20];

/// What a site is, as far as it can be asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) hosts: &'a [HostPattern],
    pub(super) https: Option<&'a Https>,
}

/// Reads what deployments are proven by.
pub(super) fn read(
    specs: &[ProbeSpec],
    site: Asked<'_>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<SiteProbe>> {
    if specs.len() > MOST {
        findings
            .error(FindingCode::InvalidValue, path, format!("a site has at most {MOST} probes"))
            .remedy("keep those that tell most");
        return Err(Faulty);
    }
    each(specs, path, |spec, path| match spec {
        ProbeSpec::Url(url) => {
            let spec = ProbeSettingsSpec { url: url.clone(), ..ProbeSettingsSpec::default() };
            probe(&spec, site, path, path, findings)
        }
        ProbeSpec::Settings(spec) => probe(spec, site, path, &path.key("url"), findings),
    })
}

fn probe(
    spec: &ProbeSettingsSpec,
    site: Asked<'_>,
    path: &FieldPath,
    at_url: &FieldPath,
    findings: &mut Findings,
) -> Checked<SiteProbe> {
    let place = place(&spec.url, site, at_url, findings);
    let statuses = match &spec.status {
        None => Ok(vec![defaults::HEALTHY]),
        Some(status) => values::statuses(status, &path.key("status"), findings),
    };
    let body = spec.body.as_deref();
    let body = body.map(|text| health::body(text, &path.key("body"), findings)).transpose();
    let timeout = values::duration_or(
        spec.timeout.as_ref(),
        defaults::PROBE_TIMEOUT,
        TIMEOUT,
        &path.key("timeout"),
        findings,
    );
    let tries = path.key("tries");
    let tries = values::count_or(spec.tries, defaults::PROBE_TRIES, TRIES, &tries, findings);
    let (host, over_tls, asked) = place?;
    Ok(SiteProbe {
        host,
        over_tls,
        path: asked,
        statuses: statuses?,
        body: body?,
        timeout: timeout?,
        tries: tries?,
    })
}

/// Returns the host, whether it is asked over TLS, and the path.
fn place(
    url: &str,
    site: Asked<'_>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<(String, bool, String)> {
    let (over_tls, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) | None => {
            let asked = health::probe_path(url, path, findings)?;
            let host = site.hosts.iter().find_map(named);
            return match host {
                Some(host) => Ok((host, site.https.is_some(), asked)),
                None => Err(no_host(path, findings)),
            };
        }
    };
    let (host, asked) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let asked = health::probe_path(asked, path, findings);
    if over_tls && site.https.is_none() {
        findings
            .error(FindingCode::Conflict, path, "the site has no HTTPS by which it could be asked")
            .remedy("write `http://`, or remove `https: false`");
        return Err(Faulty);
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let wanted = bare.parse::<HostPattern>().ok().filter(|wanted| named(wanted).is_some());
    let Some(wanted) = wanted.filter(|wanted| site.hosts.iter().any(|own| answers(own, wanted)))
    else {
        findings
            .error(
                FindingCode::InvalidHost,
                path,
                format!("`{}` is no host of the site", host.escape_debug()),
            )
            .remedy("write a host of `hosts`, without a port, or only the path");
        return Err(Faulty);
    };
    Ok((named(&wanted).unwrap_or_default(), over_tls, asked?))
}

fn no_host(path: &FieldPath, findings: &mut Findings) -> Faulty {
    findings
        .error(
            FindingCode::MissingField,
            path,
            "no host of the site can be asked by its name alone",
        )
        .remedy("write a URL, for example `https://www.example.org/health`");
    Faulty
}

/// Returns a host as a request names it, where it is one and no pattern.
fn named(host: &HostPattern) -> Option<String> {
    match host {
        HostPattern::Exact(name) => Some(name.as_str().to_owned()),
        HostPattern::Ip(std::net::IpAddr::V4(address)) => Some(address.to_string()),
        HostPattern::Ip(std::net::IpAddr::V6(address)) => Some(format!("[{address}]")),
        HostPattern::Wildcard(_) | HostPattern::Any => None,
    }
}

fn answers(own: &HostPattern, wanted: &HostPattern) -> bool {
    match (own, wanted) {
        (HostPattern::Any, _) => true,
        (HostPattern::Wildcard(zone), HostPattern::Exact(name)) => {
            name.parent() == Some(zone.as_str())
        }
        (own, wanted) => own == wanted,
    }
}
