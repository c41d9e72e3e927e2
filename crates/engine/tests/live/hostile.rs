//! Texts that try to be more than texts, in every field that takes one.

use std::sync::OnceLock;

use portway_policy::{Blocked, CompileInput, SitePolicy};
use serde_json::{Value, json};

use crate::bed::try_site;

/// Texts that end a quote, begin a block, name a variable or are a program in some language.
pub(crate) const PAYLOADS: &[&str] = &[
    "\"",
    "'",
    "`",
    "``",
    "\\",
    "\\\\",
    "\\\"",
    "`\\",
    "\\`",
    "$",
    "${HOME}",
    "$HOME",
    "$(id)",
    "`id`",
    "{",
    "}",
    "{}",
    "}{",
    "{{",
    "}}",
    "{{.}}",
    "{{ env \"HOME\" }}",
    "{{define \"x\"}}",
    "{$HOME}",
    "{$HOME:x}",
    "{$",
    "{$}",
    "{{$HOME}}",
    "\\{$HOME}",
    "{env.HOME}",
    "\\{env.HOME\\}",
    "\\\\{env.HOME}",
    "\\}",
    "{\\}",
    "{http.request.host}",
    "{host}",
    "{path}",
    "{header.X}",
    "{args[0]}",
    "{args.0}",
    "{args[:]}",
    "{block}",
    "{blocks.x}",
    "{file./etc/passwd}",
    "{vars.x}",
    "{re.x.1}",
    "#",
    "# x",
    "x # y",
    ";",
    "x; return 200",
    "<<E",
    "<<<E",
    "<<E\nx\nE",
    "@x",
    "*",
    "/",
    "/x",
    "!",
    "!x",
    "?x",
    ">x",
    "+x",
    "-x",
    "~x",
    "import /etc/passwd",
    "\n",
    "a\nb",
    "\r\n",
    "\n}\nrespond evil\n",
    "\t",
    "\u{0}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "ä",
    "🦀",
    "%",
    "%s",
    "%2F",
    "%00",
    "%7B",
    "a b",
    " a",
    "a ",
    "",
    "&",
    "*x",
    "&x",
    "!!str",
    "- x",
    "? x",
    ": x",
    "x: y",
    "[x]",
    "true",
    "null",
    "~",
    "0x1F",
    "1e3",
    "\u{a0}",
    "`) || Host(`evil.example`",
    "\") || Host(\"evil.example\")",
    ") || (",
    "&& !",
    "(?i)x",
    "[",
    "(",
    "a|b",
    "x{2}",
    "x{path}",
    "\\x60",
    "\\u007b",
    "${1}",
    "$1",
    "`;`",
    "404",
    "200",
    "handle",
    "route {",
];

/// Makes the text of a site with a hostile text in one field.
type Field = fn(&str) -> Value;

const HASH: &str = "$2y$04$abcdefghijklmnopqrstuu5LoVKAdYPpJ6n5VYqTxSCMhwPeS7xCu";

/// The fields that take a text.
pub(crate) const FIELDS: &[(&str, Field)] = &[
    ("respond.body", |x| json!({"respond": {"body": x}})),
    ("respond.content_type", |x| json!({"respond": {"body": "b", "content_type": x}})),
    ("redirect.to", |x| json!({"redirect": {"to": format!("/{x}")}})),
    (
        "redirect.to keep",
        |x| json!({"redirect": {"to": format!("https://h/{x}"), "keep_path": true}}),
    ),
    ("request.set", |x| json!({"to": "5000", "headers": {"request": {"set": {"X-A": x}}}})),
    ("request.add", |x| json!({"to": "5000", "headers": {"request": {"add": {"X-A": x}}}})),
    (
        "request name",
        |x| json!({"to": "5000", "headers": {"request": {"set": {x: "v"}, "remove": [format!("x{x}")]}}}),
    ),
    ("response.set", |x| json!({"to": "5000", "headers": {"response": {"set": {"X-A": x}}}})),
    (
        "response name",
        |x| json!({"to": "5000", "headers": {"response": {"add": {x: "v"}, "remove": [format!("x{x}")]}}}),
    ),
    ("realm", |x| json!({"to": "5000", "access": {"basic": {"realm": x, "users": {"ada": HASH}}}})),
    ("user", |x| json!({"to": "5000", "access": {"basic": {"users": {x: HASH}}}})),
    (
        "match header",
        |x| json!({"routes": [{"path": "/", "match_headers": {"X-A": x}, "to": "5000"}]}),
    ),
    (
        "match header name",
        |x| json!({"routes": [{"path": "/", "match_headers": {x: "v"}, "to": "5000"}]}),
    ),
    ("match query", |x| json!({"routes": [{"path": "/", "match_query": {"k": x}, "to": "5000"}]})),
    (
        "match query name",
        |x| json!({"routes": [{"path": "/", "match_query": {x: "v"}, "to": "5000"}]}),
    ),
    ("method", |x| json!({"routes": [{"path": "/", "methods": [x], "to": "5000"}]})),
    (
        "path",
        |x| json!({"routes": [{"path": format!("/p{x}"), "strip_prefix": true, "to": "5000"}]}),
    ),
    ("exact", |x| json!({"routes": [{"exact": format!("/p{x}"), "to": "5000"}]})),
    ("regex", |x| json!({"routes": [{"regex": x, "to": "5000"}]})),
    ("root", |x| json!({"files": format!("/srv/{x}")})),
    ("index", |x| json!({"files": {"root": "/srv", "index": [x], "spa": true}})),
    ("cache_control", |x| json!({"files": {"root": "/srv", "cache_control": x}})),
    ("target", |x| json!({"to": x})),
    ("unix", |x| json!({"to": format!("unix:/run/{x}")})),
    ("host", |x| json!({"to": {"targets": ["5000"], "host": x}})),
    ("server_name", |x| json!({"to": {"targets": ["https://a"], "tls": {"server_name": x}}})),
    ("sticky", |x| json!({"to": {"targets": ["1", "2"], "sticky": {"cookie": x}}})),
    ("hash", |x| json!({"to": {"targets": ["1", "2"], "balance": {"hash": {"header": x}}}})),
    ("health", |x| json!({"to": {"targets": ["1", "2"], "health": format!("/{x}")}})),
    (
        "health.body",
        |x| json!({"to": {"targets": ["1", "2"], "health": {"path": "/h", "body": x}}}),
    ),
    (
        "health.host",
        |x| json!({"to": {"targets": ["1", "2"], "health": {"path": "/h", "host": x}}}),
    ),
    ("maintenance", |x| json!({"to": "5000", "maintenance": {"message": x}})),
    ("mirror.host", |x| json!({"to": "5000", "mirror": {"to": {"targets": ["5001"], "host": x}}})),
    (
        "mirror.server_name",
        |x| json!({"to": "5000", "mirror": {"to": {"targets": ["https://a"], "tls": {"server_name": x}}}}),
    ),
    ("rate_limit", |x| json!({"to": "5000", "rate_limit": {"rate": "5/s", "by": {"header": x}}})),
    (
        "connection_limit",
        |x| json!({"to": "5000", "connection_limit": {"most": 5, "by": {"header": x}}}),
    ),
    (
        "redirects.from",
        |x| json!({"to": "5000", "redirects": [{"from": format!("/o{x}"), "to": "/new"}]}),
    ),
    (
        "redirects.from below",
        |x| json!({"to": "5000", "redirects": [{"from": format!("/o{x}/*"), "to": "/new"}]}),
    ),
    (
        "redirects.to",
        |x| json!({"to": "5000", "redirects": [{"from": "/old", "to": format!("/{x}")}]}),
    ),
    ("split header", |x| split(&json!({"header": "X-A", "value": x}))),
    ("split header name", |x| split(&json!({"header": x, "value": "v"}))),
    ("split cookie", |x| split(&json!({"cookie": "a", "value": x}))),
    ("split cookie name", |x| split(&json!({"cookie": x, "value": "v"}))),
    (
        "split.name",
        |x| json!({"split": [{"name": x, "weight": 1, "to": "5000"}, {"weight": 1, "to": "5001"}]}),
    ),
    (
        "split.sticky",
        |x| json!({"split": {"sticky": {"cookie": x}, "sides": [{"weight": 1, "to": "5000"}, {"weight": 1, "to": "5001"}]}}),
    ),
    ("hash cookie", |x| json!({"to": {"targets": ["1", "2"], "balance": {"hash": {"cookie": x}}}})),
    ("tls.ca", |x| tls(&json!({"ca": pem(x).0}))),
    ("tls.client_certificate", |x| {
        tls(&json!({"client_certificate": pem(x).0, "client_key": pem("").1}))
    }),
    ("tls.client_key", |x| tls(&json!({"client_certificate": pem("").0, "client_key": pem(x).1}))),
    ("cache.key", |x| json!({"to": "5000", "cache": {"key": {"headers": [x], "cookies": [x]}}})),
    ("description", |x| json!({"to": "5000", "description": x, "tags": [x]})),
    ("log", |x| json!({"to": "5000", "log": x})),
    ("host of the site", |x| json!({"hosts": [x], "to": "5000"})),
    ("name of the log", |x| json!({"routes": [{"path": "/", "to": "5000", "log": x}]})),
];

fn split(rule: &Value) -> Value {
    json!({"split": [{"weight": 1, "by": [rule], "to": "5000"}, {"weight": 1, "to": "5001"}]})
}

fn tls(settings: &Value) -> Value {
    json!({"to": {"targets": ["https://a"], "tls": settings}})
}

/// Returns a certificate and its key in PEM, each behind a text.
fn pem(text: &str) -> (String, String) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    let (certificate, key) = MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    (format!("{text}\n{certificate}"), format!("{text}\n{key}"))
}

/// A site with a hostile text.
pub(crate) struct Case {
    pub(crate) field: &'static str,
    pub(crate) payload: &'static str,
    pub(crate) site: SitePolicy,
}

/// Returns every site that the model takes, each with a host of its own.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, (field, make)) in FIELDS.iter().enumerate() {
        for (index, payload) in PAYLOADS.iter().copied().enumerate() {
            let name = format!("s{number}-{index}");
            let input = CompileInput::default();
            if let Ok(site) = try_site(&name, &text(make(payload), &name), &input) {
                cases.push(Case { field, payload, site });
            }
        }
    }
    for (index, payload) in PAYLOADS.iter().copied().enumerate() {
        let name = format!("blocked-{index}");
        let blocked = Some(Blocked { reason: payload.to_owned() });
        let input = CompileInput { blocked, ..CompileInput::default() };
        let site = try_site(&name, &text(json!({"to": "5000"}), &name), &input).unwrap();
        cases.push(Case { field: "blocked", payload, site });
    }
    cases
}

/// Returns a harmless site of the same shape for each field.
pub(crate) fn harmless() -> Vec<(&'static str, SitePolicy)> {
    let fields = FIELDS.iter().enumerate();
    let sites = fields.filter_map(|(number, (field, make))| {
        let name = format!("plain{number}");
        let site = try_site(&name, &text(make("x"), &name), &CompileInput::default());
        Some((*field, site.ok()?))
    });
    // A target must be one, and a host a name; both are typed.
    sites.filter(|(field, _)| *field != "host of the site").collect()
}

fn text(mut spec: Value, name: &str) -> String {
    let object = spec.as_object_mut().unwrap();
    object.entry("hosts").or_insert_with(|| json!([format!("{name}.example")]));
    object.insert("https".to_owned(), json!(false));
    if !object.contains_key("routes") {
        object.entry("log").or_insert(json!(false));
    }
    spec.to_string()
}
