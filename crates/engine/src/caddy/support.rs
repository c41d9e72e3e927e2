//! What Caddy makes of each setting.

use portway_model::site::{Action, Balance, Route, Target};

use super::{files, headers::is_plain, proxy};
use crate::{
    EngineFacts, Setting, Support, Use, Value, bounds, go_pattern::GoPattern, path::never_matches,
};

const LIMITS: &str = "has limits of its own for all sites, which only its global options set";
const SPELLINGS: &str = "reads such paths otherwise than the edge; they are answered 400";

/// Returns what becomes of a setting in general.
#[expect(clippy::too_many_lines, reason = "a table of all settings")]
pub(super) fn support(setting: Setting, facts: &EngineFacts) -> Support {
    use Setting as S;
    match setting {
        S::HostIp
        | S::HostAny
        | S::Certificate
        | S::TlsMinVersion
        | S::AccessLog
        | S::Blocked
        | S::MaintenanceAllow
        | S::PathPrefix
        | S::PathExact
        | S::PathRegex
        | S::MatchMethods
        | S::MatchHeaders
        | S::MatchQuery
        | S::AllowNetworks
        | S::DenyNetworks
        | S::BasicAuth
        | S::MaxBody
        | S::StripPrefix
        | S::RequestHeadersRemove
        | S::RequestHeadersSet
        | S::RequestHeadersAdd
        | S::ResponseHeadersRemove
        | S::ResponseHeadersSet
        | S::ResponseHeadersAdd
        | S::FilesIndex
        | S::Redirect
        | S::RedirectKeepPath
        | S::Respond
        | S::TargetTcp
        | S::TargetUnix
        | S::UpstreamHttp2
        | S::UpstreamTls
        | S::UpstreamTlsUnverified
        | S::UpstreamTlsCa
        | S::UpstreamTlsName
        | S::UpstreamClientCertificate
        | S::HostPreserve
        | S::HostSet
        | S::TimeoutConnect
        | S::TimeoutFirstByte
        | S::BalanceRoundRobin
        | S::BalanceLeastRequests
        | S::BalanceTwoChoices
        | S::PoolMaxConnections
        | S::EjectionStatuses
        | S::WebSocket => Support::Exact,
        S::HostExact | S::HostWildcard => {
            Support::emulated("a name with a dot at its end is not known")
        }
        S::HttpsRedirect => Support::emulated("the host is repeated as it was sent"),
        S::Http2 => Support::emulated(
            "HTTP/3 is offered too, unless Caddy's own configuration says otherwise",
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
        S::Maintenance => Support::emulated("the message is a plain text"),
        S::NetworkGuard => Support::emulated(
            "is judged when the configuration is made, so targets must be addresses, not names",
        ),
        S::LogJson => Support::emulated("Caddy's own fields are logged"),
        S::LogCombined => Support::emulated("Caddy writes JSON"),
        S::LogRotation => rotation(facts),
        S::Compress => Support::emulated(
            "gzip and Zstandard only, not Brotli; answers without a type are compressed too",
        ),
        S::Proxy => Support::emulated(
            "Caddy names itself in `Via`, and guesses a `Content-Type` where an answer has none",
        ),
        S::Mirror | S::MirrorPercent | S::MirrorMaxBody => {
            Support::refused("Caddy sends no copies of requests")
        }
        S::Cache => Support::refused("Caddy as it is distributed keeps no answers"),
        S::Split | S::SplitRules | S::SplitSticky => {
            Support::refused("Caddy does not divide requests between upstreams")
        }
        S::Files => Support::emulated(
            "links that lead out of the folder are followed, and a name with a `/` too much or too little is sent on with 308",
        ),
        S::CacheControl => Support::emulated(
            "redirects to folders have it or none, and the index of a single-page application has it where it is asked for itself",
        ),
        S::Spa => Support::emulated("what the client accepts is read without its preferences"),
        S::Listing => Support::emulated("the page is Caddy's own"),
        S::Precompressed => {
            Support::emulated("a compressed form that is older than its file is sent too")
        }
        S::TargetNames => Support::emulated("names are looked up for each new connection"),
        S::TargetBackup => Support::emulated(
            "the first target that can be used gets all requests, and one failure takes it out",
        ),
        S::HostTarget => Support::emulated("the port is always named"),
        S::TimeoutSilence => Support::emulated("is at least the time until the first byte"),
        S::TimeoutSend => Support::emulated("counts each write, also when the target is only slow"),
        S::BalanceHashClient | S::BalanceHashHeader => {
            Support::emulated("whoever has no such value gets any target")
        }
        S::BalanceHashCookie => Support::refused("Caddy hashes addresses and headers only"),
        S::Sticky => Support::emulated("the cookie is Caddy's own and is sent for every path"),
        S::HealthHttp => health(facts),
        S::HealthTcp => Support::refused("Caddy asks targets by requests only"),
        S::Ejection => Support::emulated(
            "a target is out until failures are older than the time it is out, never longer; those of all sites that use it count together",
        ),
        S::Retries => Support::emulated("what failed after it was sent is repeated for GET only"),
        S::RetryBudget => Support::refused("Caddy counts retries of one request only"),
        S::MaxInFlight | S::MaxInFlightPerTarget => {
            Support::emulated("more requests are answered 503 at once")
        }
        S::Queue => Support::refused("Caddy has no queue; more requests are answered 503 at once"),
        S::Buffer => since(
            facts,
            (2, 7),
            Support::emulated(
                "bodies are read without regard to pauses, and answers are not read ahead",
            ),
            "needs Caddy 2.7",
        ),
        S::PoolIdle => Support::emulated("holds for the whole of Caddy, not for each thread"),
        S::SlowStart | S::PoolMaxRequests => Support::refused("Caddy has no such thing"),
        S::TargetWeight | S::ProxyProtocol => {
            since(facts, (2, 7), Support::Exact, "needs Caddy 2.7")
        }
        S::RateLimit | S::ConnectionLimit | S::LimitByHeader | S::LimitBySite | S::LimitExempt => {
            Support::refused(
                "Caddy has no limits of requests; assign this site to an edge or an nginx node",
            )
        }
        S::LimitDryRun | S::LimitHeaders => Support::refused("Caddy has no limits of requests"),
        S::ForwardedHeaders => Support::emulated(
            "`X-Forwarded-Port` is the port that Caddy listens on, answers have no `X-Request-Id`, and `traceparent` is not begun",
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
        (S::PathPrefix | S::PathExact, Value::Text(path)) if never_matches(path) => {
            Some(Support::refused(SPELLINGS))
        }
        (S::PathRegex, Value::Text(regex)) => refused(GoPattern::like(regex).err()),
        (S::MatchMethods, _) => methods(used),
        (S::ResponseHeadersRemove, Value::Text(name))
            if name.eq_ignore_ascii_case("content-type") =>
        {
            Some(Support::emulated("Caddy guesses another one"))
        }
        (
            S::MatchHeaders
            | S::RequestHeadersSet
            | S::RequestHeadersAdd
            | S::ResponseHeadersSet
            | S::ResponseHeadersAdd,
            Value::Pair(name, _),
        )
        | (
            S::RequestHeadersRemove | S::ResponseHeadersRemove | S::BalanceHashHeader | S::Sticky,
            Value::Text(name),
        ) => header_name(name),
        (S::BasicAuth, Value::Text(realm)) if realm.contains(['{', '}']) => {
            Some(Support::refused("a realm with braces cannot be written"))
        }
        (S::MaxBody, Value::Number(0)) => Some(Support::refused("Caddy takes 0 for any size")),
        (S::FilesIndex, Value::Text(name)) => index(name),
        (S::Listing, _) => listing(used),
        (S::RedirectKeepPath, _) => redirect(used),
        (S::TargetUnix, Value::Text(path)) if !is_plain_path(path) => {
            Some(Support::refused("only letters, digits and `/ . _ - @ +` can stand in the path"))
        }
        (S::TargetWeight, _) => weights(used),
        (S::TargetBackup, _) => backups(used),
        (S::HealthHttp, _) => health_of(used),
        (S::MaxInFlight, _) if used.upstream.is_some_and(|upstream| upstream.targets.len() > 1) => {
            Some(Support::refused("Caddy counts requests for each target only"))
        }
        (S::NetworkGuard, _) => guard(used),
        _ => None,
    }
}

fn since(
    facts: &EngineFacts,
    (major, minor): (u16, u16),
    then: Support,
    before: &'static str,
) -> Support {
    if facts.is_at_least(major, minor, 0) { then } else { Support::refused(before) }
}

fn refused(why: Option<impl ToString>) -> Option<Support> {
    why.map(|why| Support::refused(why.to_string()))
}

fn header_name(name: &str) -> Option<Support> {
    let why = || {
        format!(
            "Caddy reads `{name}` as an instruction; only letters, digits, `-` and `_` can stand there"
        )
    };
    (!is_plain(name)).then(|| Support::refused(why()))
}

/// Caddy compares methods without regard to case.
fn methods(used: &Use<'_>) -> Option<Support> {
    let is_plain = |method: &String| method.bytes().all(|byte| byte.is_ascii_uppercase());
    let are_plain = used.route.is_some_and(|route| route.matches.methods.iter().all(is_plain));
    (!are_plain).then(|| Support::refused("methods have capital letters only"))
}

/// The index of a single-page application is written as the target of a rewrite.
fn index(name: &str) -> Option<Support> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_hidden = name.starts_with('.');
    let is_fine = !name.is_empty() && name.chars().all(is_plain) && !is_hidden;
    (!is_fine).then(|| Support::refused("only letters, digits and `- _ .` can stand in its name"))
}

fn listing(used: &Use<'_>) -> Option<Support> {
    let Action::Files(files) = &used.route?.action else { return None };
    (!files::can_be_listed(&files.root))
        .then(|| Support::refused("Caddy lists no folder below one whose name begins with a dot"))
}

fn redirect(used: &Use<'_>) -> Option<Support> {
    let Action::Redirect(redirect) = &used.route?.action else { return None };
    redirect.to.contains(['?', '#']).then(|| {
        Support::refused("a path cannot be appended to an address with a query or fragment")
    })
}

fn is_plain_path(path: &str) -> bool {
    path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-@+".contains(c))
}

fn weights(used: &Use<'_>) -> Option<Support> {
    let upstream = used.upstream?;
    if !proxy::has_weights(upstream) || upstream.targets.len() < 2 {
        return Some(Support::Exact);
    }
    let is_turn = upstream.balance == Balance::RoundRobin;
    let is_free = upstream.sticky.is_none() && !upstream.targets.iter().any(|target| target.backup);
    (!is_turn || !is_free).then(|| {
        Support::refused(
            "Caddy knows weights only for targets in turn, without `sticky` and backups",
        )
    })
}

/// One target and its backups are the first that can be used; of several, Caddy would use one.
fn backups(used: &Use<'_>) -> Option<Support> {
    let upstream = used.upstream?;
    let others = upstream.targets.iter().filter(|target| !target.backup).count();
    (others > 1 || upstream.sticky.is_some())
        .then(|| Support::refused("Caddy has backups for a single target only, without `sticky`"))
}

fn rotation(facts: &EngineFacts) -> Support {
    if facts.is_at_least(2, 11, 0) {
        Support::emulated("sizes are whole MiB")
    } else {
        Support::emulated("files are put aside by size only, in whole MiB")
    }
}

fn health(facts: &EngineFacts) -> Support {
    if facts.is_at_least(2, 8, 0) {
        Support::emulated("targets are asked from the start of Caddy on")
    } else {
        Support::emulated("one answer decides; `rise` and `fall` need Caddy 2.8")
    }
}

fn health_of(used: &Use<'_>) -> Option<Support> {
    proxy::why_no_health(used.upstream?.health.as_ref()?).map(Support::refused)
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
