//! The settings of routes.

use ipnet::IpNet;
use portway_model::{
    FieldPath,
    site::{
        Access, BasicAuth, ConnectionLimit, CountedBy, Filters, HeaderEdits, Match, Mirror,
        PathMatch, RateLimit, Route, defaults,
    },
};

use super::{List, Value};
use crate::Setting;

/// What stands for the three changes of one direction's headers.
struct Edits {
    remove: Setting,
    set: Setting,
    add: Setting,
}

const REQUEST: Edits = Edits {
    remove: Setting::RequestHeadersRemove,
    set: Setting::RequestHeadersSet,
    add: Setting::RequestHeadersAdd,
};

const RESPONSE: Edits = Edits {
    remove: Setting::ResponseHeadersRemove,
    set: Setting::ResponseHeadersSet,
    add: Setting::ResponseHeadersAdd,
};

impl<'a> List<'a> {
    pub(super) fn route(&mut self, route: &'a Route, at: &FieldPath) {
        let Route { matches, log: _, filters, action } = route;
        self.route = Some(route);
        self.matches(matches, at);
        self.filters(filters, at);
        self.action(action, at);
        self.route = None;
    }

    fn matches(&mut self, matches: &'a Match, at: &FieldPath) {
        let Match { path, methods, headers, query } = matches;
        match path {
            PathMatch::Exact(path) => self.text(Setting::PathExact, &at.key("exact"), path),
            PathMatch::Regex(regex) => self.text(Setting::PathRegex, &at.key("regex"), regex),
            PathMatch::Prefix(prefix) => {
                let value = Value::Text(prefix.as_str());
                self.put(Setting::PathPrefix, &at.key("path"), value, prefix.is_root());
            }
        }
        if !methods.is_empty() {
            self.add(Setting::MatchMethods, &at.key("methods"));
        }
        for (name, value) in headers {
            let at = at.key("match_headers").key(name);
            self.put(Setting::MatchHeaders, &at, Value::Pair(name, value), false);
        }
        for (name, value) in query {
            let at = at.key("match_query").key(name);
            self.put(Setting::MatchQuery, &at, Value::Pair(name, value), false);
        }
    }

    fn filters(&mut self, filters: &'a Filters, at: &FieldPath) {
        let Filters {
            access,
            max_body,
            strip_prefix,
            request_headers,
            response_headers,
            compress,
            mirror,
            rate_limits,
            connection_limit,
            cache,
        } = filters;
        if let Some(access) = access {
            self.access(access, &at.key("access"));
        }
        let limits = at.key("rate_limit");
        for (index, limit) in rate_limits.iter().enumerate() {
            self.rate_limit(limit, &limits.index(index));
        }
        if let Some(limit) = connection_limit {
            self.connection_limit(limit, &at.key("connection_limit"));
        }
        self.number(Setting::MaxBody, &at.key("max_body"), max_body.0, defaults::MAX_BODY.0);
        if *strip_prefix {
            self.add(Setting::StripPrefix, &at.key("strip_prefix"));
        }
        let headers = at.key("headers");
        self.edits(request_headers, &REQUEST, &headers.key("request"));
        self.edits(response_headers, &RESPONSE, &headers.key("response"));
        if *compress {
            self.usual(Setting::Compress, &at.key("compress"));
        }
        if let Some(mirror) = mirror {
            self.mirror(mirror, &at.key("mirror"));
        }
        if cache.is_some() {
            self.add(Setting::Cache, &at.key("cache"));
        }
    }

    fn access(&mut self, access: &'a Access, at: &FieldPath) {
        let Access { allow, deny, basic } = access;
        if allow.is_some() {
            self.add(Setting::AllowNetworks, &at.key("allow"));
        }
        if !deny.is_empty() {
            self.add(Setting::DenyNetworks, &at.key("deny"));
        }
        if let Some(BasicAuth { realm, users: _ }) = basic {
            self.text(Setting::BasicAuth, &at.key("basic"), realm);
        }
    }

    fn rate_limit(&mut self, limit: &'a RateLimit, at: &FieldPath) {
        let RateLimit { rate: _, burst: _, by, exempt, dry_run, headers, scope: _ } = limit;
        if *dry_run {
            return self.put(Setting::LimitDryRun, at, Value::Rate(limit), false);
        }
        self.put(Setting::RateLimit, at, Value::Rate(limit), false);
        self.counted_by(by, exempt, at);
        if *headers {
            self.usual(Setting::LimitHeaders, &at.key("headers"));
        }
    }

    fn connection_limit(&mut self, limit: &'a ConnectionLimit, at: &FieldPath) {
        let ConnectionLimit { most: _, by, exempt, dry_run, scope: _ } = limit;
        if *dry_run {
            return self.add(Setting::LimitDryRun, at);
        }
        self.add(Setting::ConnectionLimit, at);
        self.counted_by(by, exempt, at);
    }

    fn counted_by(&mut self, by: &'a CountedBy, exempt: &[IpNet], at: &FieldPath) {
        match by {
            CountedBy::Client { ipv6_prefix: _ } => {}
            CountedBy::Header(name) => self.text(Setting::LimitByHeader, &at.key("by"), name),
            CountedBy::Site => self.add(Setting::LimitBySite, &at.key("by")),
        }
        if !exempt.is_empty() {
            self.add(Setting::LimitExempt, &at.key("exempt"));
        }
    }

    fn edits(&mut self, edits: &'a HeaderEdits, settings: &Edits, at: &FieldPath) {
        let HeaderEdits { remove, set, add } = edits;
        for (index, name) in remove.iter().enumerate() {
            self.text(settings.remove, &at.key("remove").index(index), name);
        }
        for (setting, field, edits) in [(settings.set, "set", set), (settings.add, "add", add)] {
            for (name, value) in edits {
                let at = at.key(field).key(name);
                self.put(setting, &at, Value::Pair(name, value), false);
            }
        }
    }

    fn mirror(&mut self, mirror: &'a Mirror, at: &FieldPath) {
        let Mirror { upstream, percent, max_body } = mirror;
        self.add(Setting::Mirror, at);
        self.number(
            Setting::MirrorPercent,
            &at.key("percent"),
            u64::from(*percent),
            defaults::MIRROR_PERCENT.into(),
        );
        let usual = defaults::MIRROR_MAX_BODY.0;
        self.number(Setting::MirrorMaxBody, &at.key("max_body"), max_body.0, usual);
        self.upstream(upstream, &at.key("to"));
    }
}
