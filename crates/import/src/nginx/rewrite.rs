//! `rewrite`, `return` and `if`: those that send clients on or take a prefix away.

use portway_model::site::spec::{RedirectSettingsSpec, RedirectSpec, RespondSpec};

use super::{Cx, location::Matcher, read::Node, scope::Scope};
use crate::report::Id;

/// A `rewrite` that sends clients on.
#[derive(Clone, Debug)]
pub(super) struct Rewrite {
    pub(super) id: Id,
    /// The expression; nothing where every path is meant.
    pub(super) pattern: Option<String>,
    /// A prefix whose rest is kept, in the place of the expression.
    pub(super) prefix: Option<String>,
    pub(super) redirect: RedirectSettingsSpec,
}

impl Rewrite {
    /// Tells whether every path is sent on.
    pub(super) fn is_whole(&self) -> bool {
        self.pattern.is_none() && self.prefix.is_none()
    }
}

/// What a request to a server is like, as far as its redirects need it.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// `https` or `http`.
    pub(super) scheme: &'static str,
    /// The one host, where there is one.
    pub(super) host: Option<String>,
    /// The name that `$server_name` stands for.
    pub(super) name: Option<String>,
}

/// Tells whether a `rewrite … break` takes the prefix of its location away.
pub(super) fn strips(node: &Node, prefix: &str) -> bool {
    let [pattern, to, flag] = node.args() else { return false };
    let bare = prefix.trim_end_matches('/');
    let patterns = [
        (format!("^{bare}/(.*)$"), "/$1"),
        (format!("^{bare}/(.*)"), "/$1"),
        (format!("^{bare}/?(.*)$"), "/$1"),
        (format!("^{bare}/?(.*)"), "/$1"),
        (format!("^{bare}(/.*)$"), "$1"),
        (format!("^{bare}(/.*)"), "$1"),
        (format!("{bare}/(.*)"), "/$1"),
        (format!("{bare}/(.*)$"), "/$1"),
    ];
    !bare.is_empty()
        && flag == "break"
        && patterns.iter().any(|(known, rest)| known == pattern && rest == to)
}

/// Reads a `rewrite` that sends clients on; anything else is nothing.
pub(super) fn read(node: &Node, scope: &Scope, cx: &mut Cx<'_>) -> Option<Rewrite> {
    let [pattern, to, rest @ ..] = node.args() else { return None };
    let to = scope.filled(to);
    let is_absolute =
        to.starts_with("http://") || to.starts_with("https://") || to.starts_with("$scheme://");
    let status = match rest.first().map(String::as_str) {
        Some("permanent") => 301,
        Some("redirect") => 302,
        None if is_absolute => 302,
        Some(_) | None => return None,
    };
    let asked = cx.asked.clone();
    let everything = matches!(
        pattern.as_str(),
        "^" | "^/"
            | ".*"
            | "^.*$"
            | "^.*"
            | "^(.*)$"
            | "^(.*)"
            | "^/(.*)$"
            | "^/(.*)"
            | "(.*)"
            | "^(/.*)$"
            | "/(.*)"
    );
    let rewrite = if everything {
        let to = to.trim_end_matches('?');
        let (base, keeps) = [("/$1", true), ("$1", true), ("$request_uri", true), ("$uri", true)]
            .iter()
            .find_map(|(tail, keeps)| Some((to.strip_suffix(tail)?, *keeps)))
            .unwrap_or((to, false));
        let redirect = settings(base, status, keeps, &asked)?;
        Rewrite { id: node.id, pattern: None, prefix: None, redirect }
    } else if let Some((prefix, base)) = moved(pattern, &to) {
        let redirect = settings(base, status, true, &asked)?;
        Rewrite { id: node.id, pattern: None, prefix: Some(prefix), redirect }
    } else {
        // nginx appends the query unless there is a question mark; here it is not.
        let redirect = settings(to.trim_end_matches('?'), status, false, &asked)?;
        Rewrite { id: node.id, pattern: Some(pattern.clone()), prefix: None, redirect }
    };
    if rewrite.redirect.keep_path == Some(true) {
        cx.ledger.converted(node.id);
    } else {
        cx.ledger.approximated(node.id, "the query is not passed on");
    }
    Some(rewrite)
}

/// Reads `^/old/(.*)$` with an address that ends in `/$1`.
fn moved<'t>(pattern: &str, to: &'t str) -> Option<(String, &'t str)> {
    let inner = pattern.strip_prefix('^')?;
    let inner = inner.strip_suffix("(.*)$").or_else(|| inner.strip_suffix("(.*)"))?;
    let prefix = inner.strip_suffix('/')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_~".contains(c);
    let base = to.strip_suffix("/$1")?;
    (!prefix.is_empty() && prefix.starts_with('/') && prefix.chars().all(is_plain))
        .then(|| (prefix.to_owned(), base))
}

/// Returns a redirect to an address in which nothing is variable but what is known.
fn settings(base: &str, status: u16, keeps: bool, asked: &Asked) -> Option<RedirectSettingsSpec> {
    let host = asked.host.as_deref().unwrap_or("$");
    let name = asked.name.as_deref().unwrap_or("$");
    let to = base
        .replace("$scheme", asked.scheme)
        .replace("$http_host", host)
        .replace("$host", host)
        .replace("$server_name", name);
    let to = if to.is_empty() && keeps { "/".to_owned() } else { to };
    if to.contains('$') || to.contains('*') || (keeps && to.contains(['?', '#'])) {
        return None;
    }
    let is_known = to.starts_with('/') || to.starts_with("http://") || to.starts_with("https://");
    is_known.then(|| RedirectSettingsSpec {
        to,
        status: Some(status),
        keep_path: keeps.then_some(true),
    })
}

/// What a `return` comes to.
pub(super) enum Returned {
    /// Clients are sent on.
    Redirect(RedirectSpec),
    /// A fixed answer.
    Respond(RespondSpec),
}

/// Reads a `return` for what a location matches. An answer that cannot be told is none.
pub(super) fn returned(
    id: Id,
    args: &[String],
    matcher: &Matcher,
    scope: &Scope,
    cx: &mut Cx<'_>,
) -> Option<Returned> {
    let (status, text) = match args {
        [only] => match only.parse::<u16>() {
            Ok(status) => (status, None),
            Err(_) => (302, Some(only.as_str())),
        },
        [status, text, ..] => (status.parse().ok()?, Some(text.as_str())),
        [] => return None,
    };
    if let (301 | 302 | 303 | 307 | 308, Some(to)) = (status, text) {
        return redirect_to(id, to, status, matcher, cx).map(Returned::Redirect);
    }
    let respond = |status: u16, body: Option<String>| RespondSpec {
        status: Some(status),
        body,
        content_type: None,
    };
    if matches!(status, 444 | 499) {
        let note = "the connection is not cut; the answer is 403";
        cx.ledger.approximated(id, note);
        return Some(Returned::Respond(respond(403, None)));
    }
    if !(200..=599).contains(&status) {
        return None;
    }
    let body = text.filter(|text| !text.is_empty() && !matches!(status, 204 | 205 | 304));
    if body.is_some_and(|text| text.contains('$')) {
        cx.ledger.approximated(id, "the text has variables and is left out");
        return (status >= 400).then(|| Returned::Respond(respond(status, None)));
    }
    let mut answer = respond(status, body.map(str::to_owned));
    answer.content_type = scope.default_type.clone().filter(|_| body.is_some());
    Some(Returned::Respond(answer))
}

fn redirect_to(
    id: Id,
    to: &str,
    status: u16,
    matcher: &Matcher,
    cx: &mut Cx<'_>,
) -> Option<RedirectSpec> {
    let asked = cx.asked.clone();
    let tails = ["$request_uri", "$uri$is_args$args", "$uri?$args", "$uri"];
    let (base, keeps) = match tails.iter().find_map(|tail| to.strip_suffix(tail)) {
        Some(base) => (base, true),
        None => (to, false),
    };
    let base = match matcher {
        // The path that is kept is whole; here its prefix is not.
        Matcher::Prefix { text, .. } if keeps => {
            format!("{}{}", base.trim_end_matches('/'), text.trim_end_matches('/'))
        }
        Matcher::Prefix { .. } | Matcher::Exact(_) | Matcher::Regex(_) | Matcher::Named(_) => {
            base.to_owned()
        }
    };
    let settings = settings(&base, status, keeps, &asked);
    if settings.is_none() {
        cx.ledger.not_converted(id, "where it leads depends on a variable; answered 503");
    }
    settings.map(RedirectSpec::Settings)
}

/// A condition with what it leads to, as far as it is known.
pub(super) enum Condition {
    /// Plain HTTP is sent on to HTTPS.
    ToHttps,
    /// Requests for a host are sent on to HTTPS.
    HostToHttps(String),
    /// Requests for a host are sent elsewhere.
    HostTo(String, Vec<String>),
    /// Requests for any other host are sent elsewhere.
    OtherHostsTo(String, Vec<String>),
    /// Other methods get a status.
    Methods(Vec<String>, u16),
    /// It only chooses values.
    Values,
    /// It may decide who gets what.
    Unknown,
}

/// Reads an `if`.
pub(super) fn condition(node: &Node) -> Condition {
    let words: Vec<&str> = node
        .args()
        .iter()
        .map(|word| word.trim_start_matches('(').trim_end_matches(')'))
        .filter(|word| !word.is_empty())
        .collect();
    let [inner] = node.inner() else { return values_or_unknown(node) };
    if inner.name() == "return" {
        return returning(&words, inner);
    }
    if inner.name() == "rewrite"
        && matches!(
            words.as_slice(),
            ["$scheme", "=", "http"] | ["$scheme", "!=", "https"] | ["$https", "=", ""]
        )
    {
        let to = inner.arg(1).trim_end_matches('?');
        let is_https = matches!(
            to,
            "https://$host$request_uri"
                | "https://$server_name$request_uri"
                | "https://$host/$1"
                | "https://$host$1"
                | "https://$http_host$request_uri"
        );
        return if is_https { Condition::ToHttps } else { Condition::Unknown };
    }
    values_or_unknown(node)
}

fn returning(words: &[&str], inner: &Node) -> Condition {
    let to = inner.args().last().map_or("", String::as_str);
    let is_to_https =
        matches!(inner.arg(0), "301" | "302" | "307" | "308") && (is_same_host_https(to));
    match words {
        ["$scheme", "=", "http"]
        | ["$scheme", "!=", "https"]
        | ["$https", "=", ""]
        | ["$https", "!=", "on"]
        | ["$server_port", "=", "80"]
            if is_to_https =>
        {
            Condition::ToHttps
        }
        ["$host" | "$http_host", "=", host] if is_to_https => {
            Condition::HostToHttps((*host).to_owned())
        }
        ["$host" | "$http_host", "=", host] if inner.arg(0).starts_with('3') => {
            Condition::HostTo((*host).to_owned(), inner.args().to_vec())
        }
        ["$host" | "$http_host", "!=", host] if inner.arg(0).starts_with('3') => {
            Condition::OtherHostsTo((*host).to_owned(), inner.args().to_vec())
        }
        ["$request_method", "!~" | "!~*", methods] => {
            match (alternatives(methods), inner.arg(0).parse()) {
                (Some(methods), Ok(status @ 400..=599)) => {
                    Condition::Methods(methods, if status == 444 { 403 } else { status })
                }
                _ => Condition::Unknown,
            }
        }
        _ => Condition::Unknown,
    }
}

/// Tells whether a `rewrite` sends every path on to HTTPS.
pub(super) fn leads_to_https(node: &Node) -> bool {
    let is_whole =
        matches!(node.arg(0), "^" | "^(.*)$" | "^/(.*)$" | "^(.*)" | "^/(.*)" | "^.*$" | ".*");
    let is_https = matches!(
        node.arg(1).trim_end_matches('?'),
        "https://$host$request_uri"
            | "https://$http_host$request_uri"
            | "https://$server_name$request_uri"
            | "https://$host$1"
            | "https://$host/$1"
    );
    node.name() == "rewrite" && is_whole && is_https
}

/// Tells whether an address is that of the request over HTTPS.
pub(super) fn is_same_host_https(to: &str) -> bool {
    matches!(
        to,
        "https://$host$request_uri"
            | "https://$http_host$request_uri"
            | "https://$server_name$request_uri"
            | "https://$host$uri"
            | "https://$host$uri$is_args$args"
    )
}

/// Reads `^(GET|HEAD|POST)$`.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let inner = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
    let methods: Vec<String> = inner.split('|').map(str::to_owned).collect();
    let is_method =
        |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    methods.iter().all(is_method).then_some(methods)
}

fn values_or_unknown(node: &Node) -> Condition {
    let harmless = [
        "set",
        "expires",
        "add_header",
        "access_log",
        "break",
        "proxy_set_header",
        "gzip",
        "log_not_found",
    ];
    if node.inner().iter().all(|inner| harmless.contains(&inner.name())) {
        Condition::Values
    } else {
        Condition::Unknown
    }
}

/// Takes an `if` in a location: what it keeps away must not be let in.
pub(super) fn condition_in_location(node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) {
    match condition(node) {
        Condition::Methods(methods, status) => {
            node.each(&mut |node| cx.ledger.converted(node.id));
            scope.only_methods(methods, status);
        }
        Condition::ToHttps => {
            node.each(&mut |node| {
                cx.ledger.converted_by(node.id, "plain HTTP is sent on to HTTPS");
            });
        }
        Condition::Values => lose_values(node, scope, cx),
        Condition::HostToHttps(_)
        | Condition::HostTo(..)
        | Condition::OtherHostsTo(..)
        | Condition::Unknown => close(node, scope, cx),
    }
}

/// Variables that a condition sets have no known value; headers of applications are taken away.
pub(super) fn lose_values(node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) {
    node.each(&mut |inner| cx.ledger.not_converted(inner.id, "there are no conditions on values"));
    for inner in node.inner() {
        if inner.name() == "set" {
            scope.variables.remove(inner.arg(0));
        }
    }
}

/// Closes a block because of a condition.
pub(super) fn close(node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) {
    let why = "this condition cannot be carried out, and it may keep somebody out";
    scope.close(node.id, why, cx);
    for inner in node.inner() {
        inner.each(&mut |inner| cx.ledger.not_converted(inner.id, "it belongs to the condition"));
    }
}
