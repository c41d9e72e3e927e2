//! What of answers is compared, and with what result.

use std::collections::{BTreeMap, BTreeSet};

use portway_engine::{Engine, EngineFacts};
use portway_policy::SitePolicy;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    bed::{Bed, Doors, PATIENCE},
    cases::{self, Asked, Case, Many},
    client::{Answer, ask},
    told::{Manner, View, is_told},
};

/// Headers of every answer that are compared.
const HEADERS: [&str; 9] = [
    "content-type",
    "content-encoding",
    "cache-control",
    "alt-svc",
    "via",
    "server",
    "x-powered-by",
    "x-request-id",
    "x-portway-digest",
];

/// Headers of what an application is asked that say how it is sent, not what.
const OF_THE_WAY: [&str; 4] = ["connection", "content-length", "transfer-encoding", "keep-alive"];

/// Headers whose value is another one each time.
const DRAWN: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// A case as an engine and the edge beside it answer it.
pub(crate) struct Comparison<'a> {
    pub(crate) name: &'a str,
    pub(crate) case: &'a Case,
    pub(crate) bed: &'a Bed,
    pub(crate) engine: &'a dyn Engine,
    pub(crate) facts: &'a EngineFacts,
    pub(crate) sites: &'a [SitePolicy],
    /// Whether these are all sites of the case with all of their routes.
    pub(crate) is_whole: bool,
}

/// What is known of an engine's manners and how often they showed.
pub(crate) struct Manners {
    all: Vec<Manner>,
    shown: BTreeSet<usize>,
}

impl Manners {
    pub(crate) fn of(engine: &dyn Engine) -> Self {
        Self { all: cases::manners(&engine.name().to_lowercase()), shown: BTreeSet::new() }
    }

    /// Returns those that never showed.
    pub(crate) fn idle(&self) -> Vec<String> {
        let idle = self.all.iter().enumerate().filter(|(place, _)| !self.shown.contains(place));
        idle.map(|(_, manner)| format!("never seen any more: {manner:?}")).collect()
    }
}

impl Comparison<'_> {
    /// Asks both everything and returns where they differ without a word.
    pub(crate) async fn faults(
        &self,
        edge: Doors,
        doors: Doors,
        usual: &mut Manners,
    ) -> Vec<String> {
        let key = self.engine.name().to_lowercase();
        let own = self.case.manners.get(&key).cloned().unwrap_or_default();
        let mut own = Manners { all: own, shown: BTreeSet::new() };
        let mut faults = Vec::new();
        for (place, asked) in self.case.requests.iter().enumerate() {
            let wanted = self.view(asked, edge, None).await;
            let difference = asked.differs.get(&key);
            let found = self.view(asked, doors, difference.is_none().then_some(&wanted)).await;
            let place = format!(
                "{}[{place}] {} {} {:?} {:?}",
                self.name, asked.method, asked.target, asked.host, asked.tls
            );
            let mut fault = |text: String| faults.push(format!("{place}: {text}"));
            let status = wanted.get("status").map(String::as_str).unwrap_or_default();
            if let Some(expected) = asked.expect.filter(|_| self.is_whole)
                && status != expected.to_string()
            {
                fault(format!("the edge answers {wanted:?}"));
            }
            let right = difference.map_or_else(|| wanted.clone(), |one| one.of(&wanted));
            if let Some(difference) = difference
                && right != wanted
                && !self.is_told(&difference.told)
            {
                fault(format!("nobody tells of `{}`", difference.told));
            }
            let is_status_all = difference.is_some_and(|one| one.is.contains_key("status"));
            for part in differing(&right, &found, is_status_all) {
                if !self.has_manner(&part, (&right, &found), &mut own, usual) {
                    fault(pair(&part, &right, &found));
                }
            }
        }
        faults.extend(own.idle().into_iter().map(|text| format!("{}: {text}", self.name)));
        faults
    }

    fn is_told(&self, told: &str) -> bool {
        is_told(told, self.engine, self.facts, self.sites)
    }

    /// Tells whether a difference is of a kind that is known and told.
    fn has_manner(
        &self,
        part: &str,
        (wanted, found): (&View, &View),
        own: &mut Manners,
        usual: &mut Manners,
    ) -> bool {
        for manners in [own, usual] {
            for (place, manner) in manners.all.iter().enumerate() {
                if manner.explains(part, wanted, found) && self.is_told(&manner.told) {
                    manners.shown.insert(place);
                    return true;
                }
            }
        }
        false
    }

    /// Asks, and returns what is seen. Where there is something to wait for, it is waited for.
    async fn view(&self, asked: &Asked, doors: Doors, wanted: Option<&View>) -> View {
        let Some(many) = &asked.many else {
            let answer = ask(doors, &self.bed.ca, asked).await;
            return self.view_of(asked, &answer, doors);
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let view = self.view_of_many(asked, many, doors).await;
            let is_settled = match wanted {
                Some(wanted) => view == *wanted,
                None => view.get("status").map(String::as_str) == Some("200"),
            };
            if !many.settles || is_settled || Instant::now() > until {
                return view;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn view_of_many(&self, asked: &Asked, many: &Many, doors: Doors) -> View {
        let mut asked = asked.clone();
        let mut statuses = BTreeSet::new();
        let mut bodies = BTreeMap::<String, usize>::new();
        for _ in 0..many.times {
            let answer = ask(doors, &self.bed.ca, &asked).await;
            let status = answer.status.map_or_else(|| "none".to_owned(), |s| s.to_string());
            if answer.status.is_some_and(|status| status < 400) {
                *bodies.entry(answer.body.clone()).or_default() += 1;
            }
            statuses.insert(status);
            let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default();
            if many.keeps_cookies && !cookie.is_empty() {
                asked.headers.insert("Cookie".to_owned(), cookie.to_owned());
            }
        }
        let mut view = View::new();
        view.insert("status".to_owned(), statuses.into_iter().collect::<Vec<_>>().join(" and "));
        view.insert("targets".to_owned(), bodies.len().to_string());
        if many.counts {
            view.insert("counts".to_owned(), format!("{bodies:?}"));
        }
        view
    }

    /// Returns what of an answer is compared.
    fn view_of(&self, asked: &Asked, answer: &Answer, doors: Doors) -> View {
        let mut view = View::new();
        let status = answer.status.unwrap_or_default();
        let mut see = |part: &str, value: &str| {
            if !value.is_empty() {
                view.insert(part.to_owned(), without_ports(value, doors));
            }
        };
        see("status", &answer.status.map_or_else(|| "none".to_owned(), |s| s.to_string()));
        if let Some(text) = &asked.says {
            let escaped = text.replace('&', "&amp;").replace('"', "&quot;");
            let is_said = answer.body.contains(text) || answer.body.contains(&escaped);
            see("says", if is_said { "yes" } else { "no" });
        }
        for name in &self.case.headers {
            see(name, answer.header(name));
        }
        match status {
            // Whose page says so is told on the page about engines.
            0 | 400.. => {
                let realm = answer.header("www-authenticate").split(',').next();
                see("realm", realm.unwrap_or_default());
            }
            300..400 => see("location", answer.header("location")),
            _ => {
                for name in HEADERS {
                    let is_drawn = DRAWN.contains(&name) && !answer.header(name).is_empty();
                    see(name, if is_drawn { "some" } else { answer.header(name) });
                }
                let body = if asked.method == "HEAD" { "" } else { answer.body.as_str() };
                match serde_json::from_str::<Value>(body) {
                    Ok(Value::Object(echo)) if echo.contains_key("target") => {
                        told_to_application(&echo, &mut see);
                    }
                    _ => see("body", body),
                }
            }
        }
        view
    }
}

/// Sees what an application was asked.
fn told_to_application(echo: &serde_json::Map<String, Value>, see: &mut impl FnMut(&str, &str)) {
    for part in ["method", "target", "body"] {
        see(&format!("asked {part}"), echo[part].as_str().unwrap_or_default());
    }
    for (name, value) in echo["headers"].as_object().unwrap() {
        let value = value.as_str().unwrap_or_default();
        if OF_THE_WAY.contains(&name.as_str()) {
            continue;
        }
        let value = match value {
            "" => "(empty)",
            _ if DRAWN.contains(&name.as_str()) => "some",
            _ => value,
        };
        see(&format!("asked {name}"), value);
    }
}

/// The edge and the engine listen on ports of their own.
fn without_ports(value: &str, doors: Doors) -> String {
    let mut value = value.to_owned();
    for (port, name) in [(doors.http.port(), "HTTP"), (doors.https.port(), "HTTPS")] {
        value = if value == port.to_string() {
            name.to_owned()
        } else {
            value.replace(&format!(":{port}"), &format!(":{name}"))
        };
    }
    value
}

/// Returns the parts that differ; only the status, where that differs.
fn differing(wanted: &View, found: &View, is_status_all: bool) -> Vec<String> {
    if wanted.get("status") != found.get("status") {
        return vec!["status".to_owned()];
    }
    if is_status_all {
        return Vec::new();
    }
    let parts: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    parts.into_iter().filter(|part| wanted.get(*part) != found.get(*part)).cloned().collect()
}

fn pair(part: &str, wanted: &View, found: &View) -> String {
    format!("{part}\n  edge:   {:?}\n  engine: {:?}", wanted.get(part), found.get(part))
}
