//! Routes: what they match and what they take from their site.

use super::{
    Checked, Faulty, HeaderPair, Shared, access, action::Written, cache, each, header_pair,
    headers, rate, settings, shaping, traffic, values::Said,
};
use crate::{
    ByteSize, FieldPath, FindingCode, Findings, Name, PathPrefix, RemedyAction,
    path::check_path,
    site::{
        Access, Action, Cache, ConnectionLimit, Filters, LimitScope, Match, Mirror, PathMatch,
        RateLimit, Route,
        spec::{RedirectListSpec, RouteSpec, SiteSpec},
    },
};

/// The compiled form of a larger expression would cost more memory than all else of a site.
const REGEX_SIZE: usize = 1 << 20;

/// Routes are compared with each other, which costs the square of their number.
const MOST_ROUTES: usize = 2000;

/// A route that does not know its site yet. What is `None` comes from the site.
pub(super) struct Draft {
    pub(super) path: FieldPath,
    matches: Match,
    action: Action,
    strip_prefix: bool,
    log: Option<Name>,
    access: Who,
    headers: Option<HeaderPair>,
    security_headers: Option<bool>,
    compress: Option<bool>,
    max_body: Option<ByteSize>,
    mirror: Said<Box<Mirror>>,
    rate_limits: Option<Vec<RateLimit>>,
    connection_limit: Said<ConnectionLimit>,
    cache: Said<Box<Cache>>,
}

/// Who may use a route.
enum Who {
    /// Whoever the site says.
    AsSite,
    /// Whoever the route says: these, or everyone.
    Own(Option<Access>),
}

impl Draft {
    /// Fills in what the site says.
    pub(super) fn complete(self, site: &Shared) -> Route {
        let mut headers = self.headers.unwrap_or_else(|| site.headers.clone());
        if self.security_headers.unwrap_or(site.security_headers) {
            shaping::secure(&mut headers);
        }
        if let Some(hsts) = &site.hsts {
            shaping::promise(&mut headers, hsts);
        }
        let is_proxied = match &self.action {
            Action::Proxy(_) | Action::Split(_) => true,
            Action::Files(_) | Action::Redirect(_) | Action::Respond(_) => false,
        };
        Route {
            matches: self.matches,
            log: self.log.unwrap_or_else(|| site.log.clone()),
            filters: Filters {
                access: match self.access {
                    Who::AsSite => site.access.clone(),
                    Who::Own(access) => access,
                },
                max_body: self.max_body.unwrap_or(site.max_body),
                strip_prefix: self.strip_prefix,
                request_headers: headers.request,
                response_headers: headers.response,
                compress: self.compress.unwrap_or(site.compress),
                mirror: self.mirror.or(site.mirror.clone()).filter(|_| is_proxied),
                rate_limits: self.rate_limits.unwrap_or_else(|| site.rate_limits.clone()),
                connection_limit: self
                    .connection_limit
                    .or(site.connection_limit.clone())
                    .map(Box::new),
                cache: self.cache.or(site.cache.clone()).filter(|_| is_proxied),
            },
            action: self.action,
        }
    }

    fn of_site(action: Action) -> Self {
        let matches = Match {
            path: PathMatch::Prefix(PathPrefix::root()),
            methods: Vec::new(),
            headers: std::collections::BTreeMap::new(),
            query: std::collections::BTreeMap::new(),
        };
        Self::of(FieldPath::root(), matches, action)
    }

    /// Returns a route that takes everything else from its site.
    pub(super) fn of(path: FieldPath, matches: Match, action: Action) -> Self {
        Self {
            path,
            matches,
            action,
            strip_prefix: false,
            log: None,
            access: Who::AsSite,
            headers: None,
            security_headers: None,
            compress: None,
            max_body: None,
            mirror: Said::Nothing,
            rate_limits: None,
            connection_limit: Said::Nothing,
            cache: Said::Nothing,
        }
    }
}

/// Reads the routes of a site; an action of the site itself is a route for every path.
pub(super) fn read_all(
    name: &Name,
    spec: &SiteSpec,
    findings: &mut Findings,
) -> Checked<Vec<Draft>> {
    let root = FieldPath::root();
    let path = root.key("routes");
    let written = Written::in_site(spec);
    let names = written.names();
    let redirects = match &spec.redirects {
        Some(RedirectListSpec::Rules(rules)) => rules.len(),
        Some(RedirectListSpec::File(_)) | None => 0,
    };
    if spec.routes.is_empty() && names.is_empty() && spec.redirects.is_none() {
        findings
            .error(FindingCode::MissingField, &root, "the site has nothing to answer with")
            .remedy("give one of `to`, `split`, `files`, `redirect`, `respond` and `routes`");
        return Err(Faulty);
    }
    if spec.routes.len() + redirects > MOST_ROUTES {
        let text = format!("the site has more than {MOST_ROUTES} routes and redirects");
        findings
            .error(FindingCode::InvalidValue, &path, text)
            .remedy("say the same with fewer expressions, or divide the site by hosts");
        return Err(Faulty);
    }
    let of_site = if names.is_empty() { None } else { Some(written.read(&root, findings)) };
    let drafts = each(&spec.routes, &path, |route, path| read(name, route, path, findings));
    match (of_site, names.first()) {
        (Some(action), Some(action_name)) if !spec.routes.is_empty() => {
            findings
                .error(
                    FindingCode::Conflict,
                    &path,
                    format!("`{action_name}` and `routes` exclude each other"),
                )
                .remedy(format!("move `{action_name}` into a route with `path: /`"));
            drop(action);
            Err(Faulty)
        }
        (Some(action), _) => Ok(vec![Draft::of_site(action?)]),
        (None, _) => drafts,
    }
}

fn read(
    site: &Name,
    spec: &RouteSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Draft> {
    let path_match = path_match(spec, path, findings);
    let methods =
        each(&spec.methods, &path.key("methods"), |text, path| method(text, path, findings));
    let match_headers = headers::matched(&spec.match_headers, &path.key("match_headers"), findings);
    let written = Written::in_route(spec);
    let action = written.read(path, findings);
    let mirror = traffic::mirror(spec.mirror.as_ref(), &path.key("mirror"), findings);
    if matches!(mirror, Ok(Said::On(_))) && !written.is_proxied() {
        traffic::advise_on_idle_mirror(path, findings);
    }
    let cache = cache::read(spec.cache.as_ref(), &path.key("cache"), findings);
    if matches!(cache, Ok(Said::On(_))) && !written.is_proxied() {
        cache::advise_on_idle_cache(path, findings);
    }
    let strip_prefix = strip_prefix(spec, path, findings);
    let (of_route, at) = (LimitScope::Route, path.key("rate_limit"));
    let rate_limits = rate::rates(spec.rate_limit.as_ref(), of_route, &at, findings);
    let at = path.key("connection_limit");
    let connection_limit =
        rate::connections(spec.connection_limit.as_ref(), of_route, &at, findings);
    let log = spec
        .log
        .as_deref()
        .map(|text| settings::log_name(text, &path.key("log"), findings))
        .transpose();
    let access = match &spec.access {
        None => Ok(Who::AsSite),
        Some(access) => {
            access::read(Some(access), site, &path.key("access"), findings).map(Who::Own)
        }
    };
    let headers = spec
        .headers
        .as_ref()
        .map(|headers| header_pair(Some(headers), &path.key("headers"), findings))
        .transpose();
    let max_body = spec
        .max_body
        .as_ref()
        .map(|size| settings::size_or(Some(size), ByteSize(0), &path.key("max_body"), findings))
        .transpose();

    let mut methods = methods?;
    methods.sort();
    methods.dedup();
    let matches = Match {
        path: path_match?,
        methods,
        headers: match_headers?,
        query: spec.match_query.clone(),
    };
    Ok(Draft {
        path: path.clone(),
        matches,
        action: action?,
        strip_prefix: strip_prefix?,
        log: log?,
        access: access?,
        headers: headers?,
        security_headers: spec.security_headers,
        compress: spec.compress,
        max_body: max_body?,
        mirror: mirror?,
        rate_limits: rate_limits?,
        connection_limit: connection_limit?,
        cache: cache?,
    })
}

fn path_match(spec: &RouteSpec, path: &FieldPath, findings: &mut Findings) -> Checked<PathMatch> {
    let written = [("path", &spec.path), ("exact", &spec.exact), ("regex", &spec.regex)];
    let mut written = written.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
    let first = written.next();
    if let (Some((first, _)), Some((second, _))) = (first, written.next()) {
        findings
            .error(
                FindingCode::Conflict,
                &path.key(second),
                format!("`{first}` and `{second}` exclude each other"),
            )
            .remedy("keep one of them; two routes may do the same");
        return Err(Faulty);
    }
    match first {
        None => Ok(PathMatch::Prefix(PathPrefix::root())),
        Some(("exact", text)) => exact(text, &path.key("exact"), findings),
        Some(("regex", text)) => regex(text, &path.key("regex"), findings),
        Some((_, text)) => prefix(text, &path.key("path"), findings),
    }
}

pub(super) fn prefix(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<PathMatch> {
    text.parse()
        .map(PathMatch::Prefix)
        .map_err(|error: crate::PathError| refuse_path(text, error.to_string(), path, findings))
}

pub(super) fn exact(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<PathMatch> {
    match check_path(text) {
        Ok(()) => Ok(PathMatch::Exact(text.to_owned())),
        Err(error) => Err(refuse_path(text, error.to_string(), path, findings)),
    }
}

fn refuse_path(text: &str, problem: String, path: &FieldPath, findings: &mut Findings) -> Faulty {
    let finding = findings.error(FindingCode::InvalidPath, path, problem);
    let slashed = format!("/{}", text.trim_start_matches('/'));
    let bare = slashed.trim_end_matches('*');
    if bare.parse::<PathPrefix>().is_ok() && bare != text {
        finding
            .remedy_action(format!("write `{bare}`"), RemedyAction::ReplaceValue(bare.to_owned()));
    } else {
        finding.remedy("write a path like `/api`, percent-encoded where needed");
    }
    Faulty
}

fn regex(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<PathMatch> {
    let Err(error) = regex::RegexBuilder::new(text).size_limit(REGEX_SIZE).build() else {
        return Ok(PathMatch::Regex(text.to_owned()));
    };
    let finding = findings.error(FindingCode::InvalidPath, path, regex_problem(&error));
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        finding.remedy("repeat less, or split it into several routes");
    } else {
        finding.remedy(
            "look-around and back-references do not exist here; quote it in YAML: `'^/v[0-9]+/'`",
        );
    }
    Err(Faulty)
}

fn regex_problem(error: &regex::Error) -> String {
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        return "the expression is too large".to_owned();
    }
    let lines = error.to_string();
    let reason = lines.lines().rev().find_map(|line| line.strip_prefix("error: "));
    format!("the expression is not valid: {}", reason.unwrap_or("it cannot be read"))
}

fn method(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let is_upper = !text.bytes().any(|b| b.is_ascii_lowercase());
    if headers::is_token(text) && is_upper && text != "CONNECT" {
        return Ok(text.to_owned());
    }
    let finding = findings.error(
        FindingCode::InvalidValue,
        path,
        format!("`{text}` is not a method that a site can answer"),
    );
    let upper = text.to_ascii_uppercase();
    if headers::is_token(text) && !is_upper {
        finding.remedy_action(format!("write `{upper}`"), RemedyAction::ReplaceValue(upper));
    } else {
        finding.remedy("write for example `GET` or `POST`");
    }
    Err(Faulty)
}

fn strip_prefix(spec: &RouteSpec, path: &FieldPath, findings: &mut Findings) -> Checked<bool> {
    let Some(strip) = spec.strip_prefix else {
        return Ok(false);
    };
    let path = path.key("strip_prefix");
    if strip && (spec.exact.is_some() || spec.regex.is_some()) {
        findings
            .error(FindingCode::Conflict, &path, "without `path` there is no prefix to strip")
            .remedy("match with `path`, or remove `strip_prefix`");
        return Err(Faulty);
    }
    let is_proxied = Written::in_route(spec).is_proxied();
    if !is_proxied {
        findings
            .warning(FindingCode::Advice, &path, "`strip_prefix` has no effect without `to`")
            .remedy("remove it; files are always looked up below the prefix");
    }
    Ok(strip && is_proxied)
}
