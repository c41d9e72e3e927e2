//! Why bodies break off, and on whose side.

use std::{io, time::Duration};

/// The side on which something went wrong; it alone decides status, retry and blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client or its network.
    Client,
    /// The upstream.
    Upstream,
    /// The edge itself, its machine or its files.
    Edge,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// A connection broke or spoke nonsense.
    #[error("the body from the {side} broke off")]
    Broken {
        /// Who sent it.
        side: Side,
        /// What the connection says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing arrived for too long.
    #[error("nothing arrived from the {side} for {} seconds", after.as_secs())]
    Silent {
        /// Who sent nothing.
        side: Side,
        /// How long it was waited for.
        after: Duration,
    },
    /// It came slower than it must.
    #[error("the client sent less than {rate} bytes a second of the body")]
    TooSlow {
        /// The least bytes in a second.
        rate: u64,
    },
    /// More than is allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// A file could not be read to its end.
    #[error("cannot read the file that is being sent")]
    File(#[source] io::Error),
    /// A file became shorter after its length was promised.
    #[error("the file became shorter while it was sent")]
    Truncated,
    /// A coder failed.
    #[error("cannot compress the answer")]
    Compress(#[source] io::Error),
}

impl BodyError {
    pub(super) fn broken(
        side: Side,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Broken { side, source: source.into() }
    }

    /// Returns the side on which it arose.
    pub(crate) fn side(&self) -> Side {
        match self {
            Self::Broken { side, .. } | Self::Silent { side, .. } => *side,
            Self::TooSlow { .. } | Self::TooLarge { .. } => Side::Client,
            Self::File(_) | Self::Truncated | Self::Compress(_) => Side::Edge,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Edge => "edge",
        })
    }
}

/// Returns an error with its causes in one line, for logs.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
