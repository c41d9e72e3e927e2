//! From what an engine can do of a site to what its owner should know.

use portway_model::{Finding, FindingCode, Location, Remedy, ResourceKind, ResourceRef, Severity};
use portway_policy::SitePolicy;

use crate::{Bearing, Engine, EngineFacts, Support, Use, snippet, uses};

/// Returns everything that an engine does not carry out exactly, in the order of the site's fields.
///
/// What is refused is an error where the site would be less safe or another site without it, and a
/// warning otherwise. What is emulated is good to know. Of settings that nobody chose, only errors are
/// told of.
pub fn judge(engine: &dyn Engine, site: &SitePolicy, facts: &EngineFacts) -> Vec<Finding> {
    let mut findings = snippet::told(engine, site);
    for used in uses(site) {
        let support = engine.support_of(&used, facts);
        let finding = finding(engine, site, &used, &support);
        let is_news = |finding: &Finding| finding.is_error() || !used.is_usual;
        let is_new = |finding: &Finding| !findings.contains(finding);
        if let Some(finding) = finding.filter(is_news).filter(is_new) {
            findings.push(finding);
        }
    }
    findings
}

fn finding(
    engine: &dyn Engine,
    site: &SitePolicy,
    used: &Use<'_>,
    support: &Support,
) -> Option<Finding> {
    let (name, field) = (engine.name(), used.setting.field());
    let (severity, code, text, remedy) = match (support, used.setting.bearing()) {
        (Support::Exact, _) => return None,
        (Support::Emulated { differs }, _) => {
            let text = format!("`{field}` on {name}: {differs}");
            (Severity::Info, FindingCode::Advice, text, None)
        }
        (Support::Refused { why }, Bearing::Security | Bearing::Essential) => {
            let text = format!("{name} cannot carry out `{field}`: {why}");
            let remedy = format!("assign this site to an edge, or change `{field}`");
            (Severity::Error, FindingCode::Unsupported, text, Some(remedy))
        }
        (Support::Refused { why }, Bearing::Preference) => {
            let text = format!("{name} leaves out `{field}`: {why}");
            let remedy = format!("assign this site to an edge, or remove `{field}`");
            (Severity::Warning, FindingCode::Unsupported, text, Some(remedy))
        }
    };
    let resource = ResourceRef { kind: ResourceKind::Site, name: site.name.to_string() };
    let at = Location::Field { resource, path: used.at.clone(), source: None };
    let remedy = remedy.map(|text| Remedy { text, action: None });
    Some(Finding { code, severity, at, text, remedy })
}
