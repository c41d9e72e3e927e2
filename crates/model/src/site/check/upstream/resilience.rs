//! When a target is taken out, and when a request is tried again.

use super::{Checked, Faulty, values};
use crate::{
    FieldPath, FindingCode, Findings, Seconds,
    site::{
        Ejection, Retries,
        spec::{DurationSpec, EjectSettingsSpec, EjectSpec, RetriesSettingsSpec, RetriesSpec},
    },
};

const FAILURES: [u32; 2] = [1, 1000];
const WINDOW: [Seconds; 2] = [Seconds(1), Seconds(3_600)];
const SLOW_START: [Seconds; 2] = [Seconds(0), Seconds(3_600)];
const ATTEMPTS: [u32; 2] = [1, 10];

/// Reads when failures of requests take a target out.
pub(super) fn eject(
    spec: Option<&EjectSpec>,
    targets: usize,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Ejection>> {
    let usual = Ejection::default();
    let spec = match spec {
        None => return Ok((targets > 1).then_some(usual)),
        Some(EjectSpec::Enabled(false)) => return Ok(None),
        Some(EjectSpec::Enabled(true)) => &EjectSettingsSpec::default(),
        Some(EjectSpec::Settings(settings)) => settings,
    };
    if targets == 1 {
        findings
            .warning(FindingCode::Advice, path, "the only target is never taken out")
            .remedy("remove `eject`, or add another target");
    }
    let failures =
        values::count_or(spec.failures, usual.failures, FAILURES, &path.key("failures"), findings);
    let mut time = |spec: &Option<DurationSpec>, usual, name: &str| {
        values::duration_or(spec.as_ref(), usual, WINDOW, &path.key(name), findings)
    };
    let within = time(&spec.within, usual.within, "within");
    let lasts = time(&spec.lasts, usual.lasts, "for");
    let statuses = match &spec.statuses {
        None => Ok(Vec::new()),
        Some(statuses) => values::statuses(statuses, &path.key("statuses"), findings),
    };
    let statuses = statuses?;
    if statuses.iter().any(|range| (100..400).any(|status| range.contains(status))) {
        findings
            .error(
                FindingCode::InvalidValue,
                &path.key("statuses"),
                "a target is not taken out for answers below 400, which are no failures",
            )
            .remedy("write for example `[500-599]` or `[502, 503]`");
        return Err(Faulty);
    }
    Ok(Some(Ejection { failures: failures?, within: within?, lasts: lasts?, statuses }))
}

/// Reads the time over which a target that came back gets its whole share.
pub(super) fn slow_start(
    spec: Option<&DurationSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Seconds> {
    values::duration_or(spec, Seconds(0), SLOW_START, &path.key("slow_start"), findings)
}

/// Reads when a request is tried again.
pub(super) fn retries(
    spec: Option<&RetriesSpec>,
    targets: usize,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Retries> {
    let usual = Retries::usual(targets);
    let RetriesSettingsSpec { attempts, budget } = match spec {
        None | Some(RetriesSpec::Enabled(true)) => return Ok(usual),
        Some(RetriesSpec::Enabled(false)) => return Ok(Retries { attempts: 0, ..usual }),
        Some(RetriesSpec::Settings(settings)) => settings,
    };
    let attempts =
        values::count_or(*attempts, usual.attempts, ATTEMPTS, &path.key("attempts"), findings);
    let budget = match budget {
        None => Ok(usual.budget),
        Some(text) => values::percent(text, &path.key("budget"), findings),
    };
    Ok(Retries { attempts: attempts?, budget: budget? })
}
