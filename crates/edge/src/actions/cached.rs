//! Requests of routes that keep answers: given what is kept, or sent on and their answers kept.
//!
//! Of requests for the same, one is sent and the others wait for its answer, but for no longer than the
//! rules say, and only until it is known that the answer is for nobody else.

mod fetch;
mod renew;

use std::{pin::pin, sync::Arc};

use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use http_body::Body as _;
use jiff::Timestamp;
use portway_telemetry::access::Stage;
use tokio::time::Instant;

use self::fetch::Fetch;
use super::forward::{self, Ready};
use crate::{
    body::Body,
    cache::{
        CompiledCache, Conditions, Forwarded, Found, Freshness, Join, Kept, Landed, Lead, Pass,
        Place, Question, Report, Unkept, Verdict, ask_by, counted, give, site_keys,
    },
    canonical::{RequestHost, RequestPath},
    content::{CacheRole, CompiledRoute, CompiledSite, CompiledUpstream},
    exchange::{Exchange, Refusal},
    pages::Fault,
    pipeline::{Inbound, Outcome, Witness as _},
    waited::{Step, waited},
    worker::Worker,
};

/// Who is asked, and by which rules.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) worker: &'a Worker,
    pub(super) upstream: &'a Arc<CompiledUpstream>,
    pub(super) site: &'a Arc<CompiledSite>,
    pub(super) route: &'a CompiledRoute,
    pub(super) role: &'a CacheRole,
}

/// A request that is answered from what is kept, or whose answer is.
struct Asking<'a> {
    ask: Ask<'a>,
    rules: &'a Arc<CompiledCache>,
    question: Question,
    collapsed: bool,
}

/// What a request comes to.
enum Plan {
    /// It is given this.
    Give(Arc<Kept>, Freshness),
    /// It is sent on.
    Send(Sending),
}

/// How a request is sent on.
struct Sending {
    /// The right to keep its answer, if it has it.
    lead: Option<Lead>,
    /// What is kept, and may be given once it is confirmed.
    previous: Option<Arc<Kept>>,
    why: Forwarded,
}

impl Ask<'_> {
    /// Answers a request.
    pub(super) async fn answer(
        self,
        inbound: Box<Inbound<'_>>,
        body: Body,
        exchange: &mut Exchange,
    ) -> Result<Outcome, Refusal> {
        let CacheRole::Keeps(rules) = self.role else {
            return self.send_by(inbound, body, exchange, None).await;
        };
        match self.question(rules, &inbound, &body) {
            Ok(question) => {
                exchange.enters(Stage::Cache);
                let asking = Asking { ask: self, rules, question, collapsed: false };
                asking.answer(inbound, body, exchange).await
            }
            Err(pass) => self.send_by(inbound, body, exchange, Some((pass, rules))).await,
        }
    }

    fn question(
        &self,
        rules: &CompiledCache,
        inbound: &Inbound<'_>,
        body: &Body,
    ) -> Result<Question, Pass> {
        if inbound.upgrade {
            return Err(Pass::Upgrade);
        }
        let parts = &inbound.parts;
        if !body.is_end_stream() && is_safe(&parts.method) {
            return Err(Pass::Body);
        }
        let scope = self.upstream.scope;
        Question::of(rules, &place(self.site, inbound), &parts.method, &parts.headers)
            .map(|question| question.within(scope))
    }

    /// Sends a request past the cache; what it changes is taken away.
    async fn send_by(
        &self,
        inbound: Box<Inbound<'_>>,
        body: Body,
        exchange: &mut Exchange,
        pass: Option<(Pass, &Arc<CompiledCache>)>,
    ) -> Result<Outcome, Refusal> {
        let changed = (!is_safe(&inbound.parts.method)).then(|| Changed::by(self.site, &inbound));
        let Self { worker, upstream, site, route, .. } = *self;
        let ready = forward::ready(worker, upstream, inbound, body, route, exchange).await?;
        let answered = forward::send(worker, upstream, ready, (site, route), exchange).await?;
        let mut outcome = answered.with_cookie();
        if let Outcome::Answer(response) = &mut outcome {
            if let Some(changed) = changed {
                changed.clear(worker, response.status(), response.headers());
            }
            if let Some((pass, rules)) = pass {
                exchange.cached(Verdict::Passed, Some(pass.word()));
                let forwarded =
                    if pass == Pass::Method { Forwarded::Method } else { Forwarded::Bypass };
                let report = Report {
                    forwarded: Some(forwarded),
                    why: Some(pass.word()),
                    ..Report::of(Verdict::Passed)
                };
                report.tell_why(response.headers_mut(), rules.settings.debug);
            }
        }
        Ok(outcome)
    }
}

impl Asking<'_> {
    async fn answer(
        mut self,
        mut inbound: Box<Inbound<'_>>,
        body: Body,
        exchange: &mut Exchange,
    ) -> Result<Outcome, Refusal> {
        let plan = self.plan(&inbound.parts.headers, exchange).await;
        let plan = plan.inspect_err(|_| exchange.cached(Verdict::Refused, None))?;
        self.cut_query(&mut inbound)?;
        match plan {
            Plan::Give(kept, freshness) => {
                if let Freshness::Stale(_) = freshness {
                    self.renew(&kept, inbound, body, exchange).await?;
                }
                Ok(self.give_kept(&kept, freshness, exchange))
            }
            Plan::Send(sending) => self.send(sending, inbound, body, exchange).await,
        }
    }

    /// Decides what becomes of the request; waits for others, where they ask for the same.
    async fn plan(&mut self, headers: &HeaderMap, exchange: &Exchange) -> Result<Plan, Refusal> {
        let store = &self.ask.worker.shared.cache;
        let deadline = Instant::now() + self.rules.settings.wait.duration();
        loop {
            let now = Timestamp::now();
            let found = store.find(&self.question.key, &self.question.own, headers);
            let why = self.why(&found);
            let judged = found.kept.as_ref().map(|kept| self.question.judge(kept, now));
            if let (Some(kept), Some(freshness @ (Freshness::Fresh(_) | Freshness::Stale(_)))) =
                (&found.kept, judged)
            {
                return Ok(Plan::Give(Arc::clone(kept), freshness));
            }
            if self.question.wants.only_if_cached {
                return Err(Refusal::quiet(Fault::NotCached));
            }
            let waits = self.waits(&found);
            let is_refused = found.is_refused(self.question.personal);
            let previous = found.kept.filter(|kept| self.question.may_use(kept));
            if self.question.head || (previous.is_none() && self.is_its_own(is_refused)) {
                return Ok(Plan::Send(Sending { lead: None, previous, why }));
            }
            let waiting = match self.join() {
                Join::Lead(lead) => {
                    return Ok(Plan::Send(Sending { lead: Some(lead), previous, why }));
                }
                Join::Wait(waiting) if waits && Instant::now() < deadline => waiting,
                Join::Wait(_) | Join::Late => {
                    return Ok(Plan::Send(Sending { lead: None, previous, why }));
                }
            };
            let took = |time| exchange.took(Step::Cache, time);
            match waited(pin!(waiting.landed(deadline)), took).await {
                // What was kept may be for others all the same; then it is asked for, and no
                // further one is waited for.
                Some(Landed::Kept) => self.collapsed = true,
                Some(Landed::Lost) => {}
                Some(Landed::NotKept) | None => {
                    return Ok(Plan::Send(Sending { lead: None, previous, why }));
                }
            }
        }
    }

    /// Tells whether its answer is hardly one to others: a part, or where such answers are for nobody
    /// else, that the client has it already.
    fn is_its_own(&self, is_refused: bool) -> bool {
        let conditions = &self.question.conditions;
        conditions.has_range() || (is_refused && conditions.asks_for_changes())
    }

    fn join(&self) -> Join {
        let Question { key, own, personal, .. } = &self.question;
        self.ask.worker.shared.cache.flights().join(key, own, *personal)
    }

    /// Tells whether it would wait for another request's answer: not where it is known that such answers
    /// are for nobody else, or that each request has to ask.
    fn waits(&self, found: &Found) -> bool {
        !self.collapsed
            && !self.question.wants.no_cache
            && !found.is_refused(self.question.personal)
            && !found.kept.as_ref().is_some_and(|kept| kept.terms.is_never_fresh())
    }

    fn why(&self, found: &Found) -> Forwarded {
        match &found.kept {
            Some(kept) if !self.question.may_use(kept) => Forwarded::VaryMiss,
            Some(kept) if kept.terms.left(Timestamp::now()) > 0 => Forwarded::Request,
            Some(_) => Forwarded::Stale,
            None if found.has_others => Forwarded::VaryMiss,
            None => Forwarded::UriMiss,
        }
    }

    /// What of a query does not count is not passed on either.
    fn cut_query(&self, inbound: &mut Inbound<'_>) -> Result<(), Refusal> {
        let rule = &self.rules.settings.key.query;
        let sent = inbound.path.query();
        let kept = counted(rule, sent).map(std::borrow::Cow::into_owned);
        if kept.as_deref() == sent {
            return Ok(());
        }
        inbound.path.set_query(kept.as_deref()).map_err(|error| {
            Refusal::of_edge(Fault::Internal, format!("cannot write the query: {error}"))
        })
    }

    fn give_kept(&self, kept: &Kept, freshness: Freshness, exchange: &mut Exchange) -> Outcome {
        let (verdict, ttl) = match freshness {
            Freshness::Fresh(left) => (Verdict::Hit, left / 1_000),
            Freshness::Stale(over) => (Verdict::Stale, -(over / 1_000)),
            Freshness::Over => (Verdict::StoodIn, kept.terms.left(Timestamp::now()) / 1_000),
        };
        exchange.cached(verdict, None);
        let report = Report { ttl: Some(ttl), collapsed: self.collapsed, ..Report::of(verdict) };
        Outcome::Answer(self.given(kept, &report))
    }

    fn given(&self, kept: &Kept, report: &Report) -> Response<Body> {
        let debug = self.rules.settings.debug;
        give(kept, &self.question, report, debug, Timestamp::now())
    }

    /// Sends the request on; keeps its answer where it has the right to.
    async fn send(
        self,
        sending: Sending,
        mut inbound: Box<Inbound<'_>>,
        body: Body,
        exchange: &mut Exchange,
    ) -> Result<Outcome, Refusal> {
        exchange.enters(Stage::Upstream);
        let Sending { lead, previous, why } = sending;
        let asked = inbound.parts.headers.clone();
        // Whoever keeps the answer needs all of it; the client is told afterwards that it has it.
        let is_whole = lead.is_some() || previous.is_some();
        if is_whole {
            Conditions::take_out(&mut inbound.parts.headers);
        }
        let mut ready = self.ready(inbound, body, exchange).await?;
        let again = previous.as_ref().and_then(|previous| {
            let again = ready.copy();
            ask_by(&previous.headers, &mut ready.outgoing.headers).then_some(again)
        });
        let fetch = Fetch { asking: &self, asked, previous, why, is_whole };
        fetch.run(ready, again, lead, exchange).await
    }

    async fn ready(
        &self,
        inbound: Box<Inbound<'_>>,
        body: Body,
        exchange: &Exchange,
    ) -> Result<Ready, Refusal> {
        let Ask { worker, upstream, route, .. } = self.ask;
        forward::ready(worker, upstream, inbound, body, route, exchange).await
    }
}

/// What a request changes that is not safe (RFC 9111 §4.4).
struct Changed {
    keys: Vec<crate::cache::Key>,
    site: Arc<CompiledSite>,
    https: bool,
    host: RequestHost,
}

impl Changed {
    fn by(site: &Arc<CompiledSite>, inbound: &Inbound<'_>) -> Self {
        Self {
            keys: site_keys(place(site, inbound), &site.cache_queries).collect(),
            site: Arc::clone(site),
            https: inbound.origin.https,
            host: inbound.host.clone(),
        }
    }

    /// Takes away what is kept of it, where the request succeeded, and of what the answer says was
    /// changed on the same host.
    fn clear(mut self, worker: &Worker, status: StatusCode, headers: &HeaderMap) {
        if !(status.is_success() || status.is_redirection()) {
            return;
        }
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let Some(path) =
                headers.get(&name).and_then(|value| self.own_path(value.to_str().ok()?))
            else {
                continue;
            };
            let (site, https, host) = (self.site.id, self.https, &self.host);
            let place = Place { site, https, trusted: false, host, path: &path };
            self.keys.extend(site_keys(place, &self.site.cache_queries));
        }
        for key in &self.keys {
            worker.shared.cache.forget(key);
        }
    }

    fn own_path(&self, text: &str) -> Option<RequestPath> {
        let uri: Uri = text.split('#').next()?.parse().ok()?;
        let is_own = match uri.host() {
            Some(host) => host.eq_ignore_ascii_case(&self.host.name.to_string()),
            None => text.starts_with('/') && !text.starts_with("//"),
        };
        RequestPath::of(&uri).ok().filter(|_| is_own).map(|(path, _)| path)
    }
}

/// Returns what a request asks for.
fn place<'a>(site: &CompiledSite, inbound: &'a Inbound<'_>) -> Place<'a> {
    let (https, trusted) = (inbound.origin.https, inbound.origin.trusted);
    Place { site: site.id, https, trusted, host: &inbound.host, path: &inbound.path }
}

/// Tells whether a method changes nothing (RFC 9110 §9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Says why an answer is not kept of a request that had not the right to.
fn unkept(question: &Question) -> Unkept {
    if question.head {
        Unkept::Head
    } else if question.conditions.has_range() {
        Unkept::Part
    } else {
        Unkept::Beside
    }
}
