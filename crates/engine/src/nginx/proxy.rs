//! Routes that an upstream answers.

use std::collections::BTreeMap;

use portway_model::{
    FieldPath, PathPrefix,
    site::{ClientKey, HostHeader, Route, Target, Upstream, UpstreamProtocol, UpstreamTls},
};

use super::{
    access,
    common::CLAIMS,
    headers,
    names::Draft,
    path,
    site::route_block,
    syntax::{Directive, line},
    upstream,
    value::{in_regex, literal},
};
use crate::{Extension, Secrecy};

/// Where an upstream stands in its site.
pub(super) struct Place {
    /// The route.
    pub(super) index: usize,
    /// What sets its names apart within the site.
    pub(super) suffix: String,
    /// Its field.
    pub(super) at: FieldPath,
}

/// Returns the location in which an upstream answers.
pub(super) fn block(
    draft: &mut Draft<'_>,
    route: &Route,
    upstream: &Upstream,
    place: &Place,
) -> Vec<Directive> {
    let name = upstream::declare(draft, upstream, place);
    let module = module(upstream.protocol);
    let mut block = route_block(draft, place.index);
    block.extend(access::of(draft, place.index, route));
    block.extend(upstream::in_flight(draft, (route, upstream), place));
    let edits = FieldPath::root().key("routes").index(place.index).key("headers").key("response");
    block.extend(headers::response(&route.filters.response_headers, Some(module), &edits));
    block.extend(answer(route, upstream, module));
    block.extend(sent_headers(draft, route, upstream, place, module));
    block.extend(timeouts(upstream, module, &place.at));
    block.extend(retries(upstream, module, &place.at));
    block.extend(tls(draft, upstream, module, &place.at));
    block.extend(buffers(upstream, module));
    block.push(rewrite(route));
    let scheme = match (upstream.protocol, upstream.tls.is_some()) {
        (UpstreamProtocol::Http1, false) => "http",
        (UpstreamProtocol::Http1, true) => "https",
        (UpstreamProtocol::H2c, false) => "grpc",
        (UpstreamProtocol::H2c, true) => "grpcs",
    };
    block.push(line!(format!("{module}_pass"), format!("{scheme}://{name}")).from_field(&place.at));
    block
}

/// nginx speaks HTTP/2 with upstreams in its module for gRPC only, which carries any request.
fn module(protocol: UpstreamProtocol) -> &'static str {
    match protocol {
        UpstreamProtocol::Http1 => "proxy",
        UpstreamProtocol::H2c => "grpc",
    }
}

/// What the upstream gets is the path in its one form: after a rewrite nginx escapes it anew, and does
/// not pass on what it was sent.
fn rewrite(route: &Route) -> Directive {
    let stripped = route.matches.path.prefix().filter(|prefix| strips(route, prefix));
    match stripped.and_then(|prefix| path::decoded(prefix.as_str())) {
        Some(prefix) => {
            line!("rewrite", format!("(?s)\\A{}/?(.*)\\z", in_regex(&prefix)), "/$1", "break")
        }
        None => line!("rewrite", "\\A", "$uri", "break"),
    }
}

fn strips(route: &Route, prefix: &PathPrefix) -> bool {
    route.filters.strip_prefix && !prefix.is_root()
}

/// nginx acts on some headers of answers, and rewrites others, unless it is told not to.
fn answer(route: &Route, upstream: &Upstream, module: &str) -> Vec<Directive> {
    let mut ignored = vec![format!("{module}_ignore_headers")];
    ignored.extend(["X-Accel-Redirect", "X-Accel-Charset"].map(str::to_owned));
    let mut block = vec![line!(format!("{module}_intercept_errors"), "off")];
    let removes_server = route.filters.response_headers.remove.iter().any(|name| name == "server");
    if !removes_server {
        block.push(line!(format!("{module}_pass_header"), "Server"));
    }
    block.push(line!(format!("{module}_pass_header"), "Date"));
    block.push(line!(format!("{module}_hide_header"), "X-Request-ID"));
    if upstream.protocol == UpstreamProtocol::Http1 {
        ignored.extend(
            ["X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Buffering"].map(str::to_owned),
        );
        block.push(line!("proxy_redirect", "off"));
        block.push(line!("proxy_cookie_domain", "off"));
        block.push(line!("proxy_cookie_path", "off"));
        block.push(line!("proxy_cache", "off"));
        block.push(line!("proxy_http_version", "1.1"));
    }
    block.insert(0, Directive::new(ignored));
    block
}

/// Says who asks, then changes what the route changes.
fn sent_headers(
    draft: &mut Draft<'_>,
    route: &Route,
    upstream: &Upstream,
    place: &Place,
    module: &str,
) -> Vec<Directive> {
    let mut sent: BTreeMap<String, String> =
        CLAIMS.into_iter().map(|name| (name.to_owned(), String::new())).collect();
    let usual = [
        ("host", host(upstream)),
        ("x-forwarded-for", "$portway_forwarded_for".to_owned()),
        ("x-real-ip", "$remote_addr".to_owned()),
        ("x-forwarded-proto", "$portway_proto".to_owned()),
        ("x-forwarded-host", "$portway_forwarded_host".to_owned()),
        ("x-forwarded-port", "$portway_forwarded_port".to_owned()),
        ("x-forwarded-prefix", prefix(route)),
        ("x-request-id", "$portway_request_id".to_owned()),
        ("proxy-authorization", String::new()),
        ("proxy-connection", String::new()),
        ("http2-settings", String::new()),
    ];
    sent.extend(usual.map(|(name, value)| (name.to_owned(), value)));
    match upstream.protocol {
        UpstreamProtocol::Http1 => {
            sent.insert("upgrade".to_owned(), "$portway_upgrade".to_owned());
            sent.insert("connection".to_owned(), "$portway_connection".to_owned());
        }
        // A call of gRPC is refused without it.
        UpstreamProtocol::H2c => drop(sent.insert("te".to_owned(), "trailers".to_owned())),
    }
    let at = FieldPath::root().key("routes").index(place.index).key("headers").key("request");
    let edits = &route.filters.request_headers;
    headers::request(draft, &place.suffix, edits, &mut sent, &at);
    sent.into_iter()
        .map(|(name, value)| line!(format!("{module}_set_header"), name, value))
        .collect()
}

fn host(upstream: &Upstream) -> String {
    match &upstream.host {
        HostHeader::Preserve => "$portway_host".to_owned(),
        HostHeader::Set(host) => literal(host),
        // Where targets have different names this was refused.
        HostHeader::Target => match upstream.targets.first().map(|target| &target.to) {
            Some(Target::Tcp(address)) => {
                let usual = if upstream.tls.is_some() { 443 } else { 80 };
                let is_usual = address.port == usual;
                let text = address.to_string();
                let bare = text.strip_suffix(&format!(":{usual}")).filter(|_| is_usual);
                literal(bare.unwrap_or(&text))
            }
            Some(Target::Unix(_)) | None => "localhost".to_owned(),
        },
    }
}

fn prefix(route: &Route) -> String {
    match route.matches.path.prefix().filter(|prefix| strips(route, prefix)) {
        Some(prefix) => format!("${{portway_outer}}{}", literal(prefix.as_str())),
        None => "$portway_forwarded_prefix".to_owned(),
    }
}

fn timeouts(upstream: &Upstream, module: &str, at: &FieldPath) -> Vec<Directive> {
    let timeouts = &upstream.timeouts;
    let read = timeouts.first_byte.max(timeouts.silence);
    [("connect", timeouts.connect), ("read", read), ("send", timeouts.send)]
        .into_iter()
        .map(|(name, time)| {
            line!(format!("{module}_{name}_timeout"), format!("{}s", time.0))
                .from_field(&at.key("timeouts"))
        })
        .collect()
}

/// Requests that may not be repeated are repeated only when nothing of them was sent: nginx does so
/// unless it is told otherwise.
fn retries(upstream: &Upstream, module: &str, at: &FieldPath) -> Vec<Directive> {
    let attempts = upstream.retries.attempts;
    let at = at.key("retries");
    if attempts == 0 {
        return vec![line!(format!("{module}_next_upstream"), "off").from_field(&at)];
    }
    vec![
        line!(format!("{module}_next_upstream"), "error", "timeout").from_field(&at),
        line!(format!("{module}_next_upstream_tries"), attempts.saturating_add(1)).from_field(&at),
    ]
}

fn tls(draft: &mut Draft<'_>, upstream: &Upstream, module: &str, at: &FieldPath) -> Vec<Directive> {
    let Some(tls) = &upstream.tls else { return Vec::new() };
    let UpstreamTls { verify, ca_pem, server_name } = tls;
    let at = at.key("tls");
    let directive =
        |name: &str, value: String| line!(format!("{module}_ssl_{name}"), value).from_field(&at);
    let first = upstream.targets.first().map(|target| &target.to);
    let name = match (server_name, first) {
        (Some(name), _) => name.clone(),
        (None, Some(Target::Tcp(address))) => address.host.clone(),
        (None, Some(Target::Unix(_)) | None) => "localhost".to_owned(),
    };
    let mut block = vec![
        directive("server_name", "on".to_owned()),
        directive("name", literal(&name)),
        line!(format!("{module}_ssl_protocols"), "TLSv1.2", "TLSv1.3"),
        directive("verify", if *verify { "on" } else { "off" }.to_owned()),
    ];
    if *verify {
        let authorities = match ca_pem {
            Some(pem) => draft.keep(Extension::Crt, Secrecy::Open, pem.clone().into_bytes()),
            None => draft.facts.layout.authorities.clone(),
        };
        block.push(directive("trusted_certificate", authorities.into_string()));
        block.push(directive("verify_depth", "9".to_owned()));
    }
    // A reference without its key was refused when the site was compiled.
    if let Some(client) = &upstream.client
        && let ClientKey::Pem(key) = &client.key
    {
        let chain = client.chain_pem.clone().into_bytes();
        let chain = draft.keep(Extension::Crt, Secrecy::Open, chain);
        let key = draft.keep(Extension::Key, Secrecy::Owner, key.clone().into_bytes());
        block.push(directive("certificate", chain.into_string()));
        block.push(directive("certificate_key", key.into_string()));
    }
    block
}

/// Bytes of answers are passed on as they come, since nginx would hold back small parts of a streamed
/// one. Bodies are read first where the upstream says so.
fn buffers(upstream: &Upstream, module: &str) -> Vec<Directive> {
    if module != "proxy" {
        return Vec::new();
    }
    let reads = upstream.buffer.0 > 0;
    let mut block = vec![
        line!("proxy_buffering", "off"),
        line!("proxy_buffer_size", "16k"),
        line!("proxy_buffers", "8", "16k"),
        line!("proxy_busy_buffers_size", "32k"),
        line!("proxy_request_buffering", if reads { "on" } else { "off" }),
    ];
    if reads {
        block.push(line!("client_body_buffer_size", upstream.buffer.0.clamp(8_192, 16_000_000)));
    }
    block
}
