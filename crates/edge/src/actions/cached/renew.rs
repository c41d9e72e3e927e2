//! Kept answers that are fetched anew while the stale ones are given.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    Asking,
    fetch::{Keeper, is_failure, land, renewed},
};
use crate::{
    actions::{
        forward::{self, Ready},
        mirror::Unseen,
    },
    body::{self, Body},
    cache::{
        CompiledCache, Conditions, Join, Kept, Landed, Lead, Question, Times, ask_by, confirms,
    },
    content::CompiledUpstream,
    exchange::{Exchange, Refusal},
    pipeline::{Inbound, Outcome},
    proxy::{Forwarding, Pool, ProxyError},
    worker::Shared,
};

/// How long it may take.
const LONGEST: Duration = Duration::from_secs(60);

/// A request that nobody waits for.
struct Renewal {
    shared: Arc<Shared>,
    pool: Rc<Pool>,
    upstream: Arc<CompiledUpstream>,
    rules: Arc<CompiledCache>,
    question: Question,
    asked: HeaderMap,
    previous: Arc<Kept>,
    lead: Lead,
}

impl Asking<'_> {
    /// Fetches what is kept anew, unless that is done already. Nobody waits for it.
    pub(super) async fn renew(
        &self,
        kept: &Arc<Kept>,
        mut inbound: Box<Inbound<'_>>,
        body: Body,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        let worker = self.ask.worker;
        let question = self.question.for_all();
        // A part, or headers alone, are no answer to others.
        let flights = worker.shared.cache.flights();
        let joined = flights.join(&question.key, &question.own, question.personal);
        let Join::Lead(lead) = joined else { return Ok(()) };
        let asked = inbound.parts.headers.clone();
        Conditions::take_out(&mut inbound.parts.headers);
        inbound.parts.method = http::Method::GET;
        let mut ready = self.ready(inbound, body, exchange).await?;
        ask_by(&kept.headers, &mut ready.outgoing.headers);
        let renewal = Renewal {
            shared: Arc::clone(&worker.shared),
            pool: Rc::clone(&worker.pool),
            upstream: Arc::clone(self.ask.upstream),
            rules: Arc::clone(self.rules),
            question,
            asked,
            previous: Arc::clone(kept),
            lead,
        };
        drop(worker.tasks.spawn_local(async move {
            let name = renewal.question.key.url().to_owned();
            match timeout(LONGEST, renewal.run(ready)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(url = name, error = body::chain(&error), "cannot renew");
                }
                Err(_) => tracing::debug!(url = name, "renewing took too long"),
            }
        }));
        Ok(())
    }
}

impl Renewal {
    async fn run(self, ready: Ready) -> Result<(), ProxyError> {
        let clock = self.shared.content.clock;
        let (upstream, facts) = (&*self.upstream, ready.facts);
        let forwarding = Forwarding { pool: &self.pool, upstream, facts, clock, observer: &Unseen };
        let sent = Timestamp::now();
        let reply = forwarding.send(ready.outgoing).await?;
        let times = Times { asked: sent, answered: Timestamp::now() };
        let Outcome::Answer(response) = forward::into_outcome(reply) else { return Ok(()) };
        let Self { shared, rules, question, asked, previous, lead, .. } = self;
        let headers = response.headers();
        if response.status() == StatusCode::NOT_MODIFIED {
            if confirms(&previous.headers, headers)
                && let Ok((kept, variant)) =
                    renewed(&rules, &question, &asked, &previous, headers, times)
            {
                land(&shared.cache, &question.key, lead, variant, kept);
            } else {
                // The next request asks for it.
                shared.cache.forget_one(&question.key, &previous);
            }
            return Ok(());
        }
        if is_failure(Some(response.status())) {
            lead.land(Landed::NotKept);
            return Ok(());
        }
        let keeper = Keeper { store: &shared.cache, memory: &shared.memory };
        let (response, kept) = keeper.keep(&rules, &question, &asked, response, times, lead);
        if kept.is_ok() {
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        } else {
            shared.cache.forget_one(&question.key, &previous);
        }
        Ok(())
    }
}
