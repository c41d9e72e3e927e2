//! Stages that hold a request to what always counts: its method and its size, the connection that it came
//! on, and who asks.

use std::pin::pin;

use http::{Method, Response, StatusCode, request::Parts};
use portway_http1::Kind;

use super::{Arrived, Inbound, Witness};
use crate::{
    access::{self, Denied},
    actions,
    body::Body,
    canonical::{HostName, RequestHost},
    content::{CompiledRoute, CompiledSite, HostEntry, Reading},
    exchange::{Refusal, content_length},
    pages::Fault,
    waited::{Step, waited},
    worker::Shared,
};

/// What is answered to methods that are not forwarded.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A tunnel by CONNECT is a forward proxy's, and TRACE shows credentials to scripts.
pub(super) fn refuse_method(method: &Method) -> Result<(), Refusal> {
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        let reason = format!("the method {method} is not forwarded");
        return Err(Refusal::of_request(Fault::MethodNotAllowed { allow: METHODS }, reason));
    }
    Ok(())
}

/// The head was read as the most generous site would have it.
pub(super) fn limit_head(
    parts: &Parts,
    arrived: &Arrived,
    limits: &Reading,
) -> Result<(), Refusal> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = parts.headers.len();
    let refused = |kind, what: &str, found: usize, most: usize| {
        let reason = format!("the request has {found} {what}, the site takes {most}");
        Err(Refusal::of_request(Fault::Malformed(kind), reason))
    };
    if target > limits.target {
        return refused(Kind::TargetTooLong, "bytes of path and query", target, limits.target);
    }
    if fields > limits.fields {
        return refused(Kind::TooManyFields, "headers", fields, limits.fields);
    }
    if arrived.bytes > limits.head {
        return refused(Kind::HeadTooLarge, "bytes of headers", arrived.bytes, limits.head);
    }
    if arrived.took > limits.head_time {
        let seconds = limits.head_time.as_secs();
        let reason = format!("the head of the request took more than {seconds} seconds");
        return Err(Refusal::of_request(Fault::RequestTimeout, reason));
    }
    Ok(())
}

/// A connection that was made for another site may be used for this one only when the handshake
/// would have been answered in the same way (RFC 9110 §15.5.20).
pub(super) fn refuse_misdirected(
    shared: &Shared,
    inbound: &Inbound<'_>,
    entry: &HostEntry,
) -> Result<(), Refusal> {
    let Some(tls) = &inbound.connection.tls else { return Ok(()) };
    let same_name = match (&inbound.host.name, tls.server_name.as_deref()) {
        (HostName::Dns(host), Some(name)) => host == name,
        (HostName::Ip(address), None) => *address == inbound.connection.local.ip().to_canonical(),
        (HostName::Nothing, None) => true,
        (HostName::Dns(_), None) | (HostName::Ip(_) | HostName::Nothing, Some(_)) => false,
    };
    let fallback = shared.content.snapshot().settings.fallback_certificate;
    let certificate = entry.tls().map(|choice| choice.certificate).or(fallback);
    let min_version = entry.tls().map_or(tls.choice.min_version, |choice| choice.min_version);
    let same_answer =
        certificate == Some(tls.choice.certificate) && min_version == tls.choice.min_version;
    if same_name || same_answer {
        return Ok(());
    }
    let made_for = tls.server_name.as_deref().unwrap_or("no name");
    let reason = format!("the connection was made for {made_for}, which has another certificate");
    Err(Refusal::of_request(Fault::Misdirected, reason))
}

pub(super) fn refuse_blocked(site: &CompiledSite) -> Result<(), Refusal> {
    match &site.blocked {
        Some(blocked) => {
            let fault = Fault::Blocked { reason: blocked.reason.clone() };
            Err(Refusal::of_request(fault, "the site is blocked"))
        }
        None => Ok(()),
    }
}

/// 301 lets caches remember; 308 makes clients repeat other methods than GET and HEAD with their
/// bodies.
pub(super) fn redirect_to_https(
    shared: &Shared,
    inbound: &Inbound<'_>,
    site: &CompiledSite,
) -> Option<Response<Body>> {
    if inbound.origin.https || !site.https.is_some_and(|https| https.redirect) {
        return None;
    }
    let host = match &inbound.host.name {
        HostName::Nothing => HostName::Ip(inbound.connection.local.ip().to_canonical()),
        name @ (HostName::Dns(_) | HostName::Ip(_)) => name.clone(),
    };
    let port = Some(shared.https_port).filter(|port| *port != 443);
    let host = RequestHost { name: host, port };
    let query = inbound.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("https://{host}{}{query}", inbound.path.as_str());
    let status = match inbound.parts.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    actions::redirect(status, &location)
}

/// The address first, then name and password.
pub(super) async fn check_access(
    shared: &Shared,
    inbound: &Inbound<'_>,
    route: &CompiledRoute,
    witness: &mut impl Witness,
) -> Result<(), Refusal> {
    let Some(rule) = &route.access else { return Ok(()) };
    let network = access::check_address(rule, inbound.origin.client).map_err(denied)?;
    if let Some(network) = network {
        witness.found_network(network);
    }
    let Some(basic) = &rule.basic else { return Ok(()) };
    let authenticator = &shared.authenticator;
    let checking = pin!(authenticator.check(basic, &inbound.parts.headers));
    let checked = waited(checking, |time| witness.waits(Step::Password, time)).await;
    witness.found_user(checked.map_err(denied)?);
    Ok(())
}

fn denied(denied: Denied) -> Refusal {
    let reason = denied.to_string();
    let fault = match denied {
        Denied::Address { .. } => Fault::AddressDenied,
        Denied::Credentials { realm, .. } => Fault::Unauthorized { realm },
        Denied::Busy => Fault::UpstreamFull,
    };
    Refusal::of_request(fault, reason)
}

/// A body that says it is too large is refused at once; any other when it becomes so.
pub(super) fn limit_body(
    inbound: &Inbound<'_>,
    route: &CompiledRoute,
    has_body: bool,
) -> Result<(), Refusal> {
    if !has_body {
        return Ok(());
    }
    let limit = route.max_body;
    if let Some(length) = content_length(&inbound.parts.headers).filter(|length| *length > limit) {
        let reason = format!("the body has {length} bytes, {limit} are allowed");
        return Err(Refusal::of_request(Fault::BodyTooLarge { limit }, reason));
    }
    Ok(())
}
