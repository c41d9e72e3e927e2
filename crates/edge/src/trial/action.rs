//! What a route's action would do.

use http::HeaderMap;

use super::telling::Telling;
use crate::{
    actions,
    cache::{Freshness, Place, Question},
    canonical,
    content::{CacheRole, CompiledAction, CompiledRoute, CompiledSplit, CompiledUpstream},
    pipeline::{Inbound, Outcome, Passed},
    worker::Shared,
};

/// Tells what the route's filters and its action would do.
pub(super) fn tell(telling: &mut Telling, shared: &Shared, passed: &Passed<'_>) {
    let Some(route) = passed.located.route() else { return };
    let inbound = &passed.inbound;
    filters(telling, route);
    cache(telling, shared, passed, route);
    match &route.action {
        CompiledAction::Proxy(to) => upstream(telling, shared, inbound, to),
        CompiledAction::Split(sides) => split(telling, shared, inbound, sides),
        CompiledAction::Files(files) => {
            let rest = actions::rest(inbound, route);
            let rest = canonical::decode(rest).unwrap_or_else(|_| rest.into());
            let root = files.root.as_str().trim_end_matches('/');
            telling.say(format!("looked for as the file {root}{rest}"));
        }
        CompiledAction::Redirect(target) => match actions::send_on(target, inbound, route) {
            Ok(Outcome::Answer(response)) => telling.answered(&response),
            Ok(Outcome::Tunnel(..)) => {}
            Err(refusal) => telling.refused(&refusal),
        },
        CompiledAction::Respond(respond) => {
            telling.answered(&actions::respond_with(respond));
            telling.say(format!("a fixed answer of {} bytes", respond.body.len()));
        }
    }
}

fn filters(telling: &mut Telling, route: &CompiledRoute) {
    telling.say(format!("a body of up to {} bytes is taken", route.max_body));
    let to_upstream = matches!(route.action, CompiledAction::Proxy(_) | CompiledAction::Split(_));
    if let Some(prefix) = route.prefix.as_ref().filter(|_| to_upstream && route.strip_prefix) {
        telling.say(format!("the upstream sees the path without {prefix}"));
    }
    if let Some(edits) = route.request_headers.in_words().filter(|_| to_upstream) {
        telling.say(format!("headers of the request: {edits}"));
    }
    if let Some(edits) = route.response_headers.in_words() {
        telling.say(format!("headers of the answer: {edits}"));
    }
    if route.compress {
        telling.say("the answer is compressed where that is worth while");
    }
}

/// Tells what the cache would do.
fn cache(telling: &mut Telling, shared: &Shared, passed: &Passed<'_>, route: &CompiledRoute) {
    let Some(CacheRole::Keeps(rules)) = &route.cache else { return };
    let (inbound, site) = (&passed.inbound, &passed.located.site);
    let (https, trusted) = (inbound.origin.https, inbound.origin.trusted);
    let place = Place { site: site.id, https, trusted, host: &inbound.host, path: &inbound.path };
    let parts = &inbound.parts;
    let scope = match &route.action {
        CompiledAction::Proxy(upstream) => upstream.scope,
        CompiledAction::Split(_)
        | CompiledAction::Files(_)
        | CompiledAction::Redirect(_)
        | CompiledAction::Respond(_) => return telling.say("answers of each side are kept apart"),
    };
    let question = match Question::of(rules, &place, &parts.method, &parts.headers) {
        Ok(question) => question.within(scope),
        Err(pass) => return telling.say(format!("it passes the cache by ({})", pass.word())),
    };
    let found = shared.cache.find(&question.key, &question.own, &parts.headers);
    let url = question.key.url();
    let Some(kept) = found.kept else {
        let others = if found.has_others { ", but for other requests" } else { "" };
        let what = if others.is_empty() { "nothing is kept" } else { "an answer is kept" };
        return telling.say(format!("{what} under {url}{others}"));
    };
    let now = jiff::Timestamp::now();
    telling.say(match question.judge(&kept, now) {
        Freshness::Fresh(left) => {
            format!("answered from the cache: {url}, fresh for {} s", left / 1_000)
        }
        Freshness::Stale(over) => {
            format!(
                "answered from the cache: {url}, stale for {} s, and fetched anew",
                over / 1_000
            )
        }
        Freshness::Over if !question.may_use(&kept) => {
            format!("what is kept under {url} is not for requests that say who asks")
        }
        Freshness::Over => {
            format!("the upstream is asked whether what is kept under {url} is still it")
        }
    });
}

fn split(telling: &mut Telling, shared: &Shared, inbound: &Inbound<'_>, split: &CompiledSplit) {
    let choice = split.splitter.choose(&inbound.parts.headers, rand::random());
    let found = choice.and_then(|chosen| split.sides.get(usize::try_from(chosen.side).ok()?));
    let Some((name, to)) = found else {
        return telling.say("no side of the split has a share");
    };
    let is_certain = split.splitter.is_certain(&inbound.parts.headers);
    let how = if is_certain { "by its rule or cookie" } else { "this time; shares decide" };
    telling.say(format!("side {name} of the split, {how}"));
    upstream(telling, shared, inbound, to);
}

fn upstream(
    telling: &mut Telling,
    shared: &Shared,
    inbound: &Inbound<'_>,
    upstream: &CompiledUpstream,
) {
    let headers: &HeaderMap = &inbound.parts.headers;
    let (balancer, now) = (&upstream.balancer, shared.content.clock.now());
    for target in balancer.targets() {
        telling.say(format!("target {}: {}", target.declared(), target.state(now)));
    }
    if balancer.waiting() > 0 {
        return telling.say(format!("it would wait in line behind {}", balancer.waiting()));
    }
    let facts = balancer.facts(inbound.origin.client, headers);
    match balancer.preview(now, &facts) {
        Some(target) => telling.say(format!("{} would be asked first", target.declared())),
        None => telling.say("no target has a free place, so it would wait or be answered 503"),
    }
}
