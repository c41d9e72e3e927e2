//! Applications: where `proxy_pass` leads, and what they are sent.

use std::collections::BTreeMap;

use portway_model::{
    HostPattern, HostPort,
    site::spec::{
        DurationSpec, HeaderEditsSpec, HeadersSpec, RetriesSpec, SwitchableSizeSpec,
        TargetSettingsSpec, TargetSpec, TimeoutsSpec, ToSpec, UpstreamSpec, UpstreamTlsSpec,
    },
};

use super::{Cx, scope::Scope};
use crate::{report::Id, tree::ReadError, upstream::short};

/// Where a `proxy_pass` leads.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    is_tls: bool,
    /// The name or address, as it is written.
    authority: String,
    /// What takes the place of the location's path, where something does.
    pub(super) path: Option<String>,
}

/// Headers that Portway sets by itself.
const OWN: [&str; 7] = [
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-request-id",
    "x-forwarded-prefix",
];

impl Goal {
    /// Reads an address; one with variables cannot be known.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('$') {
            return Err("where it leads depends on a variable".to_owned());
        }
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) | None => return Err("it is no http or https address".to_owned()),
        };
        if let Some(socket) = rest.strip_prefix("unix:") {
            if is_tls {
                return Err("TLS is not spoken over unix sockets".to_owned());
            }
            let (socket, path) = match socket.split_once(':') {
                Some((socket, path)) => (socket, Some(path.to_owned())),
                None => (socket, None),
            };
            let path = path.filter(|path| !path.is_empty());
            return Ok(Self { is_tls, authority: format!("unix:{socket}"), path });
        }
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') || authority.is_empty() {
            return Err("it is no address".to_owned());
        }
        let path = (!path.is_empty()).then(|| path.to_owned());
        Ok(Self { is_tls, authority: authority.to_owned(), path })
    }

    fn target(&self, text: &str) -> String {
        let scheme = if self.is_tls { "https://" } else { "" };
        if text.starts_with("unix:") {
            return text.trim_end_matches(':').to_owned();
        }
        let has_port = text.parse::<HostPort>().is_ok();
        let text = if has_port {
            text.to_owned()
        } else {
            format!("{text}:{}", if self.is_tls { 443 } else { 80 })
        };
        format!("{scheme}{text}")
    }
}

/// Returns who answers, with all that holds for it.
pub(super) fn to_spec(
    goal: &Goal,
    scope: &Scope,
    id: Id,
    cx: &mut Cx<'_>,
) -> Result<ToSpec, String> {
    let group = cx.upstreams.get(&goal.authority).cloned();
    cx.used.insert(goal.authority.clone());
    let mut upstream = UpstreamSpec::default();
    let is_group = group.is_some();
    match group {
        None => upstream.targets.push(TargetSpec::To(goal.target(&goal.authority))),
        Some(group) => {
            if group.is_unknown {
                return Err(format!("something in upstream `{}` is not known", goal.authority));
            }
            upstream.balance.clone_from(&group.balance);
            upstream.eject = group.eject().filter(|_| group.targets.len() > 1);
            upstream.pool.clone_from(&group.pool);
            upstream.targets = group.targets.iter().map(|target| weighted(goal, target)).collect();
        }
    }
    if upstream.targets.is_empty() {
        return Err(format!("upstream `{}` has no server", goal.authority));
    }
    let has_socket = upstream.targets.iter().any(|target| target.text().starts_with("unix:"));
    upstream.host = host(goal, is_group, has_socket, scope, cx);
    upstream.timeouts = timeouts(scope);
    if scope.unbuffered {
        upstream.buffer = Some(SwitchableSizeSpec::Enabled(false));
    }
    if scope.tries_once {
        upstream.retries = Some(RetriesSpec::Enabled(false));
    }
    if goal.is_tls {
        upstream.tls = Some(tls(scope, id, cx));
    }
    Ok(short(upstream))
}

fn weighted(goal: &Goal, target: &TargetSettingsSpec) -> TargetSpec {
    let to = goal.target(&target.to);
    if target.weight.is_none() && target.backup.is_none() {
        TargetSpec::To(to)
    } else {
        TargetSpec::Settings(TargetSettingsSpec { to, ..target.clone() })
    }
}

/// Returns the Host header that the application sees. nginx sends the name of the upstream unless told
/// otherwise.
fn host(
    goal: &Goal,
    is_group: bool,
    has_socket: bool,
    scope: &Scope,
    cx: &mut Cx<'_>,
) -> Option<String> {
    let sent = scope.request.iter().find(|sent| sent.name.eq_ignore_ascii_case("host"));
    let Some(sent) = sent else { return Some(proxy_host(goal, is_group, has_socket)) };
    match sent.value.as_str() {
        "$host" | "$http_host" | "$host:$server_port" | "$host:$proxy_port" => None,
        "$proxy_host" => Some(proxy_host(goal, is_group, has_socket)),
        "$server_name" => {
            cx.ledger.approximated(sent.id, "the host that the client asked for");
            None
        }
        value if is_host(value) => Some(value.to_owned()),
        _ => {
            cx.ledger
                .not_converted(sent.id, "the application sees the host that the client asked for");
            None
        }
    }
}

/// Behind a socket, nginx calls the application `localhost`.
fn proxy_host(goal: &Goal, is_group: bool, has_socket: bool) -> String {
    let name = goal.authority.as_str();
    let host = match (is_group && is_host(name), has_socket) {
        (true, _) => name,
        (false, true) => "localhost",
        (false, false) => "target",
    };
    host.to_owned()
}

fn is_host(text: &str) -> bool {
    matches!(text.parse(), Ok(HostPattern::Exact(_) | HostPattern::Ip(_)))
        || text.parse::<HostPort>().is_ok()
}

fn timeouts(scope: &Scope) -> Option<TimeoutsSpec> {
    let seconds = |value: Option<u64>| {
        value
            .filter(|value| *value != 60)
            .map(|value| DurationSpec::Seconds(value.clamp(1, 86_400)))
    };
    let timeouts = TimeoutsSpec {
        connect: seconds(scope.connect),
        first_byte: seconds(scope.read),
        silence: seconds(scope.read),
        send: seconds(scope.send),
    };
    (timeouts != TimeoutsSpec::default()).then_some(timeouts)
}

/// nginx verifies no certificate of an application unless told to.
fn tls(scope: &Scope, id: Id, cx: &mut Cx<'_>) -> UpstreamTlsSpec {
    let mut tls =
        UpstreamTlsSpec { server_name: scope.tls_name.clone(), ..UpstreamTlsSpec::default() };
    if !scope.verify {
        cx.ledger.converted_by(id, "its certificate is not verified, as before: `verify: false`");
        tls.verify = Some(false);
        return tls;
    }
    if let Some((id, path)) = &scope.authority {
        match cx.tree.read(&cx.folder.join(path)) {
            Ok(text) if text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY") => {
                tls.ca = Some(text);
            }
            Ok(_) => cx.ledger.not_converted(*id, "it is no certificate in PEM"),
            Err(error @ (ReadError::Absent | ReadError::Unreadable(_))) => {
                let note = format!("{error}; the machine's authorities are trusted instead");
                cx.ledger.not_converted(*id, note);
            }
        }
    }
    tls
}

/// Returns the changes of headers in a block. A header whose value cannot be told is taken away, so
/// that no client gives it a value of its own.
pub(super) fn headers(scope: &Scope, is_proxied: bool, cx: &mut Cx<'_>) -> Option<HeadersSpec> {
    let mut request = HeaderEditsSpec::default();
    if is_proxied {
        for sent in &scope.request {
            let name = sent.name.to_ascii_lowercase();
            let has_variable = sent.value.contains('$');
            match name.as_str() {
                "host" => {}
                "upgrade" | "connection" | "te" | "keep-alive" | "proxy-connection" => {
                    cx.ledger
                        .converted_by(sent.id, "WebSocket and kept connections need no setting");
                }
                "content-length" | "transfer-encoding" | "expect" | "trailer" => {
                    cx.ledger.not_converted(sent.id, "it belongs to the connection");
                }
                name if has_variable && OWN.contains(&name) => {
                    let note =
                        "Portway sets it itself; what a client claims in it is dropped first";
                    cx.ledger.converted_by(sent.id, note);
                }
                _ if has_variable => {
                    let note =
                        "its value is a variable; it is taken away, so that no client gives it one";
                    cx.ledger.not_converted(sent.id, note);
                    request.remove.push(sent.name.clone());
                }
                _ if sent.value.is_empty() => request.remove.push(sent.name.clone()),
                _ => {
                    request.set.insert(sent.name.clone(), sent.value.clone());
                }
            }
        }
    }
    let mut response =
        HeaderEditsSpec { remove: scope.hidden.clone(), ..HeaderEditsSpec::default() };
    response.add = scope.response.iter().cloned().collect::<BTreeMap<_, _>>();
    if let Some(value) = scope.expires.as_ref().filter(|_| is_proxied) {
        response.add.insert("Cache-Control".to_owned(), value.clone());
    }
    let kept = |edits: HeaderEditsSpec| (edits != HeaderEditsSpec::default()).then_some(edits);
    let headers = HeadersSpec { request: kept(request), response: kept(response) };
    (headers != HeadersSpec::default()).then_some(headers)
}
