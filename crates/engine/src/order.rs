//! The order in which the edge tries routes, for engines that try them one after the other.

use std::cmp::Reverse;

use portway_model::site::{PathMatch, Route};

use crate::path::decoded;

/// Returns the places of routes in the order in which they are tried: exact paths, then expressions as
/// they stand in the file, equal ones together, then prefixes, the longest first; among equal paths the
/// one with more conditions first.
pub(crate) fn order(routes: &[Route]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..routes.len()).collect();
    places.sort_by_key(|place| routes.get(*place).map(|route| rank(routes, route)));
    places
}

fn rank(routes: &[Route], route: &Route) -> (u8, usize, Reverse<usize>) {
    let (kind, within) = match &route.matches.path {
        PathMatch::Exact(_) => (0, 0),
        PathMatch::Regex(_) => {
            let same = |other: &Route| other.matches.path == route.matches.path;
            (1, routes.iter().position(same).unwrap_or_default())
        }
        PathMatch::Prefix(prefix) => (2, usize::MAX - decoded(prefix.as_str()).len()),
    };
    let matches = &route.matches;
    let conditions =
        usize::from(!matches.methods.is_empty()) + matches.headers.len() + matches.query.len();
    (kind, within, Reverse(conditions))
}

#[cfg(test)]
mod tests {
    use portway_model::SiteSpec;

    use super::*;

    #[test]
    fn routes_are_tried_as_on_the_edge() {
        let spec: SiteSpec = serde_json::from_str(
            r#"{"hosts": ["a.example"], "routes": [
            {"path": "/", "to": "1"}, {"regex": "b", "to": "2"}, {"regex": "a", "to": "3"},
            {"regex": "b", "methods": ["POST"], "to": "4"}, {"path": "/a/b", "to": "5"},
            {"exact": "/a", "to": "6"}, {"exact": "/a", "methods": ["PUT"], "to": "7"},
            {"path": "/a/b", "match_query": {"x": "1"}, "to": "8"}]}"#,
        )
        .unwrap();
        let (site, _) = portway_model::site::check(&"shop".parse().unwrap(), &spec);
        let routes = site.unwrap().routes;
        let target = |place: &usize| {
            let target = &routes[*place].action.upstreams()[0].targets[0];
            target.to_string().chars().last().unwrap()
        };
        assert_eq!(order(&routes).iter().map(target).collect::<String>(), "76423851");
    }
}
