//! How one of several targets is chosen.

use super::{Checked, Faulty, unknown_word, values};
use crate::{
    FieldPath, FindingCode, Findings, Seconds,
    site::{
        Balance, HashKey, Sticky,
        check::headers,
        spec::{BalanceSpec, HashKeySpec, RequestPartSpec, StickySettingsSpec, StickySpec},
    },
};

const TTL: [Seconds; 2] = [Seconds(1), Seconds(400 * 86_400)];

/// Reads how one of several targets is chosen.
pub(super) fn read(
    spec: Option<&BalanceSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Balance> {
    let word = match spec {
        None => return Ok(Balance::default()),
        Some(BalanceSpec::Hash(spec)) => {
            return hash_key(&spec.hash, &path.key("hash"), findings).map(Balance::Hash);
        }
        Some(BalanceSpec::Word(word)) => word.as_str(),
    };
    match word {
        "round_robin" => Ok(Balance::RoundRobin),
        "least_requests" => Ok(Balance::LeastRequests),
        "two_choices" => Ok(Balance::TwoChoices),
        "hash" => {
            findings.error(FindingCode::MissingField, path, "`hash` must say by what").remedy(
                "write `{hash: client}`, `{hash: {header: NAME}}` or `{hash: {cookie: NAME}}`",
            );
            Err(Faulty)
        }
        other => {
            let text = format!("`{}` is no way to choose a target", other.escape_debug());
            let known = ["round_robin", "least_requests", "two_choices"];
            unknown_word(other, &known, text, path, findings);
            Err(Faulty)
        }
    }
}

fn hash_key(spec: &HashKeySpec, path: &FieldPath, findings: &mut Findings) -> Checked<HashKey> {
    let RequestPartSpec { header, cookie } = match spec {
        HashKeySpec::Part(part) => part,
        HashKeySpec::Word(word) if word == "client" => return Ok(HashKey::Client),
        HashKeySpec::Word(word) => {
            findings
                .error(
                    FindingCode::InvalidValue,
                    path,
                    format!("`{}` is not a key of requests", word.escape_debug()),
                )
                .remedy("write `client`, `{header: NAME}` or `{cookie: NAME}`");
            return Err(Faulty);
        }
    };
    match (header, cookie) {
        (Some(name), None) => {
            headers::header_name(name, &path.key("header"), findings).map(HashKey::Header)
        }
        (None, Some(name)) => cookie_name(name, &path.key("cookie"), findings).map(HashKey::Cookie),
        (None, None) | (Some(_), Some(_)) => {
            findings
                .error(FindingCode::Conflict, path, "a key is one header or one cookie")
                .remedy("write `{header: NAME}` or `{cookie: NAME}`");
            Err(Faulty)
        }
    }
}

/// Reads the cookie that keeps a client where it is; `usual` is its name where none is written.
pub(in super::super) fn sticky(
    spec: Option<&StickySpec>,
    usual: &str,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Sticky>> {
    let plain = StickySettingsSpec::default();
    let spec = match spec {
        None | Some(StickySpec::Enabled(false)) => return Ok(None),
        Some(StickySpec::Enabled(true)) => &plain,
        Some(StickySpec::Settings(settings)) => settings,
    };
    let name = spec.cookie.as_deref().unwrap_or(usual);
    let cookie = cookie_name(name, &path.key("cookie"), findings);
    let ttl = spec
        .ttl
        .as_ref()
        .map(|ttl| values::duration_or(Some(ttl), TTL[0], TTL, &path.key("ttl"), findings))
        .transpose();
    Ok(Some(Sticky { cookie: cookie?, ttl: ttl? }))
}

/// Reads the name of a cookie (RFC 6265 §4.1.1).
pub(in super::super) fn cookie_name(
    name: &str,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<String> {
    if headers::is_token(name) {
        return Ok(name.to_owned());
    }
    findings
        .error(
            FindingCode::InvalidName,
            path,
            format!("`{}` is not the name of a cookie", name.escape_debug()),
        )
        .remedy("use letters, digits, `-` and `_`, for example `session`");
    Err(Faulty)
}
