//! Differences of declarations, for people.

use portway_model::SiteSpec;
use portway_wire::site::{PlannedAction, PlannedChange};

/// Returns what becomes of a site between two versions, or nothing when they are equal.
pub(crate) fn change(
    name: &str,
    before: Option<&SiteSpec>,
    after: Option<&SiteSpec>,
) -> Option<PlannedChange> {
    let action = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => PlannedAction::Create,
        (Some(_), None) => PlannedAction::Remove,
        (Some(before), Some(after)) if before == after => return None,
        (Some(_), Some(_)) => PlannedAction::Update,
    };
    let diff = unified(&yaml(before), &yaml(after));
    Some(PlannedChange { site: name.to_owned(), action, diff })
}

fn yaml(spec: Option<&SiteSpec>) -> String {
    spec.and_then(|spec| serde_json::to_string_pretty(spec).ok()).unwrap_or_default()
}

/// Returns a unified diff with three lines of context, without file headers.
pub(crate) fn unified(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .missing_newline_hint(false)
        .to_string()
}
