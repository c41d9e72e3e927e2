//! What somebody changed by hand in Portway's files for nginx, and the site that says the same.
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]
#![expect(clippy::panic, reason = "a failed assumption fails the test")]
#![expect(clippy::indexing_slicing, reason = "a missing field of JSON is null")]

use std::{collections::BTreeMap, sync::Arc};

use portway_engine::{Engine as _, Extension, Object, nginx};
use portway_import::adopt::{self, Found, Obstacle};
use portway_model::{Id, SiteSpec, site::check};
use portway_policy::{CompileInput, compile};
use serde_json::{Value, json};

/// What comes of a change by hand.
#[derive(Debug)]
enum Taken {
    /// The fields that the site has otherwise than before.
    Changed(Value),
    Refused(Vec<Obstacle>),
    Lost(Vec<Obstacle>),
}

#[test]
fn a_size_is_the_settings_of_the_site_and_what_follows_from_it_is_written_anew() {
    let taken = by_hand(&proxied(), "client_max_body_size 100000000;", "client_max_body_size 7m;");
    assert_eq!(changed(taken), json!({"max_body": 7_340_032}));
}

#[test]
fn targets_are_taken_with_their_weights_and_the_spelling_of_those_that_stay() {
    let spec = json!({"hosts": ["a.example"], "to": ["http://10.0.0.1:80", "http://10.0.0.2:80"]});
    let taken = by_hand(
        &spec,
        "server 10.0.0.2:80 ",
        "server 10.0.0.3:8080 weight=3;\n server 10.0.0.2:80 ",
    );
    let to = json!(["http://10.0.0.1:80", {"to": "http://10.0.0.3:8080", "weight": 3}, "http://10.0.0.2:80"]);
    assert_eq!(changed(taken), json!({"to": to}));
}

#[test]
fn one_target_becomes_two_with_what_belongs_to_several() {
    let taken = by_hand(&proxied(), "max_fails=0;", "max_fails=0;\n server 10.0.0.3:8080;");
    assert_eq!(changed(taken), json!({"to": ["10.0.0.1:5000", "10.0.0.3:8080"]}));
}

#[test]
fn times_headers_hosts_and_limits_are_settings_of_the_site() {
    let cases = [
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 5s;",
            json!({"to": {"targets": ["10.0.0.1:5000"], "timeouts": {"connect": "5s"}}}),
        ),
        (
            "proxy_read_timeout 60s;",
            "proxy_read_timeout 2m;",
            json!({"to": {"targets": ["10.0.0.1:5000"], "timeouts": {"first_byte": "120s", "silence": "120s"}}}),
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; add_header X-Frame-Options DENY always;",
            json!({"headers": {"response": {"add": {"x-frame-options": "DENY"}}}}),
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; proxy_set_header X-Tenant 'a b';",
            json!({"headers": {"request": {"set": {"x-tenant": "a b"}}}}),
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; proxy_hide_header X-Powered-By;",
            json!({"headers": {"response": {"remove": ["x-powered-by"]}}}),
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; deny 10.1.0.0/16; allow 10.0.0.1; deny all;",
            json!({"access": {"allow": ["10.0.0.1/32"], "deny": ["10.1.0.0/16"]}}),
        ),
        (
            "server_name a.example;",
            "server_name a.example www.a.example;",
            json!({"hosts": ["a.example", "www.a.example"]}),
        ),
        ("send_timeout 60s;", "send_timeout 90;", json!({"limits": {"write_stall": "90s"}})),
    ];
    for (before, after, wanted) in cases {
        assert_eq!(changed(by_hand(&proxied(), before, after)), wanted, "{after}");
    }
}

#[test]
fn an_answer_and_an_address_to_which_clients_are_sent_are_taken() {
    let spec = json!({"hosts": ["a.example"], "https": false, "respond": {"body": "one"}});
    let taken = by_hand(&spec, "return 200 one;", "return 503 'two for 5${portway_dollar}';");
    assert_eq!(changed(taken), json!({"respond": {"status": 503, "body": "two for 5$"}}));
    let spec = json!({"hosts": ["a.example"], "https": false, "redirect": "https://b.example"});
    let taken = by_hand(&spec, "return 302 https://b.example;", "return 301 https://c.example;");
    assert_eq!(changed(taken), json!({"redirect": {"to": "https://c.example", "status": 301}}));
}

#[test]
fn of_several_routes_the_one_that_was_changed_gets_its_own() {
    let spec = json!({"hosts": ["a.example"], "https": false, "max_body": "1MB", "routes": [
        {"to": "10.0.0.1:5000"}, {"path": "/b", "to": "10.0.0.2:5000"},
    ]});
    let objects = rendered(&spec);
    let text = files(&objects).remove(1);
    // The second of two.
    let (head, tail) = text.rsplit_once("client_max_body_size 1000000;").unwrap();
    let text = format!("{head}client_max_body_size 2000000;{tail}");
    let mut routes = spec["routes"].clone();
    // Engines are given the route of the longer path first.
    routes[0]["max_body"] = json!(2_000_000);
    assert_eq!(changed(adopted(&spec, &objects, 1, &text)), json!({"routes": routes}));
}

#[test]
fn comments_and_blanks_are_no_change() {
    let Taken::Changed(changed) = by_hand(
        &proxied(),
        "proxy_connect_timeout 60s;",
        "# by hand\n  proxy_connect_timeout  1m;",
    ) else {
        panic!("it is adopted")
    };
    assert_eq!(changed, json!({}));
}

#[test]
fn what_no_site_says_is_told_with_its_line_and_why() {
    let cases = [
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; limit_rate 10k;",
            "nothing in a site says this",
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; add_header X-A b;",
            "write `always`",
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; proxy_set_header X-A $host;",
            "a variable of nginx",
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; allow 10.0.0.1;",
            "end the rules with `deny all`",
        ),
        (
            "proxy_connect_timeout 60s;",
            "proxy_connect_timeout 60s; return 503 off;",
            "another action",
        ),
        ("server_name a.example;", "server_name *.a.example;", "any number of labels"),
        ("max_fails=0;", "max_fails=0 down;", "take it out instead"),
        ("send_timeout 60s;", "send_timeout 60s; }", "nginx itself could not read it"),
    ];
    for (before, after, why) in cases {
        let Taken::Refused(obstacles) = by_hand(&proxied(), before, after) else {
            panic!("{after} is refused")
        };
        assert!(
            obstacles.iter().any(|obstacle| obstacle.why.contains(why)),
            "{after}: {obstacles:?}"
        );
        assert!(obstacles.iter().all(|obstacle| obstacle.line > 1), "{obstacles:?}");
    }
}

#[test]
fn what_would_be_lost_is_not_adopted() {
    // A site says how often a target may fail only for all of them, and in other words.
    let taken = by_hand(&proxied(), "max_fails=0;", "max_fails=7;");
    let Taken::Lost(obstacles) = taken else { panic!("{taken:?}") };
    assert!(obstacles[0].text.contains("max_fails=7"), "{obstacles:?}");
    assert!(obstacles[0].why.contains("max_fails=0"), "{obstacles:?}");
}

fn proxied() -> Value {
    json!({"hosts": ["a.example"], "https": false, "to": "10.0.0.1:5000"})
}

/// Changes the file that has a text, and adopts it.
fn by_hand(spec: &Value, before: &str, after: &str) -> Taken {
    let spec = &{
        let mut spec = spec.clone();
        spec["https"] = json!(false);
        spec
    };
    let objects = rendered(spec);
    let files = files(&objects);
    let at = files.iter().position(|text| text.contains(before));
    let at = at.unwrap_or_else(|| panic!("no file has {before}:\n{}", files.join("\n")));
    adopted(spec, &objects, at, &files[at].replacen(before, after, 1))
}

fn adopted(spec: &Value, objects: &[Arc<Object>], at: usize, text: &str) -> Taken {
    let written: SiteSpec = serde_json::from_value(spec.clone()).unwrap();
    let found = Found { deployed: &objects[at], text };
    let adoption = match adopt::nginx(&written, &[found]) {
        Ok(adoption) => adoption,
        Err(obstacles) => return Taken::Refused(obstacles),
    };
    let after = serde_json::to_value(&adoption.spec).unwrap();
    if let Err(obstacles) = adopt::proven(&found, &rendered(&after)[at]) {
        return Taken::Lost(obstacles);
    }
    let is_new = |(name, value): &(&String, &Value)| spec.get(*name) != Some(*value);
    let fields = after.as_object().unwrap().iter().filter(is_new);
    Taken::Changed(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn changed(taken: Taken) -> Value {
    match taken {
        Taken::Changed(changed) => changed,
        taken @ (Taken::Refused(_) | Taken::Lost(_)) => panic!("{taken:?}"),
    }
}

fn files(objects: &[Arc<Object>]) -> Vec<String> {
    objects.iter().map(|object| String::from_utf8(object.bytes().to_vec()).unwrap()).collect()
}

fn rendered(spec: &Value) -> Vec<Arc<Object>> {
    let spec: SiteSpec = serde_json::from_value(spec.clone()).unwrap();
    let (site, findings) = check(&"a".parse().unwrap(), &spec);
    let site = site.unwrap_or_else(|| panic!("{findings:?}"));
    let id = Id::from_uuid(uuid::Uuid::from_u128(7));
    let (policy, _) = compile(id, &site, &CompileInput::default());
    let made = nginx::Nginx.render_site(&policy, &BTreeMap::new(), &nginx::usual_facts()).unwrap();
    made.objects.into_iter().filter(|object| object.extension() == Extension::Conf).collect()
}
