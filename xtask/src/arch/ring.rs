//! Development dependencies that lead back to where they start.
//!
//! Cargo refuses rings of ordinary dependencies and allows them through tests. There they mean that
//! a crate is built twice, and that its unit tests cannot hand its own types to the helper.

use std::collections::{BTreeMap, VecDeque};

use super::workspace::{Dependency, Kind, Package};
use crate::fault::Fault;

/// Returns a fault for each development dependency that needs, in the end, the package it is for.
pub(super) fn faults(packages: &[Package]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for package in packages {
        for to in package.dependencies.iter().filter(|it| it.kind == Kind::Development) {
            if let Some(way) = way_back(packages, &to.name, &package.name) {
                faults.push(fault(package, to, &way));
            }
        }
    }
    faults
}

fn fault(package: &Package, to: &Dependency, way: &[&str]) -> Fault {
    package.fault(
        package.line_of(to),
        format!(
            "the tests of {} depend on it through a ring: {} -> {}",
            package.name,
            package.name,
            way.join(" -> ")
        ),
        "move the tests that need it into the crate at the other end, or the helper into this one",
    )
}

/// Returns the shortest way from one package to another over ordinary dependencies, both included.
fn way_back<'a>(packages: &'a [Package], from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut reached_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(name) = queue.pop_front() {
        if name == to {
            return Some(retrace(&reached_from, from, name));
        }
        for next in ordinary_dependencies(packages, name) {
            if next != from && !reached_from.contains_key(next) {
                reached_from.insert(next, name);
                queue.push_back(next);
            }
        }
    }
    None
}

fn ordinary_dependencies<'a>(
    packages: &'a [Package],
    name: &str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let package = packages.iter().find(|package| package.name == name);
    package
        .into_iter()
        .flat_map(|package| &package.dependencies)
        .filter(|it| it.kind != Kind::Development)
        .map(|it| it.name.as_str())
}

fn retrace<'a>(reached_from: &BTreeMap<&str, &'a str>, from: &'a str, to: &'a str) -> Vec<&'a str> {
    let mut way = vec![to];
    let mut at = to;
    while at != from {
        let Some(before) = reached_from.get(at) else { break };
        at = before;
        way.push(at);
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_through_a_development_dependency_is_shown_whole() {
        let packages = [
            package("model", &[(Kind::Development, "testkit")]),
            package("policy", &[(Kind::Normal, "model")]),
            package("testkit", &[(Kind::Normal, "policy")]),
        ];

        let faults = faults(&packages);

        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].what.ends_with("model -> testkit -> policy -> model"),
            "{}",
            faults[0].what
        );
    }

    #[test]
    fn tests_that_use_each_other_s_crates_close_no_ring() {
        let packages = [
            package("edge", &[(Kind::Development, "store")]),
            package("store", &[(Kind::Development, "edge")]),
        ];

        assert_eq!(faults(&packages), []);
    }

    #[test]
    fn a_crate_whose_tests_depend_on_itself_is_a_ring() {
        let packages = [package("edge", &[(Kind::Development, "edge")])];

        assert_eq!(faults(&packages).len(), 1);
    }

    fn package(name: &str, dependencies: &[(Kind, &str)]) -> Package {
        let dependency =
            |&(kind, name): &(Kind, &str)| Dependency { name: name.to_owned(), rename: None, kind };
        Package {
            name: name.to_owned(),
            manifest_path: format!("crates/{name}/Cargo.toml"),
            dependencies: dependencies.iter().map(dependency).collect(),
            manifest: String::new(),
        }
    }
}
