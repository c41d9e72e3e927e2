//! From what an engine can do of a site to what its owner should know.

use portway_model::{Finding, FindingCode, Location, Remedy, ResourceKind, ResourceRef, Severity};
use portway_policy::SitePolicy;

use crate::{Engine, EngineFacts, Fit, Setting, Support, Use, snippet, uses};

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

/// Returns what helps where a setting is not carried out.
pub(crate) fn remedy(setting: Setting, fit: Fit) -> Option<String> {
    let field = setting.field();
    match fit {
        Fit::Exact | Fit::Emulated => None,
        Fit::LeftOut => Some(format!("assign this site to an edge, or remove `{field}`")),
        Fit::Refused => Some(format!("assign this site to an edge, or change `{field}`")),
    }
}

fn finding(
    engine: &dyn Engine,
    site: &SitePolicy,
    used: &Use<'_>,
    support: &Support,
) -> Option<Finding> {
    let (name, field) = (engine.name(), used.setting.field());
    let detail = support.detail()?;
    let fit = support.fit(used.setting.bearing());
    let (severity, code, text) = match fit {
        Fit::Exact => return None,
        Fit::Emulated => {
            (Severity::Info, FindingCode::Advice, format!("`{field}` on {name}: {detail}"))
        }
        Fit::LeftOut => {
            let text = format!("{name} leaves out `{field}`: {detail}");
            (Severity::Warning, FindingCode::Unsupported, text)
        }
        Fit::Refused => {
            let text = format!("{name} cannot carry out `{field}`: {detail}");
            (Severity::Error, FindingCode::Unsupported, text)
        }
    };
    let remedy = remedy(used.setting, fit);
    let resource = ResourceRef { kind: ResourceKind::Site, name: site.name.to_string() };
    let at = Location::Field { resource, path: used.at.clone(), source: None };
    let remedy = remedy.map(|text| Remedy { text, action: None });
    Some(Finding { code, severity, at, text, remedy })
}
