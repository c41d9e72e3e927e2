//! What Traefik makes of each setting.

use portway_model::{
    HostPattern,
    site::{Action, RateLimit, Route, Target, TlsVersion},
};

use super::{access, limits, service};
use crate::{
    EngineFacts, Setting, Support, Use, Value, bounds,
    go_pattern::GoPattern,
    path::{decoded, never_matches},
};

const LIMITS: &str = "has limits of its own, which only its own configuration sets";
const SPELLINGS: &str = "reads such paths otherwise than the edge; they are answered 403";
const UNMEASURED: &str =
    "requests with a body of unknown length have a tenth of it for themselves, and others the rest";
const FILES: &str =
    "Traefik serves no files; assign this site to an edge, an nginx or a Caddy node";

/// Returns what becomes of a setting in general.
#[expect(clippy::too_many_lines, reason = "a table of all settings")]
pub(super) fn support(setting: Setting, facts: &EngineFacts) -> Support {
    use Setting as S;
    match setting {
        S::HostExact
        | S::HostIp
        | S::Certificate
        | S::TlsMinVersion
        | S::Http2
        | S::PathPrefix
        | S::MatchMethods
        | S::MatchHeaders
        | S::MaintenanceAllow
        | S::LimitByHeader
        | S::LimitBySite
        | S::AllowNetworks
        | S::DenyNetworks
        | S::BasicAuth
        | S::StripPrefix
        | S::RequestHeadersRemove
        | S::RequestHeadersSet
        | S::ResponseHeadersRemove
        | S::ResponseHeadersSet
        | S::MirrorPercent
        | S::MirrorMaxBody
        | S::Split
        | S::SplitRules
        | S::TargetTcp
        | S::TargetWeight
        | S::UpstreamHttp2
        | S::UpstreamTlsUnverified
        | S::UpstreamTlsCa
        | S::UpstreamTlsName
        | S::UpstreamClientCertificate
        | S::HostTarget
        | S::HostSet
        | S::TimeoutConnect
        | S::TimeoutFirstByte
        | S::BalanceRoundRobin
        | S::BalanceTwoChoices
        | S::RedirectKeepPath
        | S::WebSocket => Support::Exact,
        S::HostWildcard | S::HostAny => Support::emulated(
            "over HTTPS it also answers for names that other sites have for plain HTTP only",
        ),
        S::HttpsRedirect => Support::emulated(
            "HEAD is sent on with 308 too, and the host is repeated as it was sent",
        ),
        S::Compress => Support::emulated("answers without a type are compressed too"),
        S::Proxy => Support::emulated(
            "where a client takes no compressed answer, Traefik asks for gzip and unpacks it",
        ),
        S::UpstreamTls => {
            Support::emulated("where a target is not trusted, the answer is 500 and not 502")
        }
        S::HostPreserve => {
            Support::emulated("capital letters and a dot at its end are passed on too")
        }
        S::AccessLog | S::LogJson | S::LogCombined | S::LogRotation => Support::emulated(
            "Traefik logs where and as its own configuration says, and only whether can be chosen",
        ),
        S::HeaderBytes
        | S::HeaderCount
        | S::TargetBytes
        | S::HeaderTime
        | S::BodyRate
        | S::BodyGrace
        | S::WriteStall
        | S::Http2Streams => Support::refused(LIMITS),
        S::EncodedSlash | S::Backslash | S::Nul | S::DoubleEncoding => Support::refused(SPELLINGS),
        S::Blocked => Support::emulated("the reason is not shown"),
        S::Maintenance => {
            Support::emulated("the message is not shown, and there is no `Retry-After`")
        }
        S::NetworkGuard => Support::emulated(
            "is judged when the configuration is made, so targets must be addresses, not names",
        ),
        S::PathExact => Support::emulated("`/a/.` is taken for `/a`, not for `/a/`"),
        S::PathRegex => {
            Support::emulated("paths with an escape of a reserved character are answered 403")
        }
        S::MatchQuery => Support::emulated("a query with `;` or a broken escape has no parameters"),
        S::RateLimit => Support::emulated(
            "no more at once than come in the time after which Traefik forgets a client, mostly two seconds; what is a little too early is held up to half a second; bodies without a length have a tenth of it for themselves",
        ),
        S::ConnectionLimit => Support::emulated(UNMEASURED),
        S::LimitExempt => Support::refused("Traefik limits all clients of a route or none"),
        S::LimitDryRun => Support::refused("Traefik cannot try a limit out"),
        S::LimitHeaders => Support::refused("Traefik does not tell what is left"),
        S::MaxBody => Support::emulated(
            "what GET, HEAD and OPTIONS send in chunks is not counted; other bodies of unknown length are read wholly first, and so are their answers",
        ),
        S::RequestHeadersAdd | S::ResponseHeadersAdd => {
            Support::refused("Traefik can set headers, but not add one beside another")
        }
        S::Mirror => Support::emulated("copies are not marked, and are not bounded in number"),
        S::Cache => Support::refused("Traefik keeps no answers"),
        S::SplitSticky | S::Sticky => {
            Support::emulated("the cookie is Traefik's own, and is not signed")
        }
        S::Files | S::FilesIndex | S::CacheControl | S::Spa | S::Listing | S::Precompressed => {
            Support::refused(FILES)
        }
        S::Redirect => Support::emulated(
            "301 and 302 are for GET, other methods get 308 and 307 in their place, and the other way round; 303 is one of them",
        ),
        S::Respond => Support::refused("Traefik has no fixed answers"),
        S::TargetUnix => Support::refused("Traefik does not reach unix sockets"),
        S::TargetNames => Support::emulated("names are looked up for each new connection"),
        S::TargetBackup => {
            Support::refused("Traefik has backups only where a check tells that they are needed")
        }
        S::TimeoutSilence => {
            since(facts, (3, 7), Support::emulated("is at least the time until the first byte"))
        }
        S::TimeoutSend => since(facts, (3, 7), Support::Exact),
        S::BalanceLeastRequests => {
            Support::emulated("the less busy of two that are drawn is taken")
        }
        S::BalanceHashClient => since(facts, (3, 6), Support::Exact),
        S::BalanceHashHeader | S::BalanceHashCookie => {
            Support::refused("Traefik hashes addresses of clients only")
        }
        S::HealthHttp => Support::emulated("one answer decides; `rise` and `fall` are not counted"),
        S::HealthTcp => Support::refused("Traefik asks targets by requests only"),
        S::Ejection => since(
            facts,
            (3, 6),
            Support::emulated("a target is out for the time in which failures count"),
        ),
        S::EjectionStatuses => Support::refused("Traefik counts its own list of statuses"),
        S::SlowStart => Support::refused("Traefik has no such thing"),
        S::Retries => {
            Support::emulated("only what was not sent is tried again, perhaps with the same target")
        }
        S::RetryBudget => Support::refused("Traefik counts retries of one request only"),
        S::MaxInFlight => Support::emulated("more requests are answered 429 at once"),
        S::MaxInFlightPerTarget => Support::refused("Traefik counts requests for all targets only"),
        S::Queue => Support::refused("Traefik has no queue"),
        S::Buffer => Support::refused("Traefik would read answers wholly too"),
        S::PoolIdle => Support::emulated("holds for the whole of Traefik, not for each thread"),
        S::PoolMaxConnections | S::PoolMaxRequests => {
            Support::refused("Traefik bounds only idle connections")
        }
        S::ProxyProtocol => Support::refused("Traefik sends it for TCP only"),
        S::ForwardedHeaders => Support::emulated(
            "of the names `X-Forwarded-…` only the known ones are dropped, `X-Forwarded-Server` is set, there is no `X-Request-Id`, and `traceparent` is not begun",
        ),
    }
}

/// Returns what becomes of a setting with its value.
pub(super) fn support_of(used: &Use<'_>, facts: &EngineFacts) -> Support {
    by_value(used).unwrap_or_else(|| support(used.setting, facts))
}

fn by_value(used: &Use<'_>) -> Option<Support> {
    use Setting as S;
    match (used.setting, used.value) {
        (
            S::HeaderBytes
            | S::HeaderCount
            | S::TargetBytes
            | S::HeaderTime
            | S::BodyRate
            | S::BodyGrace
            | S::WriteStall
            | S::Http2Streams,
            _,
        ) => used.is_usual.then(|| Support::emulated(LIMITS)),
        (S::RateLimit | S::ConnectionLimit, _) if limits::why_not(used).is_some() => {
            refused(limits::why_not(used))
        }
        (S::RateLimit, Value::Rate(limit)) => Some(rate(limit)),
        (S::TlsMinVersion | S::Http2, _) => tls(used),
        (S::PathPrefix | S::PathExact, Value::Text(path)) if never_matches(path) => {
            Some(Support::refused(SPELLINGS))
        }
        (S::PathRegex, Value::Text(regex)) => {
            GoPattern::like(regex).err().map(|why| Support::refused(why.to_string()))
        }
        (S::MatchMethods, _) => methods(used),
        (S::MatchQuery, Value::Pair("", _)) => {
            Some(Support::refused("Traefik knows no parameter without a name"))
        }
        (S::StripPrefix, _) => strip(used),
        (S::BasicAuth, _) => users(used),
        (S::RequestHeadersSet | S::ResponseHeadersSet, Value::Pair(_, "")) => {
            Some(Support::refused("Traefik takes an empty value for removal"))
        }
        (S::RequestHeadersSet, Value::Pair(name, _))
            if name.eq_ignore_ascii_case("x-forwarded-for") =>
        {
            Some(Support::emulated("the address of the connection is put behind it"))
        }
        (S::ResponseHeadersRemove, Value::Text(name))
            if name.eq_ignore_ascii_case("content-type") =>
        {
            Some(Support::emulated("Traefik guesses another one"))
        }
        (S::MaxBody, Value::Number(0)) => Some(Support::refused("Traefik takes 0 for any size")),
        (S::MaxBody, Value::Number(most)) if i64::try_from(most).is_err() => {
            Some(Support::refused("Traefik does not count so far"))
        }
        (S::RedirectKeepPath, _) => redirect(used),
        (S::HostSet, _) => one_host(used),
        (S::HealthHttp, _) => {
            service::why_no_health(used.upstream?.health.as_ref()?).map(Support::refused)
        }
        (S::NetworkGuard, _) => guard(used),
        _ => None,
    }
}

fn since(facts: &EngineFacts, (major, minor): (u16, u16), then: Support) -> Support {
    if facts.is_at_least(major, minor, 0) {
        then
    } else {
        Support::refused(format!("needs Traefik {major}.{minor}"))
    }
}

/// Says how many may come at once.
fn rate(limit: &RateLimit) -> Support {
    let most = limits::burst(limit, limits::Share::Most);
    Support::emulated(format!(
        "{most} at once instead of {}, as Traefik forgets a client soon; {UNMEASURED}",
        limit.burst
    ))
}

fn refused(why: Option<&'static str>) -> Option<Support> {
    why.map(Support::refused)
}

/// Options of handshakes are found by names in rules.
fn tls(used: &Use<'_>) -> Option<Support> {
    let https = used.site.https.as_ref()?;
    let is_usual = https.min_version == TlsVersion::V1_2 && https.http2;
    let has_pattern = used.site.hosts.iter().any(|host| match host {
        HostPattern::Wildcard(_) | HostPattern::Any => true,
        HostPattern::Exact(_) | HostPattern::Ip(_) => false,
    });
    (has_pattern && !is_usual).then(|| {
        Support::refused("Traefik finds this by the name of a handshake; `*` stands for no name")
    })
}

/// Traefik compares methods without regard to case.
fn methods(used: &Use<'_>) -> Option<Support> {
    let is_plain = |method: &String| method.bytes().all(|byte| byte.is_ascii_uppercase());
    let are_plain = used.route.is_some_and(|route| route.matches.methods.iter().all(is_plain));
    (!are_plain).then(|| Support::refused("methods have capital letters only"))
}

fn strip(used: &Use<'_>) -> Option<Support> {
    let prefix = decoded(used.route?.matches.path.prefix()?.as_str());
    (prefix.trim() != prefix).then(|| Support::refused("the prefix ends in a space"))
}

fn users(used: &Use<'_>) -> Option<Support> {
    let basic = used.route?.filters.access.as_ref()?.basic.as_ref()?;
    let odd = basic.users.keys().find(|name| !access::can_be_named(name))?;
    Some(Support::refused(format!("`{odd}` cannot stand in a file of passwords")))
}

fn redirect(used: &Use<'_>) -> Option<Support> {
    let Action::Redirect(redirect) = &used.route?.action else { return None };
    redirect.to.contains(['?', '#']).then(|| {
        Support::refused("a path cannot be appended to an address with a query or fragment")
    })
}

/// The header is set before the service is chosen.
fn one_host(used: &Use<'_>) -> Option<Support> {
    let Action::Split(split) = &used.route?.action else { return None };
    let mut hosts = split.sides.iter().map(|side| &side.upstream.host);
    let first = hosts.next()?;
    hosts
        .any(|host| host != first)
        .then(|| Support::refused("the sides of a split must have the same Host header"))
}

fn guard(used: &Use<'_>) -> Option<Support> {
    let guard = used.site.guard.as_ref()?;
    let upstreams = used.site.routes.iter().flat_map(Route::upstreams);
    let mut targets = upstreams.flat_map(|upstream| &upstream.targets);
    targets
        .find_map(|target| match &target.to {
            Target::Tcp(address) => bounds::why_not(guard, address),
            Target::Unix(_) => None,
        })
        .map(Support::refused)
}
