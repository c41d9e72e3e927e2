//! Findings as people read them: where they stand in the files they came from.

use indexmap::IndexMap;
use portway_model::{Finding, Location, Name, ResourceKind, Severity};
use portway_sitefile::{Loaded, Positions, SourceText, render};

use crate::{
    exit::Failure,
    out::{Out, Paint, clean},
};

/// The files in which sites were declared, and where in them their fields stand.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    texts: Vec<SourceText>,
    positions: IndexMap<Name, Positions>,
}

impl Sources {
    /// Returns the sources of what was loaded from `texts`.
    pub(crate) fn new(texts: Vec<SourceText>, loaded: &Loaded) -> Self {
        let positions =
            loaded.sites.iter().map(|(name, site)| (name.clone(), site.positions.clone()));
        Self { texts, positions: positions.collect() }
    }

    /// Returns the texts of the files.
    pub(crate) fn texts(&self) -> &[SourceText] {
        &self.texts
    }

    /// Puts findings that a manager made about fields where those fields stand in the files.
    pub(crate) fn locate(&self, findings: &[Finding]) -> Vec<Finding> {
        findings.iter().cloned().map(|finding| self.located(finding)).collect()
    }

    fn located(&self, mut finding: Finding) -> Finding {
        if let Location::Field { resource, path, source: source @ None } = &mut finding.at
            && resource.kind == ResourceKind::Site
        {
            let positions = resource.name.parse::<Name>().ok();
            let positions = positions.and_then(|name| self.positions.get(&name));
            *source = positions.and_then(|positions| positions.locate(path));
        }
        finding
    }
}

/// Prints findings to standard error, for people.
pub(crate) fn show(out: &Out, findings: &[Finding], sources: &Sources) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(());
    }
    for finding in sources.locate(findings) {
        let text = painted(&clean(&render(&finding, &sources.texts)), &finding, out.paint_err);
        if finding.severity == Severity::Info { out.note(&text)? } else { out.error(&text)? }
    }
    if let Some(line) = summary(findings) {
        out.error(&line)?;
    }
    Ok(())
}

/// Counts what is wrong, where something is.
pub(crate) fn summary(findings: &[Finding]) -> Option<String> {
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    match errors {
        0 => None,
        1 => Some("1 error".to_owned()),
        _ => Some(format!("{errors} errors")),
    }
}

/// Paints the head, the place and the remedy of a rendered finding.
fn painted(text: &str, finding: &Finding, paint: Paint) -> String {
    let head = |line: &str| match finding.severity {
        Severity::Error => paint.bad(line),
        Severity::Warning => paint.warn(line),
        Severity::Info => paint.bold(line),
    };
    let lines = text.lines().enumerate().map(|(number, line)| {
        let trimmed = line.trim_start();
        if number == 0 {
            match line.split_once(": ") {
                Some((kind, rest)) => format!("{}: {rest}", head(kind)),
                None => head(line),
            }
        } else if trimmed.starts_with("--> ") {
            paint.place(line)
        } else if let Some(rest) = trimmed.strip_prefix("help: ") {
            format!("{}{} {rest}", &" ".repeat(line.len() - trimmed.len()), paint.good("help:"))
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use portway_model::{FieldPath, FindingCode, Findings};

    use super::*;
    use crate::files;

    const TEXT: &str = "sites:\n  app:\n    hosts: [app.example]\n    to: 127.0.0.1:5000\n";

    fn finding() -> Finding {
        let mut findings = Findings::about(ResourceKind::Site, "app");
        let path = FieldPath::root().key("to");
        findings.error(FindingCode::OutOfBounds, &path, "beyond your bounds").remedy("ask");
        findings.into_vec().remove(0)
    }

    #[test]
    fn what_the_manager_finds_is_shown_where_it_stands_in_the_file() {
        let (sources, loaded) = files::load_text("portway.yaml", TEXT);
        assert!(!loaded.has_errors(), "{:?}", loaded.findings);
        let located = sources.locate(&[finding()]);
        let text = render(&located[0], &sources.texts);
        assert!(text.contains("portway.yaml:4:"), "{text}");
        let painted = painted(&text, &located[0], Paint::new(false));
        assert_eq!(painted.trim_end(), text.trim_end());
        assert!(super::painted(&text, &located[0], Paint::new(true)).contains("\u{1b}[31m"));
    }

    #[test]
    fn only_errors_are_counted() {
        assert_eq!(summary(&[]), None);
        assert_eq!(summary(&[finding()]).as_deref(), Some("1 error"));
        assert_eq!(summary(&[finding(), finding()]).as_deref(), Some("2 errors"));
    }
}
