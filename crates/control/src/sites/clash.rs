//! Routes that two sites of the same file both claim, which the store cannot know yet.

use std::collections::{BTreeMap, btree_map::Entry};

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, HostPattern, Name, ResourceKind, Site,
};

use crate::ControlError;

/// Which requests the sites of a file claim, one site after the other.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By the host and what a route matches, as JSON.
    by_requests: BTreeMap<(HostPattern, String), Name>,
    findings: Vec<Finding>,
}

impl Claims {
    /// Notes what a site claims; where another one was first, that is found.
    pub(super) fn claim(&mut self, site: &Site) -> Result<(), ControlError> {
        let mut matches = Vec::with_capacity(site.routes.len());
        for route in &site.routes {
            let text = serde_json::to_string(&route.matches)
                .map_err(|error| ControlError::internal("comparing routes", error))?;
            matches.push((route, text));
        }
        let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
        for (index, host) in site.hosts.iter().enumerate() {
            for (route, matches) in &matches {
                let first = match self.by_requests.entry((host.clone(), matches.clone())) {
                    Entry::Vacant(free) => free.insert(site.name.clone()),
                    Entry::Occupied(taken) => taken.into_mut(),
                };
                if *first == site.name {
                    continue;
                }
                findings
                    .error(
                        FindingCode::RouteTaken,
                        &FieldPath::root().key("hosts").index(index),
                        format!(
                            "site `{first}` of this file already answers `{host}{}`",
                            route.matches.path
                        ),
                    )
                    .remedy("give one of the sites another host or path");
            }
        }
        self.findings.extend(findings.into_vec());
        Ok(())
    }

    /// Returns what was found, in the order of the sites.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}
