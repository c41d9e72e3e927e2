//! What a node would make of a request, and what it answers: an edge tells by itself, for another engine
//! it is told from what the node was given. Then the node is asked, over its connection.

use std::sync::Arc;

use http::Uri;
use portway_deploy::{Visit, visit};
use portway_model::{
    EngineKind, HostPattern, Node, Role, Seconds,
    site::{Match, PathMatch, SiteProbe},
};
use portway_policy::bundle::TrialReport;
use portway_store::{NodeRow, SiteRow, Visible};
use portway_wire::explain::{ExplainedStep, Explanation, TryOut};

use super::trial::{failed, trial_of};
use crate::{
    ControlError, EdgeClient,
    fleet::doors_of,
    nodes,
    rights::Sites,
    sites::{checked, spec_of},
};

/// How long the node may take to answer.
const PATIENCE: Seconds = Seconds(15);

/// A request as a node is asked for it.
struct Asked {
    host: String,
    /// Without the port, as sites have it.
    name: HostPattern,
    path: String,
    method: String,
    over_tls: bool,
    target: String,
}

/// What is known before the node is asked.
#[derive(Default)]
struct Known {
    site: Option<String>,
    route: Option<String>,
    steps: Vec<ExplainedStep>,
}

impl Known {
    fn say(&mut self, stage: &str, text: String) {
        self.steps.push(ExplainedStep { stage: stage.to_owned(), text, ms: None });
    }
}

impl Sites<'_> {
    /// Returns the node that is to be asked; nothing where it is the edge of this manager.
    pub(super) async fn asked_node(
        &self,
        name: &str,
    ) -> Result<Option<(NodeRow, Node)>, ControlError> {
        match self.actor.role() {
            Role::Admin => {}
            Role::Client => {
                return Err(ControlError::NotFound { what: "node", name: name.to_owned() });
            }
            Role::Viewer => {
                let text = "only an administrator has a node asked, since it is sent a request";
                return Err(ControlError::Denied(text.to_owned()));
            }
        }
        let row = self.control.node_named(name).await?;
        match nodes::declared(&row)? {
            Some(node) => Ok(Some((row, node))),
            None if row.id == self.control.inner.node => Ok(None),
            None => {
                let text = format!("`{}` is the edge of another manager; ask that one", row.name);
                Err(ControlError::BadRequest(text))
            }
        }
    }

    /// Tells what a node would make of a request, and what it answers.
    pub(super) async fn try_on_node(
        &self,
        (row, node): (NodeRow, Node),
        request: TryOut,
    ) -> Result<Explanation, ControlError> {
        let asked = read(&request)?;
        let reach = self.control.reach(&row, &node).await;
        let reach = reach.map_err(|error| ControlError::Conflict(error.to_string()))?;
        let mut explanation = if node.engine == EngineKind::Edge {
            let edge = EdgeClient::there(Arc::clone(&reach), node.control_socket());
            let report = edge.explain(&trial_of(request)).await.map_err(failed)?;
            of_report(report)
        } else {
            self.of_engine(&row, &node, &asked).await?
        };
        let answer = if asked.method == "GET" {
            match visit(&*reach, &doors_of(&node), &probe(&asked)).await {
                Ok(answer) => {
                    explanation.status = Some(answer.status);
                    told(&answer)
                }
                Err(why) => format!("asked on the node itself, it does not answer: {why}"),
            }
        } else {
            format!("the node is not asked: {} may change something there", asked.method)
        };
        explanation.steps.push(step("answer", answer));
        explanation.node = Some(row.name.to_string());
        Ok(explanation)
    }

    /// Tells of a node with another engine what it was given that concerns a request.
    async fn of_engine(
        &self,
        row: &NodeRow,
        node: &Node,
        asked: &Asked,
    ) -> Result<Explanation, ControlError> {
        let mut known = Known::default();
        let engine = node.engine;
        known.say("read", format!("{} {} on {engine}", asked.method, asked.target));
        match self.site_there(row, asked).await? {
            Some((site, newest)) => of_site(&mut known, &site, &newest, asked)?,
            None => {
                known.say("host", format!("no site is on the node with the host {}", asked.name));
            }
        }
        let hosts = self.control.hosts_of(row).await?;
        if let Some(file) = hosts.get(&asked.name.to_string()) {
            known.say("host", format!("{file}, which is not Portway's, has the host too"));
        }
        let Known { site, route, steps } = known;
        Ok(Explanation { site, route, steps, ..Explanation::default() })
    }

    /// Returns the site that a node has for a host, as it is there, and as it is declared.
    async fn site_there(
        &self,
        row: &NodeRow,
        asked: &Asked,
    ) -> Result<Option<(SiteRow, SiteRow)>, ControlError> {
        let store = &self.control.inner.store;
        for pattern in patterns(&asked.name) {
            let uses = store.sites().using_hosts(std::slice::from_ref(&pattern)).await?;
            let mut ids: Vec<_> = uses.iter().map(|used| used.site).collect();
            ids.sort();
            let there = store.nodes().of_sites(&ids).await?;
            for id in ids {
                let Some(proven) = there.get(&(id, row.id)).and_then(|there| there.revision) else {
                    continue;
                };
                let found = store.sites().get(Visible::All, id).await?;
                let Some(newest) = found else { continue };
                if let Some(version) = self.control.version_of(&newest, proven).await? {
                    return Ok(Some((version, newest)));
                }
            }
        }
        Ok(None)
    }
}

/// Tells which route of a site takes a request, as far as its path and method say.
fn of_site(
    known: &mut Known,
    there: &SiteRow,
    newest: &SiteRow,
    asked: &Asked,
) -> Result<(), ControlError> {
    let name = &there.name;
    known.site = Some(name.to_string());
    known.say("host", format!("site {name}, revision {} on the node", there.revision));
    if there.revision != newest.revision {
        known.say("declared", format!("revision {} of it is not there yet", newest.revision));
    }
    if newest.blocked.is_some() {
        known.say("declared", format!("{name} is blocked"));
    }
    let (site, _) = checked(name, &spec_of(there)?)?;
    let path = asked.path.split('?').next().unwrap_or_default();
    for route in &site.routes {
        let label = route.matches.path.to_string();
        match takes(&route.matches, path, &asked.method) {
            Takes::Not => {}
            Takes::Perhaps(why) => {
                known.say("route", format!("route {label} takes it where {why}"));
            }
            Takes::It => {
                known.say("route", format!("route {label}"));
                known.route = Some(label);
                return Ok(());
            }
        }
    }
    if known.route.is_none() {
        known.say("route", "no route takes every such request".to_owned());
    }
    Ok(())
}

/// Whether a route takes a request.
enum Takes {
    It,
    Perhaps(&'static str),
    Not,
}

fn takes(matches: &Match, path: &str, method: &str) -> Takes {
    let Match { path: pattern, methods, headers, query } = matches;
    if !methods.is_empty() && !methods.iter().any(|one| one == method) {
        return Takes::Not;
    }
    let fits = match pattern {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => prefix.rest(path).is_some(),
        PathMatch::Regex(_) => return Takes::Perhaps("its expression fits the path"),
    };
    match (fits, headers.is_empty() && query.is_empty()) {
        (false, _) => Takes::Not,
        (true, true) => Takes::It,
        (true, false) => Takes::Perhaps("its headers or parameters are given"),
    }
}

/// Returns the patterns that a host fits, the closest first.
fn patterns(name: &HostPattern) -> Vec<HostPattern> {
    let mut patterns = vec![name.clone()];
    if let HostPattern::Exact(exact) = name
        && let Some(parent) = exact.parent()
    {
        patterns.extend(format!("*.{parent}").parse());
    }
    patterns.push(HostPattern::Any);
    patterns
}

fn read(request: &TryOut) -> Result<Asked, ControlError> {
    let wrong = || {
        let text = format!(
            "`{}` is not an address of a site; write it as https://app.example.org/path",
            request.url
        );
        ControlError::BadRequest(text)
    };
    let url: Uri = request.url.parse().map_err(|_| wrong())?;
    let over_tls = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => return Err(wrong()),
    };
    let host = url.host().ok_or_else(wrong)?.to_owned();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name: HostPattern = bare.parse().map_err(|_| wrong())?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let method = request.method.to_uppercase();
    Ok(Asked { host, name, path, method, over_tls, target: request.url.clone() })
}

fn probe(asked: &Asked) -> SiteProbe {
    SiteProbe {
        host: asked.host.clone(),
        over_tls: asked.over_tls,
        path: asked.path.clone(),
        statuses: Vec::new(),
        body: None,
        timeout: PATIENCE,
        tries: 1,
    }
}

fn told(answer: &Visit) -> String {
    let to = answer.location.as_ref().map(|to| format!(", sent on to {to}")).unwrap_or_default();
    format!("asked on the node itself, it answers {}{to}", answer.status)
}

fn of_report(report: TrialReport) -> Explanation {
    let steps = report.steps.into_iter().map(|said| step(&said.stage, said.text)).collect();
    Explanation {
        site: report.site,
        route: report.route,
        stage: report.stage,
        code: report.code,
        status: report.status,
        steps,
        ..Explanation::default()
    }
}

fn step(stage: &str, text: String) -> ExplainedStep {
    ExplainedStep { stage: stage.to_owned(), text, ms: None }
}
