//! What the built-in edge cannot carry out of what can be declared. A setting that it would leave
//! out is named when the site is planned, and the edge refuses the site: nothing is dropped in
//! silence.

use portway_model::{
    FieldPath, FindingCode, Findings,
    site::{Action, Balance, FileRoot, Queue, Retries, Route, Upstream},
};

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
        match &route.action {
            Action::Proxy(upstream) => refuse_upstream(upstream, &at.key("to"), &mut refuse),
            Action::Split(_) => {
                refuse(true, &at.key("split"), "does not divide requests between upstreams");
            }
            Action::Files(files) => refuse_files(files, &at.key("files"), &mut refuse),
            Action::Redirect(_) | Action::Respond(_) => {}
        }
    }
}

fn refuse_upstream(
    upstream: &Upstream,
    at: &FieldPath,
    refuse: &mut impl FnMut(bool, &FieldPath, &str),
) {
    let usual = Upstream::new(upstream.targets.clone(), upstream.protocol);
    let queue = Queue::usual(upstream.max_in_flight, upstream.max_in_flight_per_target);
    for (index, target) in upstream.targets.iter().enumerate() {
        let at = at.key("targets").index(index);
        refuse(target.weight != 1, &at.key("weight"), "does not weigh targets");
        refuse(target.backup, &at.key("backup"), "does not keep targets back");
    }
    let is_none = |attempts: Retries| attempts.attempts == 0;
    for (missing, field, what) in [
        (upstream.balance != Balance::RoundRobin, "balance", "does not choose targets but in turn"),
        (upstream.sticky.is_some(), "sticky", "does not keep clients with their targets"),
        (upstream.health.is_some(), "health", "does not check targets"),
        (
            upstream.eject.is_some() && upstream.eject != usual.eject,
            "eject",
            "does not eject targets",
        ),
        (upstream.slow_start != usual.slow_start, "slow_start", "does not start targets slowly"),
        (
            upstream.retries != usual.retries && !is_none(upstream.retries),
            "retries",
            "does not retry but in its own way",
        ),
        (
            upstream.max_in_flight_per_target.is_some(),
            "max_in_flight_per_target",
            "does not count requests by target",
        ),
        (
            upstream.queue.is_some() && upstream.queue != queue,
            "queue",
            "does not let requests wait",
        ),
        (
            upstream.buffer != usual.buffer && upstream.buffer.0 != 0,
            "buffer",
            "does not read bodies ahead",
        ),
    ] {
        refuse(missing, &at.key(field), what);
    }
}

fn refuse_files(files: &FileRoot, at: &FieldPath, refuse: &mut impl FnMut(bool, &FieldPath, &str)) {
    refuse(files.spa, &at.key("spa"), "does not fall back to the index");
    refuse(files.listing, &at.key("listing"), "does not list folders");
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
            r#"{"hosts": ["a.example"], "files": "/srv"}"#,
            r#"{"hosts": ["a.example"], "to": "a:80", "limits": {"headers": 50}}"#,
            r#"{"hosts": ["a.example"], "to": "a:80", "paths": {"encoded_slash": "allow"}}"#,
        ] {
            assert!(refused(spec).is_empty(), "{spec}: {:?}", refused(spec));
        }
    }

    #[test]
    fn what_the_edge_would_leave_out_is_refused_by_name() {
        for (spec, field) in [
            (r#"{"targets": [{"to": "a:80", "weight": 3}, "b:80"]}"#, "to.targets[0].weight"),
            (r#"{"targets": ["a:80"], "balance": "two_choices"}"#, "to.balance"),
            (r#"{"targets": ["a:80"], "health": "/health"}"#, "to.health"),
            (r#"{"targets": ["a:80", "b:80"], "sticky": true}"#, "to.sticky"),
        ] {
            let spec = format!(r#"{{"hosts": ["a.example"], "to": {spec}}}"#);
            assert_eq!(refused(&spec), [format!("routes[0].{field}")], "{spec}");
        }
        let spec = r#"{"hosts": ["a.example"], "files": {"root": "/srv", "spa": true}}"#;
        assert_eq!(refused(spec), ["routes[0].files.spa"]);
    }
}
