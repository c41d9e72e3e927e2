//! From where on something about a node deserves attention.

use super::{Checked, Faulty};
use crate::{
    FieldPath, Finding, FindingCode, Findings, ResourceKind, Seconds, UnitError,
    node::{Thresholds, spec::ThresholdsSpec},
    site::spec::DurationSpec,
};

/// The most readings that may have to agree.
const MOST_READINGS: u32 = 20;

/// Reads thresholds that stand by themselves.
///
/// # Errors
/// Returns all that is wrong with them.
pub fn check_thresholds(spec: &ThresholdsSpec) -> Result<Thresholds, Vec<Finding>> {
    let mut findings = Findings::about(ResourceKind::Node, "health");
    read(Some(spec), &FieldPath::root(), &mut findings).map_err(|Faulty| findings.into_vec())
}

pub(super) fn read(
    spec: Option<&ThresholdsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Thresholds> {
    let usual = Thresholds::default();
    let Some(ThresholdsSpec { disk, memory, certificate, clock, readings }) = spec else {
        return Ok(usual);
    };
    let disk = percent(*disk, usual.disk, &path.key("disk"), findings);
    let memory = percent(*memory, usual.memory, &path.key("memory"), findings);
    let certificate =
        duration(certificate.as_ref(), usual.certificate, &path.key("certificate"), findings);
    let clock = duration(clock.as_ref(), usual.clock, &path.key("clock"), findings);
    let readings = count(*readings, usual.readings, &path.key("readings"), findings);
    Ok(Thresholds {
        disk: disk?,
        memory: memory?,
        certificate: certificate?,
        clock: clock?,
        readings: readings?,
    })
}

fn percent(given: Option<u8>, usual: u8, path: &FieldPath, findings: &mut Findings) -> Checked<u8> {
    match given.unwrap_or(usual) {
        percent @ 0..=99 => Ok(percent),
        percent => {
            findings
                .error(FindingCode::InvalidValue, path, format!("{percent} % is always too little"))
                .remedy("write a percentage from 0 to 99");
            Err(Faulty)
        }
    }
}

fn duration(
    given: Option<&DurationSpec>,
    usual: Seconds,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Seconds> {
    match given {
        None => Ok(usual),
        Some(DurationSpec::Seconds(seconds)) => Ok(Seconds(*seconds)),
        Some(DurationSpec::Text(text)) => text.parse().map_err(|error: UnitError| {
            findings
                .error(FindingCode::InvalidValue, path, error.to_string())
                .remedy("write a whole number and a unit, for example `7d` or `30s`");
            Faulty
        }),
    }
}

fn count(
    given: Option<u32>,
    usual: u32,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<u32> {
    match given.unwrap_or(usual) {
        count @ 1..=MOST_READINGS => Ok(count),
        count => {
            findings
                .error(
                    FindingCode::InvalidValue,
                    path,
                    format!("{count} readings cannot be asked to agree"),
                )
                .remedy(format!("write a number from 1 to {MOST_READINGS}"));
            Err(Faulty)
        }
    }
}
