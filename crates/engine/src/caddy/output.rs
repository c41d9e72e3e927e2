//! What `caddy validate` says, down to the field of the site where that can be known.

use portway_model::{Finding, FindingCode, Findings, Location, ResourceKind, Severity};

use crate::{Release, output::places};

/// Reads the output of Caddy's test. What it logs on the way is JSON; what is wrong stands at the end:
/// in a line of its own, or (2.8 and later, without a terminal) as an error that no part of Caddy logs.
pub(super) fn read(output: &str, release: &Release) -> Vec<Finding> {
    output.lines().filter_map(error).map(|error| finding(&error, release)).collect()
}

fn error(line: &str) -> Option<String> {
    if let Some(error) = line.trim().strip_prefix("Error: ") {
        return Some(error.to_owned());
    }
    let entry: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_error = entry.get("level")?.as_str()? == "error" && entry.get("logger").is_none();
    let said = entry.get("msg").filter(|_| is_error)?.as_str()?;
    Some(said.to_owned())
}

fn finding(error: &str, release: &Release) -> Finding {
    let place = places(error).into_iter().rev().find_map(|(file, line)| {
        let (site, object) = release.site_of(file)?;
        Some((site, object.field(line).cloned().unwrap_or_default()))
    });
    let text = format!("Caddy does not take it: {error}");
    let Some((site, field)) = place else {
        return Finding {
            code: FindingCode::Held,
            severity: Severity::Error,
            at: Location::Installation,
            text,
            remedy: None,
        };
    };
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    findings.error(FindingCode::Held, &field, text).clone()
}
