//! Middlewares: what happens to requests on their way.

use indexmap::IndexMap;
use portway_model::site::spec::{
    AccessRulesSpec, AccessSpec, BasicAuthSpec, HeaderEditsSpec, HeadersSpec, PasswordSpec,
    RedirectSettingsSpec, RedirectSpec, RouteSpec, SizeSpec,
};

use super::{Cx, table::Table};
use crate::{
    networks::{self, Who},
    passwords::is_bcrypt,
    sites::nobody,
};

const DEEPEST: usize = 8;

/// What the middlewares of a router come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    pub(super) strips: Option<String>,
    pub(super) to_https: bool,
    redirect: Option<RedirectSettingsSpec>,
    request: HeaderEditsSpec,
    response: HeaderEditsSpec,
    allow: Option<Vec<ipnet::IpNet>>,
    basic: Option<BasicAuthSpec>,
    max_body: Option<u64>,
    compresses: bool,
    pub(super) closed: bool,
}

impl Way {
    /// Takes a middleware by its name.
    pub(super) fn take(&mut self, name: &str, cx: &mut Cx<'_>, depth: usize) {
        let bare = name.split('@').next().unwrap_or(name);
        let Some(table) = cx.middlewares.get(bare).cloned().filter(|_| depth < DEEPEST) else {
            self.closed = true;
            return;
        };
        cx.ledger.converted(table.id);
        for (kind, inner) in table.entries() {
            self.take_kind(&kind.to_ascii_lowercase(), inner, cx, depth);
        }
    }

    fn close(&mut self, table: &Table, why: &str, cx: &mut Cx<'_>) {
        self.closed = true;
        table.closes(why, &mut cx.ledger);
    }

    fn take_kind(&mut self, kind: &str, table: &Table, cx: &mut Cx<'_>, depth: usize) {
        match kind {
            "chain" => {
                table.converted(&mut cx.ledger);
                let names = table.get("middlewares").map(Table::texts).unwrap_or_default();
                for name in names {
                    self.take(name, cx, depth + 1);
                }
            }
            "stripprefix" => {
                match table.get("prefixes").map(Table::texts).unwrap_or_default().as_slice() {
                    [only] if self.strips.is_none() => {
                        self.strips = Some((*only).to_owned());
                        table.converted(&mut cx.ledger);
                    }
                    _ => self.close(table, "several prefixes cannot be taken away", cx),
                }
            }
            "redirectscheme"
                if table.get("scheme").is_some_and(|scheme| scheme.text() == "https") =>
            {
                self.to_https = true;
                table.converted(&mut cx.ledger);
            }
            "redirectregex" => self.take_redirect(table, cx),
            "headers" => self.take_headers(table, cx),
            "basicauth" => self.take_basic(table, cx),
            "ipallowlist" | "ipwhitelist" => self.take_addresses(table, cx),
            "compress" => {
                self.compresses = true;
                table.nearly("answers are compressed by Portway's own rules", &mut cx.ledger);
            }
            "buffering" => {
                for (key, inner) in table.entries() {
                    match (key.to_ascii_lowercase().as_str(), inner.text().parse()) {
                        ("maxrequestbodybytes", Ok(bytes)) => {
                            self.max_body = Some(bytes);
                            inner.converted(&mut cx.ledger);
                        }
                        _ => inner
                            .nearly("bodies are buffered by Portway's own rules", &mut cx.ledger),
                    }
                }
                cx.ledger.converted(table.id);
            }
            "retry" | "contenttype" | "grpcweb" => {
                table.nearly("Portway has rules of its own for this", &mut cx.ledger);
            }
            "circuitbreaker" | "errors" => table.lost("there is nothing like it", &mut cx.ledger),
            "ratelimit" | "inflightreq" if cx.options.without_limits => {
                table.lost("limits of requests are not converted; write `rate_limit` or `connection_limit`", &mut cx.ledger);
            }
            "ratelimit" | "inflightreq" => self.close(
                table,
                "limits of requests are not converted; write `rate_limit` or `connection_limit`",
                cx,
            ),
            _ => self.close(
                table,
                "it decides who may do what, or changes paths, and cannot be carried out here",
                cx,
            ),
        }
    }

    fn take_redirect(&mut self, table: &Table, cx: &mut Cx<'_>) {
        let text = |key: &str| table.get(key).map_or("", Table::text);
        let (pattern, to) = (text("regex"), text("replacement"));
        let keeps = pattern.ends_with("/(.*)") || pattern.ends_with("/(.*)$");
        let base = to.strip_suffix("/${1}").or_else(|| to.strip_suffix("/$1"));
        let is_whole = pattern.starts_with("^http") && pattern.matches('(').count() == 1;
        match base
            .filter(|base| keeps && is_whole && !base.contains('$') && base.starts_with("http"))
        {
            Some(base) => {
                let is_permanent = text("permanent") == "true";
                self.redirect = Some(RedirectSettingsSpec {
                    to: base.to_owned(),
                    status: Some(if is_permanent { 301 } else { 302 }),
                    keep_path: Some(true),
                });
                table.converted(&mut cx.ledger);
            }
            None => self.close(table, "which requests are sent on cannot be said", cx),
        }
    }

    fn take_headers(&mut self, table: &Table, cx: &mut Cx<'_>) {
        cx.ledger.converted(table.id);
        for (key, inner) in table.entries() {
            let text = inner.text().to_owned();
            let on = text == "true";
            match key.to_ascii_lowercase().as_str() {
                "customrequestheaders" => edit(&mut self.request, inner),
                "customresponseheaders" => edit(&mut self.response, inner),
                "framedeny" if on => set(&mut self.response, "X-Frame-Options", "DENY"),
                "contenttypenosniff" if on => {
                    set(&mut self.response, "X-Content-Type-Options", "nosniff");
                }
                "browserxssfilter" if on => {
                    set(&mut self.response, "X-XSS-Protection", "1; mode=block");
                }
                "customframeoptionsvalue" => set(&mut self.response, "X-Frame-Options", &text),
                "referrerpolicy" => set(&mut self.response, "Referrer-Policy", &text),
                "contentsecuritypolicy" => {
                    set(&mut self.response, "Content-Security-Policy", &text);
                }
                "permissionspolicy" => set(&mut self.response, "Permissions-Policy", &text),
                "stsseconds" => {
                    let also =
                        |name: &str| table.get(name).is_some_and(|table| table.text() == "true");
                    let mut value = format!("max-age={text}");
                    if also("stsIncludeSubdomains") {
                        value.push_str("; includeSubDomains");
                    }
                    if also("stsPreload") {
                        value.push_str("; preload");
                    }
                    set(&mut self.response, "Strict-Transport-Security", &value);
                }
                "stsincludesubdomains"
                | "stspreload"
                | "framedeny"
                | "contenttypenosniff"
                | "browserxssfilter"
                | "forcestsheader" => {}
                "allowedhosts" => {
                    self.close(inner, "hosts that are refused cannot be said", cx);
                    continue;
                }
                "sslredirect" if on => self.to_https = true,
                _ => {
                    inner.lost("this header is not made here", &mut cx.ledger);
                    continue;
                }
            }
            inner.converted(&mut cx.ledger);
        }
    }

    fn take_basic(&mut self, table: &Table, cx: &mut Cx<'_>) {
        let mut users = IndexMap::new();
        cx.ledger.converted(table.id);
        for (key, inner) in table.entries() {
            match key.to_ascii_lowercase().as_str() {
                "users" => {
                    cx.ledger.converted(inner.id);
                    for user in inner.items() {
                        match user.text().split_once(':') {
                            Some((name, hash)) if is_bcrypt(hash) => {
                                users.insert(name.to_owned(), PasswordSpec::Hash(hash.to_owned()));
                                user.converted(&mut cx.ledger);
                            }
                            Some(_) | None => {
                                user.lost(
                                    "its hash is not bcrypt, so this user is not taken over",
                                    &mut cx.ledger,
                                );
                            }
                        }
                    }
                }
                "usersfile" => {
                    let found = cx.tree.read(&cx.folder.join(inner.text()));
                    for (_, user) in portway_sitefile::read_htpasswd(&found.unwrap_or_default()) {
                        if let Ok((name, hash)) = user
                            && is_bcrypt(&hash)
                        {
                            users.insert(name, PasswordSpec::Hash(hash));
                        }
                    }
                    inner.nearly("users without a bcrypt hash are not taken over", &mut cx.ledger);
                }
                "realm" => inner.converted(&mut cx.ledger),
                _ => inner.nearly(
                    "the application sees the `Authorization` header as it came",
                    &mut cx.ledger,
                ),
            }
        }
        if users.is_empty() {
            return self.close(table, "it has no user with a bcrypt hash", cx);
        }
        let realm = table.get("realm").map(|realm| realm.text().to_owned());
        self.basic = Some(BasicAuthSpec { realm, users, htpasswd: None });
    }

    fn take_addresses(&mut self, table: &Table, cx: &mut Cx<'_>) {
        if table.get("ipStrategy").is_some() {
            return self.close(table, "the address is told by a proxy before Traefik", cx);
        }
        let mut nets = Vec::new();
        for text in table.get("sourceRange").map(Table::texts).unwrap_or_default() {
            match Who::parse(text) {
                Some(Who::Net(net)) => nets.push(net),
                Some(Who::All | Who::Nobody) | None => {
                    return self.close(table, "one of these is no network", cx);
                }
            }
        }
        table.converted(&mut cx.ledger);
        self.allow = Some(match &self.allow {
            Some(earlier) => networks::both(earlier, &nets),
            None => nets,
        });
    }

    /// Adds all of it to a route.
    pub(super) fn finish(&self, route: &mut RouteSpec) {
        if let Some(redirect) = &self.redirect {
            route.to = None;
            route.split = None;
            route.mirror = None;
            route.respond = None;
            route.redirect = Some(RedirectSpec::Settings(redirect.clone()));
        }
        let is_proxied = route.to.is_some() || route.split.is_some();
        let kept =
            |edits: &HeaderEditsSpec| (*edits != HeaderEditsSpec::default()).then(|| edits.clone());
        let headers = HeadersSpec {
            request: kept(&self.request).filter(|_| is_proxied),
            response: kept(&self.response),
        };
        route.headers = (headers != HeadersSpec::default()).then_some(headers);
        route.max_body = self.max_body.filter(|_| is_proxied).map(SizeSpec::Bytes);
        route.compress = (is_proxied && !self.compresses).then_some(false);
        route.access = if self.closed {
            Some(nobody())
        } else if self.allow.is_some() || self.basic.is_some() {
            let texts =
                |nets: &Vec<ipnet::IpNet>| nets.iter().map(|net| networks::text(*net)).collect();
            Some(AccessSpec::Rules(AccessRulesSpec {
                allow: self.allow.as_ref().map(texts),
                deny: Vec::new(),
                basic: self.basic.clone(),
            }))
        } else {
            None
        };
    }
}

fn set(edits: &mut HeaderEditsSpec, name: &str, value: &str) {
    edits.set.insert(name.to_owned(), value.to_owned());
}

/// An empty value takes a header away.
fn edit(edits: &mut HeaderEditsSpec, table: &Table) {
    for (name, value) in table.entries() {
        if value.text().is_empty() {
            edits.remove.push(name.clone());
        } else {
            set(edits, name, value.text());
        }
    }
}
