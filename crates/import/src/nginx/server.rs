//! Servers: their names, where they listen, and the sites that are made of them.

use portway_model::{
    HostPattern, SiteSpec,
    site::spec::{HttpsSettingsSpec, HttpsSpec, LogSpec},
};

use super::{
    Cx,
    listen::{Listens, Reached},
    location::{Action, Location},
    making,
    read::Node,
    rewrite::{self, Asked, Condition, Rewrite},
    routes,
    scope::Scope,
};
use crate::{report::Id, sites::Draft};

/// A server, read as far as other servers need to know it.
pub(super) struct Server<'n> {
    pub(super) node: &'n Node,
    pub(super) listens: Listens,
    /// The hosts that it answers to.
    pub(super) hosts: Vec<String>,
    /// The host that its names begin with.
    first: Option<String>,
    min_version: Option<String>,
    no_http2: bool,
    /// Everything that it answers is the same address over HTTPS.
    is_redirect: bool,
    /// Hosts for which a condition says so.
    redirected: Vec<String>,
}

impl<'n> Server<'n> {
    pub(super) fn read(node: &'n Node, cx: &mut Cx<'_>) -> Self {
        let mut server = Self {
            node,
            listens: Listens::default(),
            hosts: Vec::new(),
            first: None,
            min_version: None,
            no_http2: false,
            is_redirect: false,
            redirected: Vec::new(),
        };
        cx.ledger.converted(node.id);
        let mut has_names = false;
        for inner in node.inner() {
            match inner.name() {
                "listen" => server.listens.take(inner, cx),
                "server_name" => {
                    has_names = true;
                    server.take_names(inner, cx);
                }
                "ssl" => {
                    server.listens.tls |= inner.arg(0) == "on";
                    server.listens.plain &= inner.arg(0) != "on";
                    cx.ledger.converted(inner.id);
                }
                "http2" => {
                    server.no_http2 = inner.arg(0) == "off";
                    cx.ledger.converted(inner.id);
                }
                "ssl_protocols" => server.take_protocols(inner, cx),
                "if" => server.note_condition(inner),
                _ => {}
            }
        }
        if !server.listens.plain && !server.listens.tls {
            server.listens.plain = true;
            server.listens.port = 80;
        }
        server.is_redirect = server.only_redirects();
        if server.listens.is_default || (!has_names && server.hosts.is_empty()) {
            server.hosts.push("*".to_owned());
        }
        server
    }

    fn take_names(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let mut notes = Vec::new();
        for name in node.args() {
            match name.as_str() {
                "_" | "" => continue,
                _ => {}
            }
            let found: Vec<String> = if let Some(base) = name.strip_prefix('.') {
                vec![base.to_owned(), format!("*.{base}")]
            } else {
                vec![name.clone()]
            };
            for host in found {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                match host.parse::<HostPattern>() {
                    Ok(pattern) => {
                        let host = pattern.to_string();
                        if matches!(pattern, HostPattern::Wildcard(_)) {
                            notes.push(format!(
                                "`{host}` holds names of one more part, not of several"
                            ));
                        }
                        self.first.get_or_insert_with(|| host.clone());
                        if !self.hosts.contains(&host) {
                            self.hosts.push(host);
                        }
                    }
                    Err(_) if name.starts_with('~') => {
                        notes.push(format!("`{name}` is an expression; name its hosts"));
                    }
                    Err(error) => notes.push(error.to_string()),
                }
            }
        }
        match (notes.is_empty(), self.hosts.is_empty()) {
            (true, _) => cx.ledger.converted(node.id),
            (false, false) => cx.ledger.approximated(node.id, notes.join("; ")),
            (false, true) => cx.ledger.not_converted(node.id, notes.join("; ")),
        }
    }

    fn take_protocols(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let has = |version: &str| node.args().iter().any(|arg| arg == version);
        if has("TLSv1") || has("TLSv1.1") || has("SSLv3") {
            cx.ledger.approximated(node.id, "TLS 1.2 is the oldest that is spoken");
        } else {
            cx.ledger.converted(node.id);
        }
        if has("TLSv1.3") && node.args().len() == 1 {
            self.min_version = Some("1.3".to_owned());
        }
    }

    fn note_condition(&mut self, node: &Node) {
        match rewrite::condition(node) {
            Condition::HostToHttps(host) => self.redirected.push(host.to_ascii_lowercase()),
            Condition::ToHttps => self.redirected.push("*".to_owned()),
            Condition::HostTo(..)
            | Condition::OtherHostsTo(..)
            | Condition::Methods(..)
            | Condition::Values
            | Condition::Unknown => {}
        }
    }

    fn only_redirects(&self) -> bool {
        let leads = |node: &Node| {
            let to = node.args().last().map_or("", String::as_str);
            let is_own = |host: &String| to == format!("https://{host}$request_uri");
            node.name() == "return"
                && (rewrite::is_same_host_https(to) || self.hosts.iter().any(is_own))
        };
        self.node.inner().iter().any(|inner| {
            let is_whole =
                inner.name() == "location" && inner.arg(0) == "/" && inner.args().len() == 1;
            leads(inner)
                || rewrite::leads_to_https(inner)
                || (is_whole && inner.inner().iter().any(leads))
        })
    }

    /// Tells whether plain HTTP for a host is sent on to HTTPS.
    pub(super) fn redirects(&self, host: &str) -> bool {
        self.is_redirect || self.redirected.iter().any(|known| known == host || known == "*")
    }

    /// Says of every directive that another server of the same hosts stands for it.
    pub(super) fn fold(&self, cx: &mut Cx<'_>) {
        let is_redirect = self.is_redirect || !self.redirected.is_empty();
        let listens = self.listens.plain;
        let leads_to_one = self.hosts.len() > 1
            && self.node.inner().iter().any(|node| {
                node.name() == "return"
                    && !matches!(
                        node.arg(1),
                        "https://$host$request_uri" | "https://$http_host$request_uri" | ""
                    )
            });
        self.node.each(&mut |node| match node.name() {
            "listen" | "server_name" if cx.ledger.is_judged(node.id) => {}
            "return" if is_redirect && leads_to_one && node.arg(1).starts_with("https://") => {
                let note = "plain HTTP is sent on to HTTPS of the same host, not of one for all";
                cx.ledger.approximated(node.id, note);
            }
            _ if is_redirect && listens => {
                cx.ledger
                    .converted_by(node.id, "plain HTTP is sent on to HTTPS by the site itself");
            }
            _ => cx.ledger.not_converted(
                node.id,
                "the same hosts have a server with HTTPS; plain HTTP is sent on to that",
            ),
        });
    }

    /// Makes the sites of a server for the hosts that are left to it.
    pub(super) fn drafts(&self, hosts: Vec<String>, outer: &Scope, cx: &mut Cx<'_>) -> Vec<Draft> {
        let mut scope = outer.clone();
        cx.note_unsteady(self.node);
        let rest = scope.enter(self.node.inner(), cx);
        self.keep_reach(&mut scope, cx);
        cx.asked = self.asked(&hosts);
        let mut making = Making {
            server: self,
            scope,
            action: Action::Files,
            tries: None,
            rewrites: Vec::new(),
            apart: Vec::new(),
            redirects_plain: false,
        };
        let mut locations = Vec::new();
        for node in rest {
            if node.name() == "location" { locations.push(node) } else { making.take(node, cx) }
        }
        let locations: Vec<Location> =
            locations.into_iter().map(|node| Location::read(node, &making.scope, cx)).collect();
        making.finish(hosts, &locations, cx)
    }

    /// Who cannot reach nginx there must not reach the site.
    fn keep_reach(&self, scope: &mut Scope, cx: &mut Cx<'_>) {
        let listens = self.node.inner().iter().filter(|node| node.name() == "listen");
        match self.listens.reached() {
            Reached::Open => {}
            Reached::Only(nets) => {
                scope.only = Some(nets);
                for node in listens {
                    cx.ledger.approximated(
                        node.id,
                        "it listens on this machine alone, so only that is let in",
                    );
                }
            }
            Reached::Unknown => {
                for node in listens {
                    let why = "it listens on a private address or socket; say in `access` who may";
                    scope.close(node.id, why, cx);
                }
            }
        }
    }

    fn asked(&self, hosts: &[String]) -> Asked {
        let literal: Vec<&String> = hosts.iter().filter(|host| !host.contains('*')).collect();
        let host = match literal.as_slice() {
            [only] if hosts.len() == 1 => Some((*only).clone()),
            _ => None,
        };
        let scheme = if self.listens.tls { "https" } else { "http" };
        Asked { scheme, host, name: self.first.clone() }
    }

    fn https(&self, redirects_plain: bool) -> Option<HttpsSpec> {
        if !self.listens.tls {
            return Some(HttpsSpec::Enabled(false));
        }
        let settings = HttpsSettingsSpec {
            redirect: (self.listens.plain && !redirects_plain).then_some(false),
            min_version: self.min_version.clone(),
            http2: self.no_http2.then_some(false),
            hsts: None,
        };
        (settings != HttpsSettingsSpec::default()).then_some(HttpsSpec::Settings(settings))
    }
}

/// The sites of a server under construction.
struct Making<'s, 'n> {
    server: &'s Server<'n>,
    scope: Scope,
    action: Action,
    tries: Option<(Id, Vec<String>)>,
    rewrites: Vec<Rewrite>,
    /// Hosts that are sent elsewhere, with the condition that says so.
    apart: Vec<(Id, String, Vec<String>)>,
    redirects_plain: bool,
}

impl Making<'_, '_> {
    fn take(&mut self, node: &Node, cx: &mut Cx<'_>) {
        match node.name() {
            // Read before.
            "listen" | "server_name" | "ssl" | "http2" | "ssl_protocols" => {}
            "return" => {
                if !matches!(self.action, Action::Return { .. }) {
                    let args = node.args().iter().map(|arg| self.scope.filled(arg)).collect();
                    self.action = Action::Return { id: node.id, args };
                }
                cx.ledger.converted(node.id);
            }
            "try_files" => {
                self.tries = Some((node.id, node.args().to_vec()));
                cx.ledger.converted(node.id);
            }
            "break" => cx.ledger.converted(node.id),
            "rewrite" => match rewrite::read(node, &self.scope, cx) {
                Some(rewrite) => self.rewrites.push(rewrite),
                None => {
                    let why =
                        "paths are not rewritten, and what the new path leads to is not known";
                    self.scope.close(node.id, why, cx);
                }
            },
            "if" => self.take_condition(node, cx),
            _ => {
                node.each(&mut |node| {
                    cx.ledger.closes(node.id, "it is not known in a server; nobody is let in");
                });
                self.scope.closed = true;
            }
        }
    }

    fn take_condition(&mut self, node: &Node, cx: &mut Cx<'_>) {
        match rewrite::condition(node) {
            Condition::ToHttps => {
                self.redirects_plain = true;
                node.each(&mut |node| {
                    cx.ledger
                        .converted_by(node.id, "plain HTTP is sent on to HTTPS by the site itself");
                });
            }
            Condition::HostToHttps(host) => {
                node.each(&mut |node| cx.ledger.converted(node.id));
                let to = vec!["301".to_owned(), format!("https://{host}$request_uri")];
                self.apart.push((node.id, host.to_ascii_lowercase(), to));
            }
            Condition::HostTo(host, to) => {
                node.each(&mut |node| cx.ledger.converted(node.id));
                self.apart.push((node.id, host.to_ascii_lowercase(), to));
            }
            Condition::OtherHostsTo(host, to) => {
                node.each(&mut |node| cx.ledger.converted(node.id));
                let host = host.to_ascii_lowercase();
                for other in self.server.hosts.iter().filter(|other| **other != host) {
                    self.apart.push((node.id, other.clone(), to.clone()));
                }
            }
            Condition::Methods(methods, status) => {
                node.each(&mut |node| cx.ledger.converted(node.id));
                self.scope.only_methods(methods, status);
            }
            Condition::Values => rewrite::lose_values(node, &mut self.scope, cx),
            Condition::Unknown => rewrite::close(node, &mut self.scope, cx),
        }
    }

    fn finish(mut self, hosts: Vec<String>, locations: &[Location], cx: &mut Cx<'_>) -> Vec<Draft> {
        let mut drafts = Vec::new();
        let (apart, own): (Vec<String>, Vec<String>) = hosts
            .into_iter()
            .partition(|host| self.apart.iter().any(|(_, other, _)| other == host));
        for host in apart {
            let found = self.apart.iter().find(|(_, other, _)| *other == host).cloned();
            let Some((id, _, args)) = found else { continue };
            // A host that leads to itself is only sent on to HTTPS.
            let is_self =
                args.last().is_some_and(|to| *to == format!("https://{host}$request_uri"));
            if is_self && self.server.listens.tls {
                continue;
            }
            cx.asked.host = Some(host.clone());
            let action = Action::Return { id, args };
            drafts.push(self.draft(id, vec![host], &[], action, cx));
        }
        if own.is_empty() {
            for location in locations {
                location.lose("all hosts are sent on before", cx);
            }
            return drafts;
        }
        cx.asked = self.server.asked(&own);
        let action = std::mem::replace(&mut self.action, Action::Files);
        let id = self.server.node.id;
        // What the server itself answers, no location answers.
        let is_answered = matches!(action, Action::Return { .. });
        if is_answered {
            for location in locations {
                location.lose("the `return` of the server answers before it", cx);
            }
        }
        let locations = if is_answered { &[][..] } else { locations };
        drafts.push(self.draft(id, own, locations, action, cx));
        drafts
    }

    fn draft(
        &self,
        id: Id,
        hosts: Vec<String>,
        locations: &[Location],
        action: Action,
        cx: &mut Cx<'_>,
    ) -> Draft {
        let mut spec = SiteSpec {
            hosts,
            https: self.server.https(self.redirects_plain),
            ..SiteSpec::default()
        };
        if self.logs_nothing() {
            spec.log = Some(LogSpec::Enabled(false));
        }
        let mut draft = Draft::new(id, spec);
        let mut fallback = making::of_server(id, self.scope.clone(), action);
        fallback.tries.clone_from(&self.tries);
        fallback.rewrites.clone_from(&self.rewrites);
        if fallback.rewrites.iter().any(Rewrite::is_whole) {
            // Every path is sent on, so nothing else answers.
            routes::add(&mut draft, &[], &fallback, cx);
            for location in locations {
                location.lose("the `rewrite` of the server answers before it", cx);
            }
            return draft;
        }
        making::add_redirects(&mut draft, &fallback, cx);
        fallback.rewrites.clear();
        routes::add(&mut draft, locations, &fallback, cx);
        draft
    }

    fn logs_nothing(&self) -> bool {
        let logs = self.server.node.inner().iter().filter(|node| node.name() == "access_log");
        let args: Vec<&str> = logs.map(|node| node.arg(0)).collect();
        args == ["off"]
    }
}
