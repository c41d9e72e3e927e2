//! What the built-in edge cannot carry out of what can be declared. A setting that it would leave
//! out is named when the site is planned, and the edge refuses the site: nothing is dropped in
//! silence.

use portway_model::{FieldPath, FindingCode, Findings, site::Route};

/// Adds a finding for each setting that the edge does not carry out. `at` tells where a route
/// stands in what was written.
pub fn refuse_by_edge(routes: &[Route], at: impl Fn(usize) -> FieldPath, findings: &mut Findings) {
    let mut refuse = |missing: bool, path: &FieldPath, what: &str| {
        if missing {
            let text = format!("the built-in edge {what} yet");
            findings.error(FindingCode::Unsupported, path, text).remedy("remove the setting");
        }
    };
    for (index, route) in routes.iter().enumerate() {
        let at = at(index);
        refuse(route.filters.mirror.is_some(), &at.key("mirror"), "does not copy requests");
    }
}

#[cfg(test)]
mod tests {
    use portway_model::{Location, ResourceKind, SiteSpec, site::check};

    use super::*;

    fn refused(spec: &str) -> Vec<String> {
        let spec: SiteSpec = serde_json::from_str(spec).unwrap();
        let (site, found) = check(&"blog".parse().unwrap(), &spec);
        let site = site.unwrap_or_else(|| panic!("{found:?}"));
        let mut findings = Findings::about(ResourceKind::Site, "blog");
        let at = |index| FieldPath::root().key("routes").index(index);
        refuse_by_edge(&site.routes, at, &mut findings);
        let path = |location| match location {
            Location::Field { path, .. } => path.to_string(),
            Location::Source(_) | Location::Host(_) | Location::Installation => String::new(),
        };
        findings.into_vec().into_iter().map(|finding| path(finding.at)).collect()
    }

    #[test]
    fn what_the_edge_does_is_not_refused() {
        for spec in [
            r#"{"hosts": ["a.example"], "to": "5000"}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80", "b:80"], "max_in_flight": 5}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["h2c://a:80"], "eject": false}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "proxy_protocol": "v2"}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "pool": {"max_idle": 1}}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "health": "/health"}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": [{"to": "a:80", "weight": 3}, "b:80"],
                "balance": "two_choices", "sticky": true, "slow_start": "5s",
                "max_in_flight_per_target": 3, "retries": {"attempts": 5}}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "buffer": "2MB"}}"#,
            r#"{"hosts": ["a.example"], "split": [{"to": "5000"}, {"to": "6000"}]}"#,
            r#"{"hosts": ["a.example"], "files": "/srv"}"#,
            r#"{"hosts": ["a.example"], "to": "a:80", "limits": {"headers": 50}}"#,
            r#"{"hosts": ["a.example"], "to": "a:80", "paths": {"encoded_slash": "allow"}}"#,
            r#"{"hosts": ["a.example"], "files": {"root": "/srv", "spa": true}}"#,
            r#"{"hosts": ["a.example"], "files": {"root": "/srv", "listing": true}}"#,
        ] {
            assert!(refused(spec).is_empty(), "{spec}: {:?}", refused(spec));
        }
    }

    #[test]
    fn what_the_edge_would_leave_out_is_refused_by_name() {
        let spec = r#"{"hosts": ["a.example"], "to": "5000", "mirror": {"to": "6000"}}"#;
        assert_eq!(refused(spec), ["routes[0].mirror"]);
    }
}
