//! Answers that are kept.

use super::{
    Checked, Faulty, each, headers,
    settings::{duration_within, unknown_word},
    upstream,
    values::{self, Said},
};
use crate::{
    ByteSize, FieldPath, FindingCode, Findings, Seconds,
    site::{
        Cache, CacheBypass, CacheKey, CacheQuery, CookieRule, StatusRange, StatusTtl, defaults,
        spec::{
            CacheBypassSpec, CacheKeySpec, CacheQuerySpec, CacheSettingsSpec, CacheSpec,
            DurationSpec, IgnoredCookiesSpec,
        },
    },
};

const TTL: [Seconds; 2] = [Seconds(1), Seconds(366 * 86_400)];
const STALE: [Seconds; 2] = [Seconds(0), Seconds(30 * 86_400)];
const WAIT: [Seconds; 2] = [Seconds(0), Seconds(60)];
const MAX_OBJECT: [ByteSize; 2] = [ByteSize(1_000), ByteSize(1_000_000_000)];
/// Each name is looked for in every request.
const MOST_NAMES: usize = 32;

/// Reads what is kept.
pub(super) fn read(
    spec: Option<&CacheSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Said<Box<Cache>>> {
    let ttl = match spec {
        None => return Ok(Said::Nothing),
        Some(CacheSpec::Enabled(false)) => return Ok(Said::Off),
        Some(CacheSpec::Enabled(true)) => None,
        Some(CacheSpec::Text(text)) => Some(DurationSpec::Text(text.clone())),
        Some(CacheSpec::Seconds(seconds)) => Some(DurationSpec::Seconds(*seconds)),
        Some(CacheSpec::Settings(spec)) => {
            return settings(spec, path, findings).map(|cache| Said::On(Box::new(cache)));
        }
    };
    let ttl = ttl.map(|ttl| duration_within(&ttl, TTL, path, findings)).transpose()?;
    Ok(Said::On(Box::new(Cache { ttl, ..Cache::default() })))
}

/// Says that there is nothing to keep.
pub(super) fn advise_on_idle_cache(path: &FieldPath, findings: &mut Findings) {
    findings
        .warning(
            FindingCode::Advice,
            &path.key("cache"),
            "`cache` has no effect without `to` or `split`",
        )
        .remedy("remove it; only answers of an upstream are kept");
}

fn settings(spec: &CacheSettingsSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Cache> {
    let usual = Cache::default();
    let ttl = spec.ttl.as_ref();
    let ttl = ttl.map(|ttl| duration_within(ttl, TTL, &path.key("ttl"), findings)).transpose();
    let statuses = statuses(spec, &path.key("statuses"), findings);
    let overrides = overrides(spec, path, findings);
    let mut stale = |spec: Option<&DurationSpec>, field| {
        values::duration_or(spec, Seconds(0), STALE, &path.key(field), findings)
    };
    let while_revalidate = stale(spec.stale_while_revalidate.as_ref(), "stale_while_revalidate");
    let if_error = stale(spec.stale_if_error.as_ref(), "stale_if_error");
    let bypass = bypass(spec.bypass.as_ref(), &path.key("bypass"), findings);
    let key = key(spec.key.as_ref(), &path.key("key"), findings);
    let cookies = cookies(spec.ignore_cookies.as_ref(), &path.key("ignore_cookies"), findings);
    let max_object = values::size_or(
        spec.max_object.as_ref(),
        defaults::CACHE_MAX_OBJECT,
        MAX_OBJECT,
        &path.key("max_object"),
        findings,
    );
    let wait = spec.wait.as_ref();
    let wait = values::duration_or(wait, usual.wait, WAIT, &path.key("wait"), findings);
    Ok(Cache {
        ttl: ttl?,
        statuses: statuses?,
        overrides: overrides?,
        stale_while_revalidate: while_revalidate?,
        stale_if_error: if_error?,
        bypass: bypass?,
        key: key?,
        cookies: cookies?,
        max_object: max_object?,
        wait: wait?,
        debug: spec.debug.unwrap_or(usual.debug),
    })
}

fn statuses(
    spec: &CacheSettingsSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<StatusTtl>> {
    let mut read = Vec::with_capacity(spec.statuses.len());
    let mut sound = true;
    for (text, ttl) in &spec.statuses {
        let path = path.key(text);
        let statuses = text.parse::<StatusRange>().map_err(|error| {
            findings
                .error(FindingCode::InvalidValue, &path, error.to_string())
                .remedy("write for example `{404: 1m}`");
            Faulty
        });
        let ttl = duration_within(ttl, TTL, &path, findings);
        match (statuses, ttl) {
            (Ok(statuses), Ok(ttl)) => read.push(StatusTtl { statuses, ttl }),
            (Err(Faulty), _) | (_, Err(Faulty)) => sound = false,
        }
    }
    if sound { Ok(read) } else { Err(Faulty) }
}

fn overrides(spec: &CacheSettingsSpec, path: &FieldPath, findings: &mut Findings) -> Checked<bool> {
    let overrides = spec.overrides.unwrap_or(false);
    if overrides && spec.ttl.is_none() && spec.statuses.is_empty() {
        findings
            .error(
                FindingCode::MissingField,
                &path.key("override"),
                "nothing says which times are to count",
            )
            .remedy("add `ttl`, for example `ttl: 10m`, or remove `override`");
        return Err(Faulty);
    }
    Ok(overrides)
}

fn bypass(
    spec: Option<&CacheBypassSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<CacheBypass> {
    let Some(spec) = spec else { return Ok(CacheBypass::default()) };
    let cookies = cookie_names(&spec.cookies, &path.key("cookies"), findings);
    let headers = header_names(&spec.headers, &path.key("headers"), findings);
    Ok(CacheBypass { cookies: cookies?, headers: headers? })
}

fn key(
    spec: Option<&CacheKeySpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<CacheKey> {
    let Some(spec) = spec else { return Ok(CacheKey::default()) };
    let headers = header_names(&spec.headers, &path.key("headers"), findings);
    let cookies = cookie_names(&spec.cookies, &path.key("cookies"), findings);
    let query = query(spec.query.as_ref(), &path.key("query"), findings);
    Ok(CacheKey { headers: headers?, cookies: cookies?, query: query? })
}

fn query(
    spec: Option<&CacheQuerySpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<CacheQuery> {
    match spec {
        None => Ok(CacheQuery::All),
        Some(CacheQuerySpec::Word(word)) => match word.as_str() {
            "all" => Ok(CacheQuery::All),
            "none" => Ok(CacheQuery::None),
            other => {
                let text = format!("`{}` is not a part of a query", other.escape_debug());
                unknown_word(other, &["all", "none"], text, path, findings);
                Err(Faulty)
            }
        },
        Some(CacheQuerySpec::Listed(names)) if names.is_empty() => Ok(CacheQuery::None),
        Some(CacheQuerySpec::Listed(names)) => {
            bounded(names, path, findings)?;
            let mut names = names.clone();
            names.sort();
            names.dedup();
            Ok(CacheQuery::Listed(names))
        }
    }
}

fn cookies(
    spec: Option<&IgnoredCookiesSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<CookieRule> {
    match spec {
        None | Some(IgnoredCookiesSpec::All(false)) => Ok(CookieRule::Any),
        Some(IgnoredCookiesSpec::All(true)) => Ok(CookieRule::None),
        Some(IgnoredCookiesSpec::Listed(names)) if names.is_empty() => Ok(CookieRule::Any),
        Some(IgnoredCookiesSpec::Listed(names)) => {
            cookie_names(names, path, findings).map(CookieRule::AllBut)
        }
    }
}

fn cookie_names(
    names: &[String],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<String>> {
    bounded(names, path, findings)?;
    each(names, path, |name, path| upstream::cookie_name(name, path, findings))
}

fn header_names(
    names: &[String],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<String>> {
    bounded(names, path, findings)?;
    each(names, path, |name, path| headers::header_name(name, path, findings))
}

fn bounded(names: &[String], path: &FieldPath, findings: &mut Findings) -> Checked<()> {
    if names.len() <= MOST_NAMES {
        return Ok(());
    }
    findings
        .error(FindingCode::InvalidValue, path, format!("there are more than {MOST_NAMES} names"))
        .remedy("name those that change the answer");
    Err(Faulty)
}
