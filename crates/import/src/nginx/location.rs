//! Locations: what they match, and what answers in them.

use super::{
    Cx, pattern,
    proxy::Goal,
    read::Node,
    rewrite::{self, Rewrite},
    scope::Scope,
};
use crate::report::Id;

/// What a location matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matcher {
    /// `= /path`
    Exact(String),
    /// `/path`, and `^~ /path`, after which no expression is tried.
    Prefix { text: String, ends: bool },
    /// `~ expression`; `~*` has no case.
    Regex(String),
    /// `@name`
    Named(String),
}

/// What answers.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// `return`
    Return { id: Id, args: Vec<String> },
    /// `proxy_pass`
    Proxy { id: Id, goal: Goal },
    /// Files of `root` or `alias`.
    Files,
    /// An answer without a counterpart: 503, or 404 where it was for nobody outside.
    Missing { what: String, status: u16 },
}

/// A location.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) id: Id,
    pub(super) matcher: Matcher,
    pub(super) scope: Scope,
    pub(super) action: Action,
    pub(super) alias: Option<String>,
    pub(super) tries: Option<(Id, Vec<String>)>,
    /// Redirects that come before all else in it.
    pub(super) rewrites: Vec<Rewrite>,
    /// The path that is taken away before the application sees it.
    pub(super) strips: bool,
    pub(super) inner: Vec<Self>,
    /// All that stands in it, itself too.
    pub(super) ids: Vec<Id>,
}

impl Location {
    /// Returns the location as if an expression matched it.
    pub(super) fn by_pattern(&self, pattern: String) -> Self {
        Self { matcher: Matcher::Regex(pattern), ..self.clone() }
    }

    /// Returns the prefix that it matches, if it does so.
    pub(super) fn prefix(&self) -> Option<&str> {
        match &self.matcher {
            Matcher::Prefix { text, .. } => Some(text),
            Matcher::Exact(_) | Matcher::Regex(_) | Matcher::Named(_) => None,
        }
    }

    /// Says of all that stands in it why it is not used.
    pub(super) fn lose(&self, why: &str, cx: &mut Cx<'_>) {
        for id in &self.ids {
            cx.ledger.not_converted(*id, why);
        }
    }

    /// Reads a location within a scope.
    pub(super) fn read(node: &Node, outer: &Scope, cx: &mut Cx<'_>) -> Self {
        let mut scope = outer.clone();
        let rest = scope.enter(node.inner(), cx);
        let matcher = matcher(node, &mut scope, cx);
        let mut location = Self {
            id: node.id,
            matcher,
            scope,
            action: Action::Files,
            alias: None,
            tries: None,
            rewrites: Vec::new(),
            strips: false,
            inner: Vec::new(),
            ids: Vec::new(),
        };
        node.each(&mut |node| location.ids.push(node.id));
        cx.ledger.converted(node.id);
        let mut nested = Vec::new();
        for node in rest {
            if node.name() == "location" { nested.push(node) } else { location.take(node, cx) }
        }
        if matches!(location.matcher, Matcher::Regex(_)) && !nested.is_empty() {
            let why = "which paths it takes from an expression cannot be said";
            for inner in nested.drain(..) {
                inner.each(&mut |node| cx.ledger.not_converted(node.id, why));
                location.scope.close(inner.id, why, cx);
            }
        }
        let begins =
            |node: &&Node, marks: &[&str]| marks.iter().any(|mark| node.arg(0).starts_with(mark));
        if nested.iter().any(|node| begins(node, &["^~"]))
            && nested.iter().any(|node| begins(node, &["~"]))
        {
            let why = "a prefix that ends the search beside an expression, both within a location, cannot be said";
            location.scope.close(node.id, why, cx);
        }
        // Variables and access of the whole block hold in what it nests.
        location.inner =
            nested.into_iter().map(|node| Self::read(node, &location.scope, cx)).collect();
        location
    }

    fn take(&mut self, node: &Node, cx: &mut Cx<'_>) {
        match node.name() {
            "alias" => self.alias = cx.text(node, &self.scope),
            "try_files" => {
                self.tries = Some((node.id, node.args().to_vec()));
                cx.ledger.converted(node.id);
            }
            "return" => {
                if !matches!(self.action, Action::Return { .. }) {
                    let args = node.args().iter().map(|arg| self.scope.filled(arg)).collect();
                    self.action = Action::Return { id: node.id, args };
                }
                cx.ledger.converted(node.id);
            }
            "internal" => {
                self.answer_missing("it is for nobody outside", 404);
                cx.ledger.converted_by(node.id, "nobody outside gets it: 404");
            }
            "break" => cx.ledger.converted(node.id),
            "proxy_pass" => self.take_goal(node, cx),
            "stub_status" => {
                self.answer_missing("a page of figures", 404);
                cx.ledger.not_converted(node.id, "Portway has metrics of its own; answered 404");
            }
            "fastcgi_pass" | "uwsgi_pass" | "scgi_pass" | "memcached_pass" | "grpc_pass" => {
                self.answer_missing("an application that is not spoken to in HTTP", 503);
                let why = match node.name() {
                    "grpc_pass" => "write `to: h2c://…`; answered 503 until then",
                    _ => {
                        "only HTTP is spoken with applications; answered 503, and its files are not sent"
                    }
                };
                cx.ledger.not_converted(node.id, why);
            }
            "rewrite" => self.take_rewrite(node, cx),
            "if" => rewrite::condition_in_location(node, &mut self.scope, cx),
            _ => {
                node.each(&mut |node| {
                    cx.ledger.closes(node.id, "it is not known in a location; nobody is let in");
                });
                self.scope.closed = true;
            }
        }
    }

    fn answer_missing(&mut self, what: &str, status: u16) {
        if !matches!(self.action, Action::Return { .. }) {
            self.action = Action::Missing { what: what.to_owned(), status };
        }
    }

    fn take_goal(&mut self, node: &Node, cx: &mut Cx<'_>) {
        match Goal::parse(&self.scope.filled(node.arg(0))) {
            Ok(goal) => {
                if matches!(self.action, Action::Files) {
                    self.action = Action::Proxy { id: node.id, goal };
                }
                cx.ledger.converted(node.id);
            }
            Err(why) => {
                self.answer_missing("where requests go", 503);
                cx.ledger.not_converted(node.id, format!("{why}; answered 503"));
            }
        }
    }

    fn take_rewrite(&mut self, node: &Node, cx: &mut Cx<'_>) {
        if let Matcher::Prefix { text, .. } = &self.matcher
            && rewrite::strips(node, text)
        {
            self.strips = true;
            cx.ledger.converted_by(node.id, "as `strip_prefix`");
            return;
        }
        match rewrite::read(node, &self.scope, cx) {
            Some(redirect) => self.rewrites.push(redirect),
            None => {
                let why = "paths are not rewritten, and what the new path leads to is not known";
                self.scope.close(node.id, why, cx);
            }
        }
    }
}

fn matcher(node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) -> Matcher {
    let (modifier, text) = match node.args() {
        [one] => ("", one.as_str()),
        [modifier, text] => (modifier.as_str(), text.as_str()),
        _ => ("?", ""),
    };
    // `location =/x` and `location ~*\.php$` are read too.
    let (modifier, text) = match modifier {
        "" => ["=", "~*", "^~", "~"]
            .iter()
            .find_map(|mark| Some((*mark, text.strip_prefix(mark)?)))
            .unwrap_or(("", text)),
        modifier => (modifier, text),
    };
    match (modifier, text.strip_prefix('@')) {
        ("", Some(name)) => Matcher::Named(name.to_owned()),
        ("=", _) => Matcher::Exact(text.to_owned()),
        ("" | "^~", _) => Matcher::Prefix { text: text.to_owned(), ends: modifier == "^~" },
        ("~", _) => Matcher::Regex(pattern::plain(text)),
        ("~*", _) => Matcher::Regex(format!("(?i){}", pattern::plain(text))),
        _ => {
            scope.close(node.id, "what it matches is not known", cx);
            Matcher::Prefix { text: "/".to_owned(), ends: false }
        }
    }
}
