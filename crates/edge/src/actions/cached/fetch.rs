//! One request for an answer that is to be kept.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use jiff::Timestamp;

use super::{Asking, unkept};
use crate::{
    actions::forward::{self, Answered, Ready},
    body::{self, Body, Memory},
    cache::{
        CompiledCache, Content, Forwarded, Freshness, Kept, Key, Landed, Lead, Question, Report,
        Store, Terms, Times, Unkept, Variant, Verdict, confirms, date, judge, kept_headers,
        not_modified, renewed_headers,
    },
    exchange::{Exchange, Refusal},
    pipeline::Outcome,
    proxy::UntilClose,
};

/// One request for an answer that is to be kept.
pub(super) struct Fetch<'a> {
    pub(super) asking: &'a Asking<'a>,
    /// The request's headers, as the client sent them.
    pub(super) asked: HeaderMap,
    /// What is kept, and may be given once it is confirmed.
    pub(super) previous: Option<Arc<Kept>>,
    pub(super) why: Forwarded,
    /// Whether the request was sent without the client's conditions, for the whole answer.
    pub(super) is_whole: bool,
}

impl Fetch<'_> {
    /// Sends it. `again` is the same without conditions.
    pub(super) async fn run(
        self,
        ready: Ready,
        again: Option<Ready>,
        lead: Option<Lead>,
        exchange: &mut Exchange,
    ) -> Result<Outcome, Refusal> {
        let (answered, times) = match self.send(ready, exchange).await {
            Ok(answered) => answered,
            Err(refusal) => return self.stand_in(refusal, exchange),
        };
        let headers = answered.headers();
        let confirmed = answered.status() == Some(StatusCode::NOT_MODIFIED);
        let (answered, times) = match (confirmed.then_some(self.previous.as_ref()).flatten(), again)
        {
            (Some(previous), Some(again)) => {
                if headers.is_some_and(|headers| confirms(&previous.headers, headers)) {
                    let headers = headers.cloned().unwrap_or_default();
                    return Ok(self.confirm(previous, &headers, times, lead, exchange));
                }
                // It speaks of another answer than the one that is kept.
                match self.send(again, exchange).await {
                    Ok(answered) => answered,
                    Err(refusal) => return self.stand_in(refusal, exchange),
                }
            }
            _ => (answered, times),
        };
        if is_failure(answered.status())
            && let Some(kept) = self.standby()
        {
            return Ok(self.asking.give_kept(kept, Freshness::Over, exchange));
        }
        Ok(self.keep(answered, times, lead, exchange))
    }

    async fn send(
        &self,
        ready: Ready,
        exchange: &mut Exchange,
    ) -> Result<(Answered, Times), Refusal> {
        let ask = self.asking.ask;
        let sent = Timestamp::now();
        let place = (ask.site, ask.route);
        let answered = forward::send(ask.worker, ask.upstream, ready, place, exchange).await?;
        Ok((answered, Times { asked: sent, answered: Timestamp::now() }))
    }

    /// Returns what is kept, where it may be given as there is nothing better.
    fn standby(&self) -> Option<&Arc<Kept>> {
        let now = Timestamp::now();
        self.previous.as_ref().filter(|kept| self.asking.question.may_have_stale(kept, now))
    }

    fn stand_in(&self, refusal: Refusal, exchange: &mut Exchange) -> Result<Outcome, Refusal> {
        let Some(kept) = self.standby() else { return Err(refusal) };
        if let Some((_, level, message)) = refusal.report {
            exchange.note(level, refusal.fault.code(), message);
        }
        Ok(self.asking.give_kept(kept, Freshness::Over, exchange))
    }

    /// Gives what is kept, with the headers of the 304 that confirms it.
    fn confirm(
        &self,
        previous: &Arc<Kept>,
        headers: &HeaderMap,
        times: Times,
        lead: Option<Lead>,
        exchange: &mut Exchange,
    ) -> Outcome {
        let Asking { question, rules, ask, .. } = self.asking;
        let store = &ask.worker.shared.cache;
        let judged = renewed(rules, question, &self.asked, previous, headers, times);
        let why = judged.as_ref().err().map(|why| why.word());
        exchange.cached(Verdict::Renewed, why);
        let mut report = Report {
            forwarded: Some(self.why),
            status: Some(StatusCode::NOT_MODIFIED.as_u16()),
            why,
            ..Report::of(Verdict::Renewed)
        };
        let (kept, variant) = match judged {
            Ok(renewed) => renewed,
            // It is this client's alone, with what it was told now.
            Err(why) => {
                if why != Unkept::SetCookie {
                    store.forget_one(&question.key, previous);
                }
                let answer = previous.with_headers(renewed_headers(&previous.headers, headers));
                return Outcome::Answer(self.asking.given(&answer, &report));
            }
        };
        report.ttl = Some(kept.terms.left(Timestamp::now()).max(0) / 1_000);
        let answer = self.asking.given(&kept, &report);
        if let Some(lead) = lead {
            land(store, &question.key, lead, variant, kept);
        }
        Outcome::Answer(answer)
    }

    /// Passes an answer on, and keeps it where that may be.
    fn keep(
        &self,
        answered: Answered,
        times: Times,
        lead: Option<Lead>,
        exchange: &mut Exchange,
    ) -> Outcome {
        let Asking { question, rules, ask, .. } = self.asking;
        let (response, rest) = match answered.into_response() {
            Ok(taken) => taken,
            Err(outcome) => return *outcome,
        };
        let status = response.status();
        let shared = &ask.worker.shared;
        let outdates = self.outdates(&response, lead.is_some());
        let (mut response, kept) = match lead {
            None => (response, Err(unkept(question))),
            Some(lead) => {
                let keeper = Keeper { store: &shared.cache, memory: &shared.memory };
                keeper.keep(rules, question, &self.asked, response, times, lead)
            }
        };
        if let Some(previous) = self.previous.as_ref().filter(|_| outdates && kept.is_err()) {
            shared.cache.forget_one(&question.key, previous);
        }
        let why = kept.as_ref().err().map(|why| why.word());
        exchange.cached(Verdict::Miss, why);
        let report = Report {
            forwarded: Some(self.why),
            status: Some(status.as_u16()),
            stored: kept.is_ok(),
            collapsed: self.asking.collapsed,
            why,
            ..Report::of(Verdict::Miss)
        };
        let debug = rules.settings.debug.then_some(&question.key);
        // What the client has already is not sent again, but read for who comes next.
        if self.is_whole && status.is_success() && question.conditions.is_known(response.headers())
        {
            let headers = not_modified(response.headers());
            drain(ask.worker, response.into_body());
            response = Response::new(body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.headers_mut() = headers;
        }
        report.tell(response.headers_mut(), debug);
        rest.with_response(response)
    }

    /// Tells whether an answer shows that what is kept is no longer the answer: any other one, or to
    /// HEAD one that differs (RFC 9111 §4.3.5).
    fn outdates(&self, response: &Response<Body>, has_lead: bool) -> bool {
        let Some(previous) = &self.previous else { return false };
        let status = response.status();
        if self.asking.question.head && status == previous.status {
            let differs = |name| {
                let new = response.headers().get(&name);
                new.is_some() && new != previous.headers.get(&name)
            };
            return [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH]
                .into_iter()
                .any(differs);
        }
        (has_lead || self.asking.question.head) && !status.is_server_error()
    }
}

/// Keeps answers.
#[derive(Clone, Copy)]
pub(super) struct Keeper<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) memory: &'a Arc<Memory>,
}

impl Keeper<'_> {
    /// Returns an answer that is kept once all of it has passed, or why it is not.
    pub(super) fn keep(
        self,
        rules: &CompiledCache,
        question: &Question,
        asked: &HeaderMap,
        response: Response<Body>,
        times: Times,
        lead: Lead,
    ) -> (Response<Body>, Result<(), Unkept>) {
        match judge_whole(rules, question, asked, &response, times) {
            Ok((terms, variant)) => {
                if let Some(length) = response.body().size_hint().exact()
                    && length > self.most(rules)
                {
                    return self.refuse(question, response, lead, Unkept::TooLarge);
                }
                let found = (terms, variant, times);
                (self.watch(rules, question, response, found, lead), Ok(()))
            }
            Err(why) => self.refuse(question, response, lead, why),
        }
    }

    fn most(self, rules: &CompiledCache) -> u64 {
        rules.settings.max_object.0.min(self.store.largest())
    }

    /// Lets those go on who wait, and the next ones not wait at all.
    fn refuse(
        self,
        question: &Question,
        response: Response<Body>,
        lead: Lead,
        why: Unkept,
    ) -> (Response<Body>, Result<(), Unkept>) {
        // What fails today may be kept tomorrow.
        if !response.status().is_server_error() {
            self.store.refuse(&question.key, question.personal);
        }
        lead.land(Landed::NotKept);
        (response, Err(why))
    }

    /// Copies a body on its way.
    fn watch(
        self,
        rules: &CompiledCache,
        question: &Question,
        response: Response<Body>,
        (terms, variant, times): (Terms, Variant, Times),
        lead: Lead,
    ) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status, kept_headers(&parts.headers, times));
        let (store, key, personal) =
            (Arc::clone(self.store), question.key.clone(), question.personal);
        // Where the body breaks off nobody calls it, and the lead is lost with it.
        let settle = move |copied: body::Copy| match copied {
            body::Copy::Whole(body) => {
                let content = Content::of(body.into_pieces().unwrap_or_default());
                let kept = Kept::new(status, headers, content, terms);
                land(&store, &key, lead, variant, kept);
            }
            body::Copy::TooLarge => {
                store.refuse(&key, personal);
                lead.land(Landed::NotKept);
            }
            body::Copy::NoMemory => lead.land(Landed::NotKept),
        };
        // Of what is there already, and of nothing, no copy has to be made.
        let whole = body.again().or_else(|| body.is_end_stream().then(body::empty));
        if let Some(whole) = whole {
            settle(body::Copy::Whole(whole));
            return Response::from_parts(parts, body);
        }
        let most = self.most(rules);
        // Boxed, as it need not stay where it is.
        let body = body::tee(body, most, self.memory, Box::new(settle));
        Response::from_parts(parts, body)
    }
}

/// Judges an answer: also where its body has an end that nobody could tell from a lost connection.
fn judge_whole(
    rules: &CompiledCache,
    question: &Question,
    asked: &HeaderMap,
    response: &Response<Body>,
    times: Times,
) -> Result<(Terms, Variant), Unkept> {
    let found = judge(rules, question, asked, (response.status(), response.headers()), times)?;
    let until_close = response.extensions().get::<UntilClose>().is_some();
    if until_close { Err(Unkept::NoEnd) } else { Ok(found) }
}

/// Keeps an answer, unless what is kept under its URL was taken away while it was fetched.
pub(super) fn land(store: &Store, key: &Key, lead: Lead, variant: Variant, kept: Kept) {
    let is_kept = store.keep(key, variant, kept, || lead.is_outdated());
    lead.land(if is_kept { Landed::Kept } else { Landed::NotKept });
}

/// Returns what is kept as a 304 has it be.
pub(super) fn renewed(
    rules: &CompiledCache,
    question: &Question,
    asked: &HeaderMap,
    previous: &Kept,
    confirmed: &HeaderMap,
    times: Times,
) -> Result<(Kept, Variant), Unkept> {
    let mut headers = renewed_headers(&previous.headers, confirmed);
    let (terms, variant) = {
        // Its age is that of the 304.
        let mut judged = headers.clone();
        if let Some(age) = confirmed.get(header::AGE) {
            judged.insert(header::AGE, age.clone());
        }
        if !confirmed.contains_key(header::DATE) {
            judged.remove(header::DATE);
            headers.insert(header::DATE, date(times));
        }
        judge(rules, question, asked, (previous.status, &judged), times)?
    };
    Ok((Kept::new(previous.status, headers, previous.content.clone(), terms), variant))
}

/// Tells whether an answer says that the upstream fails.
pub(super) fn is_failure(status: Option<StatusCode>) -> bool {
    matches!(status.map(|status| status.as_u16()), Some(500 | 502 | 503 | 504))
}

fn drain(worker: &crate::worker::Worker, mut body: Body) {
    drop(worker.tasks.spawn_local(async move { while let Some(Ok(_)) = body.frame().await {} }));
}
