//! Values within bounds, as upstreams and limits have many.

use std::fmt::Display;

use super::{Checked, Faulty, settings};
use crate::{
    ByteSize, FieldPath, FindingCode, Findings, Seconds,
    site::{
        StatusRange,
        spec::{DurationSpec, SizeSpec, StatusSpec, StatusesSpec, SwitchableSizeSpec},
    },
};

/// What is said about something that has a usual form and can be switched off.
#[derive(Clone)]
pub(super) enum Said<T> {
    /// Nothing: it is as usual.
    Nothing,
    /// It is off.
    Off,
    /// It is this.
    On(T),
}

impl<T> Said<T> {
    /// Returns what is meant, where nothing means `usual`.
    pub(super) fn or(self, usual: Option<T>) -> Option<T> {
        match self {
            Self::Nothing => usual,
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

/// Reads a duration within bounds, or takes the usual one where none is written.
pub(super) fn duration_or(
    spec: Option<&DurationSpec>,
    usual: Seconds,
    bounds: [Seconds; 2],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Seconds> {
    spec.map_or(Ok(usual), |spec| settings::duration_within(spec, bounds, path, findings))
}

/// Reads a size within bounds, or takes the usual one where none is written.
pub(super) fn size_or(
    spec: Option<&SizeSpec>,
    usual: ByteSize,
    bounds: [ByteSize; 2],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<ByteSize> {
    let size = settings::size_or(spec, usual, path, findings)?;
    within(size, bounds, path, findings)
}

/// Reads a size that can be switched off, which is 0.
pub(super) fn switchable_size_or(
    spec: Option<&SwitchableSizeSpec>,
    usual: ByteSize,
    bounds: [ByteSize; 2],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<ByteSize> {
    let spec = match spec {
        None | Some(SwitchableSizeSpec::Enabled(true)) => return Ok(usual),
        Some(SwitchableSizeSpec::Enabled(false)) => return Ok(ByteSize(0)),
        Some(SwitchableSizeSpec::Bytes(bytes)) => SizeSpec::Bytes(*bytes),
        Some(SwitchableSizeSpec::Text(text)) => SizeSpec::Text(text.clone()),
    };
    size_or(Some(&spec), usual, bounds, path, findings)
}

/// Reads a number within bounds, or takes the usual one where none is written.
pub(super) fn count_or(
    count: Option<u32>,
    usual: u32,
    bounds: [u32; 2],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<u32> {
    count.map_or(Ok(usual), |count| within(count, bounds, path, findings))
}

fn within<T: Copy + PartialOrd + Display>(
    value: T,
    [least, most]: [T; 2],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<T> {
    if least <= value && value <= most {
        return Ok(value);
    }
    findings
        .error(FindingCode::InvalidValue, path, format!("{value} is not within bounds"))
        .remedy(format!("write a value from {least} to {most}"));
    Err(Faulty)
}

/// Reads a share in percent: `20%`.
pub(super) fn percent(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<u8> {
    let digits = text.trim().strip_suffix('%').unwrap_or(text).trim();
    let percent = digits.parse().ok().filter(|percent| (1..=100).contains(percent));
    percent.ok_or_else(|| {
        findings
            .error(
                FindingCode::InvalidValue,
                path,
                format!("`{}` is not a share in percent", text.escape_debug()),
            )
            .remedy("write a share from `1%` to `100%`");
        Faulty
    })
}

/// Reads statuses and ranges of them.
pub(super) fn statuses(
    spec: &StatusesSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<StatusRange>> {
    match spec {
        StatusesSpec::Status(status) => {
            status_range(&status.to_string(), path, findings).map(|range| vec![range])
        }
        StatusesSpec::Range(text) => status_range(text, path, findings).map(|range| vec![range]),
        StatusesSpec::Many(list) => super::each(list, path, |status, path| match status {
            StatusSpec::Status(status) => status_range(&status.to_string(), path, findings),
            StatusSpec::Range(text) => status_range(text, path, findings),
        }),
    }
}

fn status_range(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<StatusRange> {
    text.parse::<StatusRange>().map_err(|error| {
        findings
            .error(FindingCode::InvalidValue, path, error.to_string())
            .remedy("statuses have three digits, from 100 to 599");
        Faulty
    })
}
