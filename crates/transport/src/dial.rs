//! Streams to what listens on a node.

use std::fmt;

use camino::Utf8PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};

/// Something that listens on a node, as the node itself reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host and port: `127.0.0.1:8911`.
    Tcp {
        /// The name or address, as the node understands it.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(Utf8PathBuf),
}

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream of any kind.
pub type BoxStream = Box<dyn Stream>;

impl Target {
    /// A port of the node itself.
    pub fn loopback(port: u16) -> Self {
        Self::Tcp { host: "127.0.0.1".to_owned(), port }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}
