//! Requests that are divided between upstreams, and requests that are copied.

use std::collections::BTreeSet;

use super::{
    Checked, Faulty, each, headers, upstream,
    values::{self, Said},
};
use crate::{
    ByteSize, FieldPath, FindingCode, Findings, Name, RemedyAction,
    site::{
        Mirror, Side, SideRule, Split, Upstream, Wanted, defaults,
        spec::{BySpec, MirrorSettingsSpec, MirrorSpec, RuleSpec, SideSpec, SplitSpec, ToSpec},
    },
};

const MOST_SIDES: usize = 32;
const SHARE: [u32; 2] = [0, 1000];
const PERCENT: [u32; 2] = [1, 100];
/// A copied body is kept in memory.
const COPIED_BODY: [ByteSize; 2] = [ByteSize(0), ByteSize(64_000_000)];

/// Reads the sides between which requests are divided.
pub(super) fn split(spec: &SplitSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Split> {
    let (sides, sides_path, sticky) = match spec {
        SplitSpec::Sides(sides) => (sides, path.clone(), None),
        SplitSpec::Settings(spec) => (&spec.sides, path.key("sides"), spec.sticky.as_ref()),
    };
    let sticky = upstream::sticky(sticky, defaults::SIDE_COOKIE, &path.key("sticky"), findings);
    if !(2..=MOST_SIDES).contains(&sides.len()) {
        findings
            .error(
                FindingCode::InvalidValue,
                &sides_path,
                format!("requests are divided between 2 to {MOST_SIDES} sides"),
            )
            .remedy("write for example `[{weight: 95, to: …}, {weight: 5, to: …}]`, or use `to`");
        return Err(Faulty);
    }
    let mut names = BTreeSet::new();
    let mut number = 0;
    let read = each(sides, &sides_path, |spec, path| {
        number += 1;
        let side = side(spec, number, path, findings)?;
        refuse_second(&side.name, &mut names, path, findings)?;
        Ok(side)
    });
    let sides = read?;
    if sides.iter().all(|side| side.weight == 0) {
        findings
            .error(FindingCode::InvalidValue, &sides_path, "no side has a share of the requests")
            .remedy("give the side that takes all other requests a `weight` from 1");
        return Err(Faulty);
    }
    Ok(Split { sides, sticky: sticky? })
}

fn side(spec: &SideSpec, number: u32, path: &FieldPath, findings: &mut Findings) -> Checked<Side> {
    let name = name(spec.name.as_deref(), number, &path.key("name"), findings);
    let rules = rules(spec.by.as_ref(), &path.key("by"), findings);
    let usual = u32::from(spec.by.is_none());
    let weight = values::count_or(spec.weight, usual, SHARE, &path.key("weight"), findings);
    let upstream = target(spec.to.as_ref(), path, findings);
    let side = Side { name: name?, weight: weight?, rules: rules?, upstream: upstream? };
    if side.weight == 0 && side.rules.is_empty() {
        findings
            .warning(FindingCode::Advice, &path.key("weight"), "no request gets to this side")
            .remedy("give it a `weight`, or say with `by` which requests go there");
    }
    Ok(side)
}

fn name(
    text: Option<&str>,
    number: u32,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Name> {
    let usual = format!("side-{number}");
    let text = text.unwrap_or(&usual);
    text.parse().map_err(|error: crate::NameError| {
        let finding = findings.error(
            FindingCode::InvalidName,
            path,
            format!("`{}` is not the name of a side: {error}", text.escape_debug()),
        );
        match Name::suggest(text) {
            Some(name) => finding.remedy_action(
                format!("write `{name}`"),
                RemedyAction::ReplaceValue(name.to_string()),
            ),
            None => finding.remedy("write a plain word, for example `canary`"),
        }
        Faulty
    })
}

fn refuse_second(
    name: &Name,
    names: &mut BTreeSet<Name>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<()> {
    if names.insert(name.clone()) {
        return Ok(());
    }
    findings
        .error(
            FindingCode::DuplicateField,
            &path.key("name"),
            format!("another side is named `{name}` already"),
        )
        .remedy("choose another name");
    Err(Faulty)
}

fn target(spec: Option<&ToSpec>, path: &FieldPath, findings: &mut Findings) -> Checked<Upstream> {
    let path = path.key("to");
    if let Some(spec) = spec {
        return upstream::read(spec, &path, findings);
    }
    findings
        .error(FindingCode::MissingField, &path, "nothing says where these requests go")
        .remedy("add `to:`, for example `to: 127.0.0.1:5000`");
    Err(Faulty)
}

fn rules(
    spec: Option<&BySpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<SideRule>> {
    match spec {
        None => Ok(Vec::new()),
        Some(BySpec::One(spec)) => rule(spec, path, findings).map(|rule| vec![rule]),
        Some(BySpec::Any(list)) => each(list, path, |spec, path| rule(spec, path, findings)),
    }
}

fn rule(spec: &RuleSpec, path: &FieldPath, findings: &mut Findings) -> Checked<SideRule> {
    let value =
        spec.value.as_deref().map(|text| headers::value(text, &path.key("value"), findings));
    let value = value.transpose();
    match (&spec.header, &spec.cookie) {
        (Some(name), None) => {
            let name = headers::header_name(name, &path.key("header"), findings);
            Ok(SideRule::Header(Wanted { name: name?, value: value? }))
        }
        (None, Some(name)) => {
            let name = upstream::cookie_name(name, &path.key("cookie"), findings);
            Ok(SideRule::Cookie(Wanted { name: name?, value: value? }))
        }
        (None, None) => {
            findings
                .error(FindingCode::MissingField, path, "nothing says what leads here")
                .remedy("write for example `by: {header: X-Canary}` or `by: {cookie: canary}`");
            Err(Faulty)
        }
        (Some(_), Some(_)) => {
            findings
                .error(FindingCode::Conflict, path, "a rule has a header or a cookie, not both")
                .remedy("write two rules, `by: [{header: …}, {cookie: …}]`; one is enough");
            Err(Faulty)
        }
    }
}

/// Reads who gets copies of requests.
pub(super) fn mirror(
    spec: Option<&MirrorSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Said<Box<Mirror>>> {
    match spec {
        None => Ok(Said::Nothing),
        Some(MirrorSpec::Enabled(false)) => Ok(Said::Off),
        Some(MirrorSpec::Enabled(true)) => {
            findings
                .error(FindingCode::WrongType, path, "`mirror` must say who gets the copies")
                .remedy("write for example `mirror: {to: 127.0.0.1:5001}`");
            Err(Faulty)
        }
        Some(MirrorSpec::Settings(spec)) => {
            mirror_settings(spec, path, findings).map(|mirror| Said::On(Box::new(mirror)))
        }
    }
}

fn mirror_settings(
    spec: &MirrorSettingsSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Mirror> {
    let upstream = target(spec.to.as_ref(), path, findings);
    let usual = u32::from(defaults::MIRROR_PERCENT);
    let percent = values::count_or(spec.percent, usual, PERCENT, &path.key("percent"), findings);
    let max_body = values::size_or(
        spec.max_body.as_ref(),
        defaults::MIRROR_MAX_BODY,
        COPIED_BODY,
        &path.key("max_body"),
        findings,
    );
    let percent = percent.map(|percent| u8::try_from(percent).unwrap_or(u8::MAX));
    Ok(Mirror { upstream: upstream?, percent: percent?, max_body: max_body? })
}

/// Says that a mirror has nothing to copy.
pub(super) fn advise_on_idle_mirror(path: &FieldPath, findings: &mut Findings) {
    findings
        .warning(
            FindingCode::Advice,
            &path.key("mirror"),
            "`mirror` has no effect without `to` or `split`",
        )
        .remedy("remove it; only requests that go to an upstream are copied");
}
