//! What holds in a block: matchers, changes of headers, passwords, folders and the like.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use portway_model::site::spec::{
    AccessRulesSpec, AccessSpec, BasicAuthSpec, HeaderEditsSpec, HeadersSpec, PasswordSpec,
};

use super::{Cx, matcher::Matcher};
use crate::{node::Node, passwords::is_bcrypt, report::Id, sites::nobody};

/// A password that is asked for a part of the paths.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) matcher: Matcher,
    pub(super) basic: BasicAuthSpec,
}

/// What holds in a block.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Scope {
    /// Named matchers; nothing where one says more than is known.
    matchers: BTreeMap<String, Option<Matcher>>,
    pub(super) root: Option<String>,
    pub(super) is_spa: bool,
    pub(super) compresses: bool,
    pub(super) max_body: Option<u64>,
    pub(super) allow: Option<Vec<String>>,
    pub(super) deny: Vec<String>,
    basic: Option<BasicAuthSpec>,
    pub(super) guards: Vec<Guard>,
    request: HeaderEditsSpec,
    response: HeaderEditsSpec,
    pub(super) is_behind_proxy: bool,
    pub(super) closed: bool,
}

const HARMLESS: [(&str, &str); 14] = [
    ("log", "Portway keeps logs of each site itself"),
    ("log_skip", "Portway keeps logs of each site itself"),
    ("skip_log", "Portway keeps logs of each site itself"),
    ("log_append", "Portway keeps logs of each site itself"),
    ("log_name", "Portway keeps logs of each site itself"),
    ("handle_errors", "pages of errors cannot be chosen; the status stays"),
    ("tracing", "Portway traces requests as it was told to"),
    ("metrics", "Portway has metrics of its own"),
    ("push", "nothing is pushed"),
    ("acme_server", "Portway's own authority is no server for others"),
    ("templates", "files are sent as they are"),
    ("vars", "variables have no counterpart; where they are used, it is told"),
    ("map", "variables have no counterpart; where they are used, it is told"),
    ("fs", "files come from the disk"),
];

impl Scope {
    /// Closes the block for good.
    pub(super) fn close(&mut self, id: Id, why: &str, cx: &mut Cx<'_>) {
        self.closed = true;
        cx.ledger.closes(id, format!("{why}; nobody is let in"));
    }

    /// Reads the named matchers of a block.
    pub(super) fn define(&mut self, nodes: &[Node], cx: &mut Cx<'_>) {
        for node in nodes.iter().filter(|node| node.name().starts_with('@')) {
            let matcher = Matcher::read(node);
            match &matcher {
                Some(_) => node.each(&mut |node| cx.ledger.converted(node.id)),
                None => {
                    let why = "it says more than can be matched here; what uses it is closed";
                    node.each(&mut |node| cx.ledger.not_converted(node.id, why));
                }
            }
            self.matchers.insert(node.name().to_owned(), matcher);
        }
    }

    /// Returns the matcher of a directive and its other arguments; nothing where it cannot be said.
    pub(super) fn matcher(&self, node: &Node) -> Option<(Matcher, Vec<String>)> {
        let args = node.args();
        let first = node.arg(0);
        let rest = || args.get(1..).unwrap_or_default().to_vec();
        if first.starts_with('@') {
            let matcher = self.matchers.get(first)?.clone()?;
            return Some((matcher, rest()));
        }
        if first == "*" {
            return Some((Matcher::all(), rest()));
        }
        // A redirect to a path is no matcher, where it stands alone.
        let is_alone = node.name() == "redir" && args.len() < 2
            || node.name() == "root" && args.len() < 2
            || node.name() == "rewrite" && args.len() < 2
            || node.name() == "try_files";
        if first.starts_with('/') && !is_alone {
            return Some((Matcher::of_path(first)?, rest()));
        }
        Some((Matcher::all(), args.to_vec()))
    }

    /// Returns the matcher of a directive.
    pub(super) fn peek(&self, node: &Node) -> Option<Matcher> {
        self.matcher(node).map(|(matcher, _)| matcher)
    }

    /// Takes a directive that answers nothing itself.
    pub(super) fn take(&mut self, node: &Node, cx: &mut Cx<'_>) {
        if let Some((_, why)) = HARMLESS.iter().find(|(name, _)| *name == node.name()) {
            return node.each(&mut |node| cx.ledger.not_converted(node.id, *why));
        }
        match node.name() {
            "root" => self.take_root(node, cx),
            "encode" => {
                self.compresses = true;
                node.each(&mut |node| {
                    cx.ledger
                        .approximated(node.id, "answers are compressed by Portway's own rules");
                });
            }
            "header" => self.take_header(node, cx),
            "request_header" => self.take_request_header(node, cx),
            "basic_auth" | "basicauth" => self.take_basic(node, cx),
            "request_body" => self.take_body(node, cx),
            "tls" => self.take_tls(node, cx),
            "bind" => self.take_bind(node, cx),
            _ => {
                let why = "it is not known here and may protect something";
                node.each(&mut |node| cx.ledger.not_converted(node.id, why));
                self.close(node.id, why, cx);
            }
        }
    }

    fn take_root(&mut self, node: &Node, cx: &mut Cx<'_>) {
        match self.matcher(node) {
            Some((matcher, args)) if matcher.is_all() && !args.concat().contains('{') => {
                self.root = args.first().cloned();
                cx.ledger.converted(node.id);
            }
            _ => {
                self.root = None;
                cx.ledger
                    .not_converted(node.id, "a folder that depends on the request cannot be said");
            }
        }
    }

    fn take_header(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let Some((matcher, args)) = self.matcher(node).filter(|(matcher, _)| matcher.is_all())
        else {
            node.each(&mut |node| {
                cx.ledger.not_converted(node.id, "headers of a part of the requests need a route");
            });
            return;
        };
        drop(matcher);
        if args.is_empty() {
            cx.ledger.converted(node.id);
        } else {
            edit(&mut self.response, &args, node.id, cx);
        }
        for inner in node.inner() {
            if inner.name() == "defer" || inner.name() == "match" {
                inner
                    .each(&mut |node| cx.ledger.approximated(node.id, "the change is always made"));
            } else {
                edit(&mut self.response, &inner.words, inner.id, cx);
            }
        }
    }

    fn take_request_header(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let found = self.matcher(node);
        let Some((_, args)) = found.filter(|(matcher, _)| matcher.is_all()) else {
            let why = "what the application is told of a part of the requests cannot be said";
            return self.close(node.id, why, cx);
        };
        self.tell(&args, node.id, cx);
    }

    /// Changes a header of requests. One whose value cannot be told is taken away, so that no client
    /// gives it a value of its own.
    pub(super) fn tell(&mut self, args: &[String], id: Id, cx: &mut Cx<'_>) {
        if args.iter().skip(1).any(|value| value.contains('{')) {
            let name = args.first().map_or("", |name| name.trim_start_matches(['+', '-', '?']));
            let own = [
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "x-real-ip",
                "x-request-id",
            ];
            if own.contains(&name.to_ascii_lowercase().as_str()) {
                cx.ledger.converted_by(
                    id,
                    "Portway sets it itself; what a client claims in it is dropped first",
                );
                return;
            }
            self.request.remove.push(name.to_owned());
            cx.ledger.not_converted(
                id,
                "its value is a placeholder; it is taken away, so that no client gives it one",
            );
            return;
        }
        edit(&mut self.request, args, id, cx);
    }

    fn take_basic(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let Some((matcher, args)) = self.matcher(node) else {
            node.each(&mut |node| {
                cx.ledger
                    .not_converted(node.id, "it belongs to a password that cannot be asked for");
            });
            return self.close(node.id, "which requests it is about cannot be said", cx);
        };
        let realm = args.get(1).filter(|realm| !realm.contains(['"', '\\'])).cloned();
        let mut users = IndexMap::new();
        for user in node.inner() {
            let hash = user.arg(0);
            if is_bcrypt(hash) {
                users.insert(user.name().to_owned(), PasswordSpec::Hash(hash.to_owned()));
                cx.ledger.converted(user.id);
            } else {
                cx.ledger.not_converted(
                    user.id,
                    "its hash is not bcrypt, so this user is not taken over",
                );
            }
        }
        if users.is_empty() {
            return self.close(node.id, "it has no user with a bcrypt hash", cx);
        }
        cx.ledger.converted(node.id);
        let basic = BasicAuthSpec { realm, users, htpasswd: None };
        if matcher.is_all() {
            self.basic = Some(basic);
        } else {
            self.guards.push(Guard { matcher, basic });
        }
    }

    fn take_body(&mut self, node: &Node, cx: &mut Cx<'_>) {
        cx.ledger.converted(node.id);
        let is_all = self.peek(node).is_some_and(|matcher| matcher.is_all());
        for inner in node.inner() {
            let size = inner.arg(0).parse::<portway_model::ByteSize>().ok();
            match (inner.name(), size, is_all) {
                ("max_size", Some(size), true) => {
                    self.max_body = Some(size.0);
                    cx.ledger.converted(inner.id);
                }
                _ => self.close(inner.id, "this limit of bodies cannot be said", cx),
            }
        }
    }

    fn take_tls(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let why =
            "Portway issues and renews certificates itself; one from a file cannot be given yet";
        cx.ledger.approximated(node.id, why);
        for inner in node.inner() {
            if inner.name() == "client_auth" {
                inner.each(&mut |node| {
                    cx.ledger.not_converted(node.id, "it belongs to certificates of clients");
                });
                self.close(inner.id, "certificates of clients cannot be asked for yet", cx);
            } else {
                inner.each(&mut |node| cx.ledger.approximated(node.id, why));
            }
        }
    }

    /// What listens on some addresses only is not for everybody.
    fn take_bind(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let is_loopback = |address: &String| {
            matches!(address.as_str(), "127.0.0.1" | "::1" | "[::1]" | "localhost")
        };
        if node.args().iter().all(is_loopback) && self.allow.is_none() {
            self.allow = Some(vec!["127.0.0.0/8".to_owned(), "::1".to_owned()]);
            cx.ledger
                .approximated(node.id, "it listens on this machine alone, so only that is let in");
        } else if node
            .args()
            .iter()
            .all(|address| matches!(address.as_str(), "0.0.0.0" | "::" | "[::]"))
        {
            cx.ledger.converted(node.id);
        } else {
            self.close(
                node.id,
                "who reaches these addresses is not known; say in `access` who may",
                cx,
            );
        }
    }

    /// `try_files`: files come first anyway; an index at the end is what applications in browsers need.
    pub(super) fn tries(&mut self, node: &Node, args: &[String], cx: &mut Cx<'_>) {
        let last = args.last().map_or("", String::as_str);
        if last == "/index.html" || last == "index.html" {
            self.is_spa = true;
            let why =
                "as `spa`: only for paths whose last part has no dot, and clients that take a page";
            cx.ledger.approximated(node.id, why);
        } else {
            cx.ledger.not_converted(node.id, "what is no file is answered 404");
        }
    }

    /// Returns who may.
    pub(super) fn access(&self) -> Option<AccessSpec> {
        if self.closed {
            return Some(nobody());
        }
        if self.allow.is_none() && self.deny.is_empty() && self.basic.is_none() {
            return None;
        }
        Some(AccessSpec::Rules(AccessRulesSpec {
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            basic: self.basic.clone(),
        }))
    }

    /// Returns the changes of headers.
    pub(super) fn headers(&self, is_proxied: bool) -> Option<HeadersSpec> {
        let kept =
            |edits: &HeaderEditsSpec| (*edits != HeaderEditsSpec::default()).then(|| edits.clone());
        let headers = HeadersSpec {
            request: kept(&self.request).filter(|_| is_proxied),
            response: kept(&self.response),
        };
        (headers != HeadersSpec::default()).then_some(headers)
    }

    /// Changes a header of answers.
    pub(super) fn answer_with(&mut self, args: &[String], id: Id, cx: &mut Cx<'_>) {
        edit(&mut self.response, args, id, cx);
    }
}

/// Takes a change as Caddy writes it: `Name value`, `+Name value`, `-Name`.
fn edit(edits: &mut HeaderEditsSpec, words: &[String], id: Id, cx: &mut Cx<'_>) {
    let name = words.first().map_or("", String::as_str);
    let value = words.get(1).cloned().unwrap_or_default();
    if value.contains('{') || words.len() > 2 || name.contains('*') {
        return cx.ledger.not_converted(id, "the value of a header is a fixed text here");
    }
    if let Some(name) = name.strip_prefix('-') {
        edits.remove.push(name.to_owned());
        cx.ledger.converted(id);
    } else if let Some(name) = name.strip_prefix('+') {
        edits.add.insert(name.to_owned(), value);
        cx.ledger.converted(id);
    } else if name.starts_with(['?', '>']) {
        edits.set.insert(name.trim_start_matches(['?', '>']).to_owned(), value);
        cx.ledger.approximated(id, "the header is always set");
    } else {
        edits.set.insert(name.to_owned(), value);
        cx.ledger.converted(id);
    }
}
