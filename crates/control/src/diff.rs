//! Differences of declarations, for people.

use indexmap::IndexMap;
use portway_model::{Name, SiteSpec};
use portway_wire::site::{PlannedAction, PlannedChange};

/// Returns what becomes of a site between two versions, or nothing when they are equal.
pub(crate) fn change(
    name: &Name,
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
    let diff = unified(&yaml(name, before), &yaml(name, after));
    Some(PlannedChange { site: name.to_string(), action, diff })
}

fn yaml(name: &Name, spec: Option<&SiteSpec>) -> String {
    let Some(spec) = spec else { return String::new() };
    portway_sitefile::export(&IndexMap::from([(name.clone(), spec.clone())]))
}

/// Returns a unified diff with three lines of context, without file headers.
pub(crate) fn unified(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .missing_newline_hint(false)
        .to_string()
}
