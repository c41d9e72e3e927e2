//! What becomes of each setting on nginx.

use portway_model::site::{Action, Balance, HostHeader, SideRule, Target, Upstream};

use super::{
    expression, headers, limits, path,
    value::{cookie, header},
};
use crate::{EngineFacts, Setting, Support, Use, Value};

/// A fixed answer is a word of the configuration, which nginx reads up to this length.
const LONGEST_BODY: usize = 3000;

/// The longest path of a unix socket.
const LONGEST_SOCKET: usize = 107;

/// Returns what becomes of a setting in general.
#[expect(clippy::too_many_lines, reason = "one line for each setting, all in one table")]
pub(super) fn of_setting(setting: Setting, facts: &EngineFacts) -> Support {
    use Setting as S;
    use Support as Is;
    match setting {
        S::HostExact
        | S::HostWildcard
        | S::Certificate
        | S::AccessLog
        | S::LogCombined
        | S::WriteStall
        | S::Http2Streams
        | S::Blocked
        | S::MaintenanceAllow
        | S::LimitBySite
        | S::LimitExempt
        | S::PathPrefix
        | S::PathExact
        | S::MatchMethods
        | S::MatchQuery
        | S::AllowNetworks
        | S::DenyNetworks
        | S::RequestHeadersRemove
        | S::RequestHeadersSet
        | S::Proxy
        | S::FilesIndex
        | S::Redirect
        | S::TargetTcp
        | S::TargetUnix
        | S::TargetWeight
        | S::UpstreamTlsUnverified
        | S::UpstreamTlsCa
        | S::UpstreamTlsName
        | S::UpstreamClientCertificate
        | S::HostPreserve
        | S::HostSet
        | S::TimeoutSilence
        | S::TimeoutSend
        | S::BalanceRoundRobin
        | S::BalanceHashClient
        | S::BalanceHashHeader
        | S::PoolMaxRequests
        | S::WebSocket => Is::Exact,
        S::HostIp => Is::emulated(
            "only the usual spelling of the address is known, and requests without a host go to the machine's first site",
        ),
        S::HostAny => Is::emulated("hosts for which the machine has sites of its own go there"),
        S::HttpsRedirect => {
            Is::emulated("the path is repeated as it was sent, not in its one form")
        }
        S::TlsMinVersion => Is::emulated(
            "nginx chooses the version before it knows the site, so an older handshake may succeed; every request over it is answered 421",
        ),
        S::Http2 if facts.is_at_least(1, 25, 1) => Is::Exact,
        S::Http2 => Is::emulated(
            "before nginx 1.25.1 it is offered by all sites of the node or by none, so it is on",
        ),
        S::LogJson => Is::emulated(
            "what is not known is an empty text, `bytes_in` counts the head too, and `path` is as it was sent",
        ),
        S::LogRotation => Is::emulated(
            "the manager puts files aside by size, and looks every few minutes; `max_age` does not count",
        ),
        S::HeaderBytes => Is::emulated(
            "a single line has at most 8 KB, all of them 64 KB; more is answered 400 or 414",
        ),
        S::HeaderCount => Is::emulated("headers are not counted; all of them have at most 64 KB"),
        S::TargetBytes => Is::emulated("more than 8 KB is never read"),
        S::HeaderTime => Is::emulated("over plain HTTP the time of the port's first site counts"),
        S::BodyRate | S::BodyGrace => Is::emulated(
            "nginx measures no rate: a body that pauses longer than `body_grace` is answered 408",
        ),
        S::EncodedSlash | S::Backslash | S::Nul | S::DoubleEncoding => {
            Is::refused("nginx decodes a path before it chooses, so such a request stays refused")
        }
        S::Maintenance => Is::emulated("the message is a plain text"),
        S::NetworkGuard => Is::refused(
            "nginx looks names up by itself and does not judge what it finds; targets that are addresses within the bounds are taken",
        ),
        S::PathRegex => Is::emulated(
            "written anew for PCRE, byte by byte; repetitions within repetitions, and borders of words, are refused",
        ),
        S::MatchHeaders => Is::emulated(
            "of several headers of the name, nginx before 1.23 sees the first, and later ones join them; names with `_` are refused",
        ),
        S::RateLimit => Is::emulated(
            "requests that are refused later, or asked for a password, are counted too; a rate is whole requests in a minute, rounded down; `Retry-After` is the time of one request",
        ),
        S::ConnectionLimit => Is::emulated(
            "counted before who may is judged; with it, `max_in_flight` is answered 429 too",
        ),
        S::LimitByHeader => Is::emulated(
            "names of headers have letters, digits and `-`; before nginx 1.23 the first of several values counts",
        ),
        S::LimitDryRun => Is::emulated("only where nothing else limits the route"),
        S::LimitHeaders => Is::refused("nginx does not tell what is left"),
        S::BasicAuth => Is::emulated(
            "the hash is computed for each request, and the realm is shown in ASCII, `off` with a space",
        ),
        S::MaxBody => Is::emulated(
            "judged before who may; of a body without a length, one byte passes where none may",
        ),
        S::StripPrefix => Is::emulated(
            "`X-Forwarded-Prefix` is passed on, and reserved characters arrive unescaped",
        ),
        S::RequestHeadersAdd => {
            Is::emulated("what is there and what is added become one line, with a comma")
        }
        S::ResponseHeadersRemove => Is::emulated(
            "`Server` and `Date` stay nginx's own, without version, unless the module headers-more is there; it is needed for what nginx itself writes",
        ),
        S::ResponseHeadersSet | S::ResponseHeadersAdd => Is::emulated(
            "nginx's own error pages have them too; what nginx itself writes needs the module headers-more",
        ),
        S::Compress => Is::emulated(
            "gzip only, also of answers with secrets that another site asked for (BREACH)",
        ),
        S::Mirror | S::MirrorPercent | S::MirrorMaxBody => {
            Is::refused("copies by nginx would hold requests up")
        }
        S::Cache => Is::refused("nothing is kept; every request goes to the upstream"),
        S::Split => Is::emulated("drawn anew for each request"),
        S::SplitRules => Is::emulated(
            "names of cookies have letters, digits and `_`, those of headers letters, digits and `-`",
        ),
        S::SplitSticky | S::Sticky => Is::refused(
            "nginx has no signed cookies; `balance: {hash: client}` keeps clients where they are",
        ),
        S::Files => Is::emulated(
            "symbolic links are never followed; media types are those of a shorter list; `If-Modified-Since` must be the very time of a file; redirects to folders have `X-Content-Type-Options`",
        ),
        S::CacheControl => Is::emulated("redirects to folders have it too"),
        S::Spa => Is::emulated("the qualities of `Accept` are not compared"),
        S::Listing => Is::emulated("nginx's own page, never JSON, in one order"),
        S::Precompressed if facts.has("http_gzip_static_module") => {
            Is::emulated("`.gz` only, whatever its age")
        }
        S::Precompressed => Is::refused("this nginx was built without its module gzip_static"),
        S::RedirectKeepPath => {
            Is::emulated("of a path in an odd spelling only plain characters are kept")
        }
        S::Respond => Is::emulated(
            "up to 3,000 bytes, without the statuses that mean something else to nginx (300 to 308, 444, 494 to 499); an empty one has no type",
        ),
        S::TargetNames => {
            Is::emulated("looked up when nginx starts and reloads, by the machine's name servers")
        }
        S::TargetBackup => Is::emulated("not together with `two_choices` and `hash`"),
        S::UpstreamHttp2 => Is::emulated(
            "by nginx's module for gRPC: bodies are streamed, and only `TE: trailers` is told",
        ),
        S::UpstreamTls => Is::emulated(
            "one name is verified for all targets, and an address only by `verify: false` or a `server_name`",
        ),
        S::HostTarget => Is::emulated("only where all targets have the same name and port"),
        S::TimeoutConnect => Is::emulated("most systems give up after 75 seconds"),
        S::TimeoutFirstByte => {
            Is::emulated("the longer one of `first_byte` and `silence` counts for both")
        }
        S::BalanceLeastRequests | S::BalanceTwoChoices => Is::emulated("connections are counted"),
        S::BalanceHashCookie => Is::emulated("names of cookies have letters, digits and `_`"),
        S::HealthHttp | S::HealthTcp => {
            Is::refused("this nginx asks no targets; only failing requests take one out")
        }
        S::Ejection => Is::emulated(
            "failures are counted within the time for which a target is out, which does not grow; only where there are several",
        ),
        S::EjectionStatuses => {
            Is::refused("nginx counts statuses only where it would repeat the request")
        }
        S::SlowStart => Is::refused("this nginx gives a target its whole share at once"),
        S::Retries => Is::emulated(
            "an answer that took too long is asked for again, where the method allows it",
        ),
        S::RetryBudget => Is::refused("nginx has no budget"),
        S::MaxInFlight => Is::emulated("more are answered 503 at once"),
        S::MaxInFlightPerTarget => Is::emulated("more are answered 502 at once"),
        S::Queue => Is::refused("this nginx lets nobody wait"),
        S::Buffer => Is::emulated(
            "a body is read wholly, beyond this size into a file; answers are not read ahead; over HTTP/2 nothing is",
        ),
        S::PoolIdle => Is::emulated("`max_idle` counts over all targets, for each worker process"),
        S::PoolMaxConnections => {
            Is::emulated("idle connections do not count, and more are answered 502")
        }
        S::ProxyProtocol => {
            Is::refused("nginx speaks it to upstreams only where it does not understand HTTP")
        }
        S::ForwardedHeaders => Is::emulated(
            "of trusted proxies `X-Forwarded-For` is read, not `Forwarded`; headers with `_` in their names end at nginx; `traceparent` is passed on as it came",
        ),
    }
}

/// Returns what becomes of a setting with the value that a site gives it.
#[expect(clippy::wildcard_enum_match_arm, reason = "all settings are listed above")]
pub(super) fn of_use(used: &Use<'_>, facts: &EngineFacts) -> Support {
    let general = of_setting(used.setting, facts);
    match used.setting {
        Setting::NetworkGuard => guard(used),
        Setting::HeaderBytes
        | Setting::HeaderCount
        | Setting::HeaderTime
        | Setting::BodyRate
        | Setting::BodyGrace
        | Setting::TargetBytes => limit(used, general),
        Setting::PathPrefix | Setting::PathExact => never_matches(used, general),
        Setting::PathRegex => match text(used).map(expression::translate) {
            Some(Err(why)) => Support::refused(why),
            Some(Ok(_)) | None => general,
        },
        Setting::MatchHeaders
        | Setting::BalanceHashHeader
        | Setting::LimitByHeader
        | Setting::RequestHeadersAdd => named_header(used, general),
        Setting::RateLimit => rate(used, general),
        Setting::LimitDryRun => dry_run(used, general),
        Setting::BalanceHashCookie => match text(used).and_then(cookie) {
            Some(_) => general,
            None => Support::refused("nginx has no variable for a cookie of this name"),
        },
        Setting::SplitRules => rules(used, general),
        Setting::BasicAuth => users(used, general),
        Setting::ResponseHeadersRemove
        | Setting::ResponseHeadersSet
        | Setting::ResponseHeadersAdd => own_header(used, general, facts),
        Setting::Respond => respond(used, general),
        Setting::TargetUnix if text(used).is_some_and(|path| path.len() > LONGEST_SOCKET) => {
            Support::refused("the path of a socket has at most 107 bytes")
        }
        Setting::TargetBackup => backup(used, general),
        Setting::UpstreamTls | Setting::HostTarget => same_name(used, general),
        _ => general,
    }
}

fn text<'a>(used: &Use<'a>) -> Option<&'a str> {
    match used.value {
        Value::Text(text) | Value::Pair(text, _) => Some(text),
        Value::Nothing | Value::Number(_) | Value::Rate(_) => None,
    }
}

fn rate(used: &Use<'_>, general: Support) -> Support {
    let Value::Rate(limit) = used.value else { return general };
    if limits::per_minute(limit.rate) == 0 {
        return Support::refused("nginx knows no rate below one request in a minute");
    }
    general
}

/// nginx tries all limits of a place out, or none.
fn dry_run(used: &Use<'_>, general: Support) -> Support {
    if used.route.is_some_and(limits::is_mixed) {
        return Support::refused("the route has other limits, and nginx tries out all or none");
    }
    match used.value {
        Value::Rate(limit) if limits::per_minute(limit.rate) == 0 => {
            Support::refused("nginx knows no rate below one request in a minute")
        }
        Value::Rate(_) | Value::Nothing | Value::Text(_) | Value::Pair(..) | Value::Number(_) => {
            general
        }
    }
}

fn guard(used: &Use<'_>) -> Support {
    let Some(guard) = &used.site.guard else { return Support::Exact };
    let upstreams = used.site.routes.iter().flat_map(portway_model::site::Route::upstreams);
    for target in upstreams.flat_map(|upstream| &upstream.targets) {
        let Target::Tcp(address) = &target.to else { continue };
        match address.ip() {
            None => {
                return Support::refused(format!(
                    "nginx looks up `{}` by itself and does not judge what it finds; write an address",
                    address.host
                ));
            }
            Some(ip) if !guard.permits(ip) => {
                return Support::refused(format!("{ip} lies outside of them"));
            }
            Some(_) => {}
        }
    }
    Support::Exact
}

/// What is usual is as good as it can be had; what was chosen must hold.
#[expect(clippy::wildcard_enum_match_arm, reason = "it is asked of limits only")]
fn limit(used: &Use<'_>, general: Support) -> Support {
    let Value::Number(value) = used.value else { return general };
    if used.is_usual {
        return general;
    }
    match used.setting {
        Setting::TargetBytes if value <= 8_000 => Support::Exact,
        Setting::BodyRate if value == 0 => Support::Exact,
        Setting::BodyGrace => general,
        _ => Support::refused("nginx cannot set it for one site, or not so"),
    }
}

fn never_matches(used: &Use<'_>, general: Support) -> Support {
    match text(used).map(path::decoded) {
        Some(None) => {
            Support::refused("requests with such an escape are refused, so it never matches")
        }
        Some(Some(_)) | None => general,
    }
}

fn named_header(used: &Use<'_>, general: Support) -> Support {
    if used.setting == Setting::MatchHeaders && matches!(used.value, Value::Pair(_, "")) {
        return Support::refused("nginx does not tell an empty header from a missing one");
    }
    match text(used).and_then(header) {
        Some(_) => general,
        None => Support::refused("nginx has no variable for a header of this name"),
    }
}

fn rules(used: &Use<'_>, general: Support) -> Support {
    let Some(Action::Split(split)) = used.route.map(|route| &route.action) else { return general };
    let unknown = split.sides.iter().flat_map(|side| &side.rules).any(|rule| match rule {
        SideRule::Header(wanted) => header(&wanted.name).is_none() || is_empty(wanted),
        SideRule::Cookie(wanted) => cookie(&wanted.name).is_none() || is_empty(wanted),
    });
    if unknown {
        return Support::refused("nginx has no variable for a header or cookie of this name");
    }
    general
}

/// nginx does not tell what is empty from what is missing.
fn is_empty(wanted: &portway_model::site::Wanted) -> bool {
    wanted.value.as_deref() == Some("")
}

/// nginx takes a line of a password file that begins with `#` for a comment.
fn users(used: &Use<'_>, general: Support) -> Support {
    let access = used.route.and_then(|route| route.filters.access.as_ref());
    let basic = access.and_then(|access| access.basic.as_ref());
    if basic.is_some_and(|basic| basic.users.keys().any(|name| name.starts_with('#'))) {
        return Support::refused("nginx knows no user whose name begins with `#`");
    }
    general
}

fn own_header(used: &Use<'_>, general: Support, facts: &EngineFacts) -> Support {
    let Some(name) = text(used) else { return general };
    let action = used.route.map(|route| &route.action);
    let is_proxied = matches!(action, Some(Action::Proxy(_) | Action::Split(_)));
    let is_own = headers::is_own(name, is_proxied);
    if !is_own || facts.has(headers::HEADERS_MORE) {
        return general;
    }
    if used.setting == Setting::ResponseHeadersRemove && matches!(name, "server" | "date") {
        return Support::emulated("nginx names itself, without its version, and the time");
    }
    Support::refused(format!("nginx writes `{name}` itself, and has no module headers-more"))
}

fn respond(used: &Use<'_>, general: Support) -> Support {
    let Some(Action::Respond(respond)) = used.route.map(|route| &route.action) else {
        return general;
    };
    if matches!(respond.status, 300..=308 | 444 | 494..=499) {
        return Support::refused(format!("{} means something else to nginx", respond.status));
    }
    if super::syntax::quoted(&super::value::literal(&respond.body)).len() > LONGEST_BODY {
        return Support::refused("the answer is too long; serve it as a file with `files`");
    }
    general
}

fn backup(used: &Use<'_>, general: Support) -> Support {
    match used.upstream.map(|upstream| &upstream.balance) {
        Some(Balance::TwoChoices | Balance::Hash(_)) => {
            Support::refused("nginx has no backups with this `balance`")
        }
        Some(Balance::RoundRobin | Balance::LeastRequests) | None => general,
    }
}

/// nginx has one name for all targets of an upstream.
fn same_name(used: &Use<'_>, general: Support) -> Support {
    let Some(upstream) = used.upstream else { return general };
    let Upstream { targets, tls, host, .. } = upstream;
    let names: Vec<_> = targets
        .iter()
        .map(|target| match &target.to {
            Target::Tcp(address) => Some(address),
            Target::Unix(_) => None,
        })
        .collect();
    let differ = |by: fn(&portway_model::HostPort) -> (&str, u16)| {
        names.windows(2).any(|pair| {
            let [one, other] = pair else { return false };
            one.map(by) != other.map(by)
        })
    };
    if used.setting == Setting::HostTarget {
        let asks = *host == HostHeader::Target && differ(|address| (&address.host, address.port));
        return if asks { Support::refused("the targets have different names") } else { general };
    }
    let Some(tls) = tls.as_ref().filter(|tls| tls.server_name.is_none()) else { return general };
    if differ(|address| (&address.host, 0)) {
        return Support::refused(
            "the targets have different names, and nginx verifies one; write `server_name`",
        );
    }
    let is_address = names.iter().flatten().any(|address| address.ip().is_some());
    if tls.verify && is_address {
        return Support::refused("nginx verifies names only; write `server_name`");
    }
    general
}
