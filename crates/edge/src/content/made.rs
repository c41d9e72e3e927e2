//! Sites for tests that are about nothing but their routes.

use std::sync::Arc;

use portway_model::{
    ByteSize, Id,
    site::{
        Action, Filters, HeaderEdits, Limits, LogSettings, Match, PathRules, Respond, Route,
        Snippets,
    },
};
use portway_policy::{FORMAT, SitePolicy, StickyKey};

use super::{
    CompiledSite,
    compile::{Ground, compile},
};
use crate::balance::Moment;

/// Returns a site with these routes.
pub(super) fn compiled((number, routes): (usize, &Vec<Match>)) -> Arc<CompiledSite> {
    let policy = SitePolicy {
        format: FORMAT,
        id: Id::from_uuid(uuid::Uuid::from_u128(u128::try_from(number).unwrap())),
        name: format!("s{number}").parse().unwrap(),
        hosts: Vec::new(),
        https: None,
        log: LogSettings::default(),
        routes: routes.iter().cloned().map(route).collect(),
        limits: Limits::default(),
        paths: PathRules::default(),
        snippets: Snippets::default(),
        maintenance: None,
        blocked: None,
        guard: None,
    };
    let (runtime, key) = (Arc::default(), StickyKey::new([0; 32]));
    let ground = Ground { runtime: &runtime, key: &key, now: Moment::ZERO };
    Arc::new(compile(policy, &ground).unwrap_or_else(|e| panic!("{e:?}")))
}

fn route(matches: Match) -> Route {
    let respond = Respond { status: 200, body: String::new(), content_type: "a/b".into() };
    Route {
        matches,
        log: "main".parse().unwrap(),
        filters: Filters {
            access: None,
            max_body: ByteSize(1),
            strip_prefix: false,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            compress: false,
            mirror: None,
            rate_limits: Vec::new(),
            connection_limit: None,
            cache: None,
        },
        action: Action::Respond(respond),
    }
}
