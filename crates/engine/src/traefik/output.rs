//! What Traefik says of a release that it does not take.

use portway_model::{FieldPath, Finding, FindingCode, Findings, Location, ResourceKind, Severity};
use portway_policy::log_folder;
use serde_json::Value;

use crate::{Release, ReleaseSite};

/// Reads what an instance logs, a JSON object in each line: errors name the router, which is named for
/// its site.
pub(super) fn read(output: &str, release: &Release) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in output.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        if !matches!(text("level"), "error" | "fatal") {
            continue;
        }
        let said: Vec<&str> =
            ["message", "error"].into_iter().map(text).filter(|part| !part.is_empty()).collect();
        let finding = finding(&said.join(": "), text("routerName"), release);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

fn finding(said: &str, router: &str, release: &Release) -> Finding {
    let text = format!("Traefik does not take it: {said}");
    let of = |site: &&ReleaseSite| {
        router.starts_with(&format!("portway-{}-", log_folder(&site.name, site.id)))
    };
    let Some(site) = release.sites.iter().find(of) else {
        return Finding {
            code: FindingCode::Held,
            severity: Severity::Error,
            at: Location::Installation,
            text,
            remedy: None,
        };
    };
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    findings.error(FindingCode::Held, &field(router), text).clone()
}

/// Returns the route that a router was made from.
fn field(router: &str) -> FieldPath {
    let root = FieldPath::root();
    let starts = router.match_indices("-r").filter_map(|(at, _)| router.get(at + 2..));
    let mut numbers = starts.filter_map(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        rest.get(..digits)?.parse::<usize>().ok()
    });
    numbers.next().map_or(root.clone(), |index| root.key("routes").index(index))
}
