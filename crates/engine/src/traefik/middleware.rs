//! What happens to a request between its router and its service.

use portway_model::site::{Access, HeaderEdits, Redirect, Route};
use serde_json::{Map, Value, json};

use super::{access, document::set, site::Draft};
use crate::{Extension, Secrecy, go_pattern::GoPattern, path::decoded};

/// What claims to say who asks. Traefik itself drops what entry points do not trust; these it knows not.
const CLAIMS: [&str; 28] = [
    "Forwarded",
    "X-Request-Id",
    "X_Request_Id",
    "X_Real_Ip",
    "X-Forwarded-Access-Token",
    "X-Forwarded-By",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Method",
    "X-Forwarded-Path",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X_Forwarded_For",
    "X_Forwarded_Host",
    "X_Forwarded_Port",
    "X_Forwarded_Prefix",
    "X_Forwarded_Proto",
    "X_Forwarded_User",
    "X_Forwarded_Email",
    "X_Forwarded_Groups",
    "X-Portway-Edge",
    "X_Portway_Edge",
    "X-Portway-Mirror",
    "X_Portway_Mirror",
];

/// Adds what decides who may use a route, in its order; returns the names.
pub(super) fn access(draft: &mut Draft<'_>, name: &str, route: &Route) -> Vec<String> {
    let Some(rule) = &route.filters.access else { return Vec::new() };
    let Access { allow: _, deny: _, basic } = rule;
    let mut names = Vec::new();
    if let Some(networks) = access::networks(rule) {
        names.push(draft.middleware(name, "ip", json!({"ipAllowList": {"sourceRange": networks}})));
    }
    if let Some(basic) = basic {
        let text = access::passwords(basic);
        if text.is_empty() {
            names.push(nobody(draft, name));
        } else {
            let file = draft.object(Extension::Htpasswd, Secrecy::Workers, &text);
            let value = json!({"basicAuth": {"usersFile": file, "realm": basic.realm}});
            names.push(draft.middleware(name, "auth", value));
        }
    }
    names
}

/// Adds what lets nobody through.
pub(super) fn nobody(draft: &mut Draft<'_>, name: &str) -> String {
    let value = json!({"ipAllowList": {"sourceRange": [access::NO_NETWORK]}});
    draft.middleware(name, "nobody", value)
}

/// Adds what answers everybody 503.
pub(super) fn maintenance(draft: &mut Draft<'_>, name: &str) -> String {
    let value =
        json!({"ipAllowList": {"sourceRange": [access::NO_NETWORK], "rejectStatusCode": 503}});
    draft.middleware(name, "maintenance", value)
}

/// Adds what answers larger bodies 413, and reads others before it passes them on.
pub(super) fn body_limit(draft: &mut Draft<'_>, name: &str, most: u64) -> String {
    let value = json!({"buffering": {"maxRequestBodyBytes": most}});
    draft.middleware(name, "body", value)
}

/// Adds what sends clients to HTTPS.
pub(super) fn to_https(draft: &mut Draft<'_>, name: &str) -> String {
    let port = draft.facts.ports.https.to_string();
    let value = json!({"redirectScheme": {"scheme": "https", "port": port, "permanent": true}});
    draft.middleware(name, "https", value)
}

/// Adds the changes of headers, of both directions.
pub(super) fn headers(
    draft: &mut Draft<'_>,
    name: &str,
    route: &Route,
    host: Option<&str>,
) -> String {
    let mut request = Map::new();
    for claim in CLAIMS {
        request.insert(claim.to_owned(), json!(""));
    }
    request.extend(edits(&route.filters.request_headers));
    if let Some(host) = host {
        request.insert("Host".to_owned(), json!(host));
    }
    let mut headers = json!({"customRequestHeaders": request});
    let response = edits(&route.filters.response_headers);
    if !response.is_empty() {
        set(&mut headers, "customResponseHeaders", Value::Object(response));
    }
    draft.middleware(name, "headers", json!({"headers": headers}))
}

/// Nothing can be added beside what is there (`support`). Traefik takes an empty value for removal.
fn edits(edits: &HeaderEdits) -> Map<String, Value> {
    let HeaderEdits { remove, set, add: _ } = edits;
    let removed = remove.iter().map(|name| (canonical(name), json!("")));
    removed.chain(set.iter().map(|(name, value)| (canonical(name), json!(value)))).collect()
}

/// Returns a header's name as Go writes it, so that one name is one key.
fn canonical(name: &str) -> String {
    let mut starts = true;
    let upper = |c: char| {
        let is_start = starts;
        starts = c == '-';
        if is_start { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    };
    name.chars().map(upper).collect()
}

/// Adds what takes the prefix off the path.
pub(super) fn strip(draft: &mut Draft<'_>, name: &str, route: &Route) -> Option<String> {
    let prefix = route.matches.path.prefix().filter(|prefix| !prefix.is_root())?;
    let prefixes = [decoded(prefix.as_str())];
    Some(draft.middleware(name, "strip", json!({"stripPrefix": {"prefixes": prefixes}})))
}

/// Adds what compresses answers.
pub(super) fn compress(draft: &mut Draft<'_>, name: &str) -> String {
    let value = json!({"compress": {"encodings": ["zstd", "br", "gzip"]}});
    draft.middleware(name, "compress", value)
}

/// Adds what tries again.
pub(super) fn retry(draft: &mut Draft<'_>, name: &str, attempts: u32) -> String {
    let value = json!({"retry": {"attempts": attempts.saturating_add(1)}});
    draft.middleware(name, "retry", value)
}

/// Adds what bounds the requests in flight.
pub(super) fn in_flight(draft: &mut Draft<'_>, name: &str, most: u32) -> String {
    draft.middleware(name, "flight", json!({"inFlightReq": {"amount": most}}))
}

/// Adds what sends clients on. A path that ends with the prefix gets a slash, so there are two.
pub(super) fn redirect(
    draft: &mut Draft<'_>,
    name: &str,
    route: &Route,
    redirect: &Redirect,
) -> Vec<String> {
    let Redirect { to, status, keep_path } = redirect;
    let permanent = matches!(status, 301 | 308);
    let mut add = |kind: &'static str, regex: &str, replacement: String| {
        let value = json!({"redirectRegex":
            {"regex": regex, "replacement": replacement, "permanent": permanent}});
        draft.middleware(name, kind, value)
    };
    if !keep_path {
        // What an expression's groups would be is doubled.
        return vec![add("to", "^.*$", to.replace('$', "$$"))];
    }
    let to = to.trim_end_matches('/').replace('$', "$$");
    let prefix = route.matches.path.prefix().filter(|prefix| !prefix.is_root());
    let count = prefix.map_or(0, |prefix| prefix.as_str().matches('/').count());
    let segments = GoPattern::segments(count).trim_start_matches('^').replace("[^/]", "[^/?]");
    let start = format!("^[a-z]+://[^/?]*{segments}");
    vec![
        add("root", &format!("{start}/?(\\?.*)?$"), format!("{to}/${{1}}")),
        add("to", &format!("{start}(/[^?]+)(\\?.*)?$"), format!("{to}${{1}}${{2}}")),
    ]
}
