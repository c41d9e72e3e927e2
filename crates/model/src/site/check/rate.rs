//! How many requests clients may send, and how many at the same time.

use ipnet::IpNet;

use super::{
    Checked, Faulty, access, each, headers,
    settings::unknown_word,
    values::{self, Said},
};
use crate::{
    FieldPath, FindingCode, Findings,
    site::{
        ConnectionLimit, CountedBy, LimitScope, Rate, RateLimit, bounds, defaults,
        spec::{
            ConnectionLimitSpec, ConnectionSettingsSpec, CountedBySpec, OneRateSpec, RateLimitSpec,
            RateSettingsSpec,
        },
    },
};

/// Each of them costs every request.
const MOST_RATES: usize = 4;

/// Reads limits of requests in a time. Nothing is said where the field is not written.
pub(super) fn rates(
    spec: Option<&RateLimitSpec>,
    scope: LimitScope,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Vec<RateLimit>>> {
    let limits = match spec {
        None => return Ok(None),
        Some(RateLimitSpec::Enabled(false)) => return Ok(Some(Vec::new())),
        Some(RateLimitSpec::Enabled(true)) => {
            findings
                .error(FindingCode::MissingField, path, "`true` does not say how many requests")
                .remedy("write for example `100/min`, or `false` for no limit");
            return Err(Faulty);
        }
        Some(RateLimitSpec::Rate(text)) => vec![plain(text, scope, path, findings)?],
        Some(RateLimitSpec::Settings(spec)) => vec![rate(spec, scope, path, findings)?],
        Some(RateLimitSpec::Several(list)) => several(list, scope, path, findings)?,
    };
    advise_on_headers(&limits, path, findings);
    Ok(Some(limits))
}

fn several(
    list: &[OneRateSpec],
    scope: LimitScope,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<RateLimit>> {
    if list.is_empty() || list.len() > MOST_RATES {
        findings
            .error(FindingCode::InvalidValue, path, format!("there are 1 to {MOST_RATES} limits"))
            .remedy("write fewer limits, or `false` for none");
        return Err(Faulty);
    }
    each(list, path, |one, path| match one {
        OneRateSpec::Rate(text) => plain(text, scope, path, findings),
        OneRateSpec::Settings(spec) => rate(spec, scope, path, findings),
    })
}

/// Who chooses the value of a header chooses how it is counted.
fn advise_on_headers(limits: &[RateLimit], path: &FieldPath, findings: &mut Findings) {
    let by_header = |limit: &RateLimit| matches!(limit.by, CountedBy::Header(_));
    if limits.is_empty() || !limits.iter().all(by_header) {
        return;
    }
    findings
        .warning(
            FindingCode::Advice,
            path,
            "a client that sends another value each time is not limited",
        )
        .remedy("add a limit by `client`, for example `[{rate: …, by: {header: …}}, 100/min]`");
}

fn plain(
    text: &str,
    scope: LimitScope,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<RateLimit> {
    let rate = quota(text, path, findings)?;
    Ok(RateLimit {
        rate,
        burst: rate.requests,
        by: CountedBy::Client { ipv6_prefix: defaults::CLIENT_IPV6_PREFIX },
        exempt: Vec::new(),
        dry_run: false,
        headers: true,
        scope,
    })
}

fn rate(
    spec: &RateSettingsSpec,
    scope: LimitScope,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<RateLimit> {
    let RateSettingsSpec { rate, burst, by, ipv6_prefix, exempt, dry_run, headers } = spec;
    let rate = match rate {
        Some(text) => quota(text, &path.key("rate"), findings),
        None => {
            findings
                .error(FindingCode::MissingField, path, "the limit does not say how many requests")
                .remedy("add for example `rate: 100/min`");
            Err(Faulty)
        }
    };
    let burst = burst.map(|burst| count(burst, &path.key("burst"), findings)).transpose();
    let by = counted_by(by.as_ref(), *ipv6_prefix, path, findings);
    let exempt = networks(exempt, &path.key("exempt"), findings);
    let rate = rate?;
    Ok(RateLimit {
        rate,
        burst: burst?.unwrap_or(rate.requests),
        by: by?,
        exempt: exempt?,
        dry_run: dry_run.unwrap_or(false),
        headers: headers.unwrap_or(true),
        scope,
    })
}

fn quota(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<Rate> {
    let rate: Rate = text.parse().map_err(|error: crate::site::RateError| {
        findings
            .error(FindingCode::InvalidValue, path, error.to_string())
            .remedy("write a whole number, `/`, and a unit or a time");
        Faulty
    })?;
    let [least, most] = bounds::LIMITED_REQUESTS;
    let [shortest, longest] = bounds::LIMIT_PERIOD;
    if !(least..=most).contains(&rate.requests) || !(shortest..=longest).contains(&rate.period) {
        findings
            .error(FindingCode::InvalidValue, path, format!("{rate} is not within bounds"))
            .remedy(format!("write {least} to {most} requests in {shortest} to {longest}"));
        return Err(Faulty);
    }
    Ok(rate)
}

fn count(count: u32, path: &FieldPath, findings: &mut Findings) -> Checked<u32> {
    values::count_or(Some(count), 1, bounds::LIMITED_REQUESTS, path, findings)
}

fn networks(list: &[String], path: &FieldPath, findings: &mut Findings) -> Checked<Vec<IpNet>> {
    each(list, path, |text, path| access::network(text, path, findings))
}

fn counted_by(
    spec: Option<&CountedBySpec>,
    ipv6_prefix: Option<u32>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<CountedBy> {
    let at = path.key("by");
    let by = match spec {
        None => client(ipv6_prefix, path, findings)?,
        Some(CountedBySpec::Word(word)) if word == "client" => client(ipv6_prefix, path, findings)?,
        Some(CountedBySpec::Word(word)) if word == "site" => CountedBy::Site,
        Some(CountedBySpec::Word(word)) => {
            let text = format!("`{}` cannot be counted by", word.escape_debug());
            unknown_word(word, &["client", "site", "{header: NAME}"], text, &at, findings);
            return Err(Faulty);
        }
        Some(CountedBySpec::Header(spec)) => {
            let name = headers::header_name(&spec.header, &at.key("header"), findings)?;
            CountedBy::Header(name)
        }
    };
    if ipv6_prefix.is_some() && !matches!(by, CountedBy::Client { .. }) {
        findings
            .error(
                FindingCode::Conflict,
                &path.key("ipv6_prefix"),
                "`ipv6_prefix` says what a client is, and clients are not counted here",
            )
            .remedy("remove it, or write `by: client`");
        return Err(Faulty);
    }
    Ok(by)
}

fn client(
    ipv6_prefix: Option<u32>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<CountedBy> {
    let usual = u32::from(defaults::CLIENT_IPV6_PREFIX);
    let prefix = ipv6_prefix.unwrap_or(usual);
    let [least, most] = bounds::CLIENT_IPV6_PREFIX;
    match u8::try_from(prefix) {
        Ok(bits) if (least..=most).contains(&bits) && bits.is_multiple_of(8) => {
            Ok(CountedBy::Client { ipv6_prefix: bits })
        }
        Ok(_) | Err(_) => {
            findings
                .error(
                    FindingCode::InvalidValue,
                    &path.key("ipv6_prefix"),
                    format!("{prefix} is not a length that networks of clients have here"),
                )
                .remedy(format!("write a multiple of 8 from {least} to {most}, for example 56"));
            Err(Faulty)
        }
    }
}

/// Reads the limit of requests at the same time.
pub(super) fn connections(
    spec: Option<&ConnectionLimitSpec>,
    scope: LimitScope,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Said<ConnectionLimit>> {
    let settings = match spec {
        None => return Ok(Said::Nothing),
        Some(ConnectionLimitSpec::Enabled(false)) => return Ok(Said::Off),
        Some(ConnectionLimitSpec::Enabled(true)) => {
            findings
                .error(FindingCode::MissingField, path, "`true` does not say how many requests")
                .remedy("write a number, for example `20`, or `false` for no limit");
            return Err(Faulty);
        }
        Some(ConnectionLimitSpec::Most(most)) => {
            let most = count(*most, path, findings)?;
            let by = CountedBy::Client { ipv6_prefix: defaults::CLIENT_IPV6_PREFIX };
            let limit = ConnectionLimit { most, by, exempt: Vec::new(), dry_run: false, scope };
            return Ok(Said::On(limit));
        }
        Some(ConnectionLimitSpec::Settings(settings)) => settings,
    };
    let ConnectionSettingsSpec { most, by, ipv6_prefix, exempt, dry_run } = settings;
    let most = match most {
        Some(most) => count(*most, &path.key("most"), findings),
        None => {
            findings
                .error(FindingCode::MissingField, path, "the limit does not say how many requests")
                .remedy("add for example `most: 20`");
            Err(Faulty)
        }
    };
    let by = counted_by(by.as_ref(), *ipv6_prefix, path, findings);
    let exempt = networks(exempt, &path.key("exempt"), findings);
    let dry_run = dry_run.unwrap_or(false);
    Ok(Said::On(ConnectionLimit { most: most?, by: by?, exempt: exempt?, dry_run, scope }))
}
