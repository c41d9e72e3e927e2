//! A connection that stopped speaking HTTP: after the upstream's 101, bytes pass both ways until
//! both sides are done, each as fast as the other takes them.

use std::{io, time::Duration};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, time::timeout};

/// How long both sides may take to let go of HTTP.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a tunnel ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    /// The client's connection could not be taken over.
    #[error("the client's connection could not be taken over")]
    Client(#[source] hyper::Error),
    /// The upstream's connection could not be taken over.
    #[error("the upstream's connection could not be taken over")]
    Upstream(#[source] hyper::Error),
    /// The take-over took too long.
    #[error("the connections were not taken over in time")]
    TimedOut,
    /// A side broke off.
    #[error("a side broke off")]
    Broken(#[source] io::Error),
}

/// What passed through a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// From the client to the upstream.
    pub(crate) up: u64,
    /// From the upstream to the client.
    pub(crate) down: u64,
}

/// Passes bytes both ways until both sides are done.
pub(crate) async fn run(client: OnUpgrade, upstream: OnUpgrade) -> Result<Passed, TunnelError> {
    let both = async {
        let upstream = upstream.await.map_err(TunnelError::Upstream)?;
        let client = client.await.map_err(TunnelError::Client)?;
        Ok((TokioIo::new(client), TokioIo::new(upstream)))
    };
    let (mut client, mut upstream) =
        timeout(UPGRADE_TIMEOUT, both).await.map_err(|_| TunnelError::TimedOut)??;
    let (up, down) =
        copy_bidirectional(&mut client, &mut upstream).await.map_err(TunnelError::Broken)?;
    Ok(Passed { up, down })
}
