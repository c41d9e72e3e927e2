//! What Traefik says that it runs, beside what was meant.

use std::collections::{BTreeMap, BTreeSet};

use portway_engine::{Engine as _, traefik::Traefik};
use portway_model::FindingCode;
use portway_policy::SitePolicy;
use serde_json::Value;

use crate::{
    bed::{Bed, Certificates, refusal},
    client::get,
    hostile::{Case, cases, harmless},
    traefik::{bed, start_by, top_level},
};

/// Every text stays in its place: Traefik runs the routers, middlewares and services that were meant, word
/// for word and no other, and they have the structure that a harmless text gives.
#[test]
fn hostile_texts_stay_texts() {
    let Some(mut bed) = bed() else { return };
    let (mut refused, mut taken) = (0, Vec::new());
    for case in cases() {
        match refusal(&Traefik, &case.site, &bed.facts) {
            Some(_) => refused += 1,
            None => taken.push(case),
        }
    }
    eprintln!("{} hostile sites taken, {refused} refused in words", taken.len());
    assert!(taken.len() > 1000, "{}", taken.len());
    let plain = harmless();
    let plain = plain.into_iter().filter(|(_, site)| refusal(&Traefik, site, &bed.facts).is_none());
    let plain: Vec<(&str, SitePolicy)> = plain.collect();
    let sites = taken.iter().map(|case| case.site.clone());
    let sites: Vec<SitePolicy> = sites.chain(plain.iter().map(|(_, site)| site.clone())).collect();
    let release = bed.release(&Traefik, &sites, &Certificates::new());
    bed.put(&release);
    let text = String::from_utf8(release.entry.bytes().to_vec()).unwrap();
    assert!(!text.contains("{{"));
    let api = free_port();
    let text = with_api(&top_level(&bed), api);
    start_by(&mut bed, &release, &text);
    let running = Running::of(api);
    let meant: Vec<Value> = sites.iter().map(|site| meant(&bed, site)).collect();
    for parts in &meant {
        running.has(parts);
    }
    running.has_no_more_than(&meant);
    let shapes: BTreeMap<&str, Value> =
        plain.iter().map(|(field, site)| (*field, shape_of(&bed, site))).collect();
    let mut changed = Vec::new();
    // An empty text is compared by an expression, which means the same.
    for case in taken.iter().filter(|case| !case.payload.trim().is_empty()) {
        let Some(expected) = shapes.get(case.field) else { continue };
        let found = shape_of(&bed, &case.site);
        if found != *expected && !is_left_out(&bed, case) {
            changed.push((case.field, case.payload, found.to_string(), expected.to_string()));
        }
    }
    let all: Vec<_> = changed.iter().map(|(field, payload, ..)| (field, payload)).collect();
    assert!(changed.is_empty(), "{all:?} such as {:?}", changed.first());
    for case in taken.iter().filter(|case| case.field == "blocked") {
        let host = case.site.hosts[0].to_string();
        assert_eq!(get(bed.facts.ports.http, &host, "/").status, 403, "{:?}", case.payload);
    }
}

fn is_left_out(bed: &Bed, case: &Case) -> bool {
    let rendered = Traefik.render_site(&case.site, &Certificates::new(), &bed.facts).unwrap();
    rendered.findings.iter().any(|finding| finding.code == FindingCode::Unsupported)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Lets Traefik tell what it runs.
fn with_api(text: &str, port: u16) -> String {
    let point = format!("entryPoints:\n  traefik: {{address: \"127.0.0.1:{port}\"}}\n");
    format!("api: {{insecure: true, dashboard: false}}\n{}", text.replace("entryPoints:\n", &point))
}

/// Returns the parts of a site as they were meant, before anything was written.
fn meant(bed: &Bed, site: &SitePolicy) -> Value {
    let rendered = Traefik.render_site(site, &Certificates::new(), &bed.facts).unwrap();
    let entry: Value = serde_json::from_str(&rendered.entry).unwrap();
    entry["parts"].clone()
}

const KINDS: [&str; 3] = ["routers", "middlewares", "services"];

/// What Traefik says that it runs.
struct Running(Value);

impl Running {
    fn of(port: u16) -> Self {
        let answer = get(port, "127.0.0.1", "/api/rawdata");
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = if answer.header("Transfer-Encoding").is_some() {
            unchunked(&answer.body)
        } else {
            answer.body
        };
        Self(serde_json::from_str(&body).unwrap())
    }

    /// Everything that was meant runs, with exactly these texts.
    fn has(&self, parts: &Value) {
        for kind in KINDS {
            for (name, meant) in parts[kind].as_object().unwrap() {
                let found = &self.0[kind][format!("{name}@file")];
                assert!(is_within(meant, found), "{kind} {name}: {meant:#} is not in {found:#}");
                let is_on = kind != "routers" || found["status"] == "enabled";
                assert!(is_on, "{name}: {found:#}");
            }
        }
    }

    /// Nothing runs that was not meant, but for the probe.
    fn has_no_more_than(&self, meant: &[Value]) {
        for kind in KINDS {
            let parts = meant.iter().flat_map(|parts| parts[kind].as_object().unwrap().keys());
            let meant: BTreeSet<&str> = parts.map(String::as_str).chain(PROBE).collect();
            for name in self.0[kind].as_object().unwrap().keys() {
                let Some(name) = name.strip_suffix("@file") else { continue };
                assert!(meant.contains(name), "{kind}: {name} was not meant");
            }
        }
    }
}

/// What a release has beside its sites.
const PROBE: [&str; 3] = ["portway-digest", "portway-nobody", "portway-nothing"];

/// Tells whether a value has everything of another one. References to parts name the provider, and a time may
/// be written otherwise.
fn is_within(meant: &Value, found: &Value) -> bool {
    match (meant, found) {
        (Value::Object(meant), Value::Object(found)) => meant.iter().all(|(key, value)| {
            found.get(key).map_or(is_nothing(value), |found| is_within(value, found))
        }),
        (Value::Array(meant), Value::Array(found)) => {
            let mut pairs = meant.iter().zip(found);
            meant.len() == found.len() && pairs.all(|(one, other)| is_within(one, other))
        }
        (Value::String(meant), Value::String(found)) => {
            meant == found
                || found.strip_suffix("@file") == Some(meant)
                || is_same_time(meant, found)
        }
        (meant, found) => meant == found || is_nothing(meant),
    }
}

/// Traefik does not tell what is as it always is.
fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_))
        || matches!(value, Value::String(text) if text.is_empty())
}

fn is_same_time(one: &str, other: &str) -> bool {
    let seconds = |text: &str| {
        let (minutes, seconds) = text.strip_suffix('s')?.rsplit_once('m').unwrap_or(("0", text));
        let seconds = seconds.trim_end_matches('s').parse::<u64>().ok()?;
        let (hours, minutes) = minutes.rsplit_once('h').unwrap_or(("0", minutes));
        Some((hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?) * 60 + seconds)
    };
    seconds(one).is_some() && seconds(one) == seconds(other)
}

fn unchunked(text: &str) -> String {
    let (mut rest, mut whole) = (text, String::new());
    while let Some((length, tail)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        let Some((piece, after)) = tail.split_at_checked(length).filter(|_| length > 0) else {
            break;
        };
        whole.push_str(piece);
        rest = after.trim_start_matches("\r\n");
    }
    whole
}

/// Returns the structure of a site's parts: what stands in quotes is all the same.
fn shape_of(bed: &Bed, site: &SitePolicy) -> Value {
    let parts = meant(bed, site);
    let kinds = KINDS.map(|kind| {
        let parts = parts[kind].as_object().unwrap();
        parts.values().map(shape).collect::<Value>()
    });
    kinds.into_iter().collect()
}

fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) => "text".into(),
        Value::Array(all) => all.iter().map(shape).collect(),
        Value::Object(all) => {
            let headers = ["customRequestHeaders", "customResponseHeaders"];
            let entries = all.iter().map(|(key, value)| {
                let count = value.as_object().map_or(0, serde_json::Map::len);
                let value = match key.as_str() {
                    "rule" => without_quoted(value.as_str().unwrap()).into(),
                    key if headers.contains(&key) => count.into(),
                    _ => shape(value),
                };
                (key.clone(), value)
            });
            Value::Object(entries.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Returns the calls of a rule without what they are called with.
fn without_quoted(text: &str) -> String {
    let (mut shape, mut is_inside, mut characters) = (String::new(), false, text.chars());
    while let Some(c) = characters.next() {
        match c {
            '"' => is_inside = !is_inside,
            // What follows a backslash ends nothing.
            '\\' if is_inside => drop(characters.next()),
            _ if is_inside => {}
            c => shape.push(c),
        }
    }
    shape
}
