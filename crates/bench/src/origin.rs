//! The application behind the proxies: it answers a POST with what it was sent.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

/// A running application.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Origin {
    /// Starts one on a free port of 127.0.0.1.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(accept(listener)) })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        // Without it the kernel's delays would be measured.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let serving =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo));
        tokio::spawn(async move { drop(serving.await) });
    }
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body that breaks off is answered with nothing, which is a wrong answer to whoever sent it.
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    Ok(Response::new(Full::new(body)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portway_testkit::client::{Outcome, Speech, Web};

    #[tokio::test]
    async fn it_answers_what_it_was_sent() {
        let origin = Origin::start().await.unwrap();
        let mut web = Web::new(origin.address.port(), Speech::Http1);
        for body in ["one", "two"] {
            let outcome = web.send(http::Method::POST, "a.test", body).await.unwrap();
            assert!(matches!(outcome, Outcome::Answered(answer) if answer.is(body)));
        }
        assert_eq!(web.opened, 1);
    }
}
