//! What a site uses, and that nothing which can be set stays unseen.

use std::collections::BTreeSet;

use portway_model::{Id, SiteSpec};
use portway_policy::{Blocked, CompileInput, NetworkGuard, SitePolicy};
use uuid::Uuid;

use super::uses;
use crate::Setting;

fn policy(spec: &str, input: &CompileInput) -> SitePolicy {
    let spec: SiteSpec = serde_json::from_str(spec).unwrap();
    let (site, findings) = portway_model::site::check(&"shop".parse().unwrap(), &spec);
    let site = site.unwrap_or_else(|| panic!("{findings:?}"));
    portway_policy::compile(Id::from_uuid(Uuid::nil()), &site, input).0
}

const ROUTES: &str = r#"{
  "hosts": ["a.example", "*.a.example", "127.0.0.1", "*"],
  "log": {"format": "combined"}, "maintenance": {"allow": ["10.0.0.0/8"]},
  "paths": {"encoded_slash": "allow", "backslash": "allow", "nul": "allow",
    "double_encoding": "allow"},
  "routes": [
    {"path": "/proxy", "methods": ["GET"], "match_headers": {"X-A": "1"},
     "match_query": {"q": "1"}, "strip_prefix": true, "max_body": "1KB",
     "headers": {"request": {"set": {"X-B": "1"}, "add": {"X-C": "1"}, "remove": ["X-D"]},
       "response": {"set": {"X-B": "1"}, "add": {"X-C": "1"}, "remove": ["X-D"]}},
     "access": {"allow": ["10.0.0.0/8"], "deny": ["10.6.6.6"], "basic": {"users":
       {"ada": "$2y$10$2sMOCzmFp2YPjTWVIy6qjOyWyVgHmdFuXP8xYEkgqJ7bYkTkNOyJW"}}},
     "mirror": {"to": "9000", "percent": 10}, "cache": "10m",
     "to": {"targets": [{"to": "https://a", "weight": 2}, {"to": "https://b", "backup": true}],
       "tls": {"server_name": "c.example"}, "host": "c.example", "sticky": true,
       "health": "/health", "eject": {"statuses": [500]}, "slow_start": "30s",
       "max_in_flight": 5, "max_in_flight_per_target": 5,
       "pool": {"max_connections": 5, "max_requests": 5}, "proxy_protocol": "v2"}},
    {"path": "/limited", "respond": {"body": "x"}, "connection_limit": 5, "rate_limit": [
       {"rate": "10/s", "by": {"header": "X-Key"}, "exempt": ["10.0.0.0/8"]},
       {"rate": "10/s", "by": "site", "dry_run": true}, {"rate": "10/s", "by": "site"}]},
    {"exact": "/unix", "to": {"targets": ["unix:/run/a", "unix:/run/b"],
       "balance": "least_requests", "health": {"tcp": true}}},
    {"regex": "^/h2c", "to": {"targets": ["h2c://127.0.0.1:1", "h2c://127.0.0.1:2"],
       "balance": "two_choices"}},
    {"path": "/client", "to": {"targets": ["1", "2"], "balance": {"hash": "client"}}},
    {"path": "/header", "to": {"targets": ["1", "2"], "balance": {"hash": {"header": "X"}}}},
    {"path": "/cookie", "to": {"targets": ["1", "2"], "balance": {"hash": {"cookie": "c"}}}},
    {"path": "/turn", "to": {"targets": ["1", "2"], "host": "target"}},
    {"path": "/trust", "to": {"targets": ["https://a"], "tls": {"verify": false}}},
    {"path": "/split", "split": {"sticky": true, "sides": [
       {"weight": 1, "to": "1"}, {"by": [{"cookie": "c"}], "to": "2"}]}},
    {"path": "/files", "files": {"root": "/srv", "listing": true}},
    {"path": "/spa", "files": {"root": "/srv", "spa": true}},
    {"path": "/away", "redirect": {"to": "/x", "keep_path": true}},
    {"path": "/say", "respond": {"body": "x"}}
  ]
}"#;

#[test]
fn every_setting_that_can_be_written_is_seen() {
    let input = CompileInput {
        blocked: Some(Blocked { reason: "x".to_owned() }),
        guard: Some(NetworkGuard::default()),
        ..CompileInput::default()
    };
    let json = policy(r#"{"hosts": ["a.example"], "to": "5000"}"#, &input);
    let policy = policy(ROUTES, &input);
    let used: BTreeSet<Setting> =
        uses(&policy).into_iter().chain(uses(&json)).map(|used| used.setting).collect();
    // An authority and a client certificate are files that only the site file names.
    let elsewhere = [Setting::UpstreamTlsCa, Setting::UpstreamClientCertificate];
    let unseen: Vec<_> = Setting::ALL
        .iter()
        .filter(|setting| !used.contains(setting) && !elsewhere.contains(setting))
        .collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn what_nobody_chose_is_usual() {
    let policy = policy(r#"{"hosts": ["a.example"], "to": "5000"}"#, &CompileInput::default());
    let chosen: Vec<_> =
        uses(&policy).into_iter().filter(|used| !used.is_usual).map(|used| used.setting).collect();
    assert_eq!(chosen, [Setting::HostExact]);
}

#[test]
fn a_use_names_its_field() {
    let policy = policy(ROUTES, &CompileInput::default());
    let at = |setting| {
        let used = uses(&policy).into_iter().find(|used| used.setting == setting).unwrap();
        (used.at.to_string(), used.route.is_some(), used.upstream.is_some())
    };
    assert_eq!(at(Setting::HostWildcard), ("hosts[1]".to_owned(), false, false));
    // Routes stand in the order in which they are tried.
    let place = policy.routes.iter().position(|route| route.filters.access.is_some()).unwrap();
    let (field, in_route, in_upstream) = at(Setting::DenyNetworks);
    assert_eq!(field, format!("routes[{place}].access.deny"));
    assert!(in_route && !in_upstream);
    let (field, in_route, in_upstream) = at(Setting::TargetWeight);
    assert_eq!(field, format!("routes[{place}].to.targets[0].weight"));
    assert!(in_route && in_upstream);
    assert!(at(Setting::SplitRules).0.ends_with(".split.sides[1].by"));
}
