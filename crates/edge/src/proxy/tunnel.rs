//! A connection that stopped speaking HTTP: after the upstream's 101, bytes pass both ways until
//! both sides are done, each as fast as the other takes them.

use std::io;

/// Why a tunnel ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    /// The client's connection could not be taken over.
    #[error("the client's connection could not be taken over")]
    Held,
    /// The head of the answer cannot be written.
    #[error("the answer cannot be written")]
    Unwritable(#[from] portway_http1::WriteError),
    /// A side broke off.
    #[error("a side broke off")]
    Broken(#[from] io::Error),
}

/// What passed through a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// From the client to the upstream.
    pub(crate) up: u64,
    /// From the upstream to the client.
    pub(crate) down: u64,
}
