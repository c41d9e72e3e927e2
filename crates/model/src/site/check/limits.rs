//! What a site takes from clients.

use super::{Checked, Faulty, settings::unknown_word, values};
use crate::{
    FieldPath, FindingCode, Findings,
    site::{
        Limits, PathRules, Spelling, bounds, defaults,
        spec::{LimitsSpec, PathsSpec},
    },
};

/// Reads how much and how fast clients may send and must take.
pub(super) fn limits(
    spec: Option<&LimitsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Limits> {
    let Some(spec) = spec else {
        return Ok(Limits::default());
    };
    let mut size = |spec, usual, bounds, name: &str| {
        values::size_or(spec, usual, bounds, &path.key(name), findings)
    };
    let header_bytes = size(
        spec.header_bytes.as_ref(),
        defaults::HEADER_BYTES,
        bounds::HEADER_BYTES,
        "header_bytes",
    );
    let target_bytes = size(
        spec.target_bytes.as_ref(),
        defaults::TARGET_BYTES,
        bounds::TARGET_BYTES,
        "target_bytes",
    );
    let mut count = |count, usual, bounds, name: &str| {
        values::count_or(count, usual, bounds, &path.key(name), findings)
    };
    let headers = count(spec.headers, defaults::HEADERS, bounds::HEADERS, "headers");
    let http2_streams =
        count(spec.http2_streams, defaults::HTTP2_STREAMS, bounds::HTTP2_STREAMS, "http2_streams");
    let mut time = |spec, usual, bounds, name: &str| {
        values::duration_or(spec, usual, bounds, &path.key(name), findings)
    };
    let header_time =
        time(spec.header_time.as_ref(), defaults::HEADER_TIME, bounds::HEADER_TIME, "header_time");
    let body_grace =
        time(spec.body_grace.as_ref(), defaults::BODY_GRACE, bounds::BODY_GRACE, "body_grace");
    let write_stall =
        time(spec.write_stall.as_ref(), defaults::WRITE_STALL, bounds::WRITE_STALL, "write_stall");
    let body_rate = values::switchable_size_or(
        spec.body_rate.as_ref(),
        defaults::BODY_RATE,
        bounds::BODY_RATE,
        &path.key("body_rate"),
        findings,
    );
    let limits = Limits {
        header_bytes: header_bytes?,
        headers: headers?,
        target_bytes: target_bytes?,
        header_time: header_time?,
        body_rate: body_rate?,
        body_grace: body_grace?,
        write_stall: write_stall?,
        http2_streams: http2_streams?,
    };
    refuse_long_target(&limits, path, findings)?;
    Ok(limits)
}

/// The request line is a part of the header section.
fn refuse_long_target(limits: &Limits, path: &FieldPath, findings: &mut Findings) -> Checked<()> {
    if limits.target_bytes < limits.header_bytes {
        return Ok(());
    }
    let text = format!(
        "a path of {} does not fit into a header section of {}",
        limits.target_bytes, limits.header_bytes
    );
    findings
        .error(FindingCode::Conflict, &path.key("target_bytes"), text)
        .remedy("write a smaller `target_bytes`, or a larger `header_bytes`");
    Err(Faulty)
}

/// Reads which spellings of a path are taken.
pub(super) fn paths(
    spec: Option<&PathsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<PathRules> {
    let Some(spec) = spec else {
        return Ok(PathRules::default());
    };
    let mut read =
        |word: &Option<String>, name: &str| spelling(word.as_deref(), &path.key(name), findings);
    let encoded_slash = read(&spec.encoded_slash, "encoded_slash");
    let backslash = read(&spec.backslash, "backslash");
    let nul = read(&spec.nul, "nul");
    let double_encoding = read(&spec.double_encoding, "double_encoding");
    let rules = PathRules {
        encoded_slash: encoded_slash?,
        backslash: backslash?,
        nul: nul?,
        double_encoding: double_encoding?,
    };
    if rules.nul == Spelling::Allow {
        findings
            .warning(
                FindingCode::Advice,
                &path.key("nul"),
                "many programs end a path at NUL, and so serve another one than was judged",
            )
            .remedy("remove `nul: allow` unless the application is known to handle it");
    }
    Ok(rules)
}

fn spelling(word: Option<&str>, path: &FieldPath, findings: &mut Findings) -> Checked<Spelling> {
    match word {
        None | Some("refuse") => Ok(Spelling::Refuse),
        Some("allow") => Ok(Spelling::Allow),
        Some(other) => {
            let text = format!("`{}` is neither `refuse` nor `allow`", other.escape_debug());
            unknown_word(other, &["refuse", "allow"], text, path, findings);
            Err(Faulty)
        }
    }
}
