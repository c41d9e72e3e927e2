//! What is told of an engine's version that has known holes.

use portway_engine::{Version, known_holes};
use portway_model::{
    FieldPath, Finding, FindingCode, Location, Node, Remedy, ResourceKind, ResourceRef, Severity,
};

/// What an engine's program came as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CameAs {
    /// A package of this version.
    Package(String),
    /// No package.
    Program,
    /// Nobody looked, or could see.
    #[default]
    Unknown,
}

/// So many holes are named; the newest first.
const NAMED: usize = 3;

/// Tells of known holes of a version.
///
/// Distributions mend holes without changing the engine's own version, so of a package, and where it may
/// be one, this is advice to look; otherwise it is a warning.
pub fn holes(node: &Node, version: Version, came_as: &CameAs) -> Option<Finding> {
    let holes = known_holes(node.engine, version);
    let newest = holes.first()?;
    let named: Vec<_> = holes.iter().take(NAMED).map(|hole| hole.id).collect();
    let others = match holes.len().saturating_sub(NAMED) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let engine = node.engine;
    let known = format!(
        "{engine} {version} has known holes: {}{others}; the newest: {} ({})",
        named.join(", "),
        newest.what,
        newest.source
    );
    let upgrade = format!("`portway node install {} --upgrade`", node.name);
    let (severity, code, text, remedy) = match came_as {
        CameAs::Program => {
            let fixed = newest.fixed_in(version).map_or_else(String::new, |fixed| {
                format!(", with the program of {fixed} or later")
            });
            let remedy =
                format!("`portway node install {} --upgrade --program FILE`{fixed}", node.name);
            (Severity::Warning, FindingCode::NodeUnfit, known, remedy)
        }
        CameAs::Package(package) => {
            let text = format!(
                "{known}. It came as package {package}, in which its distribution may have mended them"
            );
            let remedy = format!(
                "see its changelog (`apt-get changelog {engine}`, `rpm -q --changelog {engine}`); {upgrade} brings the newest package"
            );
            (Severity::Info, FindingCode::Advice, text, remedy)
        }
        CameAs::Unknown => {
            let text =
                format!("{known}. If it came as a package, its distribution may have mended them");
            (Severity::Info, FindingCode::Advice, text, upgrade)
        }
    };
    let resource = ResourceRef { kind: ResourceKind::Node, name: node.name.to_string() };
    let at = Location::Field { resource, path: FieldPath::root().key("engine"), source: None };
    Some(Finding { code, severity, at, text, remedy: Some(Remedy { text: remedy, action: None }) })
}

#[cfg(test)]
mod tests {
    use portway_model::{Name, NodeSpec, node::check};

    use super::*;

    fn told(engine: &str, version: &str, came_as: &CameAs) -> Option<Finding> {
        let spec: NodeSpec =
            serde_json::from_value(serde_json::json!({ "engine": engine })).ok()?;
        let node = check(&"web-1".parse::<Name>().ok()?, &spec).0?;
        holes(&node, version.parse().ok()?, came_as)
    }

    #[test]
    fn a_package_is_reason_to_look_and_anything_else_a_warning() {
        let package =
            told("nginx", "1.22.1", &CameAs::Package("1.22.1-9+deb12u11".to_owned())).unwrap();
        assert_eq!(package.severity, Severity::Info);
        assert!(package.text.contains("may have mended"), "{}", package.text);
        assert!(package.remedy.unwrap().text.contains("apt-get changelog nginx"));

        let built = told("traefik", "3.7.2", &CameAs::Program).unwrap();
        assert_eq!(built.severity, Severity::Warning);
        assert!(built.text.contains("CVE-2026-48020"), "{}", built.text);
        let remedy = built.remedy.unwrap().text;
        assert!(
            remedy.contains("portway node install web-1 --upgrade") && remedy.contains("3.7.3")
        );

        assert_eq!(told("nginx", "1.22.1", &CameAs::Unknown).unwrap().severity, Severity::Info);
        assert_eq!(told("nginx", "1.31.3", &CameAs::Program), None);
    }
}
