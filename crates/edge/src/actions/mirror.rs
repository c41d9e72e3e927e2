//! Copies of requests to one more upstream. A copy is sent beside its request and never delays or
//! fails it; what the mirror answers is thrown away.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::{
    balance::{Change, Notice, Target},
    body::{self, Body},
    clock::Clock,
    content::{CompiledMirror, CompiledRoute, MirrorPlace},
    metrics::{Copied, SiteMetrics},
    proxy::{Forwarding, Observer, Outgoing, Peer, Pool, ProxyError, Reply},
    worker::Worker,
};

/// Tells a mirror that the request is a copy.
const MIRROR: HeaderName = HeaderName::from_static("x-portway-mirror");

/// How long a copy may take, with the answer to it.
const LONGEST: Duration = Duration::from_secs(60);

/// How much of an answer is read so that its connection can be used again.
const READ: usize = 1_000_000;

/// A copy that is about to be sent.
struct Copy {
    outgoing: Outgoing,
    client: IpAddr,
    mirror: Arc<CompiledMirror>,
    place: MirrorPlace,
    pool: Rc<Pool>,
    clock: Clock,
    metrics: Arc<SiteMetrics>,
}

/// Sends a copy of a request to the route's mirror, if it has one and it is this one's turn. A body
/// that is still to come is copied while it passes.
pub(super) fn copy(
    worker: &Worker,
    route: &CompiledRoute,
    client: IpAddr,
    metrics: &Arc<SiteMetrics>,
    outgoing: &mut Outgoing,
) {
    let Some(mirror) = &route.mirror else { return };
    if outgoing.upgrade || !mirror.takes(rand::random()) {
        return;
    }
    let most = mirror.max_body;
    if outgoing.body.size_hint().lower() > most {
        return metrics.copied(Copied::TooLarge);
    }
    let Some(place) = MirrorPlace::take(mirror) else { return metrics.copied(Copied::Busy) };
    let mut headers = outgoing.headers.clone();
    headers.insert(MIRROR, HeaderValue::from_static("1"));
    let copy = Copy {
        outgoing: Outgoing {
            method: outgoing.method.clone(),
            path_and_query: outgoing.path_and_query.clone(),
            headers,
            host: outgoing.host.clone(),
            body: body::empty(),
            upgrade: false,
            passage: outgoing.passage,
        },
        client,
        mirror: Arc::clone(mirror),
        place,
        pool: Rc::clone(&worker.pool),
        clock: worker.shared.content.clock,
        metrics: Arc::clone(metrics),
    };
    let tasks = worker.tasks.clone();
    let send = move |copy: Copy, body| drop(tasks.spawn_local(copy.send(body)));
    if let Some(body) = outgoing.body.again() {
        return send(copy, body);
    }
    let passing = std::mem::replace(&mut outgoing.body, body::empty());
    outgoing.body = body::tee(passing, most, &worker.shared.memory, move |copied| match copied {
        body::Copy::Whole(body) => send(copy, body),
        body::Copy::TooLarge => copy.metrics.copied(Copied::TooLarge),
        body::Copy::NoMemory => copy.metrics.copied(Copied::Busy),
    });
}

impl Copy {
    async fn send(self, body: Body) {
        let Self { mut outgoing, client, mirror, place, pool, clock, metrics } = self;
        outgoing.body = body;
        let upstream = &mirror.upstream;
        let facts = upstream.balancer.facts(client, &outgoing.headers);
        let forwarding = Forwarding { pool: &pool, upstream, facts, clock, observer: &Unseen };
        let sent = timeout(LONGEST, async {
            let reply = forwarding.send(Box::new(outgoing)).await?;
            throw_away(reply).await;
            Ok::<(), ProxyError>(())
        });
        match sent.await {
            Ok(Ok(())) => metrics.copied(Copied::Sent),
            Ok(Err(error)) => {
                tracing::debug!(error = body::chain(&error), "a mirror did not take a copy");
                metrics.copied(Copied::Failed);
            }
            Err(_) => metrics.copied(Copied::Failed),
        }
        drop(place);
    }
}

/// Reads an answer, so that its connection can be used again; one without end is broken off.
async fn throw_away(reply: Reply) {
    let mut body = reply.response.into_body();
    let mut left = READ;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// What becomes of targets that no visitor waits for is no concern of visitors: it stands in the metrics.
pub(super) struct Unseen;

impl Observer for Unseen {
    fn waited(&self, _: Duration) {}

    fn asked(&self, _: &Peer) {}

    fn connected(&self, _: Duration) {}

    fn lost(&self, _: &Peer, _: &ProxyError, _: Duration) {}

    fn reached(&self, _: &Peer, _: bool) {}

    fn changed(&self, target: &Target, change: Change) {
        tracing::info!(target = %target.declared(), ?change, "a target changed");
    }

    fn noticed(&self, _: Notice) {}
}
