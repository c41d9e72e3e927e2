//! Values that several fields share, and the settings of HTTPS and logs.

use super::{Checked, Faulty};
use crate::{
    ByteSize, FieldPath, FindingCode, Findings, Name, RemedyAction, Seconds, did_you_mean,
    site::{
        Https, LogFormat, LogSettings, TlsVersion, defaults,
        spec::{DurationSpec, HttpsSettingsSpec, HttpsSpec, LogSettingsSpec, LogSpec, SizeSpec},
    },
};

/// The least a log file may grow to before it is put aside; less would turn files over with every
/// few requests.
const LOG_SIZE: [ByteSize; 2] = [ByteSize(4096), ByteSize(1_000_000_000_000)];
const LOG_AGE: [Seconds; 2] = [Seconds(60), Seconds(366 * 86_400)];
const LOG_KEEP: u32 = 1000;

pub(super) fn https(
    spec: Option<&HttpsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Https>> {
    match spec {
        None | Some(HttpsSpec::Enabled(true)) => Ok(Some(Https::default())),
        Some(HttpsSpec::Enabled(false)) => Ok(None),
        Some(HttpsSpec::Settings(settings)) => https_settings(settings, path, findings).map(Some),
    }
}

fn https_settings(
    spec: &HttpsSettingsSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Https> {
    let usual = Https::default();
    let min_version = match &spec.min_version {
        None => usual.min_version,
        Some(text) => text.parse::<TlsVersion>().map_err(|()| {
            findings
                .error(
                    FindingCode::InvalidValue,
                    &path.key("min_version"),
                    format!("`{text}` is not a TLS version that is served"),
                )
                .remedy("write `1.2` or `1.3`");
            Faulty
        })?,
    };
    Ok(Https {
        redirect: spec.redirect.unwrap_or(usual.redirect),
        min_version,
        http2: spec.http2.unwrap_or(usual.http2),
    })
}

/// Reads the log of a site: its name and how it is written.
pub(super) fn log(
    spec: Option<&LogSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<(Name, LogSettings)> {
    let usual = LogSettings::default();
    match spec {
        None | Some(LogSpec::Enabled(true)) => Ok((usual_log_name()?, usual)),
        Some(LogSpec::Enabled(false)) => {
            Ok((usual_log_name()?, LogSettings { access: false, ..usual }))
        }
        Some(LogSpec::Name(text)) => Ok((log_name(text, path, findings)?, usual)),
        Some(LogSpec::Settings(settings)) => log_settings(settings, path, findings),
    }
}

fn usual_log_name() -> Checked<Name> {
    defaults::LOG_NAME.parse().map_err(|_| Faulty)
}

fn log_settings(
    spec: &LogSettingsSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<(Name, LogSettings)> {
    let usual = LogSettings::default();
    let name = match &spec.name {
        None => usual_log_name(),
        Some(text) => log_name(text, &path.key("name"), findings),
    };
    let format = log_format(spec.format.as_deref(), &path.key("format"), findings);
    let max_size = log_size(spec.max_size.as_ref(), &path.key("max_size"), findings);
    let max_age = spec.max_age.as_ref().map_or(Ok(usual.max_age), |age| {
        duration_within(age, LOG_AGE, &path.key("max_age"), findings)
    });
    let keep = log_keep(spec.keep, &path.key("keep"), findings);
    let settings = LogSettings {
        access: true,
        format: format?,
        max_size: max_size?,
        max_age: max_age?,
        keep: keep?,
    };
    Ok((name?, settings))
}

fn log_format(text: Option<&str>, path: &FieldPath, findings: &mut Findings) -> Checked<LogFormat> {
    match text {
        None | Some("json") => Ok(LogFormat::Json),
        Some("combined") => Ok(LogFormat::Combined),
        Some(other) => {
            let text = format!("`{other}` is not a log format");
            unknown_word(other, &["json", "combined"], text, path, findings);
            Err(Faulty)
        }
    }
}

fn log_size(
    spec: Option<&SizeSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<ByteSize> {
    let size = size_or(spec, defaults::LOG_MAX_SIZE, path, findings)?;
    let [least, most] = LOG_SIZE;
    if (least..=most).contains(&size) {
        return Ok(size);
    }
    findings
        .error(FindingCode::InvalidValue, path, "a log file is put aside at 4 KiB to 1 TB")
        .remedy("write for example `100MB`");
    Err(Faulty)
}

fn log_keep(keep: Option<u32>, path: &FieldPath, findings: &mut Findings) -> Checked<u32> {
    let keep = keep.unwrap_or(defaults::LOG_KEEP);
    if keep <= LOG_KEEP {
        return Ok(keep);
    }
    findings
        .error(FindingCode::InvalidValue, path, format!("at most {LOG_KEEP} log files are kept"))
        .remedy(format!("write a number from 0 to {LOG_KEEP}"));
    Err(Faulty)
}

/// Reads the name of a log.
pub(super) fn log_name(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<Name> {
    text.parse().map_err(|error: crate::NameError| {
        let finding = findings.error(
            FindingCode::InvalidName,
            path,
            format!("`{text}` is not the name of a log: {error}"),
        );
        match Name::suggest(text) {
            Some(name) => finding.remedy_action(
                format!("write `{name}`"),
                RemedyAction::ReplaceValue(name.to_string()),
            ),
            None => finding.remedy("write a plain word, for example `main`"),
        }
        Faulty
    })
}

/// Reads a size, or takes the usual one where none is written.
pub(super) fn size_or(
    spec: Option<&SizeSpec>,
    usual: ByteSize,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<ByteSize> {
    match spec {
        None => Ok(usual),
        Some(SizeSpec::Bytes(bytes)) => Ok(ByteSize(*bytes)),
        Some(SizeSpec::Text(text)) => text.parse().map_err(|error: crate::UnitError| {
            findings
                .error(FindingCode::InvalidValue, path, error.to_string())
                .remedy("write a whole number and a unit, for example `50MB`");
            Faulty
        }),
    }
}

/// Reads a duration that lies within bounds.
pub(super) fn duration_within(
    spec: &DurationSpec,
    [least, most]: [Seconds; 2],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Seconds> {
    let seconds = match spec {
        DurationSpec::Seconds(seconds) => Seconds(*seconds),
        DurationSpec::Text(text) => text.parse().map_err(|error: crate::UnitError| {
            findings
                .error(FindingCode::InvalidValue, path, error.to_string())
                .remedy("write a whole number and a unit, for example `30s`");
            Faulty
        })?,
    };
    if (least..=most).contains(&seconds) {
        return Ok(seconds);
    }
    findings
        .error(FindingCode::InvalidValue, path, format!("{seconds} is not within bounds"))
        .remedy(format!("write a duration from {least} to {most}"));
    Err(Faulty)
}

/// Reports a word that is none of the known ones.
pub(super) fn unknown_word(
    word: &str,
    known: &[&str],
    text: String,
    path: &FieldPath,
    findings: &mut Findings,
) {
    let finding = findings.error(FindingCode::InvalidValue, path, text);
    let Some(meant) = did_you_mean(word, known.iter().copied()) else {
        let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
        return finding.remedy(format!("write {}", known.join(" or ")));
    };
    finding.remedy_action(
        format!("did you mean `{meant}`?"),
        RemedyAction::ReplaceValue(meant.to_owned()),
    );
}
